/** Our trainers behind the interface of the invariant suite, on a decoder small enough that a step takes milliseconds. */
import { ConfigError, memoryRun, readCopy, rng } from '@plumbline/core';
import {
  type Batches,
  type EncodedPair,
  packSequences,
  pairBatch,
  pairBatches,
  promptBatches,
  rewardBatch,
  rewardBatches,
} from '@plumbline/data';
import {
  type ContractCase,
  lacksFor,
  type StepOptions,
  type TrainerRow,
  type TrainerUnderTest,
  trainerContract,
} from '@plumbline/data/contract';
import { pairLoss, pairLosses, trainPairs, trainUnpaired, unpairedBatch, unpairedLoss, unpairedLosses, withGold } from '@plumbline/dpo';
import { createScorer, sftBatch, trainSft } from '@plumbline/models';
import { trainReward } from '@plumbline/rewards';
import { policyTrainerContract } from '@plumbline/rl/contract';
import { policySettings, policyTrainer } from './policy.js';
import { tiny, tokenizer } from './tiny.js';

const { vocabSize } = tokenizer;
const weightsOf = async (tree: { trainable(): readonly { value: Parameters<typeof readCopy>[0] }[] }): Promise<Float32Array> =>
  Float32Array.from((await Promise.all(tree.trainable().map(({ value }) => readCopy(value)))).flatMap((part) => Array.from(part)));

type Run = ReturnType<typeof memoryRun>;
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

const inOrder = <B>(batch: B): Batches<B> => ({ steps: 1, at: async () => batch });
const asPair = ({ id, prompt, completions: [chosen, rejected] }: TrainerRow): EncodedPair => ({
  id,
  prompt,
  chosen,
  rejected,
  scores: { chosen: 1.5, rejected: 0.5 },
});

/** Losses that begin at a closed form while policy and reference are the same, with the defaults. */
const starts: Record<string, number> = {
  dpo: Math.LN2,
  sigmoid: Math.LN2,
  robust: Math.LN2,
  hinge: 1,
  apo_zero: 1,
  apo_down: 1,
  nca_pair: 2 * Math.LN2,
  bco_pair: 2 * Math.LN2,
  sigmoid_norm: Math.LN2,
  discopop: 0.5 * Math.LN2 + 0.5,
  rdpo: Number.NaN,
};

function pairs(name: string): TrainerUnderTest {
  const loss = pairLoss(name);
  const startLoss = starts[name];
  return {
    name: `dpo:${name}`,
    vocabSize,
    completions: 2,
    ...(Number.isFinite(startLoss) && { startLoss }),
    lacks: ['padding', 'maskedRows'], // batches are packed: there is no padding, and an empty answer is refused by name
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length, sharePrompts }) => {
      const policy = tiny();
      const all = rows.map(asPair);
      const whole =
        steps === 1
          ? inOrder(pairBatch(all, { sharePrompts }))
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
        { policy, reference: tiny(), batches: loss.needs.includes('gold') ? withGold(whole, goldOf(all)) : whole, loss, run },
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
    lacks: ['padding', 'maskedRows', 'sharePrompts'],
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length }) => {
      const policy = tiny();
      const all = rows.map(({ id, prompt, completions: [completion], label = true }) => ({ id, prompt, completion, desirable: label }));
      const order = promptBatches(all, { promptsPerStep: 4, steps: 4, rng: run.rng });
      const whole =
        steps === 1 ? inOrder(unpairedBatch(all)) : { steps: 4, at: async (step: number) => unpairedBatch((await order.at(step)).prompts) };
      const rowsPerStep = steps === 1 ? all.length : 4;
      await trainUnpaired(
        { steps, rowsPerStep, rowsPerMicroBatch: Math.min(rowsPerMicroBatch, rowsPerStep), learningRate },
        { policy, reference: tiny(), batches: whole, loss, run },
      );
      return weightsOf(policy.parameters);
    }),
  };
}

function reward(): TrainerUnderTest {
  const make = () => createScorer(tiny(), { pooling: 'last', rng: rng(8) });
  return {
    name: 'reward',
    vocabSize,
    completions: 2,
    lacks: ['padding', 'maskedRows'],
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch = rows.length, sharePrompts }) => {
      const scorer = make();
      const all = rows.map(asPair);
      const whole =
        steps === 1
          ? inOrder(rewardBatch(all, { sharePrompts }))
          : rewardBatches(all, { groupsPerStep: 4, steps: 4, rng: run.rng, sharePrompts });
      await trainReward(
        { steps, groupsPerMicroBatch: rowsPerMicroBatch, learningRate, schedule: { kind: 'constant' } },
        { scorer, batches: whole, run },
      );
      return weightsOf(scorer.parameters);
    }),
    async score(rows) {
      const scores = make().scores(rewardBatch(rows.map(asPair)).packed);
      const values = await readCopy(scores);
      scores.dispose();
      return values;
    },
  };
}

function sft(): TrainerUnderTest {
  return {
    name: 'sft',
    vocabSize,
    completions: 1,
    lacks: ['padding', 'sharePrompts'],
    tolerance: 3e-4,
    ...under(async (rows, { steps, run, learningRate, rowsPerMicroBatch }) => {
      const policy = tiny();
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
        steps === 1 ? inOrder(batchOf(rows)) : { steps: 4, at: async (step: number) => batchOf((await order.at(step)).prompts) };
      await trainSft(
        { steps, sequencesPerMicroBatch: rowsPerMicroBatch, learningRate, schedule: { kind: 'constant' } },
        { policy, batches: whole, run },
      );
      return weightsOf(policy.parameters);
    }),
  };
}

/** The trainers by name; `dpo` and `kto` alone are their default losses. */
export const trainerNames: readonly string[] = [
  'sft',
  'reward',
  'dpo',
  'kto',
  'rl',
  ...Object.keys(pairLosses).map((name) => `dpo:${name}`),
  ...Object.keys(unpairedLosses).map((name) => `kto:${name}`),
  ...Object.keys(policySettings).map((name) => `rl:${name}`),
];

/** @throws ConfigError listing the names there are */
export function trainerNamed(name: string): TrainerUnderTest {
  const [kind, loss] = name.split(':');
  if (kind === 'sft' && !loss) return sft();
  if (kind === 'reward' && !loss) return reward();
  if (kind === 'dpo') return pairs(loss ?? 'sigmoid');
  if (kind === 'kto') return unpaired(loss ?? 'kto');
  throw new ConfigError(`there is no trainer "${name}"; there are sft, reward, dpo, kto, rl, dpo:LOSS, kto:LOSS and rl:LOSS`);
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
  return policyTrainerContract(() => policyTrainer(policySettings[loss]));
}

export function casesOf(make: () => TrainerUnderTest): SuiteCase[] {
  const trainer = make();
  return trainerContract(make).map((one) => ({ ...one, leftOut: lacksFor(trainer, one) }));
}
