import { readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { measure, pair } from '../testing/pairs.js';
import { dpoLoss } from './dpo.js';
import type { PairLogps } from './types.js';

async function lossOf(policy: PairLogps, reference: PairLogps, options = {}): Promise<number> {
  const result = dpoLoss(policy, reference, options);
  const [loss] = await readCopy(result.loss);
  tf.dispose([result, policy, reference]);
  return loss;
}
const nats = fc.double({ min: -20, max: 0, noNaN: true });

describe('dpoLoss', () => {
  it('is ln 2, with gradients -β/2 and +β/2, while the policy is its reference', async () => {
    const reference = pair([-3, -5]);
    const at = await measure((policy) => dpoLoss(policy, reference, { beta: 0.2 }), { chosen: [-3], rejected: [-5] });
    expect(at.loss[0]).toBeCloseTo(Math.LN2, 6);
    expect(at.chosenGrad[0]).toBeCloseTo(-0.1, 6);
    expect(at.rejectedGrad[0]).toBeCloseTo(0.1, 6);
    tf.dispose(reference);
  });

  it('is log(1 + exp(-0.2)) for a margin of 2 nats at β = 0.1', async () => {
    expect(await lossOf(pair([-1, -2]), pair([-2, -1]))).toBeCloseTo(0.598139, 5);
  });

  it('stays finite and linear in the margin where σ underflows', async () => {
    expect(await lossOf(pair([-20000, 0]), pair([0, 0]))).toBeCloseTo(2000, 2);
    expect(await lossOf(pair([0, -20000]), pair([0, 0]))).toBeCloseTo(0, 6);
    const reference = pair([0, 0]);
    const at = await measure((policy) => dpoLoss(policy, reference), { chosen: [-20000], rejected: [0] });
    expect(at.chosenGrad[0]).toBeCloseTo(-0.1, 6);
    tf.dispose(reference);
  });

  it('does not change when policy and reference shift together', () =>
    fc.assert(
      fc.asyncProperty(nats, nats, async (logp, shift) => {
        expect(await lossOf(pair([logp + shift, -3]), pair([-2 + shift, -3]))).toBeCloseTo(
          await lossOf(pair([logp, -3]), pair([-2, -3])),
          4,
        );
      }),
      { numRuns: 25 },
    ));

  it('has the gradient of central differences', () =>
    fc.assert(
      fc.asyncProperty(nats, nats, fc.double({ min: 0, max: 0.4, noNaN: true }), async (chosen, rejected, labelSmoothing) => {
        const options = { beta: 0.5, labelSmoothing };
        const reference = pair([-9, -11]);
        const at = await measure((policy) => dpoLoss(policy, reference, options), { chosen: [chosen], rejected: [rejected] });
        const step = 0.05;
        const up = await lossOf(pair([chosen + step, rejected]), pair([-9, -11]), options);
        const down = await lossOf(pair([chosen - step, rejected]), pair([-9, -11]), options);
        expect(at.chosenGrad[0]).toBeCloseTo((up - down) / (2 * step), 3);
        tf.dispose(reference);
      }),
      { numRuns: 25 },
    ));

  it('with label smoothing e is smallest where the margin is the log-odds of 1 - e', async () => {
    const best = Math.log(0.9 / 0.1) / 0.1;
    const reference = pair([0, 0]);
    const at = await measure((policy) => dpoLoss(policy, reference, { labelSmoothing: 0.1 }), { chosen: [best], rejected: [0] });
    expect(at.chosenGrad[0]).toBeCloseTo(0, 6);
    tf.dispose(reference);
  });

  it('names the option and its value when it is out of range', () => {
    const [policy, reference] = [pair([-1, -2]), pair([-1, -2])];
    expect(() => dpoLoss(policy, reference, { beta: 0 })).toThrow('beta must be > 0, got 0');
    expect(() => dpoLoss(policy, reference, { beta: Number.NaN })).toThrow('beta must be > 0, got NaN');
    expect(() => dpoLoss(policy, reference, { labelSmoothing: 0.5 })).toThrow('labelSmoothing must be in [0, 0.5), got 0.5');
    tf.dispose([policy, reference]);
  });

  it('names both fields and shapes when they differ', () => {
    const [policy, reference] = [pair([-1, -2], [-1, -2]), pair([-1, -2])];
    expect(() => dpoLoss(policy, reference)).toThrow('policy.chosen is [2] and reference.chosen is [1]');
    tf.dispose([policy, reference]);
  });

  it('leaves no tensor behind', () => {
    const before = tf.memory().numTensors;
    const [policy, reference] = [pair([-1, -2]), pair([-1, -2])];
    const result = dpoLoss(policy, reference);
    tf.dispose([policy, reference, result]);
    expect(tf.memory().numTensors).toBe(before);
  });
});
