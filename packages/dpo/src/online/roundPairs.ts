/** Pairs in rounds: what the policy wrote at the beginning of a round is learned from until the next. */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  type Batches,
  type Candidate,
  type EncodedPair,
  encodePrompt,
  type PromptRecord,
  pairBatches,
  promptBatches,
} from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';
import type { TrainingPairs } from '../pairInputs.js';
import { missesEos } from './missingEos.js';

export type RoundPairs = {
  policy: LocalDecoder;
  prompts: readonly PromptRecord[];
  /** Scores of a prompt's samples, [prompts][samples]; NaN where one cannot be scored. */
  score(groups: readonly Candidate[][], round: number): Promise<readonly ArrayLike<number>[]>;
  pairsPerStep: number;
  steps: number;
  stepsPerRound: number;
  samplesPerPrompt?: number;
  maxTokens: number;
  temperature?: number;
  /** Subtracted from the score of a sample without end token; 0 unless given. */
  missingEosPenalty?: number;
  sharePrompts?: boolean;
  rng: Rng;
  signal?: AbortSignal;
  /**
   * Where a round's pairs are kept, so that a run that goes on in the middle of one has those that it began with. Without it such a run samples them again from the policy as it is
   * then, and is no longer the run that it would have been.
   */
  kept?: {
    read(round: number): Promise<readonly EncodedPair[] | undefined>;
    write(round: number, pairs: readonly EncodedPair[]): Promise<void>;
  };
  onRound?: (round: number, of: { prompts: number; pairs: number; meanScore: number }) => void;
};

/**
 * Batches for `trainPairs`, of iterative alignment: each round samples every prompt of its steps several times from the policy as it is then, and pairs the sample that scores highest
 * with the one that scores lowest. Xiong et al. 2023, arXiv:2312.11456; Yuan et al. 2024, arXiv:2401.10020. Pairs carry their scores. Prompts whose samples all score alike, or are the same,
 * make no pair; the round's steps go over the others again. With `referenceSync` every `stepsPerRound` steps and mixup 1 the reference is the policy before the round (SPPO, DNO).
 *
 * @throws ConfigError where a round has fewer pairs than a step needs
 */
export function roundPairs(options: RoundPairs): Batches<TrainingPairs> {
  const {
    policy,
    score,
    pairsPerStep,
    steps,
    stepsPerRound,
    samplesPerPrompt: n = 4,
    maxTokens,
    temperature = 1,
    missingEosPenalty = 0,
    sharePrompts,
    rng,
    signal,
    kept,
  } = options;
  if (!(Number.isInteger(n) && n >= 2)) throw new ConfigError(`roundPairs: samplesPerPrompt must be a whole number, at least 2, got ${n}`);
  if (!(Number.isInteger(stepsPerRound) && stepsPerRound >= 1))
    throw new ConfigError(`roundPairs: stepsPerRound must be a whole number above 0, got ${stepsPerRound}`);
  const rounds = Math.ceil(steps / stepsPerRound);
  const promptsPerRound = Math.min(pairsPerStep * stepsPerRound, options.prompts.length);
  const order = promptBatches(options.prompts, { promptsPerStep: promptsPerRound, steps: rounds, rng: rng.fork('prompts') });
  let current: { round: number; batches: Batches<TrainingPairs> } | undefined;
  return {
    steps,
    async at(step) {
      const round = Math.floor(step / stepsPerRound);
      if (current?.round !== round) current = { round, batches: await begin(round) };
      return current.batches.at(step - round * stepsPerRound);
    },
  };

  async function begin(round: number): Promise<Batches<TrainingPairs>> {
    const before = await kept?.read(round);
    const pairs = before ?? (await sampled(round));
    if (!before) await kept?.write(round, pairs);
    if (pairs.length < pairsPerStep)
      throw new ConfigError(
        `roundPairs: round ${round} makes ${pairs.length} pairs of ${promptsPerRound} prompts, and a step needs ${pairsPerStep}: the samples of the others score alike; raise samplesPerPrompt (${n}) or the temperature (${temperature})`,
      );
    return pairBatches(pairs, { pairsPerStep, steps: stepsPerRound, rng: rng.fork('order', round), sharePrompts });
  }

  async function sampled(round: number): Promise<EncodedPair[]> {
    const { ids, prompts: records } = await order.at(round);
    const prompts = records.map(({ prompt }) => encodePrompt(policy.tokenizer, prompt));
    const samples = await generate(policy, prompts, {
      n,
      maxTokens,
      temperature,
      longPrompts: 'left',
      rng: rng.fork('samples', round),
      signal,
    });
    signal?.throwIfAborted(); // what was cut short is no sample of the policy
    const groups = samples.map((own, i) =>
      own.map(({ text }): Candidate => {
        const { prompt, meta, media } = records[i];
        return {
          prompt,
          completion: typeof prompt === 'string' ? text : [{ role: 'assistant', content: text }],
          ...(meta && { meta }),
          ...(media && { media: [...media] }),
        };
      }),
    );
    const given = await score(groups, round);
    const scores = missingEosPenalty
      ? samples.map((own, i) => own.map(({ tokens }, s) => given[i][s] - (missesEos(tokens, policy.tokenizer) ? missingEosPenalty : 0)))
      : given;
    const pairs = samples.flatMap((own, i): EncodedPair[] => {
      const scored = own.flatMap(({ tokens }, s) => (Number.isFinite(scores[i][s]) ? [{ tokens, score: scores[i][s] }] : []));
      const sorted = scored.toSorted((a, b) => b.score - a.score);
      const [best, worst] = [sorted[0], sorted.at(-1)];
      if (!best || !worst || !(best.score > worst.score) || best.tokens.join() === worst.tokens.join()) return [];
      const pair = {
        prompt: prompts[i],
        chosen: best.tokens,
        rejected: worst.tokens,
        scores: { chosen: best.score, rejected: worst.score },
      };
      return [{ id: `${round}.${ids[i]}`, ...pair }];
    });
    const all = scores.flatMap((own) => Array.from(own).filter(Number.isFinite));
    options.onRound?.(round, { prompts: records.length, pairs: pairs.length, meanScore: all.reduce((a, b) => a + b, 0) / all.length });
    return pairs;
  }
}
