import * as tf from '@tensorflow/tfjs-core';

/**
 * The kernel `Einsum` of one or two terms, through a product of matrices. On wasm there is none; cpu's is element by element,
 * and fails where a letter of the second term alone is summed (`ij,jk->i`).
 */
export function einsum({ inputs, attrs: { equation } }: { inputs: tf.TensorInfo[]; attrs: { equation: string } }): tf.TensorInfo {
  return tf.tidy(() => {
    const tensors = Object.values(inputs) as tf.Tensor[];
    const { allDims, idDims } = tf.backend_util.decodeEinsumEquation(equation, tensors.length); // tfjs's checks, in its words
    tf.backend_util.checkEinsumDimSizes(allDims.length, idDims, tensors);
    const [left, out] = equation.replace(/\s/g, '').split('->');
    const terms = left.split(',');
    const sizes = new Map<string, number>();
    terms.forEach((term, i) => {
      [...term].forEach((letter, axis) => {
        sizes.set(letter, tensors[i].shape[axis]);
      });
    });
    const size = (letters: string[]): number => letters.reduce((n, letter) => n * sizes.get(letter)!, 1);
    const arrange = (x: tf.Tensor, from: string[], to: string[]): tf.Tensor =>
      tf.transpose(
        x,
        to.map((letter) => from.indexOf(letter)),
      );
    /** Sums over the letters that nobody else has. */
    const reduced = terms.map((term, i) => {
      const letters = [...term];
      const lonely = letters.filter((letter) => !out.includes(letter) && !terms.some((other, j) => j !== i && other.includes(letter)));
      const axes = lonely.map((letter) => letters.indexOf(letter));
      return { x: axes.length > 0 ? tf.sum(tensors[i], axes) : tensors[i], letters: letters.filter((letter) => !lonely.includes(letter)) };
    });
    if (reduced.length === 1) return tf.clone(arrange(reduced[0].x, reduced[0].letters, [...out]));
    const [a, b] = reduced;
    const both = a.letters.filter((letter) => b.letters.includes(letter));
    const batch = both.filter((letter) => out.includes(letter));
    const inner = both.filter((letter) => !out.includes(letter));
    const mine = a.letters.filter((letter) => !both.includes(letter));
    const yours = b.letters.filter((letter) => !both.includes(letter));
    const p = tf.reshape(arrange(a.x, a.letters, [...batch, ...mine, ...inner]), [size(batch), size(mine), size(inner)]);
    const q = tf.reshape(arrange(b.x, b.letters, [...batch, ...inner, ...yours]), [size(batch), size(inner), size(yours)]);
    const product = tf.reshape(
      tf.matMul(p, q),
      [...batch, ...mine, ...yours].map((letter) => sizes.get(letter)!),
    );
    return tf.clone(arrange(product, [...batch, ...mine, ...yours], [...out]));
  });
}
