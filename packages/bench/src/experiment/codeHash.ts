/** A hash of the code that a result depends on, so that a stale one is seen. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

const require = createRequire(import.meta.url);
/** Every experiment stands on these, whatever it names. */
const always = ['bench', 'core', 'data'];

/**
 * SHA-256 over the sources of the packages named and of those that every experiment stands on, and over the experiment's own folder: file names and contents, tests
 * and prose left out. From an installed package its built files are read instead, which gives another hash: one compares like with like.
 */
export function codeHash(packages: readonly string[], experimentDir?: string): string {
  const hash = createHash('sha256');
  const names = [...new Set([...always, ...packages])].sort();
  for (const name of names) {
    const dir = packageDir(name);
    const sources = existsSync(join(dir, 'src')) ? join(dir, 'src') : join(dir, 'dist');
    addFiles(hash, sources, `@plumbline/${name}`);
  }
  if (experimentDir) addFiles(hash, experimentDir, 'experiment');
  return hash.digest('hex').slice(0, 16);
}

export function packageVersions(packages: readonly string[]): Record<string, string> {
  const version = (file: string) => (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  const ours = [...new Set([...always, ...packages])]
    .sort()
    .map((name) => [`@plumbline/${name}`, version(join(packageDir(name), 'package.json'))]);
  return {
    node: process.versions.node,
    '@tensorflow/tfjs-core': version(require.resolve('@tensorflow/tfjs-core/package.json')),
    ...Object.fromEntries(ours),
  };
}

const packageDir = (name: string) => (name === 'bench' ? benchDir() : dirname(require.resolve(`@plumbline/${name}/package.json`)));

/** This package's own folder: the first above this file that holds its package.json. */
function benchDir(): string {
  let dir = import.meta.dirname;
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}

function addFiles(hash: ReturnType<typeof createHash>, dir: string, label: string): void {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mts|js|mjs|cc|cpp|h|json)$/.test(entry.name) && !/\.test\.ts$|\.map$/.test(entry.name))
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
  for (const file of files) {
    hash.update(`${label}/${file}\0`);
    hash.update(readFileSync(join(dir, file)));
    hash.update('\0');
  }
}
