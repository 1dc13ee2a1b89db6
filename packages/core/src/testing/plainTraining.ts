/** What a plain Node script of a user does: core alone, one small network. Prints its losses. */
import * as tf from '@tensorflow/tfjs-core';
import { adamW, createParameters, gradients, initBackend, readCopy, readScalars } from '../index.node.js';

const { name } = await initBackend();
const wave = (n: number, pace: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * pace) / 2);
const tree = createParameters({
  filter: { shape: [3, 3, 1, 4], data: wave(36, 1.3) },
  hidden: { shape: [64, 8], data: wave(512, 0.7) },
  bias: { shape: [8], data: new Float32Array(8) },
  out: { shape: [8, 3], data: wave(24, 1.9) },
});
const value = (key: string) => tree.get(key).value;
const images = tf.tensor4d(wave(6 * 64, 0.37), [6, 8, 8, 1]);
const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32'), 3);
const optimizer = adamW({ weightDecay: 0.01 });
const losses: number[] = [];
for (let step = 0; step < 12; step++) {
  const { loss, grads } = gradients(() => {
    const seen = tf.maxPool(tf.relu(tf.conv2d(images, value('filter') as tf.Tensor4D, 1, 'same')), 2, 2, 'same');
    const flat = tf.reshape(seen, [6, 64]) as tf.Tensor2D;
    const h = tf.tanh(tf.add(tf.matMul(flat, value('hidden') as tf.Tensor2D), value('bias')));
    const logits = tf.matMul(h as tf.Tensor2D, value('out') as tf.Tensor2D);
    return { loss: tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), labels), 1))) as tf.Scalar };
  }, tree.trainable());
  losses.push((await readScalars({ loss })).loss);
  optimizer.apply(grads, { scale: 1, learningRate: 0.02 });
  tf.dispose([loss, ...grads.values()]);
}
await readCopy(value('out')); // the last update is done: a software GPU that still computes when the process ends crashes it
console.log(JSON.stringify({ name, losses }));
process.exit(0);
