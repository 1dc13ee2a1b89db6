/**
 * Products in bfloat16 through raw operations: tfjs has no such type, TensorFlow has. Inputs and results are rounded to 8 bits of
 * mantissa (a relative error of up to 2^-9 each), sums inside are float32's, and everything else stays float32.
 */
import * as tf from '@tensorflow/tfjs-core';
import { tensorflowBackend } from './backend.js';
import { TensorflowError } from './errors.js';
import type { TfjsNodeBackend } from './tfjsNode.js';

const DT_FLOAT = 1;
const DT_BFLOAT16 = 14;

type Product = { transposeA: boolean; transposeB: boolean };
type Kernel = { inputs: { a: tf.TensorInfo; b: tf.TensorInfo }; attrs: Product; backend: TfjsNodeBackend };

/** A frozen matrix in bfloat16 on the backend's device, half the size of its float32. */
export type Bf16Matrix = {
  readonly shape: readonly [number, number];
  readonly storage: 'bf16';
  readonly bytes: number;
  /** `x · matrix`, or `x · matrixᵀ`; `x` [n, k] float32, the result [n, m] float32, which the caller owns. Not on the tape: for `x`'s gradient multiply dy by the other orientation. */
  multiply(x: tf.Tensor2D, transpose?: boolean): tf.Tensor2D;
  dispose(): void;
};

/** Rounds `weight` to bfloat16; `weight` itself is untouched and can be freed. @throws TensorflowError before the backend has started */
export function bf16Matrix(weight: tf.Tensor2D): Bf16Matrix {
  const backend = running();
  const shape = [weight.shape[0], weight.shape[1]] as const;
  let held: number | null = cast(backend, idOf(backend, weight), DT_FLOAT, DT_BFLOAT16);
  return {
    shape,
    storage: 'bf16',
    bytes: 2 * shape[0] * shape[1],
    multiply(x, transpose = false) {
      if (held === null) throw new TensorflowError('a bf16 matrix was used after it was freed');
      if (x.shape[1] !== shape[transpose ? 1 : 0])
        throw new RangeError(`bf16Matrix: [${x.shape}] cannot be multiplied by ${transpose ? 'the transpose of ' : ''}[${shape}]`);
      const rounded = cast(backend, idOf(backend, x), DT_FLOAT, DT_BFLOAT16);
      return product(backend, rounded, held, { transposeA: false, transposeB: transpose }, [rounded]) as tf.Tensor2D;
    },
    dispose() {
      if (held !== null) backend.binding.deleteTensor(held);
      held = null;
    },
  };
}

let plain: tf.KernelConfig | null = null;

/**
 * Which type every float32 product of the backend is computed in from now on: `bf16` is mixed-precision training, with weights, sums
 * and all else in float32. Off unless asked for.
 */
export function setProducts(type: 'float32' | 'bf16'): void {
  running();
  if ((type === 'bf16') === (plain !== null)) return;
  const current = tf.getKernel(tf.BatchMatMul, 'tensorflow')!;
  tf.unregisterKernel(tf.BatchMatMul, 'tensorflow');
  if (type === 'float32') {
    tf.registerKernel(plain!);
    plain = null;
    return;
  }
  plain = current;
  const exact = current.kernelFunc as unknown as (call: Kernel) => tf.TensorInfo;
  const rounded = (call: Kernel): tf.TensorInfo => {
    const { inputs, attrs, backend } = call;
    if (inputs.a.dtype !== 'float32' || inputs.b.dtype !== 'float32') return exact(call);
    const ids = [inputs.a, inputs.b].map((x) => cast(backend, idOf(backend, x), DT_FLOAT, DT_BFLOAT16));
    return product(backend, ids[0], ids[1], attrs, ids);
  };
  tf.registerKernel({ ...current, kernelFunc: rounded as unknown as tf.KernelFunc });
}

function running(): TfjsNodeBackend {
  const backend = tensorflowBackend();
  if (!backend) throw new TensorflowError('the backend tensorflow has not started');
  return backend;
}

const idOf = (backend: TfjsNodeBackend, x: tf.TensorInfo): number => backend.getInputTensorIds([x])[0];

function cast({ binding }: TfjsNodeBackend, id: number, from: number, to: number): number {
  const attributes = [
    { name: 'SrcT', type: binding.TF_ATTR_TYPE as number, value: from },
    { name: 'DstT', type: binding.TF_ATTR_TYPE as number, value: to },
    { name: 'Truncate', type: binding.TF_ATTR_BOOL as number, value: false },
  ];
  return binding.executeOp('Cast', attributes, [id], 1)[0].id;
}

/** The float32 product of two bfloat16 handles; frees `spent`. */
function product(backend: TfjsNodeBackend, a: number, b: number, { transposeA, transposeB }: Product, spent: number[]): tf.Tensor {
  const { binding } = backend;
  const attributes = [
    { name: 'T', type: binding.TF_ATTR_TYPE as number, value: DT_BFLOAT16 },
    { name: 'adj_x', type: binding.TF_ATTR_BOOL as number, value: transposeA },
    { name: 'adj_y', type: binding.TF_ATTR_BOOL as number, value: transposeB },
  ];
  const spare = [...spent];
  try {
    const [made] = binding.executeOp('BatchMatMulV2', attributes, [a, b], 1);
    spare.push(made.id);
    return backend.createOutputTensor({ ...made, id: cast(backend, made.id, DT_BFLOAT16, DT_FLOAT), dtype: DT_FLOAT });
  } finally {
    for (const id of spare) binding.deleteTensor(id);
  }
}
