import { memoryRun, rng } from '@plumbline/core';
import { recordEpisode, type Transitions, transitionsOf } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { valueAndGrad } from '../testing/tokens.js';
import { createDynamicsEnsemble, type DynamicsEnsemble } from './ensemble.js';
import { type FilteredRolloutOptions, filteredRollout } from './filteredRollout.js';
import { boundedLogVar, dynamicsRewardFromLogits, ensembleUncertainty, gaussianNll, logVarBound } from './losses.js';
import { trainDynamics } from './trainDynamics.js';

describe('gaussianNll', () => {
  const target = () => tf.tensor2d([[0, 0.8]]);
  it('has the value of its formula', async () => {
    const { value } = await valueAndGrad(
      (x) => tf.sum(gaussianNll({ mean: tf.tensor2d([[0.1, 0.5]]), logVar: tf.reshape(x, [1, 2]), target: target() })),
      [-1, -2],
    );
    expect(value).toBeCloseTo(-1.1539010664, 5);
  });
  it('has the gradients of central differences, through the mean and the log-variance', async () => {
    const loss = (x: tf.Tensor1D) => {
      const [mean, logVar] = tf.split(tf.reshape(x, [1, 4]), 2, 1) as [tf.Tensor2D, tf.Tensor2D];
      return tf.sum(gaussianNll({ mean, logVar, target: target() })) as tf.Scalar;
    };
    const x = [0.1, 0.5, -1, 0.3];
    const { grad } = await valueAndGrad(loss, x);
    for (let i = 0; i < 4; i++) {
      const [up, down] = await Promise.all(
        [1e-2, -1e-2].map((by) =>
          valueAndGrad(
            loss,
            x.map((v, j) => (j === i ? v + by : v)),
          ),
        ),
      );
      expect(grad[i]).toBeCloseTo((up.value - down.value) / 2e-2, 3);
    }
  });
  it('names shapes that differ', () => {
    expect(() => gaussianNll({ mean: tf.zeros([1, 2]), logVar: tf.zeros([1, 2]), target: tf.zeros([1, 3]) })).toThrow(
      'mean is [1,2], logVar [1,2], target [1,3]',
    );
  });
});

describe('boundedLogVar', () => {
  it('comes smoothly to its upper and lower bounds, with the gradient of a sigmoid', async () => {
    const bounded = (x: tf.Tensor1D) =>
      tf.sum(boundedLogVar(tf.reshape(x, [1, 1]), { min: tf.tensor1d([-1e3]), max: tf.tensor1d([0.5]) })) as tf.Scalar;
    const { value, grad } = await valueAndGrad(bounded, [2]);
    expect(value).toBeCloseTo(0.2986204021, 4); // 0.5 − softplus(−1.5)
    expect(grad[0]).toBeCloseTo(1 / (1 + Math.exp(1.5)), 5);
    expect(
      (
        await valueAndGrad(
          (x) => tf.sum(boundedLogVar(tf.reshape(x, [1, 1]), { min: tf.tensor1d([-10]), max: tf.tensor1d([0.5]) })) as tf.Scalar,
          [-90],
        )
      ).value,
    ).toBeCloseTo(-10, 5);
  });
  it('is drawn together by a hundredth of its width', async () => {
    const { value, grad } = await valueAndGrad((max) => logVarBound({ min: tf.tensor1d([-10, -10]), max }), [0.5, 0.5]);
    expect(value).toBeCloseTo(0.21, 6);
    expect(grad).toEqual([expect.closeTo(0.01, 6), expect.closeTo(0.01, 6)]);
  });
});

describe('ensembleUncertainty', () => {
  it('has the values of its three kinds', () => {
    const deviations = [Float32Array.of(0.1, 0.2, 0.2), Float32Array.of(0.3, 0.1, 0.1)];
    const means = [Float32Array.of(0, 0, 0), Float32Array.of(0, 0, 0)];
    expect(ensembleUncertainty('aleatoric', { means, deviations, width: 3 })[0]).toBeCloseTo(0.331662479, 6);
    const apart = [Float32Array.of(0.1, 0.1), Float32Array.of(-0.1, -0.1)];
    expect(ensembleUncertainty('pairwise', { means: apart, deviations: apart, width: 2 })[0]).toBeCloseTo(0.1414213562, 6);
    expect(ensembleUncertainty('ensembleStd', { means: apart, deviations: apart, width: 2 })[0]).toBeCloseTo(0.1, 6);
    expect(() => ensembleUncertainty('none' as 'pairwise', { means, deviations, width: 3 })).toThrow('there is no "none"');
  });
});

