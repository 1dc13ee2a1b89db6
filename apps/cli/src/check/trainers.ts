/** Our trainers behind the interface of the invariant suite, on a decoder small enough that a step takes milliseconds. */
import { ConfigError, memoryRun, readCopy, rng } from '@plumbline/core';
import {
  type Batches,
  type EncodedPair,
  type PackedBatch,
  packSequences,
  pairBatch,
  pairBatches,
  promptBatches,
  rewardBatch,
} from '@plumbline/data';
import {
  type ContractCase,
  lacksFor,
  type StepOptions,
  type TrainerRow,
  type TrainerUnderTest,
  trainerContract,
} from '@plumbline/data/contract';
import {
  type PairLossName,
  pairLoss,
  pairLosses,
  startingLosses,
  trainPairs,
  trainUnpaired,
  unpairedBatch,
  unpairedLoss,
  unpairedLosses,
  withGold,
} from '@plumbline/dpo';
import { type LocalDecoder, sftBatch, trainSft } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import {
  createHeads,
  type HeadedModel,
  type LabelledRewardBatch,
  type RewardLossName,
  type RewardTraining,
  rewardLoss,
  rewardLosses,
  type StepBatch,
  stepBatch,
  type TargetBatch,
  targetBatch,
  trainReward,
} from '@plumbline/rewards';
import { policySettings, policyTrainerContract, trainPolicyUnderTest } from '@plumbline/rl/contract';
import * as tf from '@tensorflow/tfjs-core';

const vocabSize = 23; // of the tiny decoder
const weightsOf = async (tree: { trainable(): readonly { value: Parameters<typeof readCopy>[0] }[] }): Promise<Float32Array> =>
  Float32Array.from((await Promise.all(tree.trainable().map(({ value }) => readCopy(value)))).flatMap((part) => Array.from(part)));

type Run = ReturnType<typeof memoryRun>;
type AnyBatch = LabelledRewardBatch | TargetBatch | StepBatch;
/** A trainer's loop: what is trained, on batches, for so many steps. */
type Loop = (rows: readonly TrainerRow[], o: StepOptions & { steps: number; run: Run; learningRate: number }) => Promise<Float32Array>;

/** One step and whole runs, from the loop alone. A stopped run is taken up by new models and the checkpoint. */
function under(loop: Loop): Pick<TrainerUnderTest, 'step' | 'train'> {
  return {
    async step(rows, options = {}) {
      const run = memoryRun({ seed: 1 });
      await loop(rows, { ...options, steps: 1, run, learningRate: 1e-9 });
      const { loss, gradNorm } = run.history[0];
      return { loss: loss!, gradNorm: gradNorm! };
    },
    async train(rows, { steps, seed, stopAfter }) {
      const run = memoryRun({ seed, saveEvery: 1 });
      const go = (until: number) => loop(rows, { steps: until, run, learningRate: 3e-3 });
      if (stopAfter !== undefined) await go(stopAfter);
      return go(steps);
    },
  };
}

type Padding = NonNullable<StepOptions['padding']>;

/** Tokens that belong to no row in a segment of their own: before the others on the left, where `sides` is true, else behind them. */
function garbled(packed: PackedBatch, { side, tokens, id }: Padding, sides: boolean): PackedBatch {
  const first = sides && side === 'left';
  const join = <A extends Int32Array | Uint8Array>(own: A, garbage: ArrayLike<number>): A =>
    (own.constructor as unknown as { from(x: number[]): A }).from(
      first ? [...Array.from(garbage), ...own] : [...own, ...Array.from(garbage)],
    );
  const lengths = Array.from({ length: packed.cuSeqlens.length - 1 }, (_, s) => packed.cuSeqlens[s + 1] - packed.cuSeqlens[s]);
  const cuSeqlens = new Int32Array(lengths.length + 2);
  for (const [s, length] of (first ? [tokens, ...lengths] : [...lengths, tokens]).entries()) cuSeqlens[s + 1] = cuSeqlens[s] + length;
  return {
    tokens: join(packed.tokens, new Array(tokens).fill(id)),
    positions: join(
      packed.positions,
      Array.from({ length: tokens }, (_, t) => t),
    ),
    completionMask: join(packed.completionMask, new Array(tokens).fill(0)),
    cuSeqlens,
    rows: join(packed.rows, [-1]),
    ...(packed.prefixOf && { prefixOf: join(packed.prefixOf, [-1]) }),
  };
}

