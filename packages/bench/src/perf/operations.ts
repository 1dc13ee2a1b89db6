import {
  adamW,
  attention,
  createParameters,
  frozenMatrix,
  gradients,
  linear,
  type Parameter,
  type Products,
  rmsNorm,
  rng,
  tokenLogps,
} from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from './cases.js';
import { arbitraryIds, pacedTraining } from './training.js';

/** An operation with its inputs made. */
export type Opened = {
  /** Seconds a call, over `calls` of them, once the device has finished the last. */
  time(calls: number): Promise<number>;
  close(): Promise<void>;
};

/** Makes an operation's inputs on the current backend; values are arbitrary. */
export function openOperation(operation: Operation, products: Products = 'f32'): Opened {
  if (operation.kernel === 'train') {
    const training = pacedTraining({ ...operation, products });
    return {
      time: async (calls) => {
        let sum = 0;
        for (let i = 0; i < calls; i++) sum += (await training.step()).seconds;
        return sum / calls;
      },
      close: () => training.dispose(),
    };
  }
  const { call, held } = prepare(operation, products);
  return {
    time: async (calls) => {
      const start = performance.now();
      let last = tf.tidy(call);
      for (let i = 1; i < calls; i++) {
        last.dispose();
        last = tf.tidy(call);
      }
      const first = tf.tidy(() => tf.slice(tf.reshape(last, [-1]), [0], [1]));
      await first.data();
      const seconds = (performance.now() - start) / 1000 / calls;
      tf.dispose([last, first]);
      return seconds;
    },
    close: async () => held.forEach((one) => void one.dispose()),
  };
}

type Prepared = { call: () => tf.Tensor; held: { dispose(): void }[] };

