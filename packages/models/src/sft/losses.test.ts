import { createParameters, gradients, memoryRun, readCopy, readSafetensors, rng, tokenLogps } from '@plumbline/core';
import { fixturePath, largestError, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { sftBatches } from './batches.js';
import { dftLoss, nllLoss, type SftLossName, sftLosses, sftTokenLoss } from './losses.js';
import { trainSft } from './trainSft.js';

/** Values, and the gradient of their sum. */
async function measure(loss: (logps: tf.Tensor1D) => tf.Tensor1D, logps: ArrayLike<number>) {
  const tree = createParameters({ logps: { shape: [logps.length], data: Float32Array.from(logps) } });
  const apply = () => loss(tree.get('logps').value as tf.Tensor1D);
  const values = Array.from(await readCopy(apply()));
  const { grads } = gradients(() => ({ loss: tf.sum(apply()) as tf.Scalar }), tree.trainable());
  const grad = Array.from(await readCopy(grads.get(tree.get('logps'))!));
  tree.dispose();
  return { values, grad };
}

describe('losses of supervised fine-tuning', () => {
  it('maximum likelihood pulls at every token alike', async () => {
    expect(await measure(nllLoss, [-1, -2.5])).toEqual({ values: [1, 2.5], grad: [-1, -1] });
  });
  it('dynamic fine-tuning pulls by the probability of the token', async () => {
    const { values, grad } = await measure(dftLoss, [-Math.LN2, 0, -100]);
    [Math.LN2 / 2, 0, 0].forEach((x, i) => void expect(values[i]).toBeCloseTo(x, 6));
    [-0.5, -1, 0].forEach((x, i) => void expect(grad[i]).toBeCloseTo(x, 6));
  });
  it('are found by name, leave nothing behind, and a wrong name lists them', () => {
    // @ts-expect-error: not a name of the record
    const wrong: SftLossName = 'ntll';
    expect(wrong in sftLosses).toBe(false);
    expect(() => sftTokenLoss('ntll')).toThrow('there is no loss of supervised fine-tuning "ntll"; there are nll, dft');
    const logps = tf.tensor1d([-1, -2]);
    const before = tf.memory().numTensors;
    for (const loss of Object.values(sftLosses)) loss(logps).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('the trainer takes either', async () => {
    const sequences = [{ tokens: Int32Array.of(1, 2, 3, 4), completionStart: 1 }];
    const first = async (loss?: SftLossName) => {
      const run = memoryRun({ seed: 1 });
      const batches = sftBatches(sequences, { sequencesPerStep: 1, steps: 2, rng: rng(1) });
      await trainSft({ steps: 2, loss, learningRate: 1e-2 }, { policy: tinyDecoder(), batches, run });
      return run.history.map((entry) => entry.loss!);
    };
    const policy = tinyDecoder();
    const packed = (await sftBatches(sequences, { sequencesPerStep: 1, steps: 1, rng: rng(1) }).at(0)).packed;
    const logps = Array.from(await readCopy(policy.completionLogps(packed).tokens));
    const mean = (f: (logp: number) => number) => logps.reduce((sum, logp) => sum + f(logp), 0) / logps.length;
    const [nll, dft] = [await first(), await first('dft')];
    expect(nll[0]).toBeCloseTo(
      mean((x) => -x),
      5,
    );
    expect(dft[0]).toBeCloseTo(
      mean((x) => -Math.exp(x) * x),
      5,
    );
    expect(await first('nll')).toEqual(nll);
  });

  const path = fixturePath('losses/token_losses.json');
  describe.skipIf(!path)(`TRL's own${path ? '' : ' (skipped: the reference numbers are not in this checkout)'}`, () => {
    if (!path) return;
    type Case = { config: { loss_type: SftLossName; num_items_in_batch: number | null }; loss: number; grad_logps: number[][] };
    const { cases, per_token } = readFixture<{ cases: Record<string, Case>; per_token: Record<string, number[][]> }>(path);
    /** Log-probabilities of the labels that count, of token t at position t. */
    async function student() {
      const file = await readSafetensors(path!.replace(/json$/, 'safetensors'));
      const labels = Array.from(file.integers('labels'), Number);
      const logits = Float32Array.from(file.floats('student'));
      const vocabulary = logits.length / labels.length;
      const eye = Float32Array.from({ length: vocabulary * vocabulary }, (_, i) => (i % (vocabulary + 1) === 0 ? 1 : 0));
      const outputs = tokenLogps(
        { hidden: tf.tensor2d(logits, [labels.length, vocabulary]), weight: tf.tensor2d(eye, [vocabulary, vocabulary]) },
        { targets: Int32Array.from(labels, (label) => Math.max(0, label)), entropy: true, squaredSum: true },
      );
      return { labels, logits, vocabulary, outputs };
    }
    it('log-probability, entropy and sum of squares of each token', async () => {
      const { labels, logits, vocabulary, outputs } = await student();
      const counted = labels.map((label, i) => (label === -100 ? -1 : i)).filter((i) => i >= 0);
      const at = (x: ArrayLike<number>) => counted.map((i) => x[i]);
      const theirs = (name: string) => at(per_token[name].flat());
      expect(largestError(at(await readCopy(outputs.logps)), theirs('logps'))).toBeLessThan(1e-5);
      expect(largestError(at(await readCopy(outputs.entropy!)), theirs('entropy'))).toBeLessThan(1e-5);
      expect(largestError(at(await readCopy(tf.log(outputs.squaredSum!))), theirs('log_sum_sq_probs'))).toBeLessThan(1e-5);
      const means = labels.map((_, i) => logits.slice(i * vocabulary, (i + 1) * vocabulary).reduce((a, b) => a + b, 0) / vocabulary);
      expect(largestError(at(means), theirs('mean_logits'))).toBeLessThan(1e-5);
    });
    for (const [title, { config, loss, grad_logps }] of Object.entries(cases))
      if (title.startsWith('sft'))
        it(title, async () => {
          const { labels, outputs } = await student();
          const logps = await readCopy(outputs.logps);
          const counted = labels.map((label, i) => (label === -100 ? -1 : i)).filter((i) => i >= 0);
          const items = config.num_items_in_batch ?? counted.length;
          const ours = await measure(
            sftLosses[config.loss_type],
            counted.map((i) => logps[i]),
          );
          expect(Math.abs(ours.values.reduce((a, b) => a + b, 0) / items - loss) / (1 + loss)).toBeLessThan(1e-5);
          const theirs = grad_logps.flat();
          expect(
            largestError(
              ours.grad.map((g) => g / items),
              counted.map((i) => theirs[i]),
            ),
          ).toBeLessThan(1e-5);
        });
  });
});
