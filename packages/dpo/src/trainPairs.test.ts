import { dirname } from 'node:path';
import { type LoggedStep, type MetricName, memoryRun, readCopy, rng } from '@plumbline/core';
import { type Batches, joinSequence, type PairBatch, packSequences, pairBatch, pairBatches } from '@plumbline/data';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import { fixturePath, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { dpo } from './losses/dpo.js';
import { type PairLossName, pairLoss, pairLosses } from './losses/index.js';
import { mixture, withLengthDesensitization, withOptions, withPolicyWeighting } from './losses/modifiers.js';
import { sft, sftLoss } from './losses/sft.js';
import type { PairLossSpec } from './losses/types.js';
import { precomputeReference, type Reference, withGold } from './pairInputs.js';
import { packRows, separablePairs } from './testing/encoded.js';
import { trainPairs } from './trainPairs.js';

const pairs = separablePairs(24).map((pair, i) => ({ ...pair, scores: { chosen: 1 + (i % 3), rejected: 0.5 } }));
/** The chosen completion and its first token once more: of other lengths than any side. */
const goldOf = (id: string) => {
  const { prompt, chosen } = pairs.find((pair) => pair.id === id)!;
  return { prompt, completion: Int32Array.of(...chosen, chosen[0]) };
};
const settings = { steps: 4, pairsPerStep: 8, pairsPerMicroBatch: 8, learningRate: 3e-3 };

async function weightsOf(decoder: LocalDecoder): Promise<Record<string, number[]>> {
  const entries = decoder.parameters.trainable().map(async (p) => [p.name, Array.from(await readCopy(p.value))] as const);
  return Object.fromEntries(await Promise.all(entries));
}
const withoutTimes = (history: LoggedStep[]) => history.map(({ tokensPerSecond: _, ...rest }) => rest);

async function train(
  over: Partial<Parameters<typeof trainPairs>[0]> = {},
  {
    loss = dpo as PairLossSpec<unknown>,
    seed = 3,
    run = memoryRun({ seed }),
    policy = tinyDecoder(),
    reference = tinyDecoder() as Reference | undefined,
  } = {},
) {
  const config = { ...settings, ...over };
  const plain = pairBatches(pairs, { pairsPerStep: config.pairsPerStep!, steps: config.steps, rng: run.rng.fork('batches') });
  const batches = loss.needs.includes('gold') ? withGold(plain, goldOf) : plain;
  await trainPairs(config, { policy, reference, batches, loss, run });
  return { history: run.history, weights: await weightsOf(policy), policy };
}

describe('trainPairs', () => {
  it('starts at ln 2, with rewards 0 and half of the pairs right, where the policy is its reference', async () => {
    const { history } = await train();
    expect(history[0].loss).toBeCloseTo(Math.LN2, 5);
    expect(history[0]['rewards/margin']).toBeCloseTo(0, 6);
    expect(history[0]['rewards/accuracy']).toBeCloseTo(0.5, 6);
  });

  it('learns: margins and accuracy rise on pairs that can be told apart', async () => {
    const { history } = await train({ steps: 30 });
    const last = history.at(-1)!;
    expect(last.loss!).toBeLessThan(0.4);
    expect(last['rewards/accuracy']!).toBeGreaterThan(0.9);
    expect(last['rewards/margin']!).toBeGreaterThan(1);
  });

  it('takes the same steps where the two sides compute their prompt once, whatever the loss and the split', async () => {
    for (const name of ['sigmoid', 'simpo', 'aot', 'orpo'] as const) {
      const loss = pairLoss(name);
      const run = async (sharePrompts: boolean, pairsPerMicroBatch: number) => {
        const made = memoryRun({ seed: 3 });
        const of = { ...settings, steps: 2, pairsPerMicroBatch };
        const batches = pairBatches(pairs, { pairsPerStep: of.pairsPerStep!, steps: 2, rng: rng(5), sharePrompts });
        await trainPairs(of, { policy: tinyDecoder(), reference: tinyDecoder({ seed: 9 }), batches, loss, run: made });
        return made.history;
      };
      const apart = await run(false, 8);
      for (const shared of [await run(true, 8), await run(true, 2)])
        apart.forEach((step, i) => {
          for (const m of ['loss', 'gradNorm', 'logps/chosen', 'logps/rejected'] as const)
            expect(Math.abs(shared[i][m]! - step[m]!) / (1 + Math.abs(step[m]!))).toBeLessThan(1e-3);
        });
    }
  });

  const names = (Object.keys(pairLosses) as PairLossName[]).filter((name) => name !== 'sigmoid' && name !== 'bo2');
  for (const name of names)
    it(`${name} takes the same steps in micro-batches of 1, 2, 4 and 8 pairs, or of 40 tokens`, async () => {
      const loss = pairLoss(name);
      const config = { steps: 2, learningRate: 1e-3 };
      const whole = await train(config, { loss });
      for (const micro of [{ pairsPerMicroBatch: 1 }, { pairsPerMicroBatch: 2 }, { pairsPerMicroBatch: 4 }, { tokensPerMicroBatch: 40 }]) {
        const split = await train({ ...config, ...micro }, { loss });
        const errors = whole.history.flatMap((step, i) =>
          (['loss', 'gradNorm', 'rewards/margin'] as const).map(
            (m) => Math.abs(split.history[i][m]! - step[m]!) / (1 + Math.abs(step[m]!)),
          ),
        );
        expect(Math.max(...errors)).toBeLessThan(1e-4);
        expect(errors.reduce((a, b) => a + b, 0) / errors.length).toBeLessThan(3e-5); // a mean catches the bias that a maximum forgives
      }
    });

  it('learns the gold completions of TPO, whose cross-entropy is a mean over all their tokens, and says where there are none', async () => {
    const loss = withOptions(pairLosses.tpo, { tpoAlpha: 1 });
    const { history } = await train({ steps: 30 }, { loss, reference: undefined });
    expect(history.at(-1)!.loss!).toBeLessThan(history[0].loss! - 1);
    const gold = await train({ steps: 1, learningRate: 1e-9 }, { loss, reference: undefined });
    const pairsAlone = await train(
      { steps: 1, learningRate: 1e-9 },
      { loss: withOptions(pairLosses.tpo, { tpoAlpha: 0 }), reference: undefined },
    );
    const policy = tinyDecoder();
    const [batch] = [await pairBatches(pairs, { pairsPerStep: 8, steps: 1, rng: rng(3).fork('batches') }).at(0)];
    let [sum, tokens] = [0, 0];
    for (const id of batch.ids) {
      const { prompt, completion } = goldOf(id);
      const sums = tf.tidy(() => policy.completionLogps(packSequences([{ ...joinSequence(prompt, completion), row: 0 }])).sums);
      sum -= (await readCopy(sums))[0];
      tokens += completion.length;
    }
    expect(gold.history[0].loss! - pairsAlone.history[0].loss!).toBeCloseTo(sum / tokens, 4);
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 1, rng: rng(1) });
    await expect(
      trainPairs({ ...settings, steps: 1 }, { policy: tinyDecoder(), batches, loss, run: memoryRun({ seed: 1 }) }),
    ).rejects.toThrow('put them beside the batches by withGold');
  });

  it('saves before it gives up where batches fail after the first step, as of a judge that answers no more', async () => {
    const run = memoryRun({ seed: 3 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 4, rng: run.rng.fork('batches') });
    const failing: Batches<PairBatch> = {
      steps: 4,
      at: async (step) => (step === 2 ? Promise.reject(new Error('judge: 503')) : batches.at(step)),
    };
    const training = { reference: tinyDecoder(), loss: dpo };
    await expect(trainPairs(settings, { ...training, policy: tinyDecoder(), batches: failing, run })).rejects.toThrow('judge: 503');
    expect([...run.checkpoints.keys()]).toEqual([2]);
    const stop = new AbortController();
    const cutShort: Batches<PairBatch> = {
      steps: 4,
      at: async (step) => {
        if (step === 1) stop.abort();
        stop.signal.throwIfAborted();
        return batches.at(step);
      },
    };
    const stopped = memoryRun({ seed: 3, signal: stop.signal });
    await expect(trainPairs(settings, { ...training, policy: tinyDecoder(), batches: cutShort, run: stopped })).rejects.toThrow(
      'stopped after step 1',
    );
    const resumed = await train({}, { run, policy: tinyDecoder({ seed: 99 }) });
    expect(resumed.weights).toEqual((await train()).weights);
  });

  it('splits modified and mixed losses exactly as well', async () => {
    const losses: PairLossSpec<unknown>[] = [
      withLengthDesensitization(pairLosses.aot, 0.3),
      withPolicyWeighting(withLengthDesensitization(dpo, 0.5)),
      mixture([{ loss: pairLosses.aot_unpaired }, { loss: sft, weight: 0.3 }]),
    ];
    for (const loss of losses) {
      const whole = await train({ steps: 2 }, { loss });
      const split = await train({ steps: 2, pairsPerMicroBatch: 2 }, { loss });
      whole.history.forEach((step, i) => {
        expect(split.history[i].loss!).toBeCloseTo(step.loss!, 4);
        expect(Math.abs(split.history[i].gradNorm! / step.gradNorm! - 1)).toBeLessThan(1e-3);
      });
    }
  });

  it('goes on after an interruption as if there had been none, bit for bit, and another seed differs', async () => {
    const whole = await train({ steps: 8 });
    const stopped = new AbortController();
    const run = memoryRun({ seed: 3, saveEvery: 2, signal: stopped.signal });
    const policy = tinyDecoder();
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 8, rng: run.rng.fork('batches') });
    const stopAtFour: Batches<PairBatch> = {
      steps: 8,
      at: (step) => {
        if (step === 3) stopped.abort();
        return batches.at(step);
      },
    };
    await expect(
      trainPairs({ ...settings, steps: 8 }, { policy, reference: tinyDecoder(), batches: stopAtFour, loss: dpo, run }),
    ).rejects.toThrow('stopped after step 4');
    const again = memoryRun({ seed: 3, saveEvery: 2 });
    for (const [step, saved] of run.checkpoints) again.checkpoints.set(step, saved);
    again.history.push(...run.history);
    const resumed = await train({ steps: 8 }, { run: again, policy: tinyDecoder({ seed: 99 }) });
    expect(withoutTimes(resumed.history)).toEqual(withoutTimes(whole.history));
    expect(resumed.weights).toEqual(whole.weights);
    const other = await train({ steps: 8 }, { seed: 4 });
    expect(other.weights).not.toEqual(whole.weights);
  });

  it('takes log-probabilities known beforehand in the place of a reference', async () => {
    const rngOf = () => memoryRun({ seed: 3 }).rng.fork('batches');
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 4, rng: rngOf() });
    const reference = await precomputeReference(tinyDecoder(), batches);
    expect(reference.size).toBe(24);
    const known = await train({}, { reference });
    const model = await train();
    known.history.forEach((step, i) => void expect(step.loss!).toBeCloseTo(model.history[i].loss!, 5));
  });

  it('weighs pairs', async () => {
    const policy = tinyDecoder();
    const run = memoryRun({ seed: 1 });
    const weighted = pairs.slice(0, 8).map((pair, i) => ({ ...pair, weight: i < 4 ? 2 : 0 }));
    await trainPairs(
      { ...settings, steps: 1 },
      { policy, reference: tinyDecoder(), batches: { steps: 1, at: async () => pairBatch(weighted) }, loss: dpo, run },
    );
    expect(run.history[0].loss).toBeCloseTo(Math.LN2, 5);
    const half = memoryRun({ seed: 1 });
    const first = pairs.slice(0, 4);
    await trainPairs(
      { ...settings, steps: 1, pairsPerStep: 4, pairsPerMicroBatch: 4 },
      { policy: tinyDecoder(), reference: tinyDecoder(), batches: { steps: 1, at: async () => pairBatch(first) }, loss: dpo, run: half },
    );
    expect(run.history[0].gradNorm!).toBeCloseTo(half.history[0].gradNorm!, 4);
  });

  it('evaluates when asked and logs the answer', async () => {
    const policy = tinyDecoder();
    const run = memoryRun({ seed: 3 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 5, rng: run.rng });
    const seen: number[] = [];
    const evaluate = async (_: unknown, step: number) => {
      seen.push(step);
      return { 'eval/accuracy': step / 10 } as Partial<Record<MetricName, number>>;
    };
    await trainPairs({ ...settings, steps: 5, evaluateEvery: 2 }, { policy, reference: tinyDecoder(), batches, loss: dpo, run, evaluate });
    expect(seen).toEqual([2, 4, 5]);
    expect(run.history[3]['eval/accuracy']).toBe(0.4);
    expect(run.history[2]['eval/accuracy']).toBeUndefined();
  });

  it('names the setting, the pair or the need that is wrong', async () => {
    await expect(train({ pairsPerMicroBatch: 3 })).rejects.toThrow('must divide pairsPerStep');
    await expect(train({ lossOptions: { bta: 0.1 } })).rejects.toThrow('bta');
    await expect(train({ lossOptions: { beta: -1 } })).rejects.toThrow('beta');
    await expect(trainPairs({ ...settings, step: 3 } as never, {} as never)).rejects.toThrow('step');
    await expect(train({}, { reference: undefined })).resolves.toBeDefined(); // tinyDecoder by default
    const run = memoryRun({ seed: 3 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 4, rng: run.rng });
    await expect(trainPairs(settings, { policy: tinyDecoder(), batches, loss: dpo, run })).rejects.toThrow(
      'reference log-probs are required',
    );
    await expect(trainPairs({ ...settings, steps: 5 }, { policy: tinyDecoder(), batches, loss: dpo, run })).rejects.toThrow(
      '5 steps are asked for',
    );
    const plain = pairBatches(separablePairs(8), { pairsPerStep: 8, steps: 4, rng: run.rng });
    await expect(
      trainPairs(settings, { policy: tinyDecoder(), reference: tinyDecoder(), batches: plain, loss: pairLosses.rebel, run }),
    ).rejects.toThrow('no scores');
    await expect(trainPairs(settings, { policy: tinyDecoder(), reference: new Map(), batches, loss: dpo, run })).rejects.toThrow(
      'are not known',
    );
  });

  it('saves the state before a step whose loss is not finite, and names the pairs', async () => {
    const run = memoryRun({ seed: 3, saveEvery: 100 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 4, rng: run.rng });
    const poisoned: PairLossSpec<unknown> = {
      ...withOptions(dpo, {}),
      apply: (inputs, o) => ({ ...dpo.apply(inputs, o as never), loss: tf.mul(Number.NaN, inputs.policy.chosen) as tf.Tensor1D }),
    };
    await expect(trainPairs(settings, { policy: tinyDecoder(), reference: tinyDecoder(), batches, loss: poisoned, run })).rejects.toThrow(
      /step 0: loss is NaN.*rows: pair-/,
    );
    expect([...run.checkpoints.keys()]).toEqual([0]);
  });

  it('names the one pair whose loss is not finite', async () => {
    const run = memoryRun({ seed: 3 });
    const broken = new Map(pairs.map(({ id }, i) => [id, { chosen: i === 5 ? Number.NaN : -3, rejected: -3 }]));
    const batches = { steps: 1, at: async () => pairBatch(pairs.slice(0, 8)) };
    const settings = { steps: 1, pairsPerStep: 8, pairsPerMicroBatch: 4 };
    await expect(trainPairs(settings, { policy: tinyDecoder(), reference: broken, batches, loss: dpo, run })).rejects.toThrow(
      /rows: pair-5\./,
    );
  });

  it('leaves no tensor behind but what it trained', async () => {
    const policy = tinyDecoder();
    const reference = tinyDecoder();
    const run = memoryRun({ seed: 3 });
    const batches = pairBatches(pairs, { pairsPerStep: 8, steps: 2, rng: run.rng });
    const before = tf.memory().numTensors;
    await trainPairs({ ...settings, steps: 2 }, { policy, reference, batches, loss: dpo, run });
    await trainPairs(
      { ...settings, steps: 2, pairsPerMicroBatch: 2 },
      { policy, reference, batches, loss: withLengthDesensitization(pairLosses.aot, 0.5), run },
    );
    expect(tf.memory().numTensors).toBe(before);
  });
});

