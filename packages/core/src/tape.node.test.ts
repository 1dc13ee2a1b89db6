import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  checkpoint,
  defineKernel,
  gradients,
  initBackend,
  ownTensor,
  readCopy,
  readScalars,
  rmsNorm,
  scope,
  stopGradient,
} from './index.node.js';
import type { Parameter } from './types.js';

const backends: string[] = [];
for (const backend of ['cpu', 'native', 'wasm'])
  await initBackend({ backend }).then(
    () => backends.push(backend),
    () => {},
  );

const parameter = (name: string, value: tf.Tensor): Parameter => ({ name, shape: value.shape, trainable: true, value: tf.keep(value) });
const wave = (shape: number[], phase = 0): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7 + phase)),
    shape,
  );
const square = (n: number, phase = 0): tf.Tensor2D => wave([n, n], phase) as tf.Tensor2D;
const scalarSum = (x: tf.Tensor): tf.Scalar => tf.sum(x) as tf.Scalar;

/** A kernel of one product that counts what its backward pass computes. */
let products = 0;
const product = defineKernel<{ x: tf.Tensor2D; w: tf.Tensor2D }, { tag?: unknown }, { y: tf.Tensor2D }>({
  name: 'CountedProduct',
  outputs: ['y'],
  saves: ['x', 'w'],
  forward: ({ x, w }) => {
    products++;
    return { y: tf.matMul(x, w) };
  },
  backward: ({ y: dy }, { x, w }, _attrs, needs) => {
    products += needs.size;
    return { ...(needs.has('x') && { x: tf.matMul(dy!, w, false, true) }), ...(needs.has('w') && { w: tf.matMul(x, dy!, true) }) };
  },
});

/** Largest amount of data at once while `f` runs, in KiB beyond what there was before; handles on the same data count once. */
function peakKiB(f: () => void): number {
  type Tracking = {
    trackTensor(a: tf.Tensor, backend: unknown): void;
    removeDataId(id: object, backend: unknown): void;
    state: { tensorInfo: { has(id: object): boolean } };
  };
  const engine = tf.engine() as unknown as Tracking;
  const { trackTensor, removeDataId } = engine;
  const sizes = new Map<object, number>();
  let [now, peak] = [0, 0];
  engine.trackTensor = (a, backend) => {
    if (!engine.state.tensorInfo.has(a.dataId)) {
      sizes.set(a.dataId, 4 * a.size);
      now += 4 * a.size;
      peak = Math.max(peak, now);
    }
    trackTensor.call(engine, a, backend);
  };
  engine.removeDataId = (id, backend) => {
    removeDataId.call(engine, id, backend);
    if (engine.state.tensorInfo.has(id)) return;
    now -= sizes.get(id) ?? 0;
    sizes.delete(id);
  };
  try {
    f();
  } finally {
    Object.assign(engine, { trackTensor, removeDataId });
  }
  return peak / 1024;
}

