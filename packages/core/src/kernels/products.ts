import * as tf from '@tensorflow/tfjs-core';
import type { Products } from '../types.js';

/**
 * What the operands of a product pass through: nothing, or rounding to bfloat16. In plain ops, for backends without such products: they
 * get the precision and not the speed.
 */
export function roundedFor(products: Products | undefined): <T extends tf.Tensor>(x: T) => T {
  return products === 'bf16' ? roundToBfloat16 : (x) => x;
}

/** The upper 8 of 24 bits of precision, after Veltkamp: `c − (c − x)` with `c = (2¹⁶ + 1) · x`. NaN beyond 2¹¹¹. */
function roundToBfloat16<T extends tf.Tensor>(x: T): T {
  return tf.tidy(() => {
    const c = tf.mul(x, 65537);
    return tf.sub(c, tf.sub(c, x)) as T;
  });
}
