/** What `plumb gpu setup` leaves behind, and where: one folder in the user's data folder. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** How the TensorFlow that setup uses came to be there. */
export type Origin = 'cpu' | 'cuda' | 'yours' | 'maven';

export type SetupRecord = {
  format: 1;
  origin: Origin;
  /** The folder with TensorFlow's two libraries. */
  tensorflow: string;
  version: string;
  /** Whether it is a CUDA build; missing where nobody knows. */
  cuda?: boolean;
  /** The folder of @tensorflow/tfjs-node-gpu, whose JavaScript and binding are used. */
  tfjsNode: string;
  /** What the self-test measured. */
  device: string;
  gflops: number;
};

/** `$PLUMB_TENSORFLOW_HOME`, or `tensorflow` in the data folder that the platform gives Plumbline. */
export function home(): string {
  const own = process.env.PLUMB_TENSORFLOW_HOME;
  if (own) return own;
  const data =
    process.platform === 'darwin'
      ? join(homedir(), 'Library', 'Application Support')
      : process.platform === 'win32'
        ? process.env.LOCALAPPDATA || join(homedir(), 'AppData', 'Local')
        : process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return join(data, 'plumbline', 'tensorflow');
}

export const places = () => ({
  record: join(home(), 'setup.json'),
  /** Lies there from setup's first step to its last. */
  unfinished: join(home(), 'unfinished.json'),
  environment: join(home(), 'python'),
  jar: join(home(), 'maven'),
  tfjsNode: join(home(), 'tfjs-node-gpu'),
  addons: join(home(), 'addons', `${process.platform}-${process.arch}`),
});

/** The finished setup, or null. A file that cannot be read counts as none. */
export function readSetup(): SetupRecord | null {
  try {
    const record = JSON.parse(readFileSync(places().record, 'utf8')) as SetupRecord;
    return record.format === 1 && typeof record.tensorflow === 'string' ? record : null;
  } catch {
    return null;
  }
}

export const setupUnfinished = (): boolean => existsSync(places().unfinished) && !existsSync(places().record);

/** Writes the whole file or leaves the old one. */
export function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

/** This package's folder: both src/ and dist/ lie in it. */
export const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
