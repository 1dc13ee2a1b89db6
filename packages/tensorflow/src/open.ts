/** Opens TensorFlow's two libraries in this process and loads the binding over them. Once: neither can be closed again. */
import { createRequire } from 'node:module';
import { oneVisible } from './card.js';
import { findAddons } from './compile.js';
import { messageOf, TensorflowError } from './errors.js';
import type { Found } from './find.js';
import { refusalOf } from './versions.js';

export interface Opener {
  open(path: string): string | null;
  tryOpen(name: string): string | null;
  version(): string | null;
  setEnvironment(name: string, value: string): void;
  capture(): void;
  release(): string;
}

/** The part of tfjs-node's addon that is used outside of it. */
export interface Binding {
  TF_Version: string;
  isUsingGpuDevice(): boolean;
  executeOp(
    name: string,
    attributes: { name: string; type: number; value: unknown }[],
    inputs: number[],
    outputs: number,
  ): { id: number; shape: number[]; dtype: number }[];
  deleteTensor(id: number): void;
  readonly [constant: `TF_${string}`]: unknown;
}

export type Settings = {
  /** Products in TF32 on Ampere and newer: faster, with an error of about 1e-3. Off unless asked for; or `PLUMB_TF32=1`. */
  tf32?: boolean;
  /** Keeps TensorFlow off a card that is there. */
  cpuOnly?: boolean;
  /** Threads of the CPU's kernels; TensorFlow takes all cores by itself. */
  threads?: number;
};

const require = createRequire(import.meta.url);
type Opened = { opener: Opener; binding: Binding /** What TensorFlow said while it started. */; said: string };
let opened: (Opened & { found: Found }) | null = null;

export const alreadyOpen = (): Found | null => opened?.found ?? null;

/** What TensorFlow reads once, when it is opened. What the user has set is left alone, but for the one visible card. */
export function environmentFor({ tf32, cpuOnly, threads }: Settings, user: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const fast = tf32 ?? user.PLUMB_TF32 === '1';
  const wanted: Record<string, string> = {
    TF_FORCE_GPU_ALLOW_GROWTH: 'true', // else it takes the card's whole memory at once
    TF_CPP_MIN_LOG_LEVEL: '2',
    CUDA_DEVICE_ORDER: 'PCI_BUS_ID', // the order in which nvidia-smi names them
    ...(!fast && { NVIDIA_TF32_OVERRIDE: '0' }),
    ...(threads !== undefined && { TF_NUM_INTRAOP_THREADS: String(threads), OMP_NUM_THREADS: String(threads) }),
  };
  const kept = Object.fromEntries(Object.entries(wanted).filter(([name]) => user[name] === undefined));
  return { ...kept, CUDA_VISIBLE_DEVICES: cpuOnly ? '-1' : oneVisible(user) };
}

export function loadOpener(): Opener {
  const addons = findAddons();
  if (!addons) throw new TensorflowError('its binding is not built; run `plumb gpu setup`');
  try {
    return require(addons.opener) as Opener;
  } catch (error) {
    throw new TensorflowError(`${addons.opener} cannot be loaded: ${firstLine(messageOf(error))}; run \`plumb gpu setup\` again`);
  }
}

/** @throws TensorflowError where a library or the binding cannot be loaded, or where another TensorFlow is open already */
export function openTensorflow(found: Found, settings: Settings): Opened {
  if (opened) {
    if (opened.found.folder !== found.folder)
      throw new TensorflowError(
        `this process has opened the TensorFlow in ${opened.found.folder}; start another one for that in ${found.folder}`,
      );
    return opened;
  }
  const opener = loadOpener();
  const talkative = process.env.TF_CPP_MIN_LOG_LEVEL !== undefined; // whoever has set it wants to see what comes
  for (const [name, value] of Object.entries(environmentFor(settings))) {
    process.env[name] = value;
    opener.setEnvironment(name, value);
  }
  // Its first lines come before it has read its log level.
  if (!talkative) opener.capture();
  try {
    const binding = openLibraries(found, opener);
    opened = { found, opener, binding, said: opener.release() };
    return opened;
  } finally {
    opener.release();
  }
}

function openLibraries(found: Found, opener: Opener): Binding {
  for (const library of [found.framework, found.cc]) {
    const problem = opener.open(library);
    if (problem) throw new TensorflowError(`${library} cannot be opened: ${firstLine(problem)}`);
  }
  const version = opener.version();
  const refused = version === null ? `${found.cc} has no TF_Version: not a TensorFlow library` : refusalOf(version);
  if (refused) throw new TensorflowError(refused);
  try {
    return require(findAddons()!.binding) as Binding;
  } catch (error) {
    throw new TensorflowError(`the binding does not load on TensorFlow ${version}: ${firstLine(messageOf(error))}`);
  }
}

const firstLine = (text: string): string => text.split('\n')[0];
