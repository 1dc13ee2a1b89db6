/** The WebGPU rung in Node: Dawn from the `webgpu` package under tfjs's WebGPU backend; both are optional. */
import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { type BackendInfo, makeCurrent, type Rung } from './backends.js';
import { BackendError } from './errors.js';
import { mendWebgpu } from './mendWebgpu.js';

type Adapter = { info?: { vendor?: string; architecture?: string; device?: string; description?: string }; isFallbackAdapter?: boolean };
type Gpu = { requestAdapter(options?: object): Promise<Adapter | null> };

/** Held for as long as the process lives: the adapter and its devices belong to it. */
let gpu: Gpu | null = null;

async function findAdapter(forced: boolean): Promise<{ adapter: Adapter; device: string } | { why: string }> {
  // Looking for an adapter loads 30 MB of Dawn: on Linux a GPU shows in /dev first.
  const devices = ['/dev/dri', '/dev/nvidiactl', '/dev/dxg', '/dev/kfd', '/dev/mali0'];
  if (!forced && process.platform === 'linux' && !devices.some((path) => existsSync(path))) return { why: 'no GPU: none shows in /dev' };
  try {
    gpu ??= await createGpu();
  } catch (error) {
    const message = error instanceof Error ? error.message.split('\n')[0] : String(error);
    return { why: `the optional package webgpu cannot be loaded: ${message}` };
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return { why: 'Dawn finds no adapter: no GPU, or no Vulkan, Metal or Direct3D driver for it' };
  const info = adapter.info ?? {};
  const device = info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(' ') || 'unnamed adapter';
  const software =
    adapter.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${info.architecture} ${device}`);
  if (software && !forced)
    return { why: `the only adapter is software (${device}), which is slower than native; PLUMB_BACKEND=webgpu forces it` };
  return { adapter, device };
}

async function createGpu(): Promise<Gpu> {
  const { create, globals } = (await import('webgpu')) as unknown as { create(flags: string[]): Gpu; globals: object };
  Object.assign(globalThis, globals);
  const made = create([]);
  // tfjs asks `navigator.gpu` when its package is loaded; Node's own navigator, where there is one, is read-only.
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: made, userAgent: 'node' }, configurable: true });
  return made;
}

export const webgpuRung: Rung = {
  name: 'webgpu',
  probe: async ({ forced }) => {
    const found = await findAdapter(forced);
    return 'why' in found ? found : { info: infoOf(found.device) };
  },
  start: async ({ forced }) => {
    const found = await findAdapter(forced);
    if ('why' in found) throw new BackendError(`webgpu: ${found.why}.`);
    await import('@tensorflow/tfjs-backend-webgpu').catch((error: unknown) => {
      throw new BackendError(`webgpu: the optional package @tensorflow/tfjs-backend-webgpu cannot be loaded: ${String(error)}.`);
    });
    if (!tf.findBackendFactory('webgpu'))
      throw new BackendError('webgpu: @tensorflow/tfjs-backend-webgpu was loaded before there was an adapter.');
    mendWebgpu();
    await makeCurrent('webgpu');
    return infoOf(found.device);
  },
};

const infoOf = (device: string): BackendInfo => ({ name: 'webgpu', device, version: tf.version_core });
