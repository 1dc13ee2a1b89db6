import { createParameters, gradients, initBackend, memoryRun, type Parameter, readCopy, rng } from '@plumbline/core';
import { byteTokenizer } from '@plumbline/data/contract';
import { createDecoder, decoderSpec } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createGate, type GatePairs, gatedAttributeReward, gatedPairLoss, promptStates, trainGate } from './gate.js';
import { createHeads } from './heads.js';

beforeAll(async () => {
  await initBackend();
});
const rowsOf = (flat: ArrayLike<number>, width: number) =>
  Array.from({ length: flat.length / width }, (_, i) => Array.from(flat).slice(i * width, (i + 1) * width));

/** Prompts of two kinds, told by the sign of their first number: the first attribute decides one kind, the second the other. */
function twoKinds(n: number, seed: number): GatePairs {
  const draw = rng(seed);
  const pairs = Array.from({ length: n }, () => {
    const state = [...draw.normal(3)];
    const [a, b] = rowsOf(draw.normal(4), 2);
    const decides = state[0] > 0 ? 0 : 1;
    return a[decides] > b[decides] ? { state, chosen: a, rejected: b } : { state, chosen: b, rejected: a };
  });
  return { states: pairs.map((p) => p.state), chosen: pairs.map((p) => p.chosen), rejected: pairs.map((p) => p.rejected) };
}
const gateOf = (seed = 1, more = {}) =>
  createGate({ width: 3, attributes: 2, hidden: [16, 16], temperature: 1, dropout: 0, rng: rng(seed), ...more });
const untimed = async (gate: ReturnType<typeof gateOf>) => (await gate.parameters.save()).tensors;

describe('gatedPairLoss', () => {
  it('is log(1 + exp(-d)) of the gated difference, with the gradient of its weights', async () => {
    const tree = createParameters({ g: { shape: [2, 2], data: Float32Array.of(0.25, 0.75, 1, 0) } });
    const weights = tree.get('g') as Parameter;
    const sides = { chosen: tf.tensor2d([4, 0, 1, 9], [2, 2]), rejected: tf.tensor2d([0, 0, 1, 0], [2, 2]) };
    const loss = () => gatedPairLoss(weights.value as tf.Tensor2D, sides);
    const values = await readCopy(loss()); // differences of 1 and 0
    expect(values[0]).toBeCloseTo(0.313262, 6);
    expect(values[1]).toBeCloseTo(Math.LN2, 6);
    const { grads } = gradients(() => ({ loss: tf.sum(loss()) as tf.Scalar }), [weights]);
    const found = await readCopy(grads.get(weights)!);
    [-4 * 0.268941, 0, 0, -9 / 2].forEach((g, i) => void expect(found[i]).toBeCloseTo(g, 5));
    expect(() => gatedPairLoss(tf.zeros([1, 2]), sides)).toThrow('weights are [1,2], chosen [2,2] and rejected [2,2]');
  });
  it('is finite and linear far out', async () => {
    const far = { chosen: tf.tensor2d([[-1e4]]), rejected: tf.tensor2d([[0]]) };
    expect((await readCopy(gatedPairLoss(tf.tensor2d([[1]]), far)))[0]).toBe(1e4);
  });
});

describe('createGate', () => {
  it('gives weights that add up to its scale, and drops only while it is trained', async () => {
    const gate = gateOf(1, { dropout: 0.5 });
    const states = tf.tensor2d([1, -2, 0.5, 0, 0, 0], [2, 3]);
    const plain = await readCopy(gate.weights(states));
    rowsOf(plain, 2).forEach((row) => void expect(row[0] + row[1]).toBeCloseTo(1, 6));
    expect([...(await readCopy(gate.weights(states)))]).toEqual([...plain]);
    const dropped = await readCopy(gate.weights(states, rng(1)));
    expect([...dropped]).not.toEqual([...plain]);
    expect([...(await readCopy(gate.weights(states, rng(1))))]).toEqual([...dropped]);
    expect([plain[2], plain[3]]).toEqual([0.5, 0.5]); // nothing to tell attributes apart by
    const before = tf.memory().numTensors;
    gate.weights(states, rng(1)).dispose();
    expect(tf.memory().numTensors).toBe(before);
    gate.dispose();
    expect(() => createGate({ width: 0, attributes: 2, rng: rng(1) })).toThrow('whole numbers above 0, got 0');
    expect(() => gateOf(1, { dropout: 1 })).toThrow('dropout must be in [0, 1), got 1');
  });
});

