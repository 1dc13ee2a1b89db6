/** One module out of an experiment's own TypeScript: to run it from wherever it lies, and to know which code its results depend on. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '@plumbline/core';
import { type BuildFailure, build, type Plugin } from 'esbuild';
import type { Experiment } from './types.js';

const require = createRequire(import.meta.url);

/** What experiments share with the program that runs them: one copy in the process. */
const shared = /^(@plumbline\/|@tensorflow\/tfjs-core$|zod$)/;

/**
 * Where the module of an experiment is: `path` itself, or `experiment.ts` (`.mts`, `.js`, `.mjs`) in the folder `path`.
 *
 * @throws ConfigError naming what is missing
 */
export function experimentFile(path: string): string {
  if (!existsSync(path)) throw new ConfigError(`${path}: there is no such file or folder`);
  if (/\.(ts|mts|js|mjs)$/.test(extname(path))) return path;
  const file = ['ts', 'mts', 'js', 'mjs'].map((ending) => join(path, `experiment.${ending}`)).find((candidate) => existsSync(candidate));
  if (!file) throw new ConfigError(`${path}: an experiment's folder holds an experiment.ts; \`plumb new paper NAME\` writes one`);
  return file;
}

/**
 * The experiment in a folder or file anywhere on the disk, which may be TypeScript; its imports of Plumbline's packages are those of this program.
 *
 * @throws ConfigError where it does not compile, or exports no experiment by default
 */
export async function loadExperimentFrom(path: string): Promise<Experiment> {
  const file = experimentFile(path);
  const code = await bundled({ entry: file, plugin: outside(file) });
  process.setSourceMapsEnabled(true); // an error in it names the line that its author wrote
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-experiment-'));
  try {
    const module = join(dir, 'experiment.mjs');
    writeFileSync(module, code);
    const { default: experiment } = (await import(pathToFileURL(module).href)) as { default?: Experiment };
    if (typeof experiment?.run !== 'function' || typeof experiment.id !== 'string')
      throw new ConfigError(`${file}: its default export is not an experiment; write \`export default defineExperiment({ ... })\``);
    return experiment;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * A hash of the code that a result depends on, so that a stale one is seen: everything of Plumbline's that the experiment reaches, its test beds and the statistics of its
 * verdicts, as one program without what it does not use. Comments, formatting and code that it does not reach leave the hash alone; the version of a library does too.
 *
 * @param experimentDir the experiment's folder; without it the whole of `packages` counts
 */
export async function codeHash(packages: readonly string[], experimentDir?: string): Promise<string> {
  const hashed = async (runner: string) => {
    const reached = experimentDir
      ? [`export { default } from ${JSON.stringify(experimentFile(experimentDir))};`]
      : packages.map((name, i) => `export * as p${i} from '@plumbline/${name}';`);
    return bundled({ stdin: [...reached, runner].join('\n'), plugin: inside() });
  };
  const code = await hashed("export { judgeClaims } from '@plumbline/bench';");
  // the test beds belong to what it computes only where it asks for one
  const whole = /\bbed\b/.test(code) ? await hashed("export { bedMakers, judgeClaims } from '@plumbline/bench';") : code;
  return createHash('sha256').update(whole).digest('hex').slice(0, 16);
}

async function bundled({ entry, stdin, plugin }: { entry?: string; stdin?: string; plugin: Plugin }): Promise<string> {
  // modules are named by their path from here in what is hashed, which must be the same wherever the program is called
  const absWorkingDir = entry ? process.cwd() : join(benchDir(), '../..');
  try {
    const { outputFiles } = await build({
      ...(entry
        ? { entryPoints: [entry], sourcemap: 'inline', sourcesContent: false, sourceRoot: `${pathToFileURL(absWorkingDir).pathname}/` }
        : { stdin: { contents: stdin!, resolveDir: benchDir(), loader: 'ts' }, minifyWhitespace: true }),
      absWorkingDir,
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      treeShaking: true,
      legalComments: 'none',
      conditions: ['plumbline-source'],
      logLevel: 'silent',
      plugins: [plugin],
    });
    return outputFiles[0].text;
  } catch (error) {
    const [first] = (error as BuildFailure).errors ?? [];
    if (!first) throw error;
    const at = first.location ? `${resolve(absWorkingDir, first.location.file)}:${first.location.line}:${first.location.column + 1}: ` : '';
    throw new ConfigError(`${at}${first.text}`, { cause: error });
  }
}

/** Packages stay outside: the shared ones as this program has them, others as the experiment's folder has them. */
const outside = (file: string): Plugin => ({
  name: 'outside',
  setup({ onResolve }) {
    onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
      if (kind === 'entry-point' || path.startsWith('node:')) return undefined;
      if (shared.test(path)) return { path: import.meta.resolve(path), external: true };
      try {
        return { path: pathToFileURL(createRequire(file).resolve(path)).href, external: true };
      } catch {
        return { errors: [{ text: `cannot find the package "${path}"; install it in ${dirname(file)}` }] };
      }
    });
  },
});

/** Plumbline's own packages go in, found from here; the rest stays outside by name. */
const inside = (): Plugin => ({
  name: 'inside',
  setup(context) {
    // what `plumb apply` does with an experiment changes nothing that was measured
    context.onResolve({ filter: /^\.\/apply\.js$/ }, ({ path, importer }) =>
      /experiment\.(ts|mts|js|mjs)$/.test(importer) ? { path, external: true } : undefined,
    );
    context.onResolve({ filter: /^[^./]/ }, async ({ path, kind, pluginData }) => {
      if (pluginData === 'found' || kind === 'entry-point') return undefined;
      if (!path.startsWith('@plumbline/')) return { path, external: true };
      const own = /^@plumbline\/bench(\/.*)?$/.exec(path);
      if (own && !existsSync(join(benchDir(), 'node_modules/@plumbline/bench'))) return ownFace(own[1]);
      const found = await context.resolve(path, { kind, resolveDir: benchDir(), pluginData: 'found' });
      return found.errors.length > 0 ? { path, external: true } : { path: found.path, sideEffects: found.sideEffects };
    });
  },
});

/** This package's face by its path: a package cannot look itself up from every layout. */
function ownFace(face = ''): { path: string; sideEffects: boolean } {
  const from = existsSync(join(benchDir(), 'src')) ? 'src' : 'dist';
  const base = join(benchDir(), from, face, 'index');
  return { path: existsSync(`${base}.ts`) ? `${base}.ts` : `${base}.js`, sideEffects: false };
}

/** Versions of what a result stands on. @throws ConfigError naming a package that is not Plumbline's */
export function packageVersions(packages: readonly string[]): Record<string, string> {
  const version = (file: string) => (require(file) as { version: string }).version;
  const manifest = (name: string) => {
    if (name === 'bench') return join(benchDir(), 'package.json');
    try {
      return require.resolve(`@plumbline/${name}/package.json`);
    } catch {
      throw new ConfigError(
        `packages names "${name}", and there is no @plumbline/${name}; it lists those whose code the result depends on`,
      );
    }
  };
  const ours = [...new Set(['bench', 'core', 'data', ...packages])].sort().map((name) => [`@plumbline/${name}`, version(manifest(name))]);
  return {
    node: process.versions.node,
    '@tensorflow/tfjs-core': version(require.resolve('@tensorflow/tfjs-core/package.json')),
    ...Object.fromEntries(ours),
  };
}

/** This package's own folder: the first above this file that holds its package.json. */
function benchDir(): string {
  let dir = import.meta.dirname;
  while (!existsSync(join(dir, 'package.json'))) dir = dirname(dir);
  return dir;
}
