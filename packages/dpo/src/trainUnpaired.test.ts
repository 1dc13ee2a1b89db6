import { dirname } from 'node:path';
import { memoryRun, readCopy, rng } from '@plumbline/core';
import type { Batches } from '@plumbline/data';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { memoryLogpCache, referenceRowLogps } from './referenceLogps.js';
import { packRows, separablePairs } from './testing/encoded.js';
import { measure } from './testing/pairs.js';
import { trainUnpaired } from './trainUnpaired.js';
import { type EncodedRow, encodeRows, type UnpairedBatch, unpairedBatches } from './unpaired/batches.js';
import { bcoLoss, densityRatios, runningShift } from './unpaired/bco.js';
import { unpairedLoss, unpairedLosses } from './unpaired/index.js';
import { apoZeroUnpairedLoss, ktoLoss } from './unpaired/kto.js';
import type { UnpairedInputs, UnpairedLoss } from './unpaired/types.js';

const of = (...x: number[]) => tf.tensor1d(x);
// rows: A chosen, A rejected, B chosen, B rejected of the pair tables
const logps = { policy: [-10, -12, -14, -9], reference: [-11, -11.5, -12, -9.5] };

async function measureRows(
  loss: (inputs: UnpairedInputs) => UnpairedLoss,
  desirable: number[],
  more: Partial<UnpairedInputs> = {},
  data = logps,
) {
  const result = await measure(
    (x) => {
      const { loss: losses, rewards } = loss({ policy: x.chosen, reference: of(...data.reference), desirable: of(...desirable), ...more });
      return { loss: losses, chosenRewards: rewards, rejectedRewards: tf.clone(rewards) };
    },
    { chosen: data.policy, rejected: [0] },
  );
  return { loss: result.loss, rewards: result.chosenRewards, grad: result.chosenGrad };
}
const close = (x: number[], expected: number[]) => expected.forEach((value, i) => void expect(x[i]).toBeCloseTo(value, 5));

describe('ktoLoss', () => {
  const mismatched = { policy: of(-8, -9), reference: of(-8.3, -8.9) };
  it('compares log-ratios with the batch’s reference point', async () => {
    const { loss, rewards, grad } = await measureRows((x) => ktoLoss(x), [1, 0, 1, 0], { mismatched });
    close(loss, [0.477515, 0.485004, 0.552308, 0.509999]);
    close(rewards, [0.1, -0.05, -0.2, 0.05]);
    close(grad, [-0.024949, 0.024978]);
    const weighted = await measureRows((x) => ktoLoss(x, { undesirableWeight: 1.33 }), [1, 0, 1, 0], { mismatched });
    expect((weighted.loss[0] + weighted.loss[1]) / 2).toBeCloseTo(0.561286, 5);
  });
  it('has a reference point of at least 0', async () => {
    const { loss } = await measureRows((x) => ktoLoss(x), [1, 0, 1, 0], { mismatched: { policy: of(-8, -9), reference: of(-7.5, -8.9) } });
    close(loss, [0.475021, 0.487503]);
  });
  it('without one is apo_zero_unpaired', async () => {
    close((await measureRows((x) => apoZeroUnpairedLoss(x), [1, 0, 1, 0])).loss, [0.475021, 0.487503, 0.549834, 0.512497]);
  });
  it('refuses a batch of one, and names what is wrong', () => {
    const inputs = { policy: of(-1), reference: of(-1), desirable: of(1) };
    expect(() => ktoLoss({ ...inputs, mismatched: { policy: of(-1), reference: of(-1) } })).toThrow('a batch of one');
    expect(() => ktoLoss(inputs)).toThrow('mismatched completions are required');
    expect(() => ktoLoss({ ...inputs, mismatched }, { beta: 0 })).toThrow('beta must be > 0, got 0');
    expect(() => apoZeroUnpairedLoss({ ...inputs, reference: of(-1, -2) })).toThrow('policy is [1] and reference is [2]');
    expect(() => unpairedLoss('ktoo')).toThrow('there are kto, apo_zero_unpaired, bco');
  });
});

describe('bcoLoss', () => {
  it('shifts rewards by the mean of all rewards seen', async () => {
    const shift = runningShift();
    shift.update([0.1, -0.05]);
    expect(shift.value).toBeCloseTo(0.025, 9);
    close((await measureRows((x) => bcoLoss(x), [1, 0, 1, 0], { shift: shift.value })).loss, [0.65635, 0.65635]);
    shift.update([-0.2, 0.05]);
    expect(shift.value).toBeCloseTo(-0.025, 9);
    close((await measureRows((x) => bcoLoss(x), [1, 0, 1, 0], { shift: shift.value })).loss.slice(2), [0.78447, 0.73135]);
    const loaded = runningShift();
    await loaded.load(await shift.save());
    expect(loaded.value).toBe(shift.value);
  });
  it('weighs undesirable rows by density ratios', () => {
    const ratios = densityRatios([0.2, 0.6, 0.97]);
    [0.5, 1.5, 10].forEach((x, i) => void expect(ratios[i]).toBeCloseTo(x, 5));
    expect(() => densityRatios([1.2])).toThrow('got 1.2');
  });
});

