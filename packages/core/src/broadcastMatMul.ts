import * as tf from '@tensorflow/tfjs-core';

/**
 * tfjs counts matrices modulo each operand's number, which is right only where one side has them all: [2, 1] against [5] comes out
 * wrong on cpu, and fails on webgpu.
 */
export function broadcastBothSides(original: tf.KernelFunc): tf.KernelFunc {
  return (call) => {
    const { a, b } = call.inputs as { a: tf.Tensor; b: tf.Tensor };
    const [outerA, outerB] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
    const outer = tf.broadcast_util.assertAndGetBroadcastShape(outerA, outerB);
    const whole = (own: number[]): boolean =>
      tf.util.sizeFromShape(own) === 1 || tf.util.sizeFromShape(own) === tf.util.sizeFromShape(outer);
    if (whole(outerA) && whole(outerB)) return original(call);
    return tf.tidy(() =>
      tf.matMul(
        tf.broadcastTo(a, [...outer, ...a.shape.slice(-2)]),
        tf.broadcastTo(b, [...outer, ...b.shape.slice(-2)]),
        call.attrs?.transposeA as boolean,
        call.attrs?.transposeB as boolean,
      ),
    );
  };
}
