import { memoryRun, rng } from '@plumbline/core';
import { recordEpisode, type Transitions, transitionsOf } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { trainDynamicsReward } from './discriminators.js';
import { createDynamicsEnsemble, type DynamicsEnsemble } from './ensemble.js';
import { trainDynamics } from './trainDynamics.js';

const settings = { steps: 400, batchSize: 64, hidden: [48, 32], learningRate: 3e-3, discriminators: 6 };

describe('trainDynamicsReward', () => {
  let transitions: Transitions;
  let ensemble: DynamicsEnsemble;
  beforeAll(async () => {
    const episodes = Array.from({ length: 30 }, (_, seed) => {
      const noise = rng(70 + seed);
      return recordEpisode(pointMass({ maxEpisodeSteps: 30 }), { act: () => [2 * noise.uniform(1)[0] - 1] }, seed);
    });
    transitions = transitionsOf(await Promise.all(episodes));
    ensemble = createDynamicsEnsemble(transitions, { members: 2, hidden: [24], rng: rng(1) });
    await trainDynamics(
      { steps: 60, batchSize: 64, learningRate: 5e-3, elites: 2 },
      { ensemble, transitions, run: memoryRun({ seed: 0 }) },
    );
  });

  it('finds the true next state more plausible than one that is moved, where there were data', async () => {
    const run = memoryRun({ seed: 0 });
    const { reward, expert, learner, dispose } = await trainDynamicsReward(settings, { ensemble, transitions, run });
    expect(expert.length).toBe(6);
    expert.forEach((value, m) => void expect(value).toBeGreaterThan(learner[m]));
    const [states, actions] = [transitions.states.slice(0, 400), transitions.actions.slice(0, 200)];
    const scored = async (nextStates: Float32Array) => Array.from(await reward({ states, actions, nextStates, count: 200 }));
    const truth = await scored(transitions.nextStates.slice(0, 400));
    const moved = await scored(transitions.nextStates.slice(0, 400).map((x, i) => x + (i % 2 === 0 ? 0.1 : -0.1)));
    expect(truth.filter((value, i) => value > moved[i]).length / 200).toBeGreaterThan(0.9);
    expect(Math.min(...truth, ...moved)).toBeGreaterThan(0.313);
    expect(Math.max(...truth, ...moved)).toBeLessThan(1.3133);
    expect(run.history.at(-1)!.accuracy!).toBeGreaterThan(0.7);
    dispose();
  });
  it('goes on from a checkpoint to the bit, and leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    const short = { ...settings, batchSize: 16, discriminators: 2 };
    const measured = async (seed: number) => {
      const made = await trainDynamicsReward({ ...short, steps: 30 }, { ensemble, transitions, run: memoryRun({ seed }) });
      made.dispose();
      return [...made.expert, ...made.learner];
    };
    const whole = await measured(0);
    const stop = new AbortController();
    const run = memoryRun({ seed: 0, saveEvery: 3 });
    let steps = 0;
    const log = (...args: Parameters<typeof run.log>) => {
      if (++steps === 20) stop.abort();
      run.log(...args);
    };
    await expect(
      trainDynamicsReward({ ...short, steps: 30 }, { ensemble, transitions, run: { ...run, log, signal: stop.signal } }),
    ).rejects.toThrow('stopped after step 20');
    const made = await trainDynamicsReward({ ...short, steps: 30 }, { ensemble, transitions, run });
    expect([...made.expert, ...made.learner]).toEqual(whole);
    made.dispose();
    expect(await measured(1)).not.toEqual(whole);
    expect(tf.memory().numTensors).toBe(before);
  });
  it('says what does not fit', async () => {
    const run = memoryRun({ seed: 0 });
    await expect(trainDynamicsReward({ steps: 0 }, { ensemble, transitions, run })).rejects.toThrow('steps');
    await expect(trainDynamicsReward({ noise: 0 }, { ensemble, transitions, run })).rejects.toThrow('noise');
  });
});