describe('trainGate', () => {
  const config = { steps: 150, pairsPerStep: 128, learningRate: 1e-2 };
  it('learns which attribute decides for which prompts: held-out accuracy above 0.9, which no fixed weights reach', async () => {
    const [gate, held] = [gateOf(), twoKinds(400, 2)];
    const run = memoryRun({ seed: 1 });
    await trainGate(config, { gate, pairs: twoKinds(1000, 1), run });
    const g = rowsOf(await readCopy(gate.weights(tf.tensor2d(held.states as number[][]))), 2);
    const right = (weigh: (i: number) => number[]) =>
      held.states.filter((_, i) => weigh(i).reduce((sum, w, k) => sum + w * (held.chosen[i][k] - held.rejected[i][k]), 0) > 0).length / 400;
    expect(right((i) => g[i])).toBeGreaterThan(0.9);
    for (const fixed of [
      [1, 0],
      [0, 1],
      [0.5, 0.5],
    ])
      expect(right(() => fixed)).toBeLessThan(0.85);
    expect(run.history[0].loss!).toBeGreaterThan(run.history.at(-1)!.loss!);
    gate.dispose();
  });
  it('resumed equals uninterrupted, with dropout, and another seed differs', async () => {
    const pairs = twoKinds(60, 3);
    const short = { steps: 6, pairsPerStep: 16, learningRate: 1e-2 };
    const trained = async (seed: number, interrupted: boolean) => {
      const gate = gateOf(1, { dropout: 0.3 });
      const stop = new AbortController();
      const run = memoryRun({ seed, saveEvery: 3, signal: interrupted ? stop.signal : undefined });
      if (interrupted) {
        const log = run.log.bind(run);
        run.log = (step, values) => {
          log(step, values);
          if (step === 2) stop.abort();
        };
        await expect(trainGate(short, { gate, pairs, run })).rejects.toThrow();
        const again = memoryRun({ seed, saveEvery: 3 });
        for (const [step, parts] of run.checkpoints) again.checkpoints.set(step, parts);
        const fresh = gateOf(9, { dropout: 0.3 });
        await trainGate(short, { gate: fresh, pairs, run: again });
        return untimed(fresh);
      }
      await trainGate(short, { gate, pairs, run });
      return untimed(gate);
    };
    const whole = await trained(1, false);
    expect(await trained(1, true)).toEqual(whole);
    expect(await trained(2, false)).not.toEqual(whole);
  });
  it('takes verbosity off in training, unless told not to', async () => {
    // the pair differs in verbosity alone
    const pairs = { states: [[1, 0, 0]], chosen: [[0, 5]], rejected: [[0, 0]] };
    const lossWith = async (inTraining: boolean) => {
      const run = memoryRun({ seed: 1 });
      await trainGate({ steps: 1, verbosity: { attribute: 1, penalties: [0, 1], inTraining } }, { gate: gateOf(), pairs, run });
      return run.history[0].loss!;
    };
    expect(await lossWith(true)).toBeCloseTo(Math.LN2, 6);
    expect(await lossWith(false)).toBeLessThan(0.6);
  });
  it('names what does not fit', async () => {
    const run = memoryRun({ seed: 1 });
    const gate = gateOf();
    await expect(trainGate({}, { gate, pairs: { states: [], chosen: [], rejected: [] }, run })).rejects.toThrow('there are no pairs');
    const pairs = { states: [[1, 2]], chosen: [[1, 2]], rejected: [[1, 2]] };
    await expect(trainGate({}, { gate, pairs, run })).rejects.toThrow('the state of pair 0 has 2 numbers; the gate takes 3');
    await expect(trainGate({ steps: 0 }, { gate, pairs, run })).rejects.toThrow('steps');
    const broken = { states: [[1, 2, Number.NaN]], chosen: [[1, 2]], rejected: [[1, 0]] };
    await expect(trainGate({ steps: 1 }, { gate, pairs: broken, run })).rejects.toThrow(/step 0/);
  });
});

describe('gatedAttributeReward', () => {
  it("weighs a model's attributes by its state at the prompt's end", async () => {
    const spec = decoderSpec({
      vocabSize: 258,
      width: 24,
      layers: 1,
      heads: 2,
      kvHeads: 1,
      headDim: 12,
      mlpWidth: 48,
      contextLength: 32,
      ropeTheta: 10_000,
      rmsNormEps: 1e-5,
      tiedEmbeddings: true,
    });
    const decoder = createDecoder(spec, { tokenizer: byteTokenizer(), rng: rng(1) });
    const model = createHeads(decoder, { heads: 2, rng: rng(2) });
    const gate = createGate({ width: 24, attributes: 2, hidden: [8], rng: rng(3) });
    const reward = gatedAttributeReward(model, gate, ['help', 'length'], { verbosity: { attribute: 1, penalties: [0.5, 1] } });
    const batch = [
      { prompt: 'one', completion: ' two' },
      { prompt: 'one', completion: '' },
      { prompt: 'uno', completion: ' two' },
    ];
    const { scores, components, abstained } = await reward.score(batch, { rng: rng(0) });
    expect([...abstained!]).toEqual([0, 1, 0]);
    const states = await promptStates(model, ['one', 'uno']);
    const g = rowsOf(await readCopy(gate.weights(tf.tensor2d(states.map((s) => [...s])))), 2);
    [0, 2].forEach((i, row) => {
      const [help, length] = [components!.help[i], components!.length[i]];
      expect(scores[i]).toBeCloseTo(g[row][0] * (help - 0.5 * length), 5); // verbosity itself is gone
    });
    expect(() => gatedAttributeReward(model, gate, ['help'])).toThrow(
      '1 names and a gate of 2 attributes and width 24, for 2 heads of width 24',
    );
    await expect(promptStates(model, ['x'.repeat(40)])).rejects.toThrow('prompt 0 has 40 tokens; the model takes 1 to 32');
    for (const one of [decoder, model, gate]) one.dispose();
  });
});
