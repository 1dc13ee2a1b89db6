/** Many steps of a tiny model in a process of its own, started with `--expose-gc`: `node longTraining.js BACKEND STEPS`. Prints resident MiB along the way as JSON. */
import * as tf from '@tensorflow/tfjs-core';
import {
  adamW,
  clipScale,
  createParameters,
  gradientSum,
  gradients,
  initBackend,
  linear,
  rmsNorm,
  rng,
  swiGlu,
  tokenLogps,
} from '../index.node.js';

const [backend, count] = process.argv.slice(2);
const steps = Number(count);
await initBackend({ backend });
const draw = rng(5);
const [vocabulary, width, tokens] = [40, 16, 24];
const tree = createParameters({
  table: { shape: [vocabulary, width], data: draw.fork('table').normal(vocabulary * width) },
  norm: { shape: [width], data: new Float32Array(width).fill(1) },
  up: { shape: [width, width], data: draw.fork('up').normal(width * width) },
});
const value = (name: string) => tree.get(name).value as tf.Tensor2D;
const optimizer = adamW({ weightDecay: 0.01 });
const resident: number[] = [];
for (let step = 0; step < steps; step++) {
  const batch = draw.fork('batch', step);
  const ids = Int32Array.from({ length: tokens + (step % 5) }, () => batch.below(vocabulary)); // lengths that change, as they do in training
  const targets = Int32Array.from(ids, (id) => (id * 7 + 1) % vocabulary);
  const sum = gradientSum(tree.trainable());
  sum.add(
    gradients(() => {
      const x = tf.gather(value('table'), tf.tensor1d(ids, 'int32')) as tf.Tensor2D;
      const h = linear({ x: rmsNorm({ x, weight: value('norm') }, { eps: 1e-5 }).y as tf.Tensor2D, weight: value('up') }, {}).y;
      const { logps } = tokenLogps({ hidden: swiGlu({ gate: h, up: x }, {}).y, weight: value('table') }, { targets });
      return { loss: tf.neg(tf.mean(logps)) as tf.Scalar };
    }, tree.trainable()),
  );
  const { gradNorm } = await sum.read();
  optimizer.apply(sum.grads, { scale: clipScale(gradNorm, 1), learningRate: 1e-3 });
  sum.dispose();
  if ((step + 1) % (steps / 10) === 0) {
    globalThis.gc?.();
    resident.push(process.memoryUsage().rss / 2 ** 20);
  }
}
console.log(JSON.stringify({ resident, tensors: tf.memory().numTensors }));
process.exit(0);