type KtoCase = {
  config: {
    loss_type: 'kto' | 'apo_zero_unpaired';
    beta: number;
    desirable_weight: number;
    undesirable_weight: number;
    labels: string;
    kl: string;
  };
  loss: number;
  losses_desirable_then_undesirable: number[];
  grad_policy_logps: number[];
};
const ktoPath = fixturePath('losses/kto.json');
describe.skipIf(!ktoPath)(`kto.json${ktoPath ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
  if (!ktoPath) return;
  const { inputs, cases } = readFixture<{
    inputs: {
      policy_logps: number[];
      ref_logps: number[];
      label_sets: Record<string, boolean[]>;
      kl_policy_logps: Record<string, number[]>;
      kl_ref_logps: number[];
    };
    cases: Record<string, KtoCase>;
  }>(ktoPath);
  for (const [title, expected] of Object.entries(cases))
    it(title, async () => {
      const { loss_type, beta, desirable_weight, undesirable_weight, labels, kl } = expected.config;
      const desirable = inputs.label_sets[labels].map(Number);
      const spec = unpairedLosses[loss_type];
      const options = { beta, desirableWeight: desirable_weight, undesirableWeight: undesirable_weight };
      const mismatched = { policy: of(...inputs.kl_policy_logps[kl]), reference: of(...inputs.kl_ref_logps) };
      const ours = await measureRows(
        (x) => spec.apply(x, options),
        desirable,
        { mismatched },
        { policy: inputs.policy_logps, reference: inputs.ref_logps },
      );
      const n = desirable.length;
      const ordered = [1, 0].flatMap((label) => ours.loss.filter((_, i) => desirable[i] === label));
      expect(largestError(ordered, expected.losses_desirable_then_undesirable)).toBeLessThan(1e-5);
      expect(Math.abs(ours.loss.reduce((a, b) => a + b, 0) / n - expected.loss)).toBeLessThan(1e-5);
      expect(
        largestError(
          ours.grad.map((g) => g / n),
          expected.grad_policy_logps,
        ),
      ).toBeLessThan(1e-5);
    });
});

const bcoPath = fixturePath('losses/bco.json');
describe.skipIf(!bcoPath)(`bco.json${bcoPath ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
  if (!bcoPath) return;
  type Step = {
    rows: [number, number];
    delta: number;
    losses_desirable_then_undesirable: number[];
    loss: number;
    grad_policy_logps: number[];
  };
  const { inputs, cases } = readFixture<{
    inputs: { policy_logps: number[]; ref_logps: number[]; label: boolean[] };
    cases: Record<string, Step[]>;
  }>(bcoPath);
  for (const [title, steps] of Object.entries(cases))
    it(title, async () => {
      const beta = Number(title.split('=')[1]);
      const shift = runningShift();
      for (const { rows, delta, losses_desirable_then_undesirable, loss, grad_policy_logps } of steps) {
        const cut = <T>(x: T[]) => x.slice(...rows);
        const data = { policy: cut(inputs.policy_logps), reference: cut(inputs.ref_logps) };
        const desirable = cut(inputs.label).map(Number);
        shift.update(data.policy.map((p, i) => beta * (p - data.reference[i])));
        expect(shift.value).toBeCloseTo(delta, 9);
        const ours = await measureRows((x) => bcoLoss(x, { beta }), desirable, { shift: shift.value }, data);
        const ordered = [1, 0].flatMap((label) => ours.loss.filter((_, i) => desirable[i] === label));
        expect(largestError(ordered, losses_desirable_then_undesirable)).toBeLessThan(1e-5);
        expect(Math.abs(ours.loss.reduce((a, b) => a + b, 0) / desirable.length - loss)).toBeLessThan(1e-5);
        expect(
          largestError(
            ours.grad.map((g) => g / desirable.length),
            grad_policy_logps,
          ),
        ).toBeLessThan(1e-5);
      }
    });
});

const rows: EncodedRow[] = separablePairs(16).flatMap(({ id, prompt, chosen, rejected }) => [
  { id: `${id}+`, prompt, completion: chosen, desirable: true },
  { id: `${id}-`, prompt, completion: rejected, desirable: false },
]);