/** A batch with such tokens. It cannot be split. */
function withGarbage<B extends { packed: PackedBatch; split(size: number): B[] }>(
  batch: B,
  padding: Padding | undefined,
  sides = false,
): B {
  if (!padding) return batch;
  const padded: B = { ...batch, packed: garbled(batch.packed, padding, sides), split: () => [padded] };
  return padded;
}

/** A model that sees such tokens in every batch and answers for the rows alone: for losses that take what is said of each segment. */
const amongGarbage = {
  decoder: (model: LocalDecoder, padding: Padding | undefined): LocalDecoder =>
    !padding
      ? model
      : {
          ...model,
          completionLogps: (batch, options) =>
            tf.tidy(() => {
              const { sums, lengths, ...tokens } = model.completionLogps(garbled(batch, padding, true), options);
              return { ...tokens, sums: ofRows(sums, padding), lengths: ofRows(lengths, padding) };
            }),
        },
  heads: (model: HeadedModel, padding: Padding | undefined): HeadedModel =>
    !padding ? model : { ...model, outputs: (batch) => tf.tidy(() => ofRows(model.outputs(garbled(batch, padding, true)), padding)) },
};

/** All but the segment of garbage. */
const ofRows = <T extends tf.Tensor>(segments: T, { side }: Padding): T =>
  tf.slice(segments, side === 'left' ? 1 : 0, segments.shape[0] - 1) as T;

const inOrder = <B>(batch: B): Batches<B> => ({ steps: 1, at: async () => batch });
const asPair = ({ id, prompt, completions: [chosen, rejected] }: TrainerRow): EncodedPair => ({
  id,
  prompt,
  chosen,
  rejected,
  scores: { chosen: 1.5, rejected: 0.5 },
});

function pairs(name: string): TrainerUnderTest {
  const loss = pairLoss(name);
  return {
    name: `dpo:${name}`,
    vocabSize,
    completions: 2,
    startLoss: startingLosses[name as PairLossName],
    lacks: ['maskedRows'], // an empty answer is refused by name
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length, sharePrompts, padding }) => {
      const policy = tinyDecoder();
      const all = rows.map(asPair);
      const whole =
        steps === 1
          ? inOrder(withGarbage(pairBatch(all, { sharePrompts }), padding)) // behind the others: the first segments are the chosen answers
          : pairBatches(all, { pairsPerStep: 4, steps: 4, rng: run.rng, sharePrompts });
      const pairsPerStep = steps === 1 ? all.length : 4;
      await trainPairs(
        {
          steps,
          pairsPerStep,
          pairsPerMicroBatch: Math.min(rowsPerMicroBatch, pairsPerStep),
          learningRate,
          lossOptions: name === 'slic' ? { delta: 50 } : {},
        }, // else the tiny model's pairs are past its margin
        { policy, reference: tinyDecoder(), batches: loss.needs.includes('gold') ? withGold(whole, goldOf(all)) : whole, loss, run },
      );
      return weightsOf(policy.parameters);
    }),
  };
}

/** The third completion of a pair, for TPO: both others, one behind the other. */
const goldOf = (pairs: readonly EncodedPair[]) => (id: string) => {
  const { prompt, chosen, rejected } = pairs.find((pair) => pair.id === id)!;
  return { prompt, completion: Int32Array.of(...chosen, ...rejected) };
};