describe('dynamicsRewardFromLogits', () => {
  const [expert, learner] = [[1, 0.8, 1.2], [-1, -0.4, -0.9]]; // biome-ignore format: two lists
  it('takes the mean of the sigmoids before the logarithm', () => {
    expect(dynamicsRewardFromLogits([[1.5], [0.2], [-2]], expert, learner)[0]).toBeCloseTo(0.6931471516, 6);
  });
  it('is bounded by its clamps, rises between them, and knows no constant', () => {
    const [low, middle, high] = dynamicsRewardFromLogits([[-9, 0, 9]], [1], [-1]);
    expect([low, high]).toEqual([expect.closeTo(0.3132616875, 6), expect.closeTo(1.3132616875, 6)]);
    expect(middle).toBeCloseTo(Math.LN2, 6);
    expect(dynamicsRewardFromLogits([[5]], [6], [4])[0]).toBeCloseTo(middle, 6);
  });
  it('refuses a discriminator that tells nothing apart', () => {
    expect(() => dynamicsRewardFromLogits([[0]], [0], [0])).toThrow('discriminator 0 gives real transitions 0 and generated ones 0');
    expect(() => dynamicsRewardFromLogits([], [], [])).toThrow('there are no discriminators');
  });
});

const settings = { steps: 600, batchSize: 64, learningRate: 5e-3, elites: 2, evaluateEvery: 50 };
const small = (transitions: Transitions) => createDynamicsEnsemble(transitions, { members: 3, hidden: [32, 32], rng: rng(1) });