type Recorded = {
  config: {
    learning_rate: number;
    warmup_steps: number;
    weight_decay: number;
    beta: number;
    loss_type: string[];
    gradient_accumulation_steps: number;
    per_device_train_batch_size: number;
  };
  steps: Record<string, number>[];
  micro_batches: {
    step: number;
    inputs: {
      input_ids: number[][];
      attention_mask: number[][];
      completion_mask: number[][];
      ref_chosen_logps?: number[];
      ref_rejected_logps?: number[];
    };
  }[];
  parameter_norms_after: Record<string, number>;
};
const llamaPath = fixturePath('models/llama/config.json');
const llama = () => loadDecoder(dirname(llamaPath!), { tokenizer: plainTokenizer(256) });
describe.skipIf(!llamaPath)(`ten steps of TRL${llamaPath ? '' : ' (skipped: the reference runs are not in this checkout)'}`, () => {
  for (const name of ['dpo_sigmoid', 'dpo_ipo', 'dpo_sigmoid_precomputed', 'dpo_accumulation'])
    it(name, async () => {
      const recorded = readFixture<Recorded>(fixturePath(`training/${name}.json`)!);
      const { config } = recorded;
      const policy = await llama();
      const known = new Map<string, { chosen: number; rejected: number }>();
      const microOf = ({ step, inputs }: Recorded['micro_batches'][number], index: number): PairBatch => {
        const count = inputs.input_ids.length / 2;
        const ids = Array.from({ length: count }, (_, i) => `${step}.${index}.${i}`);
        ids.forEach(
          (id, i) => void known.set(id, { chosen: inputs.ref_chosen_logps?.[i] ?? 0, rejected: inputs.ref_rejected_logps?.[i] ?? 0 }),
        );
        return { ids, pairs: count, packed: packRows(inputs.input_ids, inputs.attention_mask, inputs.completion_mask), split: () => [] };
      };
      const micros = recorded.micro_batches.map(microOf);
      const perStep = config.gradient_accumulation_steps;
      const batches: Batches<PairBatch> = {
        steps: 10,
        at: async (step) => {
          const parts = micros.slice(step * perStep, (step + 1) * perStep);
          return { ...parts[0], ids: parts.flatMap(({ ids }) => ids), pairs: parts.reduce((n, p) => n + p.pairs, 0), split: () => parts };
        },
      };
      // TRL averages the token means of micro-batches; ours is one mean over the step, so the test takes theirs.
      const localSft = { ...sft, apply: ({ policy, lengths }) => sftLoss(policy, lengths!) } as PairLossSpec<unknown>;
      const loss = mixture(
        config.loss_type.map((type) => (type === 'sft' ? { loss: localSft } : { loss: pairLoss(type), options: { beta: config.beta } })),
      );
      const run = memoryRun({ seed: 0 });
      await trainPairs(
        {
          steps: 10,
          pairsPerStep: config.per_device_train_batch_size * perStep,
          pairsPerMicroBatch: config.per_device_train_batch_size,
          learningRate: config.learning_rate,
          schedule: { kind: 'cosine', warmupSteps: config.warmup_steps },
          weightDecay: config.weight_decay,
        },
        {
          policy,
          reference: recorded.micro_batches[0].inputs.ref_chosen_logps ? known : await llama(),
          batches,
          loss,
          run,
        },
      );
      recorded.steps.slice(0, 10).forEach((theirs, i) => {
        const ours = run.history[i];
        const relative = i < 3 ? 1e-5 : 1e-3;
        expect(Math.abs(ours.learningRate! - theirs.learning_rate)).toBeLessThan(1e-9);
        expect(Math.abs(ours.loss! - theirs.loss) / (1 + Math.abs(theirs.loss)), `loss of step ${i}`).toBeLessThan(relative);
        expect(Math.abs(ours.gradNorm! - theirs.grad_norm) / (1 + theirs.grad_norm), `grad norm of step ${i}`).toBeLessThan(relative);
        expect(Math.abs(ours['rewards/margin']! - theirs['rewards/margins']) / (1 + Math.abs(theirs['rewards/margins']))).toBeLessThan(
          1e-3,
        );
      });
      for (const [parameter, values] of Object.entries(await weightsOf(policy))) {
        const norm = Math.hypot(...values);
        expect(Math.abs(norm - recorded.parameter_norms_after[parameter]) / (1 + norm), parameter).toBeLessThan(1e-4);
      }
    });
});
