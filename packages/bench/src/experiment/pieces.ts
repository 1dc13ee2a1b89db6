/** What several experiments are made of: settings, metrics and texts of the words bed, values by arm, and a small decoder pretrained in the run. */
import type { Rng, Run } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { createDecoder, type DecoderShape, decoderSpec, type LocalDecoder, sftBatches, trainSft } from '@plumbline/models';
import { z } from 'zod';
import type { MetricSpec, SeedOutcome } from './types.js';

/** The setting `model` of an experiment on the words bed. @param what the model is there for */
export const wordsModel = (what: string) => z.string().default('zoo:words-1m').describe(`${what}: zoo:NAME or a folder`);

/** How many of the bed's 256 held-out prompts an experiment measures on. */
export const heldOutPrompts = (count: number, what = 'Held-out prompts') => z.int().positive().max(256).default(count).describe(what);

/** Gold scores of the words bed that differ by less say nothing about which text is better. */
export const goldTie = 0.05;

const ofWords = {
  goldReward: { unit: 'points, −1 to 1', better: 'higher' },
  kl: { unit: 'nats', better: 'lower' },
  fluent: { unit: 'share', better: 'higher' },
  rawSentiment: { unit: 'VADER', better: 'higher' },
  length: { unit: 'tokens', better: 'higher' },
  distinct2: { unit: 'share', better: 'higher' },
} as const satisfies Record<string, MetricSpec>;

/** Metrics of an experiment that are what the words bed measures of a policy (`WordsEvaluation`). */
export const wordsMetrics = <N extends keyof typeof ofWords>(...names: readonly N[]) =>
  byArm(names, (name) => ofWords[name]) as Pick<typeof ofWords, N>;

/** The same for each arm, or for whatever else has a name. */
export const byArm = <A extends string, T>(arms: readonly A[], of: (arm: A) => T) =>
  Object.fromEntries(arms.map((arm) => [arm, of(arm)])) as Record<A, T>;

/** The first answer of every arm to the first prompts, as the `samples` of an outcome. @param groups of each arm, on the same prompts */
export function firstAnswers<A extends string>(
  groups: Readonly<Record<A, readonly { prompt: string; completions: readonly string[] }[]>>,
  count = 4,
): NonNullable<SeedOutcome<A>['samples']> {
  const arms = Object.keys(groups) as A[];
  return groups[arms[0]].slice(0, count).map(({ prompt }, i) => ({ prompt, texts: byArm(arms, (arm) => groups[arm][i].completions[0]) }));
}

/** Between two units of work that nothing interrupts, such as boards: lets a signal arrive. @throws the reason of `signal` */
export async function pause(signal: AbortSignal): Promise<void> {
  await new Promise((next) => setImmediate(next));
  signal.throwIfAborted();
}

/** A small decoder of 4 layers and heads, pretrained on sequences from weights and in an order that `rng` decides. The caller disposes it. */
export async function pretrainDecoder(
  shape: Pick<DecoderShape, 'vocabSize' | 'width' | 'contextLength'>,
  {
    tokenizer,
    name,
    sequences,
    sequencesPerStep,
    steps,
    learningRate,
    rng,
    run,
  }: {
    tokenizer: Tokenizer;
    name: string;
    sequences: Parameters<typeof sftBatches>[0];
    sequencesPerStep: number;
    steps: number;
    learningRate: number;
    rng: Rng;
    run: Run;
  },
): Promise<LocalDecoder> {
  const spec = decoderSpec({ ...shape, layers: 4, heads: 4 });
  const policy = createDecoder(spec, { tokenizer, name, rng: rng.fork('weights') });
  const batches = sftBatches(sequences, { sequencesPerStep, steps, rng: rng.fork('order') });
  const schedule = { kind: 'cosine' as const, warmupSteps: Math.ceil(steps / 20) };
  await trainSft({ steps, learningRate, schedule, beta2: 0.98, weightDecay: 0.05 }, { policy, batches, run });
  return policy;
}