describe('a dynamics ensemble', () => {
  let transitions: Transitions;
  let trained: DynamicsEnsemble;
  let result: Awaited<ReturnType<typeof trainDynamics>>;
  const history: number[] = [];
  beforeAll(async () => {
    const noise = rng(5);
    transitions = transitionsOf(
      await Promise.all(
        Array.from({ length: 40 }, (_, seed) =>
          recordEpisode(pointMass({ maxEpisodeSteps: 30 }), { act: () => [2 * noise.uniform(1)[0] - 1] }, seed),
        ),
      ),
    );
    trained = small(transitions);
    const run = memoryRun({ seed: 0 });
    result = await trainDynamics(settings, { ensemble: trained, transitions, run });
    for (const step of run.history) if (step['eval/loss'] !== undefined) history.push(step['eval/loss']);
  });

  it('learns the world: held-out errors fall far below the spread of the data', () => {
    // What a model that knows nothing errs by: the variance of changes and rewards, the mean over dimensions.
    const changes = [0, 1].map((k) =>
      Array.from({ length: transitions.count }, (_, i) => transitions.nextStates[2 * i + k] - transitions.states[2 * i + k]),
    );
    const variance = (values: number[]) =>
      values.reduce((sum, x) => sum + x * x, 0) / values.length - (values.reduce((a, b) => a + b, 0) / values.length) ** 2;
    const spread = [...changes, [...transitions.rewards]].reduce((sum, values) => sum + variance(values), 0) / 3;
    expect(Math.max(...result.errors)).toBeLessThan(spread / 20);
    expect(history.at(-1)!).toBeLessThan(history[0] / 3);
    expect(trained.elites.length).toBe(2);
    expect(Math.max(...trained.elites.map((m) => result.errors[m]))).toBe([...result.errors].sort((a, b) => a - b)[1]);
  });
  it('disagrees more where there were no data', async () => {
    const at = async (x: number, v: number, u: number) =>
      ensembleUncertainty('pairwise', {
        ...(await trained.predict({ states: Float32Array.of(x, v), actions: Float32Array.of(u) })),
        width: 3,
      })[0];
    const inside = Math.max(await at(0, 0, 0), await at(0.4, 0.2, 0.5), await at(-0.5, -0.2, -0.5));
    for (const outside of [await at(8, 0, 0), await at(0, 9, 0), await at(-6, -6, 5)]) expect(outside).toBeGreaterThan(3 * inside);
  });
  it('goes on from a checkpoint to the bit, and another seed differs', async () => {
    const weightsAfter = async (steps: number[], seed = 0) => {
      const ensemble = small(transitions);
      const run = memoryRun({ seed, saveEvery: 4 });
      for (const until of steps)
        await trainDynamics({ ...settings, steps: until, evaluateEvery: 3, patience: 99 }, { ensemble, transitions, run });
      const { tensors } = await ensemble.parameters.save();
      ensemble.dispose();
      return Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, [...data]]));
    };
    const whole = await weightsAfter([8]);
    const run = memoryRun({ seed: 0, saveEvery: 4 });
    const stop = new AbortController();
    const first = small(transitions);
    let steps = 0;
    const counted = {
      ...run,
      signal: stop.signal,
      log: (...args: Parameters<typeof run.log>) => {
        if (++steps === 4) stop.abort();
        run.log(...args);
      },
    };
    await expect(
      trainDynamics({ ...settings, steps: 8, evaluateEvery: 3, patience: 99 }, { ensemble: first, transitions, run: counted }),
    ).rejects.toThrow('stopped after step 4');
    const second = small(transitions);
    await trainDynamics({ ...settings, steps: 8, evaluateEvery: 3, patience: 99 }, { ensemble: second, transitions, run });
    const { tensors } = await second.parameters.save();
    expect(Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, [...data]]))).toEqual(whole);
    expect(await weightsAfter([8], 1)).not.toEqual(whole);
    for (const ensemble of [first, second]) ensemble.dispose();
  });
  it('leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    const ensemble = small(transitions);
    await trainDynamics({ ...settings, steps: 2, evaluateEvery: 1 }, { ensemble, transitions, run: memoryRun({ seed: 0 }) });
    await ensemble.predict({ states: Float32Array.of(0, 0), actions: Float32Array.of(0) });
    ensemble.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const rollout = (options: Partial<FilteredRolloutOptions> = {}) =>
    filteredRollout({
      ensemble: trained,
      policy: (_, rows) => new Float32Array(rows).fill(0.5),
      starts: Float32Array.of(0, 0, 0.3, -0.2),
      horizon: 5,
      rng: rng(3),
      ...options,
    });
  it('rolls a policy out much as the world would', async () => {
    const world = pointMass();
    world.setState([0, 0]);
    const { nextStates, count, done } = await rollout();
    expect([count, Math.max(...done)]).toEqual([10, 0]);
    for (let t = 0; t < 5; t++) {
      const { observation } = world.step([0.5]);
      for (const k of [0, 1]) expect(Math.abs(nextStates[t * 4 + k] - observation[k])).toBeLessThan(0.1);
    }
  });
  it('keeps the candidates that are plausible, and is nearer to the world for it', async () => {
    const error = async (options: Partial<FilteredRolloutOptions>) => {
      const { nextStates, states, count } = await rollout({
        starts: transitions.states.slice(0, 400),
        horizon: 3,
        stopBelow: -1e9,
        ...options,
      });
      const world = pointMass({ maxEpisodeSteps: 1e9 });
      let sum = 0;
      for (let i = 0; i < count; i++) {
        world.setState(states.slice(2 * i, 2 * i + 2));
        const { observation } = world.step([0.5]);
        sum += Math.hypot(nextStates[2 * i] - observation[0], nextStates[2 * i + 1] - observation[1]);
      }
      return sum / count;
    };
    const truth = ({ states, nextStates, count }: { states: Float32Array; nextStates: Float32Array; count: number }) =>
      Float64Array.from({ length: count }, (_, i) => -Math.abs(nextStates[2 * i] - states[2 * i] - 0.05 * nextStates[2 * i + 1]));
    expect(await error({ plausible: truth, temperature: 0, resample: 4 })).toBeLessThan(await error({}));
  });
  it('stops where nothing is plausible, as an end of the process or not', async () => {
    const never = { plausible: ({ count }: { count: number }) => new Float64Array(count), stopBelow: 0.6 };
    expect(await rollout(never)).toMatchObject({ count: 2, stopped: 1, done: Uint8Array.of(1, 1) });
    expect(await rollout({ ...never, terminalOnStop: false })).toMatchObject({ count: 2, stopped: 1, done: Uint8Array.of(0, 0) });
    expect((await rollout({ terminal: (_, rows) => new Uint8Array(rows).fill(1) })).count).toBe(2);
  });
  it('is the same with one candidate, filtered or not, but for stops', async () => {
    trained.elites = [0];
    const plain = await rollout();
    expect(await rollout({ plausible: ({ count }) => new Float64Array(count).fill(1), resample: 1, temperature: 0 })).toEqual(plain);
    trained.elites = [0, 1];
  });
  it('takes a penalty off the rewards', async () => {
    const [plain, held] = [await rollout(), await rollout({ penalty: { lambda: 2.5 } })];
    expect(held.penalty).toBeGreaterThan(0);
    const lost = plain.rewards.reduce((sum, r, i) => sum + r - held.rewards[i], 0) / plain.count;
    expect(lost).toBeCloseTo(held.penalty, 5);
  });
  it('names what does not fit', async () => {
    await expect(rollout({ horizon: 0 })).rejects.toThrow('horizon must be a whole number above 0, got 0');
    await expect(rollout({ starts: Float32Array.of(1) })).rejects.toThrow('starts hold 1 numbers; states have 2');
    await expect(rollout({ plausible: () => [], stopBelow: 2 })).rejects.toThrow('stopBelow is 2');
    await expect(rollout({ policy: () => Float32Array.of(Number.NaN, 0) })).rejects.toThrow(
      'at step 0 the policy gave 2 numbers for 2 actions of 1',
    );
    await expect(trainDynamics({ steps: 1, elites: 9 }, { ensemble: trained, transitions, run: memoryRun({ seed: 0 }) })).rejects.toThrow(
      '9 elites are asked for, and the ensemble has 3',
    );
    await expect(trainDynamics({ steps: 0 }, { ensemble: trained, transitions, run: memoryRun({ seed: 0 }) })).rejects.toThrow('steps');
    expect(() => createDynamicsEnsemble(transitions, { members: 1, rng: rng(0) })).toThrow(
      'members must be a whole number from 2 on, got 1',
    );
  });
});
