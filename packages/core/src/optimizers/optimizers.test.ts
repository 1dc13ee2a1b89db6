import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { clipScale, gradientSum } from '../gradientSum.js';
import { initBackend } from '../index.node.js';
import { createParameters, type TensorTree } from '../parameters.js';
import { rng } from '../rng.js';
import { learningRateSchedule } from '../schedules.js';
import { readCopy } from '../scope.js';
import { backendsHere } from '../testing/backends.js';
import type { Optimizer, Parameter, Saved } from '../types.js';
import { adafactor } from './adafactor.js';
import { adam, adamW } from './adamW.js';
import { adagrad, rmsProp } from './adaptive.js';
import { lion } from './lion.js';
import { sgd } from './sgd.js';

type Recorded = { loss: number; lr: number | null; grad_norm_before_clip: number; w?: number[][]; b?: number[] };
type Fixture = {
  problem: Record<'x' | 'y' | 'w0', number[][]> & { b0: number[] };
  runs: Record<string, { settings: { lr: number | null }; schedule: string | null; max_norm: number | null; steps: Recorded[] }>;
};
const fixture = JSON.parse(readFileSync(new URL('../../test/fixtures/optimizers.json', import.meta.url), 'utf8')) as Fixture;

/** Our settings for each recorded optimizer, as its `settings` say. */
const ours: Record<string, () => Optimizer> = {
  adamw: () => adamW({ beta2: 0.95, weightDecay: 0.1 }),
  adamw_clip: () => adamW({ eps: 1e-6, weightDecay: 0.01 }),
  adamw_amsgrad: () => adamW({ weightDecay: 0.1, amsgrad: true }),
  adam_l2: () => adam({ weightDecay: 0.1 }),
  sgd: () => sgd(),
  sgd_momentum: () => sgd({ momentum: 0.9, weightDecay: 0.01 }),
  sgd_nesterov: () => sgd({ momentum: 0.9, nesterov: true }),
  sgd_dampening: () => sgd({ momentum: 0.8, dampening: 0.3 }),
  rmsprop: () => rmsProp({ alpha: 0.9, momentum: 0.5 }),
  adagrad: () => adagrad(),
  adafactor_fixed_lr: () => adafactor({ scaleParameter: false, weightDecay: 0.01 }),
  adafactor_relative: () => adafactor({ relativeStep: true }),
  adafactor_momentum: () => adafactor({ beta1: 0.9, clipThreshold: 0.5 }),
  adafactor_torch: () => adafactor({ relativeStep: true, weightDecay: 0.01 }),
  lion: () => lion({ weightDecay: 0.1 }),
};

const error = (ours: ArrayLike<number>, theirs: ArrayLike<number>) =>
  Math.max(...Array.from(theirs, (value, i) => Math.abs(ours[i] - value) / (1 + Math.abs(value))));

/** `mean((tanh(x w + b) - y)²)` and its gradients, written out. */
function problem() {
  const x = tf.tensor2d(fixture.problem.x);
  const y = tf.tensor2d(fixture.problem.y);
  const tree = createParameters({
    w: { shape: [5, 4], data: Float32Array.from(fixture.problem.w0.flat()) },
    b: { shape: [4], data: Float32Array.from(fixture.problem.b0) },
  });
  const gradients = () =>
    tf.tidy(() => {
      const t = tf.tanh(tf.add(tf.matMul(x, tree.get('w').value as tf.Tensor2D), tree.get('b').value));
      const gap = tf.sub(t, y);
      const dz = tf.mul(tf.mul(gap, 2 / y.size), tf.sub(1, tf.square(t)));
      return { loss: tf.mean(tf.square(gap)) as tf.Scalar, w: tf.matMul(x, dz as tf.Tensor2D, true), b: tf.sum(dz, 0) };
    });
  const step = () => {
    const { loss, w, b } = gradients();
    return {
      loss,
      grads: new Map<Parameter, tf.Tensor>([
        [tree.get('w'), w],
        [tree.get('b'), b],
      ]),
    };
  };
  const dispose = () => {
    tf.dispose([x, y]);
    tree.dispose();
  };
  return { tree, step, dispose };
}

