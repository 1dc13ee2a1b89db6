/** Who says which of two answers is better while a policy is trained on what it writes: a reward, a classifier of pairs, or a language model behind an endpoint. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, readCopy } from '@plumbline/core';
import { type Candidate, type Context, encodeSequence, type PairwiseJudge, packSequences, type RewardFunction } from '@plumbline/data';
import { type AttributeScorer, loadHead, modelPath, openAiModel } from '@plumbline/models';
import { debiased, generativeJudge, pairwiseFromPointwise } from '@plumbline/rewards';
import { loadReward } from '../serve/load.js';
import { bothAnswers } from './rewardTasks.js';

/** `reward` where the judge scores answers one by one. */
export type Judge = { judge: PairwiseJudge; reward?: RewardFunction };

/**
 * @param name      what `plumb train rl --reward` takes, or a classifier of pairs (`plumb train reward --loss pairwise`)
 * @param judgeModel with it `name` is an OpenAI-compatible server, and this the model on it that judges, asked in both orders
 */
export async function loadJudge(name: string, judgeModel?: string): Promise<Judge> {
  if (judgeModel !== undefined) {
    if (!/^https?:\/\//.test(name)) throw new ConfigError(`judgeModel names a model on a server; judge must be its URL, not ${name}`);
    return {
      judge: debiased(generativeJudge(openAiModel({ url: name, model: judgeModel, apiKey: process.env.OPENAI_API_KEY, plain: 'chat' }))),
    };
  }
  const labels = labelsOf(name);
  if (labels?.join() === 'first,second') return { judge: debiased(classifierJudge((await loadHead(modelPath(name))) as AttributeScorer)) };
  const reward = await loadReward(name);
  return { judge: pairwiseFromPointwise(reward), reward };
}

function labelsOf(name: string): string[] | undefined {
  const config = join(name, 'config.json');
  if (!existsSync(config)) return undefined;
  const { plumbline, id2label } = JSON.parse(readFileSync(config, 'utf8')) as {
    plumbline?: { head?: string };
    id2label?: Record<string, string>;
  };
  return plumbline?.head === 'attributes' ? Object.values(id2label ?? {}) : undefined;
}

function classifierJudge(head: AttributeScorer): PairwiseJudge {
  const { tokenizer, contextLength } = head.backbone;
  return {
    name: head.name,
    async compare(batch, { signal }) {
      const verdicts: Awaited<ReturnType<PairwiseJudge['compare']>> = [];
      for (const { prompt, a, b } of batch) {
        signal?.throwIfAborted();
        const sequence = encodeSequence(tokenizer, prompt, bothAnswers(prompt, a, b), { maxTokens: contextLength });
        if (!sequence) {
          verdicts.push({ winner: 'tie', probA: 0.5, parsed: false });
          continue;
        }
        const scores = head.scores(packSequences([{ ...sequence, row: 0 }]));
        const [first, second] = await readCopy(scores);
        scores.dispose();
        const probA = 1 / (1 + Math.exp(second - first));
        verdicts.push({ winner: probA > 0.5 ? 'a' : probA < 0.5 ? 'b' : 'tie', probA, parsed: true });
      }
      return verdicts;
    },
  };
}

/** Scores of each group: those of the reward, NaN where it abstains; of a judge of pairs, the mean of how likely a sample is to win against each other one of its group. */
export async function groupScores({ judge, reward }: Judge, groups: readonly Candidate[][], ctx: Context): Promise<Float32Array[]> {
  if (reward) {
    const { scores, abstained } = await reward.score(groups.flat(), ctx);
    const known = scores.map((score, i) => (abstained?.[i] === 1 ? Number.NaN : score));
    let from = 0;
    return groups.map(({ length }) => {
      from += length;
      return known.slice(from - length, from);
    });
  }
  const asked = groups.flatMap((group, g) => group.flatMap((_, i) => group.slice(0, i).map((__, j) => ({ g, i, j }))));
  const verdicts = await judge.compare(
    asked.map(({ g, i, j }) => {
      const { prompt, completion, meta } = groups[g][i];
      return { prompt, a: completion, b: groups[g][j].completion, ...(meta && { meta }) };
    }),
    ctx,
  );
  const won = groups.map((group) => group.map(() => ({ sum: 0, n: 0 })));
  verdicts.forEach(({ probA, parsed }, at) => {
    if (!parsed) return;
    const { g, i, j } = asked[at];
    for (const [side, p] of [
      [i, probA],
      [j, 1 - probA],
    ]) {
      won[g][side].sum += p;
      won[g][side].n++;
    }
  });
  return won.map((group) => Float32Array.from(group, ({ sum, n }) => (n === 0 ? Number.NaN : sum / n)));
}
