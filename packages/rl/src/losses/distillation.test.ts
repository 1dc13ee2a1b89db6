import { readCopy, readSafetensors } from '@plumbline/core';
import { fixturePath, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { valueAndGrad } from '../testing/tokens.js';
import { distillationWeights, generalizedJsd, miniLlmAdvantages } from './distillation.js';
import { awrWeights, cqlPenalty, effectiveSampleSize, expectileLoss, optimalAdvantageLoss, optimalValue } from './offline.js';

const close = (ours: ArrayLike<number>, theirs: ArrayLike<number>, digits = 5) => {
  expect(ours.length).toBe(theirs.length);
  for (let i = 0; i < theirs.length; i++) expect(ours[i]).toBeCloseTo(theirs[i], digits);
};

describe('generalizedJsd', () => {
  const student = [1, 0, -1, 0.2, 0.1, 0.4];
  const teacher = [0.5, 0.5, -0.5, 1, -1, 0];
  const at = (options: object) =>
    valueAndGrad(
      (s) => tf.tidy(() => tf.mean(generalizedJsd(tf.reshape(s, [2, 3]) as tf.Tensor2D, tf.tensor2d(teacher, [2, 3]), options))),
      student,
    );
  it('has the values and gradients of its formula, and both KLs at its ends', async () => {
    for (const [beta, a, b] of [
      [0, 0.123292, 0.267493],
      [0.1, 0.011019, 0.023969],
      [0.5, 0.030045, 0.066939],
      [0.9, 0.010759, 0.025253],
      [1, 0.11963, 0.28653],
    ]) {
      const values = generalizedJsd(tf.tensor2d(student, [2, 3]), tf.tensor2d(teacher, [2, 3]), { beta });
      close(await readCopy(values), [a, b]);
    }
    expect((await at({ beta: 0.5 })).value).toBeCloseTo(0.048492, 5);
    expect((await at({ beta: 0.5, temperature: 0.9 })).value).toBeCloseTo(0.058175, 5);
    for (const [beta, grad] of [
      [0, [0.242922, -0.17759, -0.065332]],
      [0.5, [0.056918, -0.04161, -0.015307]],
      [1, [0.222695, -0.162803, -0.059892]],
    ] as const)
      close(
        (await at({ beta })).grad.slice(0, 3).map((g) => 2 * g),
        grad,
      );
  });
  it('refuses another vocabulary', () => {
    expect(() => generalizedJsd(tf.zeros([1, 3]), tf.zeros([1, 4]))).toThrow('the student has 3 tokens and the teacher 4');
    expect(() => generalizedJsd(tf.zeros([1, 3]), tf.zeros([1, 3]), { beta: 2 })).toThrow('beta must be in [0, 1], got 2');
  });

  const path = fixturePath('losses/token_losses.json');
  it.skipIf(!path)(`agrees with TRL's GKD${path ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, async () => {
    type Case = { config: { beta: number; temperature: number }; loss: number; grad_norm: number };
    const { cases } = readFixture<{ cases: Record<string, Case> }>(path!);
    const file = await readSafetensors(path!.replace(/json$/, 'safetensors'));
    const counted = Array.from(file.integers('labels'), (label): number => (label === -100 ? 0 : 1));
    const n = counted.reduce((a, b) => a + b, 0);
    for (const [title, { config, loss, grad_norm }] of Object.entries(cases)) {
      if (!title.startsWith('gkd')) continue;
      const ours = await valueAndGrad(
        (s) =>
          tf.tidy(() =>
            tf.div(
              tf.sum(
                tf.mul(
                  tf.tensor1d(counted),
                  generalizedJsd(
                    tf.reshape(s, [counted.length, -1]) as tf.Tensor2D,
                    tf.tensor2d(file.floats('teacher'), [counted.length, s.size / counted.length]),
                    config,
                  ),
                ),
              ),
              n,
            ),
          ),
        file.floats('student'),
      );
      expect(Math.abs(ours.value - loss) / (1 + loss), title).toBeLessThan(1e-5);
      expect(Math.abs(Math.hypot(...ours.grad) - grad_norm), title).toBeLessThan(1e-5);
    }
  });
});

describe('other teachers', () => {
  it('MiniLLM adds up what is still to come', () => {
    const [teacher, student] = [
      [-1, -0.5, -2],
      [-0.8, -1, -1.2],
    ];
    const at = (gamma: number, lengthNormalized = true) => miniLlmAdvantages(teacher, student, { gamma, lengthNormalized });
    close(at(0), [-0.2, 0.5, -0.8]);
    close(at(0.5), [-0.085714, 0.066667, -0.8]);
    close(at(0.5, false), [-0.15, 0.1, -0.8]);
    close(at(1), [-0.166667, -0.15, -0.8]);
    close(at(1, false), [-0.5, -0.3, -0.8]);
  });
  it('importance-weighted distillation counts the first tokens more', () => {
    const a = [0.4, -0.2, 0.1, -0.3];
    const w = distillationWeights(a);
    close(w, [1.5, 1.3, 1.2, 1.15]);
    const lp = [-0.6, -1.2, -0.9, -1.5];
    expect(lp.reduce((sum, x, t) => sum - w[t] * a[t] * x, 0) / 4).toBeCloseTo(-0.090375, 6);
  });
});

describe('offline', () => {
  it('A*PO regresses on the optimal advantage', async () => {
    const r = [1, 0, 0, 1, 1, 0, 0, 0];
    close([optimalValue(r), optimalValue(r, 0.1), optimalValue(r, 5)], [0.611284, 0.901925, 0.398795]);
    expect(optimalValue(r, 1e-4)).toBeCloseTo(1, 3);
    expect(optimalValue(r, 1e4)).toBeCloseTo(0.375, 3);
    const v = optimalValue(r);
    const ours = await valueAndGrad(
      (x) => tf.tidy(() => tf.mean(optimalAdvantageLoss(x, tf.tensor1d([1 - v, -v]), { beta2: 1 }))),
      [0.3, -0.2],
    );
    expect(ours.value).toBeCloseTo(0.088512, 5);
    close(ours.grad, [-0.088716, 0.411284]);
  });
  it('AWR, IQL and CQL', async () => {
    close(awrWeights([-1, 0, 0.5, 2, 4]), [0.367879, 1, 1.648721, 7.389056, 20]);
    for (const [tau, minimum] of [
      [0.5, 1.666667],
      [0.7, 2.384615],
      [0.9, 3.363636],
    ]) {
      const { grad } = await valueAndGrad(
        (v) => tf.tidy(() => tf.sum(expectileLoss(tf.sub(tf.tensor1d([0, 1, 4]), v) as tf.Tensor1D, tau))),
        [minimum],
      );
      expect(Math.abs(grad[0])).toBeLessThan(1e-4);
    }
    close(await readCopy(cqlPenalty(tf.tensor2d([[1, 2, 3]]), tf.tensor1d([1.5]))), [1.907606]);
    expect(effectiveSampleSize([1, 1, 2])).toBeCloseTo(16 / 6, 9);
  });
});
