/**
 * Distances between reward functions on a user's own prompts: those that --rewards names (and the judge), or reward models of the pairs. Where an episode is one answer, what no policy's
 * order depends on is a constant for each prompt; `none` leaves it in.
 */
import { applyMeasureSettings, applyRewardSettings, defineApply } from '@plumbline/bench';
import { pearson } from '@plumbline/bench/metrics';
import { ConfigError } from '@plumbline/core';
import type { PreferenceRecord, RewardFunction } from '@plumbline/data';
import { answerDistance, answerRegret, modelReward } from '@plumbline/rewards';
import { z } from 'zod';

export const apply = defineApply({
  config: z.strictObject({
    ...applyMeasureSettings,
    ...applyRewardSettings,
    answerTokens: z.int().positive().default(64).describe('Tokens of an answer'),
    prompts: z.int().min(2).default(40).describe('Prompts of the pairs whose answers are compared, at most'),
    candidates: z.int().min(2).default(8).describe('Answers of the model to each'),
  }),
  needs: 'preference pairs, from which the prompts come, and the reward models where --rewards names fewer than two',
  leaves: [
    { path: 'distances.jsonl', what: 'each two rewards: both distances, and the regret of choosing by one where the other counts' },
    { path: 'scored.jsonl', what: "the model's answers with the score of every reward" },
    { path: 'half-1/model, half-2/model, whole/model', what: 'reward models of the pairs, where fewer than two rewards are named' },
  ],
  work: ({ rewardSteps, pairsPerStep, prompts, candidates }) => ({
    trainedPairs: 3 * rewardSteps * pairsPerStep,
    writtenAnswers: prompts * candidates,
  }),
  laptopParameters: 500e6,
  async run({ config, train, prompts: all, rewards: given, judge, rng, signal, say, once, write, leave, rewardModel, show, onEnd }) {
    const rewards: RewardFunction[] = [...given, ...(judge ? [judge] : [])];
    if (rewards.length < 2) {
      const half = Math.floor(train.length / 2);
      const parts: [string, readonly PreferenceRecord[]][] = [
        ['half-1', train.slice(0, half)],
        ['half-2', train.slice(half)],
        ['whole', train],
      ];
      for (const [name, records] of parts) {
        const scorer = await rewardModel(name, { records });
        onEnd(() => scorer.dispose());
        rewards.push({ ...modelReward(scorer), name });
      }
    }
    const written = all.slice(0, config.prompts);
    const texts = await write('answers', written, { n: config.candidates });
    const asked = written.flatMap((prompt, p) => texts[p].map((completion) => ({ prompt, completion })));
    const found: (number | null)[][] = [];
    for (const [r, reward] of rewards.entries()) {
      say(`${asked.length} answers by ${reward.name}`);
      found.push(
        await once(`scores ${r + 1}`, async () => {
          const given = await reward.score(asked, { rng: rng.fork('score', r), signal });
          return Array.from(given.scores, (score, i) => (given.abstained?.[i] === 1 ? null : score));
        }),
      );
    }
    // a prompt counts where every reward has a score for every answer
    const kept = written.flatMap((_, p) => {
      const own = (r: number) => found[r].slice(p * config.candidates, (p + 1) * config.candidates);
      return rewards.some((_reward, r) => own(r).includes(null)) ? [] : [p];
    });
    if (kept.length === 0)
      throw new ConfigError(`no prompt has a score of ${rewards.map(({ name }) => name).join(', ')} for each of its answers`);
    if (kept.length < written.length) say(`${written.length - kept.length} prompts are left out: a reward abstained on an answer`);
    const [prompts, answers] = [kept.map((p) => written[p]), kept.map((p) => texts[p])];
    const scores = found.map((flat) => kept.map((p) => flat.slice(p * config.candidates, (p + 1) * config.candidates) as number[]));
    await leave(
      'scored.jsonl',
      prompts.map((prompt, p) => ({
        prompt,
        completions: answers[p],
        rewards: Object.fromEntries(rewards.map(({ name }, r) => [name, scores[r][p]])),
      })),
    );
    const pairs = rewards.flatMap((a, i) =>
      rewards.slice(i + 1).map((b, k) => {
        const [x, y] = [scores[i], scores[i + 1 + k]];
        return {
          first: a.name,
          second: b.name,
          starc: answerDistance(x, y),
          none: answerDistance(x, y, { canon: 'none' }),
          regret: answerRegret(x, y),
        };
      }),
    );
    await leave('distances.jsonl', pairs);
    show({
      title: 'Distances',
      kind: 'table',
      paragraphs: [
        `On ${answers.flat().length} answers to ${prompts.length} prompts. 0: the same order of policies; 1: unrelated; 2: opposite.`,
      ],
      columns: [
        { key: 'first', label: 'Reward' },
        { key: 'second', label: 'and' },
        { key: 'starc', label: 'STARC', digits: 3, help: 'A constant for each prompt and the scale taken away' },
        { key: 'none', label: 'Plain', digits: 3, help: 'Only the scale taken away' },
        {
          key: 'regret',
          label: 'Regret',
          percent: true,
          help: 'What choosing the best answer by one loses by the other, as a share of what choosing can win; mean of both directions',
        },
      ],
      rows: pairs,
    });
    const follows = (of: 'none' | 'starc'): Record<string, number> =>
      pairs.length > 2
        ? {
            'correlation with regret': pearson(
              pairs.map((pair) => pair[of]),
              pairs.map(({ regret }) => regret),
            ).value,
          }
        : {};
    const average = (of: 'none' | 'starc') => ({ 'mean distance': pairs.reduce((sum, pair) => sum + pair[of], 0) / pairs.length });
    return {
      none: { numbers: { ...average('none'), ...follows('none') } },
      starc: { numbers: { ...average('starc'), ...follows('starc') } },
    };
  },
});