async function weightsOf(decoder: LocalDecoder): Promise<Record<string, number[]>> {
  const entries = decoder.parameters.trainable().map(async (p) => [p.name, Array.from(await readCopy(p.value))] as const);
  return Object.fromEntries(await Promise.all(entries));
}
async function train(over: object = {}, { loss = unpairedLoss('kto'), policy = tinyDecoder(), run = memoryRun({ seed: 2 }) } = {}) {
  const config = { steps: 4, rowsPerStep: 8, rowsPerMicroBatch: 8, learningRate: 3e-3, ...over };
  const batches = unpairedBatches(rows, { rowsPerStep: 8, steps: config.steps, rng: rng(1) });
  await trainUnpaired(config, { policy, reference: tinyDecoder(), batches, loss, run });
  return { history: run.history.map(({ tokensPerSecond: _, ...rest }) => rest), weights: await weightsOf(policy) };
}

describe('trainUnpaired', () => {
  for (const name of ['kto', 'apo_zero_unpaired', 'bco'] as const)
    it(`${name} takes the same steps where the reference's log-probabilities are known, each computed once`, async () => {
      const loss = unpairedLoss(name);
      const cache = memoryLogpCache();
      const first = await referenceRowLogps(tinyDecoder(), rows, { cache });
      const { logps, computed, cached } = await referenceRowLogps(tinyDecoder(), rows, { cache, batchTokens: 8 });
      expect([first.computed, computed, cached]).toEqual([rows.length, 0, rows.length]);
      const run = memoryRun({ seed: 2 });
      const batches = unpairedBatches(rows, { rowsPerStep: 8, steps: 4, rng: rng(1) });
      const config = { steps: 4, rowsPerStep: 8, rowsPerMicroBatch: 4, learningRate: 3e-3 };
      await trainUnpaired(config, { policy: tinyDecoder(), reference: tinyDecoder(), known: logps, batches, loss, run });
      const model = await train({ rowsPerMicroBatch: 4 }, { loss });
      model.history.forEach(({ loss: value }, i) => void expect(run.history[i].loss!).toBeCloseTo(value!, 5));
      await expect(
        trainUnpaired(config, {
          policy: tinyDecoder(),
          reference: tinyDecoder(),
          known: new Map(),
          batches,
          loss,
          run: memoryRun({ seed: 2 }),
        }),
      ).rejects.toThrow(/row pair.*its reference log-probability is not known/);
    });
  for (const name of ['kto', 'apo_zero_unpaired', 'bco'] as const) {
    it(`${name} takes the same steps in micro-batches of 1, 2, 4 and 8`, async () => {
      const whole = await train({}, { loss: unpairedLoss(name) });
      for (const micro of [{ rowsPerMicroBatch: 1 }, { rowsPerMicroBatch: 2 }, { rowsPerMicroBatch: 4 }, { tokensPerMicroBatch: 40 }]) {
        const split = await train(micro, { loss: unpairedLoss(name) });
        whole.history.forEach((step, i) => {
          for (const key of ['loss', 'gradNorm'] as const)
            expect(Math.abs(split.history[i][key]! - step[key]!) / (1 + step[key]!)).toBeLessThan(1e-4);
        });
      }
    });
    it(`${name} learns to tell good from bad`, async () => {
      const { history } = await train({ steps: 30 }, { loss: unpairedLoss(name) });
      expect(history.at(-1)!['rewards/margin']!).toBeGreaterThan(0.5);
    });
  }
  it('starts at one half for KTO, and goes on after an interruption bit for bit', async () => {
    const loss = unpairedLoss('bco');
    const whole = await train({ steps: 6 }, { loss });
    expect((await train()).history[0].loss).toBeCloseTo(0.5, 5);
    const first = memoryRun({ seed: 2, saveEvery: 3 });
    const batches = unpairedBatches(rows, { rowsPerStep: 8, steps: 6, rng: rng(1) });
    const failing: Batches<UnpairedBatch> = {
      steps: 6,
      at: async (step) => (step === 4 ? Promise.reject(new Error('power cut')) : batches.at(step)),
    };
    await expect(
      trainUnpaired(
        { steps: 6, learningRate: 3e-3 },
        { policy: tinyDecoder(), reference: tinyDecoder(), batches: failing, loss, run: first },
      ),
    ).rejects.toThrow('power cut');
    const run = memoryRun({ seed: 2 });
    for (const [step, saved] of first.checkpoints) run.checkpoints.set(step, saved);
    run.history.push(...first.history);
    const resumed = await train({ steps: 6 }, { loss, run, policy: tinyDecoder({ seed: 9 }) });
    expect(resumed).toEqual(whole);
  });
  it('learns from a step of one class alone, and says nothing of the other', async () => {
    for (const [desirable, other] of [
      [true, 'rewards/rejected'],
      [false, 'rewards/chosen'],
    ] as const)
      for (const name of ['kto', 'apo_zero_unpaired', 'bco'] as const) {
        const alike = rows.map((row) => ({ ...row, desirable }));
        const batches = unpairedBatches(alike, { rowsPerStep: 8, steps: 2, rng: rng(1) });
        const run = memoryRun({ seed: 2 });
        const models = { policy: tinyDecoder(), reference: tinyDecoder() };
        await trainUnpaired({ steps: 2, rowsPerStep: 8, learningRate: 3e-3 }, { ...models, batches, loss: unpairedLoss(name), run });
        for (const step of run.history) {
          expect(Number.isFinite(step.loss! + step.gradNorm!) && step.gradNorm! > 0).toBe(true);
          expect(step).not.toHaveProperty([other]);
          expect(step).not.toHaveProperty(['rewards/margin']);
        }
      }
  });
  it('drops rows that do not fit, and names them', () => {
    const { tokenizer } = tinyDecoder();
    const records = [
      { prompt: '!', completion: '"#$', label: true },
      { id: 'b', prompt: '!', completion: '', label: false },
      { prompt: '!', completion: '""""""', label: true },
    ];
    const encoded = encodeRows(tokenizer, records, { maxTokens: 5 });
    expect(encoded.rows.map(({ id }) => id)).toEqual(['0']);
    expect(encoded.dropped).toEqual([
      { id: 'b', reason: 'empty completion' },
      { id: '2', reason: 'too long' },
    ]);
  });
  it('leaves no tensor behind', async () => {
    const [policy, reference] = [tinyDecoder(), tinyDecoder()];
    const batches = unpairedBatches(rows, { rowsPerStep: 8, steps: 2, rng: rng(1) });
    const before = tf.memory().numTensors;
    for (const loss of [unpairedLosses.kto, unpairedLosses.bco])
      await trainUnpaired({ steps: 2, rowsPerMicroBatch: 4 }, { policy, reference, batches, loss, run: memoryRun({ seed: 1 }) });
    expect(tf.memory().numTensors).toBe(before);
  });
});