function prepare(operation: Exclude<Operation, { kernel: 'train' }>, products: Products): Prepared {
  const block = rng(1).normal(65_537); // again and again: drawing a hundred million numbers would take longer than multiplying them
  const normal = (...shape: number[]) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < values.length; i += block.length) values.set(block.subarray(0, values.length - i), i);
    return values;
  };
  const tensor = <T extends tf.Tensor = tf.Tensor2D>(...shape: number[]) => tf.tensor(normal(...shape), shape) as T;
  switch (operation.kernel) {
    case 'product': {
      const { m, n, k, transposeA = false, transposeB = false, batch } = operation;
      const lead = batch === undefined ? [] : [batch];
      const a = tensor<tf.Tensor>(...lead, ...(transposeA ? [k, m] : [m, k]));
      const b = tensor<tf.Tensor>(...lead, ...(transposeB ? [n, k] : [k, n]));
      // `products` is an attribute that our native backend alone knows.
      const call = () => kernel('BatchMatMul', { a, b }, { transposeA, transposeB, products });
      return { call: products === 'f32' ? () => tf.matMul(a, b, transposeA, transposeB) : call, held: [a, b] };
    }
    case 'frozen': {
      const { rows, n, k, matrices, storage } = operation;
      const x = tensor(rows, k);
      const values = normal(n, k);
      if (storage === 'tensor') {
        const weights = Array.from({ length: matrices }, () => tf.tensor(values.slice(), [n, k]) as tf.Tensor2D);
        return { call: () => last(weights.map((weight) => linear({ x, weight }, { products }).y)), held: [x, ...weights] };
      }
      const weights = Array.from({ length: matrices }, () => frozenMatrix(values, [n, k], storage));
      return { call: () => last(weights.map((frozen) => linear({ x }, { frozen, products }).y)), held: [x, ...weights] };
    }
    case 'stream': {
      const { what, rows, width } = operation;
      const x = tensor(rows, width);
      switch (what) {
        case 'copy': {
          if (tf.getBackend() !== 'native') throw new Error('the copy that others are set beside is that of native');
          return { call: () => kernel('PlainCopy', { x }), held: [x] };
        }
        case 'add': {
          const y = tensor(rows, width);
          return { call: () => tf.add(x, y), held: [x, y] };
        }
        case 'relu':
          return { call: () => tf.relu(x), held: [x] };
        case 'exp':
          return { call: () => tf.exp(x), held: [x] };
        case 'tanh':
          return { call: () => tf.tanh(x), held: [x] };
        case 'softmax':
          return { call: () => tf.softmax(x), held: [x] };
        case 'logSoftmax':
          return { call: () => tf.logSoftmax(x), held: [x] };
        case 'sum':
          return { call: () => tf.sum(x), held: [x] };
        case 'rowMeans':
          return { call: () => tf.mean(x, 1), held: [x] };
        case 'columnSums':
          return { call: () => tf.sum(x, 0), held: [x] };
        case 'rowMaxima':
          return { call: () => tf.max(x, 1), held: [x] };
        default:
          return what satisfies never;
      }
    }
    case 'rmsNorm': {
      const { tokens, width } = operation;
      return differentiated(operation.gradients, { x: [tokens, width], weight: [width] }, [tokens, width], ({ x, weight }) => {
        return rmsNorm({ x, weight }, { eps: 1e-5 }).y;
      });
    }
    case 'attention': {
      const { sequences, tokens, heads, headDim } = operation;
      const shape = [sequences * tokens, heads, headDim];
      const cuSeqlens = Int32Array.from({ length: sequences + 1 }, (_, i) => i * tokens);
      return differentiated(operation.gradients, { q: shape, k: shape, v: shape }, shape, ({ q, k, v }) => {
        const heads3 = { q: q as tf.Tensor3D, k: k as tf.Tensor3D, v: v as tf.Tensor3D };
        return attention(heads3, { cuSeqlens, causal: true, scale: 1 / Math.sqrt(headDim) }).y;
      });
    }
    case 'tokenLogps': {
      const { tokens, width, vocabSize } = operation;
      const targets = arbitraryIds(tokens, vocabSize);
      return differentiated(operation.gradients, { hidden: [tokens, width], weight: [vocabSize, width] }, [tokens], (inputs) => {
        return tokenLogps({ hidden: inputs.hidden as tf.Tensor2D, weight: inputs.weight as tf.Tensor2D }, { targets, products }).logps;
      });
    }
    case 'adamW': {
      const { tensors, rows, columns } = operation;
      const named = <T>(make: () => T) => Object.fromEntries(Array.from({ length: tensors }, (_, i) => [`w${i}`, make()]));
      const data = normal(rows, columns);
      const tree = createParameters(named(() => ({ shape: [rows, columns], data })));
      const grads = new Map(tree.trainable().map((parameter) => [parameter, tf.tensor(data.slice(), [rows, columns]) as tf.Tensor]));
      const optimizer = adamW({ weightDecay: 0.01 });
      const [first] = grads.keys();
      return {
        call: () => {
          optimizer.apply(grads, { scale: 1, learningRate: 1e-4 });
          return tf.slice(first.value, [0, 0], [1, 1]);
        },
        held: [tree, optimizer, ...grads.values()],
      };
    }
    default:
      return operation satisfies never;
  }

  /** `f` of parameters of these shapes; with gradients, of `Σ f · w` with regard to all of them, w being fixed. */
  function differentiated(
    backward: boolean,
    shapes: Record<string, number[]>,
    out: number[],
    f: (inputs: Record<string, tf.Tensor>) => tf.Tensor,
  ): Prepared {
    const entries = Object.entries(shapes).map(([name, shape]) => [name, { shape, data: normal(...shape) }]);
    const tree = createParameters(Object.fromEntries(entries));
    const parameters = tree.trainable();
    const w = tensor<tf.Tensor>(...out);
    const forward = () => f(Object.fromEntries(parameters.map((parameter: Parameter) => [parameter.name, parameter.value])));
    const both = () => {
      const { loss, grads } = gradients(() => ({ loss: tf.sum(tf.mul(forward(), w)) as tf.Scalar }), parameters);
      return tf.add(loss, tf.slice(tf.reshape(grads.get(parameters[0])!, [-1]), [0], [1])); // of both passes
    };
    return { call: backward ? both : forward, held: [tree, w] };
  }
}

function last(ys: tf.Tensor[]): tf.Tensor {
  return ys[ys.length - 1];
}

function kernel(name: string, inputs: tf.NamedTensorMap, attrs: object = {}): tf.Tensor {
  const made: tf.Tensor | tf.Tensor[] = tf.engine().runKernel(name, inputs, attrs as tf.NamedAttrMap);
  return Array.isArray(made) ? made[0] : made;
}
