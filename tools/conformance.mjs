// tfjs-core's own test suite, which its package carries, on one backend: `node tools/conformance.mjs
// [--backend native|cpu|wasm|webgpu|tensorflow] [--grep WORDS]` runs it by the conformance.mjs of packages/native, core or tensorflow, which import this. Core, the backend and what it extends are bundled together, so that there is one copy of each.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The value of `--name` on the command line. */
export const argument = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? fallback : process.argv[i + 1];
};

/**
 * Runs the suite and ends the process: 1 if a spec failed that `expected` does not cover. The last line is `N passed, N failed`.
 *
 * @param here       the package's folder: where its dependencies are found, and `.results/` is made
 * @param backend    the backend's name in tfjs
 * @param prepare    code that registers it, run in a module after tfjs-core is loaded
 * @param packages   what else is bundled in one copy, besides tfjs-core
 * @param isDataSync whether tensors can be read without waiting; specs that need this are left out where not
 * @param external   what is not bundled
 * @param expected   (full name of a spec) whether its failure is known; such failures are counted apart
 */
export async function conformance({ here, backend, prepare, packages = [], isDataSync = true, external = [], expected = () => false }) {
  const require = createRequire(join(here, 'package.json'));
  const { build } = await import(pathToFileURL(require.resolve('esbuild')).href).then((module) => module.default ?? module);
  const dist = (name) => join(dirname(require.resolve(`${name}/package.json`)), 'dist');
  const core = dist('@tensorflow/tfjs-core');
  const out = join(here, '.results');
  mkdirSync(out, { recursive: true });
  const bundle = join(out, `conformance-${backend}-${process.pid}.mjs`); // of its own: several may run at once
  await build({
    stdin: { contents: entry(core, backend, prepare, isDataSync), resolveDir: here, loader: 'js' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: bundle,
    ignoreAnnotations: true,
    external,
    logLevel: 'error',
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url); const __filename = new URL(import.meta.url).pathname, __dirname = __filename.slice(0, __filename.lastIndexOf('/'));",
    },
    plugins: [
      {
        name: 'one copy',
        setup(b) {
          for (const name of ['@tensorflow/tfjs-core', ...packages])
            b.onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: join(dist(name), 'index.js') }));
          b.onResolve({ filter: /^\.\/conformance-jasmine$/ }, () => ({ path: 'jasmine', namespace: 'setup' }));
          b.onLoad({ filter: /.*/, namespace: 'setup' }, () => ({ contents: jasmineSetup, resolveDir: here, loader: 'js' }));
        },
      },
    ],
  });

  const say = console.log;
  console.warn = () => {};
  await import(pathToFileURL(bundle).href).finally(() => rmSync(bundle));
  const counts = { passed: 0, failed: 0, known: 0, pending: 0 };
  const environment = globalThis.jasmine.getEnv();
  const grep = argument('grep', '');
  environment.configure({ random: false, ...(grep && { specFilter: (spec) => spec.getFullName().includes(grep) }) });
  environment.addReporter({
    specDone(spec) {
      if (spec.status === 'passed') counts.passed++;
      else if (spec.status === 'failed') {
        const known = expected(spec.fullName);
        counts[known ? 'known' : 'failed']++;
        const why = spec.failedExpectations.map((f) => f.message.split('\n')[0].slice(0, 300)).join('\n    ');
        say(`${known ? 'FAILED, as expected:' : 'FAILED'} ${spec.fullName}\n    ${why}`);
      } else if (spec.status === 'pending') counts.pending++;
    },
    jasmineDone() {
      if (counts.pending) say(`${counts.pending} pending`);
      if (counts.known) say(`${counts.known} failed as expected`);
      say(`${counts.passed} passed, ${counts.failed} failed`);
      process.exit(counts.failed || !counts.passed ? 1 : 0);
    },
  });
  environment.execute();
}

const entry = (core, backend, prepare, isDataSync) => `
import './conformance-jasmine';
import '@tensorflow/tfjs-core';
import '${core}/register_all_gradients.js';
import '${core}/public/chained_ops/register_all_chained_ops.js';
import { setTestEnvs } from '${core}/jasmine_util.js';
${prepare}
setTestEnvs([{ name: 'test-${backend}', backendName: '${backend}', isDataSync: ${isDataSync} }]);
await import('${core}/tests.js');
`;

const jasmineSetup = `
const jasmineRequire = require('jasmine-core/lib/jasmine-core/jasmine.js');
const jasmine = jasmineRequire.core(jasmineRequire);
const environment = jasmine.getEnv({ suppressLoadErrors: true });
Object.assign(globalThis, jasmineRequire.interface(jasmine, environment), { jasmine });
jasmine.DEFAULT_TIMEOUT_INTERVAL = 60000;
globalThis.i = undefined; // profiler_test.js assigns it undeclared, which a module refuses
`;

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const backend = argument('backend', 'native');
  const name = { native: 'native', cpu: 'native', wasm: 'core', webgpu: 'core', tensorflow: 'tensorflow' }[backend];
  if (!name) {
    console.error(`The suite does not run on "${backend}". Valid: native, cpu, wasm, webgpu, tensorflow.`);
    process.exit(2);
  }
  const script = fileURLToPath(new URL(`../packages/${name}/conformance.mjs`, import.meta.url));
  process.exit(spawnSync(process.execPath, [script, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1);
}