const twoParameters = () =>
  createParameters({
    'layer.weight': { shape: [3, 2], data: rng(1).normal(6) },
    'layer.bias': { shape: [2], data: rng(2).normal(2) },
  });
const gradsOf = (tree: TensorTree, seed: number, only?: string) =>
  new Map<Parameter, tf.Tensor>(
    tree
      .all()
      .filter(({ name }) => !only || name === only)
      .map((parameter, i) => [parameter, tf.tensor(rng(seed).fork(i).normal(parameter.value.size), [...parameter.shape])]),
  );
const numbers = async (tree: TensorTree) => (await tree.save()).tensors;
const freed = (grads: Map<Parameter, tf.Tensor>) => tf.dispose([...grads.values()]);

const { present, missing } = await backendsHere();
it.skipIf(missing.length === 0)(`skipped: ${missing.join('; ')}`, () => {});

describe.each(present)('on %s', (backend) => {
  beforeAll(async () => void (await initBackend({ backend })));

  describe('recorded optimizers', () => {
    it('has settings for each of them', () => expect(Object.keys(ours)).toEqual(Object.keys(fixture.runs)));

    it.each(Object.keys(fixture.runs))('%s: ten steps agree', async (name) => {
      const { settings, schedule, max_norm, steps } = fixture.runs[name];
      const before = tf.memory().numTensors;
      const { tree, step, dispose } = problem();
      const optimizer = ours[name]();
      const peak = settings.lr ?? 0.01; // transformers' Adafactor caps its relative step at 0.01
      const rate = schedule ? learningRateSchedule({ kind: 'cosine', peak, warmupSteps: 2, steps: 10 }) : () => peak;
      for (const [i, recorded] of steps.entries()) {
        const sum = gradientSum(tree.trainable());
        sum.add(step());
        const { loss, gradNorm } = await sum.read();
        expect(error([loss, gradNorm], [recorded.loss, recorded.grad_norm_before_clip])).toBeLessThan(1e-5);
        if (recorded.lr !== null) expect(rate(i)).toBeCloseTo(recorded.lr, 10);
        optimizer.apply(sum.grads, { scale: clipScale(gradNorm, max_norm ?? Infinity), learningRate: rate(i) });
        sum.dispose();
        if (recorded.w) expect(error(await readCopy(tree.get('w').value), recorded.w.flat())).toBeLessThan(1e-5);
        if (recorded.b) expect(error(await readCopy(tree.get('b').value), recorded.b)).toBeLessThan(1e-5);
      }
      optimizer.dispose();
      dispose();
      expect(tf.memory().numTensors).toBe(before);
    });
  });

  describe.each(Object.entries(ours))('%s', (_, make) => {
    it('goes on from saved state bit for bit, and would not without it', async () => {
      const run = async (optimizer: Optimizer, tree: TensorTree, from: number, to: number) => {
        for (let step = from; step < to; step++) {
          const grads = gradsOf(tree, step);
          optimizer.apply(grads, { scale: 0.7, learningRate: 0.01 });
          freed(grads);
        }
      };
      const whole = twoParameters();
      const wholeOptimizer = make();
      await run(wholeOptimizer, whole, 0, 8);
      const half = twoParameters();
      const halfOptimizer = make();
      await run(halfOptimizer, half, 0, 4);
      const saved = {
        tree: await half.save(),
        optimizer: JSON.parse(JSON.stringify((await halfOptimizer.save()).json)),
        tensors: (await halfOptimizer.save()).tensors,
      };
      const resumed = twoParameters();
      const resumedOptimizer = make();
      await resumed.load(saved.tree);
      await resumedOptimizer.load({ tensors: saved.tensors, json: saved.optimizer });
      await run(resumedOptimizer, resumed, 4, 8);
      expect(await numbers(resumed)).toEqual(await numbers(whole));
      expect(await resumedOptimizer.save()).toEqual(await wholeOptimizer.save());
      if (Object.keys(saved.tensors).length > 0) {
        const forgetful = twoParameters();
        await forgetful.load(saved.tree);
        await run(make(), forgetful, 4, 8);
        expect(await numbers(forgetful)).not.toEqual(await numbers(whole));
      }
    });

    it('steps in place: parameters keep their tensors, and no memory is added', () => {
      const tree = twoParameters();
      const optimizer = make();
      const tensors = tree.all().map(({ value }) => value);
      const apply = (step: number) => {
        const grads = gradsOf(tree, step);
        optimizer.apply(grads, { scale: 0.5, learningRate: 0.01 });
        freed(grads);
        return [tf.memory().numTensors, tf.memory().numDataBuffers, tf.memory().numBytes];
      };
      apply(0);
      const after = apply(1);
      for (let step = 2; step < 5; step++) expect(apply(step)).toEqual(after);
      tree.all().forEach(({ value }, i) => void expect(value).toBe(tensors[i]));
      optimizer.dispose();
      tree.dispose();
    });

    it('leaves alone what has no gradient, and takes the gradient by its scale', async () => {
      const tree = twoParameters();
      const before = await numbers(tree);
      const optimizer = make();
      const grads = gradsOf(tree, 3, 'layer.weight');
      optimizer.apply(grads, { scale: 0.25, learningRate: 0.1 });
      const after = await numbers(tree);
      expect(after['layer.bias']).toEqual(before['layer.bias']);
      expect(after['layer.weight']).not.toEqual(before['layer.weight']);
      const other = twoParameters();
      const quarter = new Map([[other.get('layer.weight'), tf.mul(grads.get(tree.get('layer.weight'))!, 0.25)]]);
      make().apply(quarter, { scale: 1, learningRate: 0.1 });
      expect(await numbers(other)).toEqual(after);
    });

    it('refuses the state of another optimizer, and gradients and rates that cannot be', async () => {
      const tree = twoParameters();
      const optimizer = make();
      await expect(optimizer.load({ tensors: {}, json: { kind: 'newton', version: 1, steps: {} } })).rejects.toThrow('belongs to "newton"');
      const wrong = new Map([[tree.get('layer.bias'), tf.zeros([3])]]);
      expect(() => optimizer.apply(wrong, { scale: 1, learningRate: 0.1 })).toThrow(
        'the gradient of "layer.bias" is [3], the parameter [2]',
      );
      expect(() => optimizer.apply(new Map(), { scale: Number.NaN, learningRate: 0.1 })).toThrow('scale must be finite');
    });
  });

  it('updates no view of a parameter that was taken before', async () => {
    const tree = twoParameters();
    const value = tree.get('layer.weight').value;
    const start = await readCopy(value);
    const views = [
      tf.clone(value),
      tf.reshape(value, [6]),
      tf.slice(value, [0, 0], [3, 2]),
      tf.slice(value, [1, 0], [2, 2]),
      ...tf.unstack(value),
      ...tf.split(value, 3),
    ];
    const before = await Promise.all(views.map(readCopy));
    const product = async () => {
      const y = tf.tidy(() => tf.matMul(tf.ones([1, 3]), tree.get('layer.weight').value as tf.Tensor2D));
      const read = await readCopy(y);
      y.dispose();
      return read;
    };
    const first = await product(); // packs the matrix on backends that do
    const optimizer = adamW();
    for (let step = 0; step < 2; step++) {
      const grads = gradsOf(tree, step);
      optimizer.apply(grads, { scale: 1, learningRate: 0.1 });
      freed(grads);
      expect(await Promise.all(views.map(readCopy))).toEqual(before);
      if (step === 0) tf.dispose(views.splice(0, 2)); // from now on in place, where there is such a thing
      if (step === 0) before.splice(0, 2);
    }
    const now = await readCopy(tree.get('layer.weight').value);
    expect(now).not.toEqual(start);
    const sums = [now[0] + now[2] + now[4], now[1] + now[3] + now[5]];
    expect(error(await product(), sums)).toBeLessThan(1e-6);
    expect(error(first, sums)).toBeGreaterThan(1e-2);
    tf.dispose(views);
    optimizer.dispose();
    tree.dispose();
  });
});

