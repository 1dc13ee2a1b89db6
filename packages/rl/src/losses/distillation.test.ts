import { readCopy, readSafetensors } from '@plumbline/core';
import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { F, tokensOf, valueAndGrad } from '../testing/tokens.js';
import { clippedPolicyLoss } from './clipped.js';
import { distillationWeights, generalizedJsd, miniLlmAdvantages, miniLlmLoss } from './distillation.js';
import { ilqlLogits, ilqlLoss } from './ilql.js';
import {
  awrWeights,
  cqlPenalty,
  expectileLoss,
  optimalAdvantageLoss,
  optimalValue,
  td3BcLoss,
  topByReturn,
  weightedCloningLoss,
} from './offline.js';

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
    type Case = { config: { beta: number; temperature: number }; loss: number; grad_norm: number; grad_first_row: number[][] };
    const { cases } = readFixture<{ cases: Record<string, Case> }>(path!);
    const file = await readSafetensors(path!.replace(/json$/, 'safetensors'));
    const counted = Array.from(file.integers('labels'), (label): number => (label === -100 ? 0 : 1));
    const n = counted.reduce((a, b) => a + b, 0);
    for (const [title, { config, loss, grad_norm, grad_first_row }] of Object.entries(cases)) {
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
      const first = grad_first_row.flat();
      expect(largestError(ours.grad.slice(0, first.length), first), title).toBeLessThan(1e-5);
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
  it("MiniLLM's loss is the clipped one plus the reverse KL of each next token, where a token counts", async () => {
    const logits = { student: [1, 0, -1, 0.2, 0.1, 0.4], teacher: [0.5, 0.5, -0.5, 1, -1, 0] };
    const rows = { logps: [[-0.5, -1]], oldLogps: [[-0.5, -1]], advantages: [1] };
    const at = async (mask: number[], options = {}) => {
      const t = { ...tokensOf({ ...rows, mask: [mask] }), logps: tf.tensor1d(rows.logps[0]) };
      const [student, teacher] = [tf.tensor2d(logits.student, [2, 3]), tf.tensor2d(logits.teacher, [2, 3])];
      return Array.from(await readCopy(miniLlmLoss(t, student, teacher, options).loss));
    };
    close(await at([1, 1]), [-1 + 0.11963, -1 + 0.28653]);
    close(await at([1, 0]), [-1 + 0.11963, 0]);
    close(await at([1, 1], { klWeight: 0.5 }), [-1 + 0.059815, -1 + 0.143265]);
    const t = { ...tokensOf(F), logps: tf.tensor1d(F.logps.flat()) };
    const [any, plain] = [tf.zeros([5, 3]) as tf.Tensor2D, clippedPolicyLoss(t)];
    close(await readCopy(miniLlmLoss(t, any, any, { klWeight: 0 }).loss), Array.from(await readCopy(plain.loss)));
    const before = tf.memory().numTensors;
    tf.dispose(miniLlmLoss(t, any, any));
    expect(tf.memory().numTensors).toBe(before);
    expect(() => miniLlmLoss(t, any, any, { klWeight: -1 })).toThrow('klWeight must be >= 0, got -1');
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
  });
  it('the policy of IQL has weights with their own temperature and cap, and CQL may weigh drawn actions by their density', async () => {
    close(awrWeights([0.5, 2], { beta: 1 / 3, wMax: 100 }), [4.481689, 100]);
    const logDensity = tf.tensor2d([[Math.log(0.25), Math.log(0.25), -0.7]]);
    close(await readCopy(cqlPenalty(tf.tensor2d([[1, 2, 2.5]]), tf.tensor1d([0]), { logDensity })), [4.173801]);
    close(await readCopy(expectileLoss(tf.tensor1d([1, -1]))), [0.7, 0.3]);
  });
  it('cloning learns what was done, by weight, and the filtered form the best episodes alone', async () => {
    const { value, grad } = await valueAndGrad(
      (x) => tf.tidy(() => tf.sum(weightedCloningLoss(x, tf.tensor1d([1, 0, 2])))),
      [-1, -9, -0.5],
    );
    expect(value).toBeCloseTo(2, 6);
    close(grad, [-1, 0, -2]);
    expect(topByReturn([3, 9, 1, 9, 5], 0.4)).toEqual([1, 3]);
    expect(topByReturn([1, 2, 3])).toEqual([2]); // never none
    expect(() => topByReturn([1, Number.NaN])).toThrow('the return of episode 1 is NaN');
    expect(() => topByReturn([1], 0)).toThrow('share must be in (0, 1], got 0');
    expect(() => weightedCloningLoss(tf.tensor1d([1]), tf.tensor1d([1, 2]))).toThrow('1 logps and 2 weights');
  });
  it('TD3+BC weighs Q by its own size, without gradient', async () => {
    const at = async (q: number[], actions: number[]) =>
      valueAndGrad(
        (x) => {
          const policyAction = tf.reshape(tf.slice(x, 2, 2), [2, 1]) as tf.Tensor2D;
          return tf.tidy(() => tf.mean(td3BcLoss({ q: tf.slice(x, 0, 2), policyAction, action: tf.tensor2d([0, 0], [2, 1]) })));
        },
        [...q, ...actions],
      );
    const { value, grad } = await at([4, -6], [0.1, 0.3]);
    expect(value).toBeCloseTo(0.55, 6); // lambda 0.5
    close(grad, [-0.25, -0.25, 0.1, 0.3]);
    expect(Number.isFinite((await at([0, 0], [0, 0])).value)).toBe(true);
  });
  it('implicit language Q-learning adds an expectile, a Bellman step and a cross-entropy', async () => {
    const inputs = {
      values: tf.tensor1d([0.5]),
      targetQ: [tf.tensor1d([1.5]), tf.tensor1d([0.7])],
      nextValues: tf.tensor1d([2]),
      rewards: tf.tensor1d([1]),
      tokens: tf.tensor1d([1], 'int32'),
    };
    const q = tf.tensor2d([[0, 1, 2]]);
    const terms = ilqlLoss({ q: [q], ...inputs }, { gamma: 0.5 });
    // u = 0.7 − 0.5; goal 1 + 0.5·2 against Q 1; −log softmax((0, 1, 2))_1
    close(await readCopy(terms.value), [0.7 * 0.04]);
    close(await readCopy(terms.bellman), [1]);
    close(await readCopy(terms.conservative), [1.407606]);
    close(await readCopy(terms.loss), [2.435606]);
    const two = ilqlLoss({ q: [q, q], ...inputs }, { gamma: 0.5, alpha: 0.1 });
    close(await readCopy(two.loss), [0.028 + 2 + 0.2 * 1.407606]);
    const { grad } = await valueAndGrad(
      (x) => tf.tidy(() => tf.sum(ilqlLoss({ q: [tf.reshape(x, [1, 3]) as tf.Tensor2D], ...inputs }, { gamma: 0.5 }).loss)),
      [0, 1, 2],
    );
    close(grad, [0.090031, 0.244728 - 1 - 2, 0.665241]); // softmax minus the token, and −2·(goal − Q)
    const below = await valueAndGrad((x) => tf.tidy(() => tf.sum(ilqlLoss({ q: [q], ...inputs, values: x }).value)), [2]);
    close([below.value, below.grad[0]], [0.3 * 1.69, 2 * 0.3 * 1.3]); // V above Q counts 1 − τ
    const before = tf.memory().numTensors;
    tf.dispose(ilqlLoss({ q: [q], ...inputs }));
    expect(tf.memory().numTensors).toBe(before);
    expect(() => ilqlLoss({ q: [], ...inputs })).toThrow('no Q heads');
    expect(() => ilqlLoss({ q: [q], ...inputs }, { gamma: 2 })).toThrow('gamma must be in [0, 1], got 2');
    const decoded = await readCopy(ilqlLogits(tf.zeros([1, 3]), [q, tf.tensor2d([[3, 3, 0]])], tf.tensor1d([1]), { beta: 2 }));
    close(decoded, [-Math.log(3) - 2, -Math.log(3), -Math.log(3) - 2]);
  });
});
