/**
 * A small training run in a process of its own, for tests that stop it: `node smallTraining.js DIR STEPS`. Prints a line a step, then its
 * end. Each step waits for a line of stdin while there is one, so that a test that was kept from running cannot miss the end.
 */
import { createInterface } from 'node:readline';
import * as tf from '@tensorflow/tfjs-core';
import {
  adamW,
  clipScale,
  createParameters,
  gradientSum,
  gradients,
  InterruptedError,
  learningRateSchedule,
  onInterrupt,
  openRun,
  rng,
  saveIfAborted,
} from '../index.node.js';

const [dir, count] = process.argv.slice(2);
const steps = Number(count);
const lines = createInterface({ input: process.stdin });
const allowed = lines[Symbol.asyncIterator]();
const run = await openRun({ dir, config: { steps, width: 16 }, seed: 11, saveEvery: 3, signal: onInterrupt() });
const policy = createParameters({
  w1: { shape: [4, 16], data: run.rng.fork('w1').normal(64) },
  w2: { shape: [16, 1], data: run.rng.fork('w2').normal(16) },
});
const optimizer = adamW({ weightDecay: 0.01 });
const schedule = learningRateSchedule({ kind: 'cosine', peak: 0.05, warmupSteps: 2, steps });
const state = { policy, optimizer };
try {
  for (let step = await run.restore(state); step < steps; step++) {
    const draw = rng(3).fork('batch', step);
    const x = tf.tensor2d(draw.normal(8 * 4), [8, 4]);
    const y = tf.tensor2d(draw.normal(8), [8, 1]);
    const sum = gradientSum(policy.trainable());
    sum.add(
      gradients(() => {
        const hidden = tf.tanh(tf.matMul(x, policy.get('w1').value as tf.Tensor2D));
        return { loss: tf.mean(tf.square(tf.sub(tf.matMul(hidden, policy.get('w2').value as tf.Tensor2D), y))) };
      }, policy.trainable()),
    );
    const { loss, gradNorm } = await sum.read();
    const learningRate = schedule(step);
    optimizer.apply(sum.grads, { scale: clipScale(gradNorm, 1), learningRate });
    sum.dispose();
    tf.dispose([x, y]);
    run.log(step, { loss, gradNorm, learningRate });
    process.stdout.write(`step ${step}\n`);
    await saveIfAborted(run, step + 1, state);
    if ((step + 1) % run.saveEvery === 0) await run.save(step + 1, state);
    await new Promise((done) => setTimeout(done, 8));
    await allowed.next(); // at once where stdin has ended
  }
  const { tensors } = await policy.save();
  process.stdout.write(`end ${JSON.stringify(Object.values(tensors).map(({ data }) => [...data]))}\n`);
} catch (error) {
  if (!(error instanceof InterruptedError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 130;
} finally {
  lines.close();
  await run.close();
}
