/** The backend ladder: from the fastest rung down, the first that works here is taken. */
import * as tf from '@tensorflow/tfjs-core';
import { silenceBanner } from './engine.js';
import { BackendError } from './errors.js';
import './setup.js';
import { assertStorage } from './updateInPlace.js';

export type BackendInfo = {
  name: string;
  device?: string;
  threads?: number;
  simd?: string;
  /** By what products of bfloat16 numbers are made. */
  bf16?: string;
  version?: string;
  /** What takes far longer there than the rest would let one expect. */
  slow?: string;
};
export type BackendOptions = {
  /** One rung by name; or `PLUMB_BACKEND`. The whole ladder if neither says. */
  backend?: string;
  /** Threads of the rungs that have them (`native`); or `PLUMB_THREADS`. All cores if neither says. */
  threads?: number;
};

/** A way to compute. `start` makes it tfjs's current backend or throws a BackendError whose message says why not. */
export type Rung = {
  name: string;
  /** What it would run on, without making it current. `forced` is true where the user named it. */
  probe(o: { forced: boolean; threads?: number }): Promise<{ info: BackendInfo } | { why: string }>;
  start(o: { forced: boolean; threads?: number }): Promise<BackendInfo>;
};

export type Ladder = {
  initBackend(options?: BackendOptions): Promise<BackendInfo>;
  backendInfo(): BackendInfo;
  describeBackends(options?: BackendOptions): Promise<{ name: string; taken: boolean; why: string }[]>;
};

/**
 * The three functions over these rungs, fastest first. `say` receives the one line a rung that was expected to work and
 * did not; `initial` describes what runs from the import on.
 */
export function ladder(rungs: readonly Rung[], initial: () => BackendInfo, say: (line: string) => void): Ladder {
  let current: BackendInfo | null = null;

  /** Makes a backend current; parameters that live on another move when they are first used. */
  async function initBackend(options: BackendOptions = {}): Promise<BackendInfo> {
    const { named, threads } = choice(options, rungs);
    if (named) {
      current = await named.start({ forced: true, threads });
      return current;
    }
    for (const rung of rungs) {
      const found = await rung.probe({ forced: false, threads });
      if ('why' in found) {
        if (rung.name === 'native') say(`native: ${found.why}; taking the next backend`);
        continue;
      }
      try {
        current = await rung.start({ forced: false, threads });
        return current;
      } catch (error) {
        say(`${rung.name}: ${error instanceof Error ? error.message : String(error)}; taking the next backend`);
      }
    }
    throw new BackendError('No backend works here, not even cpu.');
  }

  async function describeBackends(options: BackendOptions = {}): Promise<{ name: string; taken: boolean; why: string }[]> {
    const { named, threads } = choice(options, rungs);
    let taken = false;
    const lines: { name: string; taken: boolean; why: string }[] = [];
    for (const rung of rungs) {
      const found = await rung.probe({ forced: rung === named, threads });
      const mine: boolean = !taken && 'info' in found && (!named || rung === named);
      taken ||= mine;
      const why =
        'why' in found
          ? found.why
          : mine
            ? details(found.info)
            : `works (${details(found.info)}); ${named ? `${named.name} was asked for` : 'a rung above is taken'}`;
      lines.push({ name: rung.name, taken: mine, why });
    }
    return lines;
  }

  return { initBackend, describeBackends, backendInfo: () => current ?? initial() };
}

function details({ device, threads, simd, bf16, version, slow }: BackendInfo): string {
  const parts = [
    device,
    simd,
    bf16 && `bfloat16 by ${bf16}`,
    threads && `${threads} thread${threads === 1 ? '' : 's'}`,
    version && `version ${version}`,
  ];
  return `${parts.filter(Boolean).join(', ') || 'always there'}${slow ? `; slow: ${slow}` : ''}`;
}

function choice({ backend, threads }: BackendOptions, rungs: readonly Rung[]): { named: Rung | null; threads?: number } {
  const env = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env ?? {};
  const name = backend ?? (env.PLUMB_BACKEND || undefined);
  const from = backend === undefined ? 'PLUMB_BACKEND' : 'backend';
  const named = rungs.find((rung) => rung.name === name) ?? null;
  if (name !== undefined && !named)
    throw new BackendError(`There is no backend "${name}" (${from}). Valid: ${rungs.map((rung) => rung.name).join(', ')}.`);
  const wanted: unknown = threads ?? (env.PLUMB_THREADS ? Number(env.PLUMB_THREADS) : undefined);
  if (wanted !== undefined && !(Number.isInteger(wanted) && (wanted as number) >= 1))
    throw new BackendError(
      `${threads === undefined ? 'PLUMB_THREADS' : 'threads'} must be a whole number of at least 1, got ${threads ?? env.PLUMB_THREADS}.`,
    );
  return { named, threads: wanted as number | undefined };
}

/** Makes a registered tfjs backend current. */
export async function makeCurrent(name: string): Promise<void> {
  let reason = '';
  const works = await tf.setBackend(name).catch((error: unknown) => {
    reason = error instanceof Error ? error.message : String((error as { message?: string } | null)?.message ?? error);
    return false;
  });
  if (!works) throw new BackendError(`The backend ${name} did not start${reason ? `: ${reason}` : '.'}`);
  silenceBanner();
  assertStorage();
}

export const cpuRung: Rung = {
  name: 'cpu',
  probe: async () => ({ info: cpuInfo }),
  start: async () => {
    await makeCurrent('cpu');
    return cpuInfo;
  },
};
const cpuInfo: BackendInfo = { name: 'cpu', device: 'plain JavaScript', threads: 1, version: tf.version_core };

/** `locate` tells the package where its .wasm files are, where it cannot find them itself. */
export function wasmRung(locate: (setWasmPaths: (folder: string) => void) => void): Rung {
  let mended = false;
  const load = async (): Promise<typeof import('@tensorflow/tfjs-backend-wasm')> => {
    const loaded = await import('@tensorflow/tfjs-backend-wasm');
    const module = ((loaded as { default?: object }).default ?? loaded) as typeof loaded;
    return module;
  };
  return {
    name: 'wasm',
    probe: async () => {
      if (typeof WebAssembly === 'undefined') return { why: 'this JavaScript engine has no WebAssembly' };
      try {
        const module = await load();
        return { info: await wasmInfo(module.version_wasm) };
      } catch (error) {
        return { why: `@tensorflow/tfjs-backend-wasm cannot be loaded: ${error instanceof Error ? error.message : String(error)}` };
      }
    },
    start: async () => {
      const module = await load();
      if (!mended) {
        mended = true;
        locate(module.setWasmPaths);
        const { mendWasm } = await import('./wasm/mend.js');
        mendWasm();
      }
      await makeCurrent('wasm');
      return wasmInfo(module.version_wasm);
    },
  };
}

async function wasmInfo(version: string): Promise<BackendInfo> {
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  return {
    name: 'wasm',
    device: 'WebAssembly',
    simd: simd ? 'simd128' : 'none',
    threads: 1,
    version,
    slow: 'gradients of convolutions and max pooling, dilation2d, clipByValue, tanh, log',
  };
}
