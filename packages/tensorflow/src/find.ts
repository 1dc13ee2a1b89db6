/** Finds a TensorFlow: its two shared libraries, which version they are, and whether this process can open them. */
import { closeSync, existsSync, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { places, readSetup, setupUnfinished } from './store.js';
import { nodeRefusal, refusalOf } from './versions.js';

export type Found = {
  /** The folder with both libraries. */
  folder: string;
  framework: string;
  cc: string;
  /** Who named it. */
  from: 'option' | 'PLUMB_TENSORFLOW' | 'setup' | 'python';
  /** From the files around it; the library itself says it once it is open. */
  version?: string;
  /** Whether it is a CUDA build, where the files around it tell. */
  cuda?: boolean;
};

export type Search = Found | { why: string };

export const libraryNames = (): { framework: string; cc: string } =>
  process.platform === 'darwin'
    ? { framework: 'libtensorflow_framework.2.dylib', cc: 'libtensorflow_cc.2.dylib' }
    : { framework: 'libtensorflow_framework.so.2', cc: 'libtensorflow_cc.so.2' };

/**
 * The first of: `path`, `PLUMB_TENSORFLOW`, what setup stored, the active Python environment (VIRTUAL_ENV or CONDA_PREFIX).
 * One that was named and does not work is an answer, not a reason to look further. Opens nothing.
 */
export function findTensorflow({ path }: { path?: string } = {}): Search {
  const old = nodeRefusal();
  if (old) return { why: old };
  if (process.platform === 'win32') return { why: 'TensorFlow has no library for Windows that this could open; run under WSL' };
  if (path) return inspect(path, 'option');
  if (process.env.PLUMB_TENSORFLOW) return inspect(process.env.PLUMB_TENSORFLOW, 'PLUMB_TENSORFLOW');
  const stored = readSetup();
  if (stored) {
    if (!existsSync(stored.tensorflow))
      return { why: `the TensorFlow that setup found in ${stored.tensorflow} is gone or has moved; run \`plumb gpu setup\` again` };
    const found = inspect(stored.tensorflow, 'setup');
    return 'why' in found ? found : { ...found, version: found.version ?? stored.version, cuda: found.cuda ?? stored.cuda };
  }
  if (setupUnfinished()) return { why: 'its setup was not finished; run `plumb gpu setup` again, it goes on where it stopped' };
  for (const environment of [process.env.VIRTUAL_ENV, process.env.CONDA_PREFIX]) {
    if (!environment) continue;
    const folder = inEnvironment(environment);
    if (folder) return inspect(folder, 'python');
  }
  return { why: 'no TensorFlow found (optional); `plumb gpu setup` installs one' };
}

/** The tensorflow folder of a Python environment, or null. */
export function inEnvironment(environment: string): string | null {
  for (const lib of ['lib', 'lib64']) {
    const versions = list(join(environment, lib)).filter((name) => name.startsWith('python'));
    for (const version of versions) {
      const folder = join(environment, lib, version, 'site-packages', 'tensorflow');
      if (existsSync(folder)) return folder;
    }
  }
  return null;
}

/** `path` may be TensorFlow's folder, the folder around it, one of its libraries, or a Python environment. */
function inspect(path: string, from: Found['from']): Search {
  const asked = from === 'PLUMB_TENSORFLOW' ? `PLUMB_TENSORFLOW names ${path}` : path;
  if (!existsSync(path)) return { why: `${asked}: there is no such file or folder` };
  const names = libraryNames();
  const given = statSync(path).isDirectory() ? path : dirname(path);
  const folders = [given, join(given, 'tensorflow'), join(given, 'site-packages', 'tensorflow'), inEnvironment(given)];
  const folder = folders.find((at) => at && (existsSync(join(at, names.cc)) || existsSync(join(at, names.framework))));
  if (!folder) return { why: `${asked}: it holds neither ${names.framework} nor ${names.cc}` };
  const files = { framework: join(folder, names.framework), cc: join(folder, names.cc) };
  for (const file of [files.framework, files.cc]) {
    if (!existsSync(file)) return { why: `${folder} has no ${basename(file)}: library missing (TensorFlow 2.10 or newer has both)` };
    const problem = problemOf(file);
    if (problem) return { why: `${file} ${problem}` };
  }
  const around = describe(folder);
  const refused = around.version && refusalOf(around.version);
  return refused ? { why: refused } : { folder: realpathSync(folder), ...files, from, ...around };
}

/** Version and kind from the `.dist-info` folder beside a wheel's package, or from the name of a jar that setup unpacked. */
function describe(folder: string): { version?: string; cuda?: boolean } {
  for (const name of list(dirname(folder))) {
    const match = /^(tensorflow|tensorflow_cpu|tf_nightly|tf_nightly_cpu|tensorflow_intel|intel_tensorflow)-(\d[^-]*)\.dist-info$/.exec(
      name,
    );
    if (match)
      return {
        version: match[2],
        cuda: /^(tensorflow|tf_nightly)$/.test(match[1]) && process.platform === 'linux' && process.arch === 'x64',
      };
  }
  const stored = dirname(folder).startsWith(places().jar) || folder.startsWith(places().jar);
  return stored ? { cuda: folder.includes('gpu') } : {};
}

const machines: Record<number, string> = { 3: 'ia32', 40: 'arm', 62: 'x64', 183: 'arm64', 243: 'riscv64', 21: 'ppc64' };
const machCpus: Record<number, string> = { 16777223: 'x64', 16777228: 'arm64' };

/** What keeps this process from opening a library, read from its first bytes; null if nothing. */
function problemOf(file: string): string | null {
  const head = Buffer.alloc(20);
  const handle = openSync(file, 'r');
  const length = readSync(handle, head, 0, 20, 0);
  closeSync(handle);
  if (length < 20) return `is ${length} bytes long: cut short; install TensorFlow again`;
  const elf = head.readUInt32BE(0) === 0x7f454c46;
  const mach = head.readUInt32LE(0) === 0xfeedfacf;
  if (process.platform === 'darwin' ? !mach : !elf) return `is not a shared library of ${process.platform}`;
  const built = elf ? (head[4] === 2 ? machines[head.readUInt16LE(18)] : 'another word size') : machCpus[head.readUInt32LE(4)];
  return built === process.arch ? null : `is built for ${built ?? 'another processor'}, and this Node runs on ${process.arch}`;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
