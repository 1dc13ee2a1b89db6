/** Gradients of matrix products, broadcasting over the batch included, and of einsum. */
import * as tf from '@tensorflow/tfjs-core';
import { unbroadcast } from './elementwise.js';
import { gradient } from './register.js';

gradient<{ transposeA: boolean; transposeB: boolean }>(tf.BatchMatMul, { saves: ['a', 'b'] }, (dy, [a, b], { transposeA, transposeB }) => {
  const da = () => {
    if (!transposeA) return tf.matMul(dy, b, false, !transposeB);
    return tf.matMul(b, dy, transposeB, true);
  };
  const db = () => {
    if (!transposeB) return tf.matMul(a, dy, !transposeA, false);
    return tf.matMul(dy, a, true, transposeA);
  };
  return { a: () => unbroadcast(da(), a.shape), b: () => unbroadcast(db(), b.shape) };
});

gradient<{ equation: string }>(tf.Einsum, { savesAll: true }, (dy, saved, { equation }) => {
  const [left, out] = equation.replace(/\s/g, '').split('->');
  const terms = left.split(',');
  return Object.fromEntries(
    saved.map((x, i) => [
      String(i),
      () => {
        // The gradient of a term is the product of dy and the other terms, summed to the term's letters; a letter that
        // only the term has was summed away, so each of its entries gets the same.
        const letters = [...terms[i]];
        if (new Set(letters).size !== letters.length)
          throw new Error(`einsum: no gradient for ${equation}, where a term repeats a letter.`);
        const others = terms.filter((_, j) => j !== i);
        const known = letters.filter((letter) => out.includes(letter) || others.some((term) => term.includes(letter)));
        const partial = contract([out, ...others], [dy, ...saved.filter((_, j) => j !== i)], known.join(''));
        return tf.broadcastTo(
          tf.reshape(
            partial,
            letters.map((letter, axis) => (known.includes(letter) ? x.shape[axis] : 1)),
          ),
          x.shape,
        );
      },
    ]),
  );
});

/** tf.einsum of any number of terms, which takes two at most. */
function contract(terms: string[], tensors: tf.Tensor[], out: string): tf.Tensor {
  if (terms.length <= 2) {
    if (terms.length === 1 && terms[0] === out) return tensors[0];
    return tf.einsum(`${terms.join(',')}->${out}`, ...tensors);
  }
  const [a, b, ...rest] = terms;
  const kept = [...new Set(a + b)].filter((letter) => out.includes(letter) || rest.some((term) => term.includes(letter))).join('');
  return contract([kept, ...rest], [tf.einsum(`${a},${b}->${kept}`, tensors[0], tensors[1]), ...tensors.slice(2)], out);
}