function unpaired(name: string): TrainerUnderTest {
  const loss = unpairedLoss(name);
  return {
    name: `kto:${name}`,
    vocabSize,
    completions: 1,
    startLoss: name === 'bco' ? Math.LN2 : 0.5,
    lacks: ['maskedRows', 'sharePrompts'], // an empty answer is refused by name
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length, padding }) => {
      const policy = amongGarbage.decoder(tinyDecoder(), padding);
      const all = rows.map(({ id, prompt, completions: [completion], label = true }) => ({ id, prompt, completion, desirable: label }));
      const order = promptBatches(all, { promptsPerStep: 4, steps: 4, rng: run.rng });
      const whole =
        steps === 1 ? inOrder(unpairedBatch(all)) : { steps: 4, at: async (step: number) => unpairedBatch((await order.at(step)).prompts) };
      const rowsPerStep = steps === 1 ? all.length : 4;
      await trainUnpaired(
        { steps, rowsPerStep, rowsPerMicroBatch: Math.min(rowsPerMicroBatch, rowsPerStep), learningRate },
        { policy, reference: amongGarbage.decoder(tinyDecoder(), padding), batches: whole, loss, run },
      );
      return weightsOf(policy.parameters);
    }),
  };
}

/** What each loss of reward models learns from a row: pairs, its one completion with targets, or its completion as a step with a label. */
const rewardHeads: Record<RewardLossName, { heads: number; completions: 1 | 2 }> = {
  bradley_terry: { heads: 1, completions: 2 },
  pairwise_ordinal: { heads: 1, completions: 2 },
  rao_kupper: { heads: 1, completions: 2 },
  davidson: { heads: 1, completions: 2 },
  odin: { heads: 2, completions: 2 },
  regression: { heads: 2, completions: 1 },
  ordinal: { heads: 1, completions: 1 },
  outcome: { heads: 1, completions: 1 },
  pairwise: { heads: 2, completions: 1 },
  step: { heads: 2, completions: 1 },
};

function reward(name: string): TrainerUnderTest {
  const loss = rewardLoss(name); // an error now, which lists those that there are
  const { heads, completions } = rewardHeads[name as RewardLossName];
  const make = () => createHeads(tinyDecoder(), { heads, rng: rng(8) });
  const target = ({ label = true, completions: [own] }: TrainerRow) =>
    name === 'regression' ? [own.length, label ? 1 : Number.NaN] : name === 'ordinal' ? [own.length % 5] : [label ? 1 : 0];
  /** An empty completion counts for nothing: its weight is 0, and its label not there. */
  const empty = ({ completions: [own] }: TrainerRow) => own.length === 0;
  const said = (row: TrainerRow) => (empty(row) ? row.prompt : row.completions[0]);
  const batchOf = (rows: readonly TrainerRow[], sharePrompts?: boolean): AnyBatch => {
    if (completions === 2) {
      const masked = rows.map((row) =>
        empty(row) ? { ...asPair(row), chosen: row.prompt, rejected: row.prompt, weight: 0 } : asPair(row),
      );
      const batch = rewardBatch(masked, { sharePrompts });
      const labels = Int32Array.from(rows, ({ label = true }) => (label ? 1 : 0));
      return {
        ...batch,
        ...(name !== 'bradley_terry' && name !== 'odin' && { labels }),
        split: (size) => cut(rows, size).map((some) => batchOf(some, sharePrompts) as LabelledRewardBatch),
      };
    }
    if (name === 'step')
      return stepBatch(
        rows.map((row) => {
          const tokens = Int32Array.of(...row.prompt, ...said(row));
          return {
            id: row.id,
            tokens,
            ends: Int32Array.of(tokens.length - 1),
            labels: Float32Array.of(empty(row) ? Number.NaN : target(row)[0]),
          };
        }),
      );
    return targetBatch(
      rows.map((row) => ({
        id: row.id,
        tokens: Int32Array.of(...row.prompt, ...said(row)),
        completionStart: row.prompt.length,
        targets: Float32Array.from(target(row)),
        ...(empty(row) && { weight: 0 }),
      })),
    );
  };
  return {
    name: `reward:${name}`,
    vocabSize,
    completions,
    lacks: [
      ...(completions === 1 ? (['sharePrompts'] as const) : []),
      ...(name === 'odin' || name === 'regression' ? (['maskedRows'] as const) : []), // correlations have no weights; a row without targets is refused
    ],
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length, sharePrompts, padding }) => {
      const everySegment = loss.kind === 'targets'; // pairs look at the first segments alone, steps at the ends of theirs
      const scorer = everySegment ? amongGarbage.heads(make(), padding) : make();
      const order = promptBatches(rows, { promptsPerStep: 4, steps: 4, rng: run.rng });
      const batches =
        steps === 1
          ? inOrder(withGarbage(batchOf(rows, sharePrompts) as LabelledRewardBatch, everySegment ? undefined : padding))
          : { steps: 4, at: async (step: number) => batchOf((await order.at(step)).prompts) };
      await trainReward({ steps, groupsPerMicroBatch: rowsPerMicroBatch, learningRate, schedule: { kind: 'constant' } }, {
        scorer,
        batches,
        loss,
        run,
      } as RewardTraining);
      return weightsOf(scorer.parameters);
    }),
    ...(loss.kind !== 'steps' && {
      async score(rows: readonly TrainerRow[]) {
        const scores = make().outputs(batchOf(rows).packed);
        const values = await readCopy(scores);
        scores.dispose();
        return values;
      },
    }),
  };
}

