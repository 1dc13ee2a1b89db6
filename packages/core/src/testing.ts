/** `testKernel`: what must hold of every fused kernel, on every backend, without a test framework. */
import * as tf from '@tensorflow/tfjs-core';
import type { Kernel, Some } from './kernel.js';
import { readCopy } from './scope.js';
import { gradients } from './tape.js';
import type { Parameter, Tensors } from './types.js';

export type KernelCase<A> = {
  shapes: Record<string, readonly number[]>;
  attrs: A;
  /** Multiplies the standard normal inputs; 1 if left out. */
  spread?: number;
};
export type KernelCheck = { name: string; run(): Promise<void> };

/**
 * Checks of a kernel on each of `backends` (names that `tf.setBackend` knows; default: the current one), on each case:
 *
 * - its outputs are those of the composite, run op by op on the cpu backend;
 * - its gradients are those that the tape finds through the composite, for all inputs, with each one frozen in turn, and
 *   with each output used alone;
 * - they are the central differences along random directions;
 * - inputs may be computed, or views; nothing is left behind.
 */
export function testKernel<I extends Some, A extends object, O extends Some, R extends Some>(
  kernel: Kernel<I, A, O, R>,
  cases: readonly KernelCase<A>[],
  { backends = [tf.getBackend()], tolerance = 2e-4 }: { backends?: readonly string[]; tolerance?: number } = {},
): KernelCheck[] {
  const { definition } = kernel;
  /** The composite in plain ops, on the tape. */
  const composite = (inputs: I, given: A): Some => {
    const attrs = definition.prepare ? definition.prepare(inputs, given) : given;
    const made: Some = definition.forward(inputs, attrs);
    return Object.fromEntries(definition.outputs.filter((key) => made[key]).map((key) => [key, made[key]]));
  };
  return backends.flatMap((backend) =>
    cases.map(({ shapes, attrs, spread = 1 }, index) => ({
      name: `${definition.name} on ${backend}: ${Object.entries(shapes)
        .map(([key, shape]) => `${key} [${shape}]`)
        .join(', ')} ${brief(attrs)}`,
      run: async () => {
        const names = Object.keys(shapes);
        const noise = generator(index + 1);
        const values = Object.fromEntries(names.map((key) => [key, noise(size(shapes[key])).map((x) => x * spread)]));
        const directions = Object.fromEntries(names.map((key) => [key, noise(size(shapes[key]))]));

        const on = async <T>(where: string, f: () => Promise<T>): Promise<T> => {
          await use(where);
          const before = tf.memory();
          const result = await f();
          const after = tf.memory();
          if (after.numTensors !== before.numTensors || after.numDataBuffers !== before.numDataBuffers)
            throw new Error(
              `left ${after.numTensors - before.numTensors} tensors and ${after.numDataBuffers - before.numDataBuffers} data buffers behind on ${where}`,
            );
          return result;
        };
        const outputs = (call: (inputs: I, attrs: A) => Some, shift = 0): Promise<Record<string, Float32Array>> =>
          withInputs(values, shapes, directions, shift, async (inputs) => {
            const made = tf.tidy(() => call(inputs as I, attrs) as Tensors);
            const read = await Promise.all(Object.entries(made).map(async ([key, y]) => [key, await readCopy(y)] as const));
            tf.dispose(made);
            return Object.fromEntries(read) as Record<string, Float32Array>;
          });
        const grads = (
          call: (inputs: I, attrs: A) => Some,
          weights: Record<string, Float32Array>,
          used: readonly string[],
          frozen?: string,
        ) =>
          withInputs(values, shapes, directions, 0, async (inputs) => {
            const parameters = names.map((key): Parameter => ({ name: key, shape: shapes[key], trainable: true, value: inputs[key] }));
            const found = gradients(
              () => {
                // Computed inputs, one of them a view of something larger.
                const computed = Object.fromEntries(
                  names.map((key, i) => [
                    key,
                    i === 0 ? tf.reshape(tf.unstack(tf.stack([inputs[key], inputs[key]]))[1], inputs[key].shape) : tf.mul(inputs[key], 1),
                  ]),
                );
                const made = call(computed as unknown as I, attrs);
                const parts = used.map((key) => tf.sum(tf.mul(made[key]!, tf.tensor(weights[key].slice(), made[key]!.shape))));
                return { loss: tf.addN(parts) as tf.Scalar };
              },
              parameters.filter((parameter) => parameter.name !== frozen),
            );
            const read: Record<string, Float32Array> = {};
            for (const [parameter, grad] of found.grads) read[parameter.name] = (await readCopy(grad)) as Float32Array;
            tf.dispose([found.loss, ...found.grads.values()]);
            return read;
          });

        const expected = await on('cpu', () => outputs(composite));
        close(await on(backend, () => outputs(kernel)), expected, tolerance, 'output');

        const weights = Object.fromEntries(Object.entries(expected).map(([key, y]) => [key, noise(y.length)]));
        const all = Object.keys(expected);
        const whole = await on('cpu', () => grads(composite, weights, all));
        for (const frozen of [undefined, ...(names.length > 1 ? names : [])]) {
          const { [frozen ?? '']: _, ...rest } = whole;
          close(
            await on(backend, () => grads(kernel, weights, all, frozen)),
            rest,
            tolerance,
            frozen ? `gradient with ${frozen} frozen of` : 'gradient of',
          );
        }
        if (all.length > 1)
          for (const key of all)
            close(
              await on(backend, () => grads(kernel, weights, [key])),
              await on('cpu', () => grads(composite, weights, [key])),
              tolerance,
              `gradient through ${key} alone of`,
            );

        const step = 4e-3;
        const value = (ys: Record<string, Float32Array>): number => all.reduce((sum, key) => sum + dot(ys[key], weights[key]), 0);
        const ahead = value(await on('cpu', () => outputs(composite, step)));
        const behind = value(await on('cpu', () => outputs(composite, -step)));
        const slope = (ahead - behind) / (2 * step);
        const predicted = names.reduce((sum, key) => sum + dot(whole[key], directions[key]), 0);
        const noiseFloor =
          (1e-6 * all.reduce((sum, key) => sum + expected[key].reduce((s, y, i) => s + Math.abs(y * weights[key][i]), 0), 0)) / step;
        if (!(Math.abs(slope - predicted) <= 1e-2 * Math.abs(slope) + 1e-2 + noiseFloor))
          throw new Error(`central differences give a slope of ${slope}, the gradients ${predicted}`);
      },
    })),
  );
}