const llamaPath = fixturePath('models/llama/config.json');
const llama = () => loadDecoder(dirname(llamaPath!), { tokenizer: plainTokenizer(256) });
describe.skipIf(!llamaPath)(`ten steps of TRL's KTO${llamaPath ? '' : ' (skipped: the reference runs are not in this checkout)'}`, () => {
  it('kto', async () => {
    type Inputs = Record<
      'input_ids' | 'attention_mask' | 'completion_mask' | 'KL_input_ids' | 'KL_attention_mask' | 'KL_completion_mask',
      number[][]
    > & { label: boolean[] };
    const { config, steps, micro_batches, parameter_norms_after } = readFixture<{
      config: { learning_rate: number; warmup_steps: number; weight_decay: number; beta: number; undesirable_weight: number };
      steps: Record<string, number>[];
      micro_batches: { inputs: Inputs }[];
      parameter_norms_after: Record<string, number>;
    }>(fixturePath('training/kto.json')!);
    const batchOf = ({ inputs }: { inputs: Inputs }): UnpairedBatch => {
      const batch: UnpairedBatch = {
        ids: inputs.label.map((_, i) => String(i)),
        rows: inputs.label.length,
        desirable: Uint8Array.from(inputs.label, Number),
        packed: packRows(inputs.input_ids, inputs.attention_mask, inputs.completion_mask),
        mismatched: packRows(inputs.KL_input_ids, inputs.KL_attention_mask, inputs.KL_completion_mask),
        split: () => [batch],
      };
      return batch;
    };
    const policy = await llama();
    const run = memoryRun({ seed: 0 });
    await trainUnpaired(
      {
        steps: 10,
        rowsPerStep: 4,
        rowsPerMicroBatch: 4,
        learningRate: config.learning_rate,
        schedule: { kind: 'cosine', warmupSteps: config.warmup_steps },
        weightDecay: config.weight_decay,
        lossOptions: { beta: config.beta, undesirableWeight: config.undesirable_weight },
      },
      {
        policy,
        reference: await llama(),
        batches: { steps: 10, at: async (step) => batchOf(micro_batches[step]) },
        loss: unpairedLosses.kto,
        run,
      },
    );
    run.history.forEach((ours, i) => {
      const relative = i < 3 ? 1e-5 : 1e-3;
      expect(Math.abs(ours.loss! - steps[i].loss) / (1 + steps[i].loss), `loss of step ${i}`).toBeLessThan(relative);
      expect(Math.abs(ours.gradNorm! - steps[i].grad_norm) / (1 + steps[i].grad_norm), `grad norm of step ${i}`).toBeLessThan(relative);
    });
    for (const [parameter, values] of Object.entries(await weightsOf(policy))) {
      const norm = Math.hypot(...values);
      expect(Math.abs(norm - parameter_norms_after[parameter]) / (1 + norm), parameter).toBeLessThan(1e-4);
    }
  });
});
