import { memoryRun, rng } from '@plumbline/core';
import { type ControlPolicy, recordEpisode, type Trajectory, type Transitions, transitionsOf } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { type OfflineAlgorithm, type OfflineConfig, trainOffline } from './trainOffline.js';

const bounds = { low: [-1], high: [1] };
const world = () => pointMass({ maxEpisodeSteps: 60 });
const returnOf = ({ rewards }: Trajectory) => rewards.reduce((a, b) => a + b, 0);
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const scoreOf = async (policy: ControlPolicy) =>
  mean(await Promise.all(Array.from({ length: 10 }, async (_, i) => returnOf(await recordEpisode(world(), policy, 900 + i)))));
const kinds = ['bc', 'td3bc', 'iql', 'cql'] as const;
const small = { hidden: [32, 32], batchSize: 128, learningRate: 3e-3, gamma: 0.97, tau: 0.05 };

describe('trainOffline on a point mass', () => {
  let episodes: Trajectory[];
  let transitions: Transitions;
  let data: number;
  beforeAll(async () => {
    // A third brake well, two thirds push at random: what is imitated as it stands is poor.
    episodes = await Promise.all(
      Array.from({ length: 90 }, (_, seed) => {
        const noise = rng(100 + seed);
        const act =
          seed % 3 === 0 ? ([x, v]: Float64Array) => -2 * x - 2 * v + 0.3 * noise.normal(1)[0] : () => 2 * noise.uniform(1)[0] - 1;
        return recordEpisode(world(), { act: (observation) => [Math.max(-1, Math.min(1, act(observation)))] }, seed);
      }),
    );
    transitions = transitionsOf(episodes);
    data = mean(episodes.map(returnOf));
  });
  const train = (kind: OfflineAlgorithm['kind'], over: Partial<OfflineConfig> = {}, run = memoryRun({ seed: 0 })) => {
    const algorithm = kind === 'cql' ? { kind, alpha: 1, samples: 4 } : { kind };
    return trainOffline({ ...small, steps: 3, algorithm, ...over } as Parameters<typeof trainOffline>[0], { transitions, bounds, run });
  };

  it('earns more than what it learned from by iql and cql, and than cloning by td3bc', async () => {
    const score = async (kind: OfflineAlgorithm['kind'], over: Partial<OfflineConfig> = {}) => {
      const policy = await train(kind, { steps: 450, ...over });
      const value = await scoreOf(policy);
      policy.dispose();
      return value;
    };
    // Returns are negative: about -7 for who brakes well from these starts, -50 for who pushes at random.
    const cloned = await score('bc');
    expect(cloned).toBeLessThan(data);
    expect(await score('iql')).toBeGreaterThan(data * 0.7);
    expect(await score('cql', { batchSize: 64 })).toBeGreaterThan(data * 0.7);
    expect(await score('td3bc')).toBeGreaterThan(cloned + 5);
  });
  it('clones the one who brakes well where there is no other', async () => {
    const good = transitionsOf(episodes.filter((_, i) => i % 3 === 0));
    const policy = await trainOffline(
      { ...small, steps: 300, algorithm: { kind: 'bc' } },
      { transitions: good, bounds, run: memoryRun({ seed: 0 }) },
    );
    expect(await scoreOf(policy)).toBeGreaterThan(data / 2);
    policy.dispose();
  });
  it('goes on from a checkpoint to the bit, another seed differs, and no tensor is left, under each algorithm', async () => {
    for (const kind of kinds) {
      const before = tf.memory().numTensors;
      const acts = async (stops: number[], seed = 0) => {
        const run = memoryRun({ seed, saveEvery: 2 });
        let actions: number[] = [];
        for (const steps of stops) {
          const policy = await train(kind, { steps, batchSize: 16 }, run);
          actions = [
            ...Array.from(await policy.act(Float64Array.of(0.5, -0.2))),
            ...Array.from(await policy.act(Float64Array.of(-0.9, 0.4))),
          ];
          policy.dispose();
        }
        return actions;
      };
      const whole = await acts([4]);
      expect(await acts([2, 4])).toEqual(whole);
      expect(await acts([4], 1)).not.toEqual(whole);
      expect(tf.memory().numTensors).toBe(before);
    }
  });
  it('acts within its bounds in the units of the environment, and logs what evaluation answers', async () => {
    const wide = { ...transitions, actions: transitions.actions.map((a) => 3 + 2 * a) };
    const run = memoryRun({ seed: 0 });
    const steps: number[] = [];
    const evaluate = async (_: ControlPolicy, step: number) => {
      steps.push(step);
      return 7;
    };
    const policy = await trainOffline(
      { ...small, steps: 5, algorithm: { kind: 'bc' }, evaluateEvery: 2 },
      { transitions: wide, bounds: { low: [1], high: [5] }, run, evaluate },
    );
    expect(steps).toEqual([2, 4, 5]);
    expect(run.history.map((row) => row['eval/reward'])).toEqual([undefined, 7, undefined, 7, 7]);
    for (const x of [-50, 0, 50]) {
      const [action] = Array.from(await policy.act(Float64Array.of(x, x)));
      expect(action).toBeGreaterThanOrEqual(1);
      expect(action).toBeLessThanOrEqual(5);
    }
    policy.dispose();
  });
  it('says what does not fit', async () => {
    await expect(train('bc', { steps: 0 })).rejects.toThrow('steps');
    await expect(
      trainOffline({ steps: 1, algorithm: { kind: 'iql', alpha: 1 } as never }, { transitions, bounds, run: memoryRun({ seed: 0 }) }),
    ).rejects.toThrow('alpha');
    const with_ = (low: number[], high: number[]) =>
      trainOffline({ ...small, steps: 1, algorithm: { kind: 'bc' } }, { transitions, bounds: { low, high }, run: memoryRun({ seed: 0 }) });
    await expect(with_([-1, -1], [1, 1])).rejects.toThrow('bounds go from [-1,-1] to [1,1]; actions have 1 numbers');
    await expect(with_([-0.01], [0.01])).rejects.toThrow(/the action of transition \d+ is .* outside of -0.01 to 0.01/);
  });
});
