/** The ladder in Node: TensorFlow, WebGPU through Dawn, our C++ kernels, WebAssembly, plain JavaScript. */
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { type BackendInfo, type BackendOptions, cpuRung, ladder, makeCurrent, type Rung, wasmRung } from './backends.js';
import { BackendError } from './errors.js';
import { tensorflowCpuRung, tensorflowRung } from './tensorflow.node.js';
import { webgpuRung } from './webgpu.node.js';

const require = createRequire(import.meta.url);

type NativeFound = { ok: true; simd: string; threads: number; bf16: string } | { ok: false; why: string };
type Native = {
  nativeAvailable(): NativeFound;
  buildNative(): Promise<NativeFound>;
  registerNativeBackend(): boolean;
  setThreads(threads: number): void;
};

/** The optional package, or null. Any error counts as absence: an optional dependency never breaks an import. */
const native: Native | null = await import('@plumbline/native').then(
  (module) => module as unknown as Native,
  () => null,
);

async function registerNative(threads?: number): Promise<BackendInfo> {
  const found = native?.nativeAvailable();
  if (!native || !found?.ok)
    throw new BackendError(`native: ${found?.ok === false ? found.why : 'the package @plumbline/native is not installed'}.`);
  if (!tf.findBackendFactory('native')) {
    native.registerNativeBackend();
    const { registerNativeKernels } = await import('./native.node.js');
    registerNativeKernels();
  }
  if (threads !== undefined) native.setThreads(threads);
  await makeCurrent('native');
  return {
    name: 'native',
    device: 'CPU',
    simd: found.simd,
    bf16: found.bf16,
    threads: threads ?? found.threads,
    version: require('@plumbline/core/package.json').version,
  };
}

const nativeRung: Rung = {
  name: 'native',
  probe: async () => {
    if (!native) return { why: 'the package @plumbline/native is not installed' };
    const found = native.nativeAvailable().ok ? native.nativeAvailable() : await native.buildNative();
    return found.ok
      ? {
          info: {
            name: 'native',
            device: 'CPU',
            simd: found.simd,
            bf16: found.bf16,
            threads: found.threads,
            version: require('@plumbline/core/package.json').version,
          },
        }
      : { why: found.why };
  },
  start: async ({ threads }) => {
    if (native && !native.nativeAvailable().ok) {
      const built = await native.buildNative();
      if (!built.ok) throw new BackendError(`native: ${built.why}.`);
    }
    return registerNative(threads);
  },
};

const wasmFolder = (): string => join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist') + sep;

/** Two copies of tfjs-core share one engine and break in odd places: refuse the second that this process has loaded. */
function refuseSecondCopy(): void {
  const entry = join('@tensorflow', 'tfjs-core', 'dist', 'tf-core.node.js');
  const copies = Object.keys(require.cache).filter((file) => file.endsWith(entry));
  if (copies.length > 1)
    throw new BackendError(
      `Two copies of @tensorflow/tfjs-core are loaded: ${copies.join(' and ')}. Install one (\`npm ls @tensorflow/tfjs-core\`), and never bundle it.`,
    );
}

refuseSecondCopy();

/** From the import on: native where it is built, else cpu. */
const initial: BackendInfo =
  native?.nativeAvailable().ok && nativeWished()
    ? await registerNative().catch(() => cpuRung.start({ forced: false })) // `initBackend` will say why
    : await cpuRung.start({ forced: false });

/** Another backend that was asked for by name starts with `initBackend`, from cpu. */
function nativeWished(): boolean {
  const wish = process.env.PLUMB_BACKEND;
  return !wish || wish === 'native';
}

const all = ladder(
  [tensorflowRung, webgpuRung, nativeRung, tensorflowCpuRung, wasmRung((setWasmPaths) => setWasmPaths(wasmFolder())), cpuRung],
  () => initial,
  (line) => console.error(line),
);

/**
 * Makes a backend current: the one that `backend` or `PLUMB_BACKEND` names, else the fastest that works here.
 * Builds the native kernels where they are not built and there is a C++ compiler.
 *
 * @throws BackendError naming the valid backends, or why the one that was asked for does not start
 */
export const initBackend = async (options?: BackendOptions): Promise<BackendInfo> => {
  refuseSecondCopy();
  return all.initBackend(options);
};
/** What computes now. */
export const backendInfo = all.backendInfo;
/** Each rung, fastest first: whether `initBackend` would take it, and why or why not in one line. */
export const describeBackends = all.describeBackends;