describe('adamW', () => {
  beforeAll(async () => void (await initBackend({ backend: 'cpu' })));

  it('moves each parameter by the learning rate on its first step, whatever the gradient’s size', async () => {
    const tree = createParameters({ w: { shape: [3], data: new Float32Array(3) } });
    adamW().apply(new Map([[tree.get('w'), tf.tensor([1000, -1e-3, 0])]]), { scale: 1, learningRate: 0.01 });
    expect(error(await readCopy(tree.get('w').value), [-0.01, 0.01, 0])).toBeLessThan(1e-7); // the second up to eps / 1e-3 = 1e-5 of it
  });

  it('decays only the parameters that `decays` names', async () => {
    const tree = createParameters({ weight: { shape: [1], data: Float32Array.of(2) }, norm: { shape: [1], data: Float32Array.of(2) } });
    const zeros = new Map<Parameter, tf.Tensor>(tree.all().map((parameter) => [parameter, tf.zeros([1])]));
    adamW({ weightDecay: 0.5, decays: (name) => name !== 'norm' }).apply(zeros, { scale: 1, learningRate: 0.1 });
    expect((await readCopy(tree.get('weight').value))[0]).toBeCloseTo(2 * (1 - 0.1 * 0.5), 6);
    expect((await readCopy(tree.get('norm').value))[0]).toBe(2);
  });

  it('names the setting that is out of range', () => {
    expect(() => adamW({ beta1: 1 })).toThrow('beta1 must be in [0, 1), got 1');
    expect(() => adamW({ weightDecay: -0.1 })).toThrow('weightDecay must be in [0, Infinity), got -0.1');
  });

  it('refuses damaged state before it changes anything', async () => {
    const tree = twoParameters();
    const optimizer = adamW();
    const grads = gradsOf(tree, 1);
    optimizer.apply(grads, { scale: 1, learningRate: 0.1 });
    const saved = await optimizer.save();
    const damaged: Saved = { ...saved, tensors: { ...saved.tensors, 'layer.bias/m': { shape: [3], data: new Float32Array(2) } } };
    await expect(optimizer.load(damaged)).rejects.toThrow('"layer.bias/m" has 2 numbers');
    expect(await optimizer.save()).toEqual(saved);
    // A shape that fits itself but not the parameter shows when the parameter comes.
    const foreign = adamW();
    await foreign.load({ ...saved, tensors: { ...saved.tensors, 'layer.bias/m': { shape: [3], data: new Float32Array(3) } } });
    expect(() => foreign.apply(grads, { scale: 1, learningRate: 0.1 })).toThrow('the state "layer.bias/m" is [3] where [2] belongs');
  });

  it('is one kernel call for all parameters where the backend has AdamWStep, which agrees with the plain ops', async () => {
    const settings = { weightDecay: 0.1, decays: (name: string) => name.endsWith('weight') };
    const stepped = async () => {
      const tree = twoParameters();
      const optimizer = adamW(settings);
      for (let step = 0; step < 3; step++) {
        const grads = gradsOf(tree, step, step === 0 ? 'layer.weight' : undefined); // so that the counts of steps differ
        optimizer.apply(grads, { scale: 0.5, learningRate: 0.1 });
        freed(grads);
      }
      return numbers(tree);
    };
    const kernel = tf.getKernel('AdamWStep', 'cpu');
    let calls = 0;
    const register = (kernelFunc: tf.KernelFunc) => tf.registerKernel({ ...kernel, kernelFunc });
    tf.unregisterKernel('AdamWStep', 'cpu');
    const plain = await stepped();
    register((call) => {
      calls++;
      return kernel.kernelFunc(call);
    });
    const fused = await stepped();
    tf.unregisterKernel('AdamWStep', 'cpu');
    register(kernel.kernelFunc);
    expect(calls).toBe(3);
    for (const name of Object.keys(plain)) expect(error(fused[name].data, plain[name].data)).toBeLessThan(1e-6);
  });
});
