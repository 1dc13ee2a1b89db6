/** One reward model of a user's pairs beside an ensemble of several: who is right on held-out pairs, and whose choice among the model's answers the judge prefers. */
import { applyMeasureSettings, applyRewardSettings, defineApply, rightPairs } from '@plumbline/bench';
import { mean } from '@plumbline/bench/metrics';
import type { RewardFunction } from '@plumbline/data';
import { ensembleReward, memberRankCorrelation, modelReward, scoreMoments } from '@plumbline/rewards';
import { z } from 'zod';

/** Sides of training pairs that put the members on one scale. */
const measured = 64;

export const apply = defineApply({
  config: z.strictObject({
    ...applyMeasureSettings,
    ...applyRewardSettings,
    answerTokens: z.int().positive().default(64).describe('Tokens of an answer'),
    members: z.int().min(1).default(3).describe('Reward models that are trained, beside those that --rewards names; the paper has 5'),
    rule: z.enum(['mean', 'median', 'min']).default('mean').describe('How the members are put together'),
    candidates: z.int().min(2).default(8).describe('Answers among which each chooses'),
  }),
  needs: 'preference pairs, from which the members learn',
  leaves: [
    { path: 'member-1/model, member-2/model, ...', what: 'the reward models' },
    { path: 'single/selected.jsonl', what: 'the baseline: the answers that the first of them chooses' },
    { path: 'ensemble/selected.jsonl', what: 'the method: the answers that all together choose' },
  ],
  work: ({ members, rewardSteps, pairsPerStep, answers, candidates }) => ({
    trainedPairs: members * rewardSteps * pairsPerStep,
    writtenAnswers: answers * candidates,
  }),
  laptopParameters: 500e6,
  async run({ config, train, rewards, rng, signal, say, rewardModel, write, once, heldOutPrompts, show, onEnd }) {
    const raw: RewardFunction[] = [];
    for (let i = 1; i <= config.members; i++) {
      const scorer = await rewardModel(`member-${i}`);
      onEnd(() => scorer.dispose());
      raw.push({ ...modelReward(scorer), name: `member-${i}` });
    }
    raw.push(...rewards);
    // scores of unlike rewards can only be put together on one scale
    const sides = train
      .slice(0, measured / 2)
      .flatMap(({ prompt, chosen, rejected }) => [chosen, rejected].map((completion) => ({ prompt, completion })));
    const members: RewardFunction[] = [];
    for (const reward of raw) {
      const moments = await once(`scale ${members.length + 1}`, async () => {
        const { scores, abstained } = await reward.score(sides, { rng: rng.fork('scale'), signal });
        return scoreMoments(scores.filter((_, i) => abstained?.[i] !== 1));
      });
      members.push(onScale(reward, moments));
    }
    const candidates = await write('candidates', heldOutPrompts, { n: config.candidates });
    const flat = heldOutPrompts.flatMap((prompt, i) => candidates[i].map((completion) => ({ prompt, completion })));
    const rows: { member: string; right: number }[] = [];
    const scores: number[][][] = [];
    for (const [i, member] of members.entries()) {
      say(`${member.name}: scores of ${flat.length} answers`);
      const own = await once(`member ${i + 1}`, async () => ({
        right: mean(await rightPairs(member, train.slice(0, measured), { rng: rng.fork('train'), signal })),
        scores: flat.length > 0 ? Array.from((await member.score(flat, { rng: rng.fork('members'), signal })).scores) : [],
      }));
      rows.push({ member: member.name, right: own.right });
      scores.push(heldOutPrompts.map((_, p) => own.scores.slice(p * config.candidates, (p + 1) * config.candidates)));
    }
    if (members.length > 1 && heldOutPrompts.length > 0) {
      const correlation = memberRankCorrelation(scores);
      say(`members rank the model's answers with a mean correlation of ${correlation.toFixed(2)}`);
      show({
        title: 'Members',
        kind: 'table',
        paragraphs: [
          `They rank the answers to held-out prompts with a mean Spearman correlation of ${correlation.toFixed(2)}: the lower, the more there is to average.`,
        ],
        columns: [
          { key: 'member', label: 'Member' },
          {
            key: 'right',
            label: 'Right in training',
            percent: true,
            help: `On ${Math.min(measured, train.length)} pairs that it learned from`,
          },
        ],
        rows,
      });
    }
    return { single: { reward: members[0] }, ensemble: { reward: ensembleReward(members, config.rule) } };
  },
});

const onScale = (reward: RewardFunction, { mean: centre, sd }: { mean: number; sd: number }): RewardFunction => ({
  name: reward.name,
  async score(batch, ctx) {
    const answer = await reward.score(batch, ctx);
    return { ...answer, scores: answer.scores.map((score) => (score - centre) / sd) };
  },
});
