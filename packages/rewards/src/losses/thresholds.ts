/** Ascending thresholds of ordinal losses from free numbers, so that they can be learned. */
import { logSigmoid } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';

/** `[raw_0, raw_0 + softplus(raw_1), ...]`: ascending whatever `raw` [thresholds] holds. */
export function ascendingThresholds(raw: tf.Tensor1D): tf.Tensor1D {
  const n = raw.shape[0];
  return tf.tidy(() => {
    const first = tf.tensor1d(Float32Array.from({ length: n }, (_, k) => (k === 0 ? 1 : 0)));
    const steps = tf.add(tf.mul(raw, first), tf.mul(softplus(raw), tf.sub(1, first)));
    return tf.reshape(tf.matMul(lowerTriangle(n), tf.reshape(steps, [n, 1]) as tf.Tensor2D), [n]) as tf.Tensor1D;
  });
}

/** `raw` for which `ascendingThresholds` gives these thresholds. @throws RangeError where they do not ascend */
export function rawThresholds(thresholds: readonly number[]): Float32Array {
  checkAscending('rawThresholds', thresholds);
  return Float32Array.from(thresholds, (value, k) => (k === 0 ? value : inverseSoftplus(value - thresholds[k - 1])));
}

/**
 * Thresholds symmetric about 0 from the free distances `raw` of the upper half, [floor(n / 2)]: for n = 4 `[-b, -a, a, b]`, for n = 3 `[-a, 0, a]`, with
 * `a = softplus(raw_0)`, `b = a + softplus(raw_1)`.
 */
export function symmetricThresholds(raw: tf.Tensor1D, n: number): tf.Tensor1D {
  const half = raw.shape[0];
  if (half !== Math.floor(n / 2))
    throw new RangeError(`symmetricThresholds: ${n} thresholds have ${Math.floor(n / 2)} free distances, got ${half}`);
  return tf.tidy(() => {
    const upper = tf.reshape(tf.matMul(lowerTriangle(half), tf.reshape(softplus(raw), [half, 1]) as tf.Tensor2D), [half]) as tf.Tensor1D;
    const lower = tf.neg(tf.reverse(upper, 0)) as tf.Tensor1D;
    return n % 2 === 1 ? tf.concat1d([lower, tf.zeros([1]), upper]) : tf.concat1d([lower, upper]);
  });
}

export function checkAscending(who: string, thresholds: readonly number[]): void {
  if (thresholds.length === 0) throw new RangeError(`${who}: there are no thresholds`);
  const bad = thresholds.findIndex((value, k) => !Number.isFinite(value) || (k > 0 && !(value > thresholds[k - 1])));
  if (bad >= 0) throw new RangeError(`${who}: thresholds must be finite and ascending, got [${thresholds.join(', ')}]`);
}

const softplus = (x: tf.Tensor) => tf.neg(logSigmoid(tf.neg(x)));
const inverseSoftplus = (y: number) => y + Math.log(-Math.expm1(-y));
const lowerTriangle = (n: number) =>
  tf.tensor2d(
    Float32Array.from({ length: n * n }, (_, i) => (i % n <= Math.floor(i / n) ? 1 : 0)),
    [n, n],
  );
