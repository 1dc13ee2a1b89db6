/** The TensorFlow rungs: tfjs-node's kernels over the TensorFlow that `plumb gpu setup` found or installed; the package is optional. */
import type { BackendInfo, Rung } from './backends.js';
import { makeCurrent } from './backends.js';
import { BackendError } from './errors.js';

type Options = { cpuOnly?: boolean; threads?: number };
type TensorflowPackage = {
  tensorflowAvailable(
    options?: Options,
  ): { ok: true; version?: string; device: string; gpu: boolean; remarks: string[] } | { ok: false; why: string };
  registerTensorflowBackend(options?: Options): { version: string; device: string; gpu: boolean };
};

const absent = 'the package @plumbline/tensorflow is not installed';

/** Loaded when first asked for. Any error counts as absence: an optional dependency never breaks an import. */
let loading: Promise<TensorflowPackage | null> | null = null;
const load = (): Promise<TensorflowPackage | null> => {
  loading ??= import('@plumbline/tensorflow/api').then(
    (module) => module as unknown as TensorflowPackage,
    () => null,
  );
  return loading;
};

async function start(name: string, options: Options): Promise<BackendInfo> {
  const tensorflow = await load();
  if (!tensorflow) throw new BackendError(`${name}: ${absent}.`);
  let info: ReturnType<TensorflowPackage['registerTensorflowBackend']>;
  try {
    info = tensorflow.registerTensorflowBackend(options);
  } catch (error) {
    throw new BackendError(`${name}: ${error instanceof Error ? error.message : String(error)}.`);
  }
  await makeCurrent('tensorflow');
  return { name, device: info.device, version: info.version };
}

/** First of the ladder where there is a card that TensorFlow can use; on the CPU too where it was asked for by name. */
export const tensorflowRung: Rung = {
  name: 'tensorflow',
  probe: async ({ forced }) => {
    const found = (await load())?.tensorflowAvailable() ?? { ok: false as const, why: absent };
    if (!found.ok) return { why: found.why };
    if (!found.gpu && !forced)
      return { why: [...found.remarks, `TensorFlow${found.version ? ` ${found.version}` : ''} works here on the CPU alone`].join('; ') };
    return { info: { name: 'tensorflow', device: [found.device, ...found.remarks].join('; '), version: found.version } };
  },
  start: ({ threads }) => start('tensorflow', { threads }),
};

/** TensorFlow on the CPU, below `native`. */
export const tensorflowCpuRung: Rung = {
  name: 'tensorflow-cpu',
  probe: async () => {
    const found = (await load())?.tensorflowAvailable({ cpuOnly: true }) ?? { ok: false as const, why: absent };
    return found.ok ? { info: { name: 'tensorflow-cpu', device: 'CPU', version: found.version } } : { why: found.why };
  },
  start: ({ threads }) => start('tensorflow-cpu', { cpuOnly: true, threads }),
};
