/** The NVIDIA cards of this machine, and what TensorFlow needs to use one. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Found } from './find.js';
import type { Opener } from './open.js';
import { cardHasCode } from './versions.js';

export type Card = {
  name: string /** Such as 9.0; missing where nvidia-smi did not say. */;
  capability?: number;
  memory?: string;
  driver?: string;
};

let known: Card[] | null = null;

/** In the driver's order; empty without a card or a driver. Asked once a process. */
export function cards(): Card[] {
  known ??= ask();
  return known;
}

function ask(): Card[] {
  if (!['/dev/nvidiactl', '/dev/dxg', '/proc/driver/nvidia/version'].some((path) => existsSync(path))) return [];
  const smi = spawnSync('nvidia-smi', ['--query-gpu=name,compute_cap,memory.total,driver_version', '--format=csv,noheader'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  if (smi.status === 0) return parseCards(smi.stdout);
  const folder = '/proc/driver/nvidia/gpus';
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((gpu) => ({
    name: /^Model:\s*(.*)$/m.exec(readFileSync(join(folder, gpu, 'information'), 'utf8'))?.[1]?.trim() ?? 'an NVIDIA card',
  }));
}

/** Lines of nvidia-smi: name, compute capability, memory, driver. */
export function parseCards(text: string): Card[] {
  return text
    .split('\n')
    .map((line) => line.split(',').map((part) => part.trim()))
    .filter(([name]) => name)
    .map(([name, capability, memory, driver]) => ({
      name,
      ...(Number(capability) > 0 && { capability: Number(capability) }),
      ...(memory && { memory }),
      ...(driver && { driver }),
    }));
}

/** Why stock TensorFlow cannot use a card, or null. */
export function cardRefusal({ name, capability }: Card): string | null {
  if (capability === undefined || cardHasCode(capability)) return null;
  return capability >= 10
    ? `stock TensorFlow has no code for the ${name} (compute capability ${capability}, Blackwell or newer); the webgpu backend uses it`
    : `stock TensorFlow has no code for the ${name} (compute capability ${capability}; 6.0 to 9.0 are supported)`;
}

/** Which of the visible cards is used: the first, unless CUDA_VISIBLE_DEVICES names others. The binding can hold just one. */
export function oneVisible(environment: NodeJS.ProcessEnv = process.env): string {
  const visible = environment.CUDA_VISIBLE_DEVICES;
  return visible === undefined ? '0' : visible.split(',')[0].trim();
}

/** What CUDA 12 builds look for. The names carry versions, so they are those of TensorFlow 2.18 to 2.23. */
const cudaLibraries = [
  'libcuda.so.1',
  'libcudart.so.12',
  'libcublas.so.12',
  'libcublasLt.so.12',
  'libcudnn.so.9',
  'libcufft.so.11',
  'libcusolver.so.11',
  'libcusparse.so.12',
];

/** The libraries that a CUDA build asks for and that neither the wheels beside it nor the system have. */
export function missingLibraries(found: Found, opener: Pick<Opener, 'tryOpen'>): string[] {
  const wheels = join(dirname(found.folder), 'nvidia');
  const carried = existsSync(wheels)
    ? readdirSync(wheels).flatMap((name) => (existsSync(join(wheels, name, 'lib')) ? readdirSync(join(wheels, name, 'lib')) : []))
    : [];
  return cudaLibraries.filter((name) => !carried.includes(name) && opener.tryOpen(name) !== null);
}
