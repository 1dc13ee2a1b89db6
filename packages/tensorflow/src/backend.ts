/** The tfjs backend `tensorflow`: whether it can start, and its start. */
import * as tf from '@tensorflow/tfjs-core';
import { type Card, cardRefusal, cards, missingLibraries, oneVisible } from './card.js';
import { findAddons } from './compile.js';
import { messageOf, TensorflowError } from './errors.js';
import { mendFaults } from './faults.js';
import { type Found, findTensorflow } from './find.js';
import { openTensorflow, type Settings } from './open.js';
import { findTfjsNode, loadTfjsNode, type TfjsNodeBackend } from './tfjsNode.js';
import { nodeRemark, remarkOn } from './versions.js';

export type StartOptions = Settings & {
  /** Where TensorFlow is; or `PLUMB_TENSORFLOW`. */
  path?: string;
};

export type TensorflowInfo = {
  version: string;
  /** The card's name, or `CPU`. */
  device: string;
  gpu: boolean;
  folder: string;
  /** Faults of this version that are mended. */
  mended: string[];
};

export type Availability =
  | { ok: true; version?: string; device: string; gpu: boolean; remarks: string[]; found: Found }
  | { ok: false; why: string };

/** The card that a start would use; `why` where there is one that it cannot. `all` are the cards of this machine. */
export function usableCard(found: Pick<Found, 'cuda'>, all: readonly Card[], visible: string): { card: Card | null; why?: string } {
  const card = /^\d+$/.test(visible) ? (all[Number(visible)] ?? null) : visible === '-1' || visible === '' ? null : (all[0] ?? null);
  if (!card) return { card: null };
  const refused = cardRefusal(card);
  if (refused) return { card: null, why: `GPU present but unused: ${refused}` };
  if (found.cuda === false)
    return {
      card: null,
      why: `GPU present but unused: this TensorFlow is built for the CPU; \`plumb gpu setup --cuda\` installs one for the ${card.name}`,
    };
  return { card };
}

/** Why a start that should have used a card did not: the libraries that are missing, else what TensorFlow said. */
export function whyUnused(card: string, version: string, missing: readonly string[], said: string): string {
  const begin = 'GPU present but unused:';
  if (missing.length > 0)
    return `${begin} TensorFlow cannot open ${missing.join(', ')} for the ${card}; \`plumb gpu setup --cuda\` installs CUDA's libraries, libcuda.so.1 comes with the driver`;
  const line = said
    .split('\n')
    .filter((text) => /cuda|gpu|dlopen|driver/i.test(text))
    .at(-1);
  const reason = line ? `It says: ${line.replace(/^.*?\] /, '')}` : 'TF_CPP_MIN_LOG_LEVEL=0 shows its reason';
  return `${begin} TensorFlow ${version} does not take the ${card}. ${reason}`;
}

/** Whether TensorFlow can be started, and on what, as far as can be told without opening it. Never throws. */
export function tensorflowAvailable({ path, cpuOnly }: StartOptions = {}): Availability {
  try {
    const found = findTensorflow({ path });
    if ('why' in found) return { ok: false, why: found.why };
    if (!findTfjsNode() || !findAddons())
      return {
        ok: false,
        why: `TensorFlow${found.version ? ` ${found.version}` : ''} is in ${found.folder}, but its binding is not built; run \`plumb gpu setup\``,
      };
    const { card, why } = usableCard(found, cpuOnly ? [] : cards(), oneVisible());
    const remarks = [found.version ? remarkOn(found.version) : '', nodeRemark(), why ?? ''].filter(Boolean);
    return { ok: true, version: found.version, device: card?.name ?? 'CPU', gpu: card !== null, remarks, found };
  } catch (error) {
    return { ok: false, why: messageOf(error) };
  }
}

let started: TensorflowInfo | null = null;

/**
 * Opens TensorFlow and registers its kernels and the backend `tensorflow`; `tf.setBackend('tensorflow')` makes it current.
 * Opening cannot be undone, and only the first call's settings count.
 *
 * @throws TensorflowError saying what is missing; or where there is a card, a CUDA build and no use of it
 */
export function registerTensorflowBackend(options: StartOptions = {}): TensorflowInfo {
  if (started) return started;
  const available = tensorflowAvailable(options);
  if (!available.ok) throw new TensorflowError(available.why);
  const { found } = available;
  if (tf.findBackendFactory('tensorflow'))
    throw new TensorflowError('a backend "tensorflow" is registered in this process already, by tfjs-node itself; import one of the two');
  const { opener, binding, said } = openTensorflow(found, options);
  const using = binding.isUsingGpuDevice();
  if (available.gpu && !using) {
    const missing = missingLibraries(found, opener);
    if (found.cuda || missing.length > 0) throw new TensorflowError(whyUnused(available.device, binding.TF_Version, missing, said));
  }
  const tfjsNode = loadTfjsNode(findTfjsNode()!);
  const mended = mendFaults(binding.TF_Version, tfjsNode);
  // The name matters in one place: with the other one, 3-d convolutions refuse dilation.
  tf.registerBackend('tensorflow', () => new tfjsNode.NodeJSKernelBackend(binding, '@tensorflow/tfjs-node-gpu') as tf.KernelBackend, 3);
  started = { version: binding.TF_Version, device: using ? available.device : 'CPU', gpu: using, folder: found.folder, mended };
  return started;
}

/** The backend, for raw operations; null before it has started. */
export const tensorflowBackend = (): TfjsNodeBackend | null =>
  started ? (tf.findBackend('tensorflow') as unknown as TfjsNodeBackend) : null;