const cut = <T>(rows: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => rows.slice(i * size, (i + 1) * size));

function sft(): TrainerUnderTest {
  return {
    name: 'sft',
    vocabSize,
    completions: 1,
    lacks: ['sharePrompts'],
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch, padding }) => {
      const policy = tinyDecoder();
      const sequence = ({ id, prompt, completions: [completion] }: TrainerRow) => ({
        id,
        tokens: Int32Array.of(...prompt, ...completion),
        completionStart: prompt.length,
      });
      const batchOf = (some: readonly TrainerRow[]) =>
        sftBatch(
          some.map(({ id }) => id),
          packSequences(some.map((row, i) => ({ ...sequence(row), row: i }))),
        );
      const order = promptBatches(rows, { promptsPerStep: 4, steps: 4, rng: run.rng });
      const whole =
        steps === 1
          ? inOrder(withGarbage(batchOf(rows), padding, true))
          : { steps: 4, at: async (step: number) => batchOf((await order.at(step)).prompts) };
      await trainSft(
        { steps, sequencesPerMicroBatch: rowsPerMicroBatch, learningRate, schedule: { kind: 'constant' } },
        { policy, batches: whole, run },
      );
      return weightsOf(policy.parameters);
    }),
  };
}

/** The trainers by name; `reward`, `dpo` and `kto` alone are their default losses. */
export const trainerNames: readonly string[] = [
  'sft',
  'reward',
  'dpo',
  'kto',
  'rl',
  ...Object.keys(rewardLosses).map((name) => `reward:${name}`),
  ...Object.keys(pairLosses).map((name) => `dpo:${name}`),
  ...Object.keys(unpairedLosses).map((name) => `kto:${name}`),
  ...Object.keys(policySettings).map((name) => `rl:${name}`),
];

/** @throws ConfigError listing the names there are */
export function trainerNamed(name: string): TrainerUnderTest {
  const [kind, loss] = name.split(':');
  if (kind === 'sft' && !loss) return sft();
  if (kind === 'reward') return reward(loss ?? 'bradley_terry');
  if (kind === 'dpo') return pairs(loss ?? 'sigmoid');
  if (kind === 'kto') return unpaired(loss ?? 'kto');
  throw new ConfigError(`there is no trainer "${name}"; there are sft, reward, dpo, kto, rl, reward:LOSS, dpo:LOSS, kto:LOSS and rl:LOSS`);
}

export type SuiteCase = ContractCase & { leftOut?: boolean };

/** The cases of the suite that fits a trainer of ours. @throws ConfigError listing the names there are */
export function casesNamed(name: string): SuiteCase[] {
  const [kind, loss = 'grpo'] = name.split(':');
  if (kind !== 'rl') return casesOf(() => trainerNamed(name));
  if (!Object.hasOwn(policySettings, loss))
    throw new ConfigError(
      `there is no "${name}"; there are ${Object.keys(policySettings)
        .map((one) => `rl:${one}`)
        .join(', ')}`,
    );
  return policyTrainerContract(() => trainPolicyUnderTest(tinyDecoder, policySettings[loss]));
}

export function casesOf(make: () => TrainerUnderTest): SuiteCase[] {
  const trainer = make();
  return trainerContract(make).map((one) => ({ ...one, leftOut: lacksFor(trainer, one) }));
}
