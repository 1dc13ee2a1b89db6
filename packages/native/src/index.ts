/** `@plumbline/native`: the tfjs backend `native`, and its kernels as plain functions over typed arrays. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { addon } from './addon.js';
import { NativeBackend } from './backend.js';
import { type Kernel, kernels } from './kernels.js';
import type { PoolStats } from './pool.js';
import { wholeKernels } from './wholes.js';

let backend: NativeBackend | null = null;
let kernelsRegistered = false;

/** Registers every kernel of the CPU backend under `native`, the hot ones in C++. */
function registerKernels(): void {
  if (kernelsRegistered) return;
  kernelsRegistered = true;
  const plain = tf.getKernelsForBackend('cpu');
  const names = new Set(plain.map((k) => k.kernelName));
  const inCpp = new Map<string, Kernel>();
  for (const [name, kernel] of [...Object.entries(kernels), ...Object.entries(wholeKernels)]) {
    const first = inCpp.get(name);
    inCpp.set(name, first ? (x) => first(x) ?? kernel(x) : kernel);
  }
  for (const config of plain) {
    const ours = inCpp.get(config.kernelName);
    const theirs = config.kernelFunc;
    const kernelFunc: tf.KernelFunc = ours ? (x) => ours(x as unknown as Parameters<typeof ours>[0]) ?? theirs(x) : theirs;
    tf.registerKernel({ ...config, backendName: 'native', kernelFunc });
  }
  for (const [kernelName, ours] of inCpp) {
    if (names.has(kernelName)) continue;
    tf.registerKernel({
      kernelName,
      backendName: 'native',
      kernelFunc: (x) => {
        const y = ours(x as unknown as Parameters<typeof ours>[0]);
        if (!y) throw new Error(`${kernelName}: the native backend takes float32 over the last axis only`);
        return y;
      },
    });
  }
}

/**
 * Makes `tf.setBackend('native')` possible; false where the kernels are not built. The backend in use is not changed, unless tfjs
 * has to choose one itself later: it then takes the highest priority, and `native` has 4 to the CPU backend's 1.
 */
export function registerNativeBackend(): boolean {
  if (!addon()) return false;
  registerKernels();
  if (!tf.findBackendFactory('native'))
    tf.registerBackend(
      'native',
      () => {
        backend = new NativeBackend();
        return backend;
      },
      4,
    );
  return true;
}

/** The backend's memory: what lies ready, what is in use, how often reuse met a request. Null before the backend starts. */
export function poolStats(): PoolStats | null {
  return backend ? backend.poolStats() : null;
}

export { type Availability, bf16Instructions, buildNative, nativeAvailable, setThreads, simdLevel } from './addon.js';
export { NativeBackend } from './backend.js';
export type { PoolStats } from './pool.js';
export * as raw from './raw.js';
