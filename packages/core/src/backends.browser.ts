/** The ladder in a browser: WebGPU where the page has it, WebAssembly, plain JavaScript. */
import * as tf from '@tensorflow/tfjs-core';
import { type BackendInfo, cpuRung, ladder, makeCurrent, type Rung, wasmRung } from './backends.js';
import { BackendError } from './errors.js';
import { mendWebgpu } from './mendWebgpu.js';

type BrowserGpu = { requestAdapter(): Promise<{ info?: { vendor?: string; architecture?: string; description?: string } } | null> };

const find = async (): Promise<{ info: BackendInfo } | { why: string }> => {
  const gpu = (globalThis.navigator as { gpu?: BrowserGpu } | undefined)?.gpu;
  if (!gpu) return { why: 'this page has no WebGPU (an old browser, or no secure context)' };
  const adapter = await gpu.requestAdapter();
  if (!adapter) return { why: 'the browser offers no adapter' };
  const { vendor, architecture, description } = adapter.info ?? {};
  return {
    info: { name: 'webgpu', device: description || [vendor, architecture].filter(Boolean).join(' ') || 'a GPU', version: tf.version_core },
  };
};

const webgpuRung: Rung = {
  name: 'webgpu',
  probe: find,
  start: async () => {
    const found = await find();
    if ('why' in found) throw new BackendError(`webgpu: ${found.why}.`);
    await import('@tensorflow/tfjs-backend-webgpu');
    mendWebgpu();
    await makeCurrent('webgpu');
    return found.info;
  },
};

const cpu: BackendInfo = { name: 'cpu', device: 'plain JavaScript', threads: 1, version: tf.version_core };

/** Where the .wasm files of @tensorflow/tfjs-backend-wasm are served is up to the page (`setWasmPaths`); beside the script unless it says. */
const all = ladder(
  [webgpuRung, wasmRung(() => {}), cpuRung],
  () => cpu,
  (line) => console.warn(line),
);

/** Makes a backend current: the one named, else the fastest that works here. @throws BackendError naming the valid ones */
export const initBackend = all.initBackend;
/** What computes now. */
export const backendInfo = all.backendInfo;
/** Each rung, fastest first: whether `initBackend` would take it, and why or why not in one line. */
export const describeBackends = all.describeBackends;