describe.each(backends)('the walk on %s', (backend) => {
  beforeAll(async () => void (await initBackend({ backend })));

  const layers = 16;
  const chain = () => Array.from({ length: layers }, (_, i) => parameter(`w${i}`, tf.scalar(0.5 + i / 10)));
  const scaled = (h: tf.Tensor2D, w: Parameter): tf.Tensor2D => tf.tidy(() => tf.tanh(tf.mul(h, w.value)));
  const layer = (h: tf.Tensor2D, w: Parameter): tf.Tensor2D => tf.tidy(() => tf.tanh(tf.matMul(h, w.value as tf.Tensor2D)));
  const through = (x: tf.Tensor2D, ws: Parameter[]): tf.Scalar => scalarSum(ws.reduce(layer, x));
  const free = (ws: Parameter[], { loss, grads }: { loss: tf.Tensor; grads: Map<Parameter, tf.Tensor> }) =>
    tf.dispose([loss, ...grads.values(), ...ws.map((w) => w.value)]);

  it('keeps a deep chain in its activations, its gradients and one layer; with checkpoints, in less', () => {
    const ws = chain();
    const x = square(64);
    let plain: { loss: tf.Tensor; grads: Map<Parameter, tf.Tensor> } | null = null;
    const peak = peakKiB(() => {
      plain = gradients(() => ({ loss: scalarSum(ws.reduce(scaled, x)) }), ws);
    });
    tf.dispose([plain!.loss, ...plain!.grads.values()]);
    let checked: { loss: tf.Tensor; grads: Map<Parameter, tf.Tensor> } | null = null;
    const less = peakKiB(() => {
      checked = gradients(() => {
        let h = x;
        for (let i = 0; i < layers; i += 4)
          h = checkpoint((inner) => tf.tidy(() => ws.slice(i, i + 4).reduce(scaled, inner as tf.Tensor2D)), h);
        return { loss: scalarSum(h) };
      }, ws);
    });
    expect(peak).toBeLessThan(16 * (layers + 4.5)); // an activation is 16 KiB
    expect(less).toBeLessThan(16 * (4 + 4 + 4.5));
    free(ws, checked!);
    x.dispose();
  });

  it('drops what no wanted parameter reaches: below the last layer nothing is kept', () => {
    const ws = chain();
    const x = square(64);
    let found: { loss: tf.Tensor; grads: Map<Parameter, tf.Tensor> } | null = null;
    const peak = peakKiB(() => {
      found = gradients(() => {
        let h = x;
        for (const w of ws) {
          const next = scaled(h, w);
          if (h !== x) h.dispose(); // a spent activation may go at once
          h = next;
        }
        return { loss: scalarSum(h) };
      }, [ws[layers - 1]]);
    });
    expect(found!.grads.size).toBe(1);
    expect(peak).toBeLessThan(16 * 6.5);
    free(ws, found!);
    x.dispose();
  });

  it('computes no gradient that nobody wants', () => {
    const ws = [0, 1, 2].map((i) => parameter(`w${i}`, square(4, i)));
    const x = square(4, 9);
    const count = (wrt: Parameter[]): number => {
      products = 0;
      const { loss, grads } = gradients(
        () => ({ loss: scalarSum(ws.reduce((h, w) => product({ x: h, w: w.value as tf.Tensor2D }, {}).y, x)) }),
        wrt,
      );
      tf.dispose([loss, ...grads.values()]);
      return products;
    };
    expect(count(ws)).toBe(3 + 5); // x itself needs none
    expect(count([ws[1]])).toBe(3 + 2);
    expect(count([ws[2]])).toBe(3 + 1);
    tf.dispose([x, ...ws.map((w) => w.value)]);
  });

  it('gives the same gradients through checkpoints, inside one another and inside other gradients', async () => {
    const ws = [0, 1, 2, 3].map((i) => parameter(`w${i}`, tf.mul(square(4, i), 0.3)));
    const x = square(4, 9);
    const before = tf.memory().numTensors;
    const plain = gradients(() => ({ loss: through(x, ws) }), ws);
    const nested = gradients(() => {
      const inner = gradients(() => ({ loss: through(x, ws) }), ws);
      tf.dispose([inner.loss, ...inner.grads.values()]);
      const y = checkpoint((h) => {
        const half = checkpoint((g) => layer(layer(g as tf.Tensor2D, ws[0]), ws[1]), h);
        return tf.tidy(() => layer(layer(half as tf.Tensor2D, ws[2]), ws[3]));
      }, x);
      return { loss: scalarSum(y) };
    }, ws);
    for (const w of ws) {
      const [a, b] = [await readCopy(plain.grads.get(w)!), await readCopy(nested.grads.get(w)!)];
      a.forEach((g, i) => void expect(b[i]).toBeCloseTo(g, 5));
    }
    tf.dispose([plain.loss, nested.loss, ...plain.grads.values(), ...nested.grads.values()]);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([x, ...ws.map((w) => w.value)]);
  });

  it('refuses a checkpoint over a foreign tensor, or of an asynchronous function, and puts everything back', () => {
    const w = parameter('w', square(4));
    const x = square(4, 1);
    const before = tf.memory().numTensors;
    const foreign = () => {
      const scale = tf.mul(x, 2);
      return { loss: scalarSum(checkpoint((h) => tf.mul(tf.matMul(h as tf.Tensor2D, w.value as tf.Tensor2D), scale), x)) };
    };
    expect(() => gradients(foreign, [w])).toThrow('neither a parameter nor kept');
    expect(() => gradients(() => ({ loss: scalarSum(checkpoint((async (h: tf.Tensor) => h) as never, x)) }), [w])).toThrow('got a promise');
    expect(() => gradients((async () => ({ loss: tf.scalar(0) })) as never, [w])).toThrow('must be synchronous');
    expect(tf.memory().numTensors).toBeLessThanOrEqual(before + 1); // the promise's own scalar
    expect((tf.engine() as unknown as { state: { gradientDepth: number } }).state.gradientDepth).toBe(0);
    tf.dispose([x, w.value]);
  });

  it('does not let a gradient through stopGradient, whose infinite slope does not matter', async () => {
    const p = parameter('p', tf.tensor1d([0, 4]));
    const { loss, grads } = gradients(() => ({ loss: scalarSum(tf.mul(stopGradient(tf.sqrt(p.value)), p.value)) }), [p]);
    expect([...(await readCopy(grads.get(p)!))]).toEqual([0, 2]);
    tf.dispose([loss, ...grads.values(), p.value]);
  });

  it('frees residuals with and without a tape, when the result is unused, and when f throws', () => {
    const p = parameter('p', square(4));
    const weight = tf.ones([4]);
    const before = tf.memory().numTensors;
    rmsNorm({ x: p.value, weight }, { eps: 1e-6 }).y.dispose();
    const used = gradients(() => ({ loss: scalarSum(rmsNorm({ x: p.value, weight }, { eps: 1e-6 }).y) }), [p]);
    tf.dispose([used.loss, ...used.grads.values()]);
    const unused = gradients(() => {
      rmsNorm({ x: p.value, weight }, { eps: 1e-6 });
      return { loss: scalarSum(tf.square(p.value)) };
    }, [p]);
    tf.dispose([unused.loss, ...unused.grads.values()]);
    expect(() =>
      gradients(() => {
        rmsNorm({ x: p.value, weight }, { eps: 1e-6 });
        throw new Error('stop');
      }, [p]),
    ).toThrow('stop');
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([weight, p.value]);
  });

  it('takes a backward pass that returns dy twice, or a saved tensor, and a forward pass that returns its input', async () => {
    const both = defineKernel<{ a: tf.Tensor; b: tf.Tensor }, object, { y: tf.Tensor }>({
      name: 'SumOfTwo',
      outputs: ['y'],
      saves: [],
      forward: ({ a, b }) => ({ y: tf.add(a, b) }),
      backward: ({ y: dy }) => ({ a: dy!, b: dy! }),
    });
    const same = defineKernel<{ a: tf.Tensor; b: tf.Tensor }, object, { y: tf.Tensor }>({
      name: 'FirstOfTwo',
      outputs: ['y'],
      saves: ['b'],
      forward: ({ a }) => ({ y: a }),
      backward: (_dy, { b }) => ({ a: b, b }),
    });
    const [p, q] = [parameter('p', tf.tensor1d([1, 2])), parameter('q', tf.tensor1d([3, 4]))];
    const before = tf.memory().numTensors;
    const sum = gradients(() => ({ loss: scalarSum(both({ a: p.value, b: q.value }, {}).y) }), [p, q]);
    const first = gradients(() => ({ loss: scalarSum(same({ a: p.value, b: q.value }, {}).y) }), [p, q]);
    expect([...(await readCopy(sum.grads.get(p)!))]).toEqual([1, 1]);
    expect([...(await readCopy(sum.grads.get(q)!))]).toEqual([1, 1]);
    expect([...(await readCopy(first.grads.get(p)!))]).toEqual([3, 4]);
    tf.dispose([sum.loss, first.loss, ...sum.grads.values(), ...first.grads.values()]);
    expect(tf.memory().numTensors).toBe(before);
    expect([...(await readCopy(q.value))]).toEqual([3, 4]);
    tf.dispose([p.value, q.value]);
  });

  it('gives a parameter that the loss does not reach no entry, and one that is the loss a gradient of 1', async () => {
    const [p, q] = [parameter('p', tf.scalar(3)), parameter('q', tf.scalar(4))];
    const { loss, metrics, grads } = gradients(() => ({ loss: p.value as tf.Scalar, metrics: { twice: p.value as tf.Scalar } }), [p, q]);
    expect([...grads.keys()]).toEqual([p]);
    expect(await readScalars({ loss, ...metrics, grad: grads.get(p)! as tf.Scalar })).toEqual({ loss: 3, twice: 3, grad: 1 });
    tf.dispose([loss, metrics, ...grads.values()]);
    expect(p.value.isDisposed).toBe(false);
    expect(() => gradients(() => ({ loss: tf.ones([2]) as unknown as tf.Scalar }), [p])).toThrow(
      'the loss must be a float32 scalar, got float32 [2]',
    );
    tf.dispose([p.value, q.value]);
  });

  it('hands attributes to the backward pass as they are', () => {
    class Tag {}
    const tag = new Tag();
    const seen: unknown[] = [];
    const tagged = defineKernel<{ x: tf.Tensor }, { tag: Tag; lengths: Int32Array }, { y: tf.Tensor }>({
      name: 'Tagged',
      outputs: ['y'],
      saves: [],
      forward: ({ x }, attrs) => {
        seen.push(attrs.tag, attrs.lengths);
        return { y: tf.mul(x, 2) };
      },
      backward: ({ y: dy }, _saved, attrs) => {
        seen.push(attrs.tag, attrs.lengths);
        return { x: tf.mul(dy!, 2) };
      },
    });
    const p = parameter('p', tf.ones([2]));
    const lengths = Int32Array.of(1, 1);
    const { loss, grads } = gradients(() => ({ loss: scalarSum(tagged({ x: p.value }, { tag, lengths }).y) }), [p]);
    expect(seen).toEqual([tag, lengths, tag, lengths]);
    expect(seen[2]).toBe(tag);
    expect(seen[3]).toBe(lengths);
    tf.dispose([loss, ...grads.values(), p.value]);
  });

  it('lets a backend override the backward pass by name', async () => {
    const doubled = defineKernel<{ x: tf.Tensor }, object, { y: tf.Tensor }>({
      name: `Doubled_${backend}`,
      outputs: ['y'],
      saves: ['x'],
      forward: ({ x }) => ({ y: tf.mul(x, 2) }),
      backward: ({ y: dy }) => ({ x: tf.mul(dy!, 2) }),
    });
    const got: string[] = [];
    tf.registerKernel({
      kernelName: `Doubled_${backend}Grad`,
      backendName: backend,
      kernelFunc: ({ inputs, attrs }) => {
        got.push(...Object.keys(inputs), JSON.stringify(attrs));
        return [tf.mul(inputs['dy:y'] as tf.Tensor, 7)];
      },
    });
    const p = parameter('p', tf.ones([2]));
    const { loss, grads } = gradients(() => ({ loss: scalarSum(doubled({ x: p.value }, {}).y) }), [p]);
    expect([...(await readCopy(grads.get(p)!))]).toEqual([7, 7]);
    expect(got).toEqual(['dy:y', 'x', '{"attrs":{},"needs":["x"]}']);
    tf.dispose([loss, ...grads.values(), p.value]);
  });

  it('refuses freed tensors, plain ops included', async () => {
    const x = tf.ones([2]);
    x.dispose();
    const message = 'was used after it was freed';
    expect(() => tf.exp(x)).toThrow(message);
    expect(() => tf.reshape(x, [1, 2])).toThrow(message);
    expect(() => stopGradient(x)).toThrow(message);
    expect(() => product({ x: x as never, w: square(2) }, {})).toThrow(message);
    await expect(readCopy(x)).rejects.toThrow(message);
  });

  it('reads a tensor that is freed or changed meanwhile', async () => {
    const x = tf.mul(tf.tensor1d([-1, 2]), 1);
    const reading = readCopy(x);
    x.dispose();
    expect([...(await reading)]).toEqual([-1, 2]);
    const values = Float32Array.of(1, 2);
    const own = ownTensor(values, [2]);
    values[0] = 9;
    const read = await readCopy(own);
    expect([...read]).toEqual([1, 2]);
    read[0] = 7;
    expect([...(await readCopy(own))]).toEqual([1, 2]);
    own.dispose();
  });

  it('computes the same in two interleaved flows as in one after the other', async () => {
    const flow = (phase: number) =>
      scope(async (own) => {
        const p = parameter('p', square(3, phase));
        own(p.value);
        const losses: number[] = [];
        for (let step = 0; step < 10; step++) {
          const { loss, grads } = gradients(
            () => ({ loss: scalarSum(tf.square(tf.matMul(p.value as tf.Tensor2D, p.value as tf.Tensor2D))) }),
            [p],
          );
          own([loss, ...grads.values()]);
          losses.push((await readScalars({ loss })).loss);
          const next = tf.tidy(() => tf.sub(p.value, tf.mul(grads.get(p)!, 0.01)));
          p.value.dispose();
          (p as { value: tf.Tensor }).value = own(tf.keep(next));
        }
        return losses;
      });
    const before = tf.memory().numTensors;
    const [a, b] = [await flow(0), await flow(1)];
    expect(await Promise.all([flow(0), flow(1)])).toEqual([a, b]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('lets tfjs walk its own tape through our kernels and gradients', async () => {
    const weight = tf.ones([3]);
    const x = wave([2, 3]);
    const before = tf.memory().numTensors;
    const theirs = tf.grad((h) => scalarSum(tf.square(rmsNorm({ x: tf.add(h, 1), weight }, { eps: 1e-6 }).y)))(x);
    const p = parameter('x', x);
    const ours = gradients(() => ({ loss: scalarSum(tf.square(rmsNorm({ x: tf.add(p.value, 1), weight }, { eps: 1e-6 }).y)) }), [p]);
    const [a, b] = [await readCopy(theirs), await readCopy(ours.grads.get(p)!)];
    a.forEach((g, i) => void expect(b[i]).toBeCloseTo(g, 6));
    tf.dispose([theirs, ours.loss, ...ours.grads.values()]);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([weight, x]);
  });

  it('leaves memory flat over a thousand steps', () => {
    const ws = [0, 1].map((i) => parameter(`w${i}`, square(4, i)));
    const x = square(4, 9);
    const weight = tf.ones([4]);
    const step = () => {
      const { loss, grads } = gradients(() => {
        const y = checkpoint((h) => tf.tidy(() => ws.reduce(layer, h as tf.Tensor2D)), x);
        return { loss: scalarSum(rmsNorm({ x: y, weight }, { eps: 1e-6 }).y) };
      }, ws);
      tf.dispose([loss, ...grads.values()]);
    };
    step();
    const before = tf.memory();
    for (let i = 0; i < 1000; i++) step();
    const after = tf.memory();
    expect([after.numTensors, after.numDataBuffers, after.numBytes]).toEqual([before.numTensors, before.numDataBuffers, before.numBytes]);
    tf.dispose([x, weight, ...ws.map((w) => w.value)]);
  });
});

describe('scope', () => {
  it('frees what it was handed, but not what it returns, and frees when it throws', async () => {
    const before = tf.memory().numTensors;
    const kept = await scope(async (own) => {
      own(tf.ones([2]));
      const pair = own({ a: tf.ones([2]), b: tf.ones([3]) });
      return pair.a;
    });
    expect(tf.memory().numTensors).toBe(before + 1);
    kept.dispose();
    await expect(
      scope(async (own) => {
        own(tf.ones([2]));
        throw new Error('stop');
      }),
    ).rejects.toThrow('stop');
    expect(tf.memory().numTensors).toBe(before);
  });
});