/** tfjs's current backend; reading an unfinished one would be an error of the test. */
async function use(backend: string): Promise<void> {
  if (tf.getBackend() !== backend && !(await tf.setBackend(backend))) throw new Error(`the backend ${backend} does not start`);
}

async function withInputs<T>(
  values: Record<string, Float32Array>,
  shapes: Record<string, readonly number[]>,
  directions: Record<string, Float32Array>,
  shift: number,
  f: (inputs: Tensors) => Promise<T>,
): Promise<T> {
  const inputs: Tensors = {};
  for (const [key, x] of Object.entries(values))
    inputs[key] = tf.tensor(
      x.map((v, i) => v + shift * directions[key][i]),
      [...shapes[key]],
      'float32',
    );
  try {
    return await f(inputs);
  } finally {
    tf.dispose(inputs);
  }
}

function close(found: Record<string, Float32Array>, expected: Record<string, Float32Array>, tolerance: number, what: string): void {
  const keys = [Object.keys(found), Object.keys(expected)].map((k) => k.sort().join());
  if (keys[0] !== keys[1]) throw new Error(`${what}: found ${keys[0]}, expected ${keys[1]}`);
  for (const [key, ys] of Object.entries(expected)) {
    const largest = ys.reduce((m, y) => Math.max(m, Math.abs(y)), 0);
    if (found[key].length !== ys.length) throw new Error(`${what} ${key}: ${found[key].length} numbers, expected ${ys.length}`);
    ys.forEach((y, i) => {
      if (!(Math.abs(found[key][i] - y) <= tolerance * (1 + largest)))
        throw new Error(`${what} ${key}[${i}] is ${found[key][i]}, expected ${y}`);
    });
  }
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);

function brief(attrs: object): string {
  const parts = Object.entries(attrs).map(
    ([key, value]) => `${key}=${ArrayBuffer.isView(value) ? `(${(value as Int32Array).length})` : value}`,
  );
  return parts.join(' ');
}

/** Standard normal numbers, the same for the same seed. */
function generator(seed: number): (n: number) => Float32Array {
  let state = seed * 2654435761;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return (n) => Float32Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}
