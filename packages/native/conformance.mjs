// tfjs-core's own test suite, which its package carries, on a backend: `node conformance.mjs [--backend native|cpu] [--grep WORDS]`.
// Core, the CPU backend and this package are bundled together, so that there is one copy of each. The last line is
// `N passed, N failed`; the exit code is 1 if any failed.
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const argument = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? fallback : process.argv[i + 1];
};
const backend = argument('backend', 'native');
const grep = argument('grep', '');
if (backend !== 'native' && backend !== 'cpu') {
  console.error(`There is no backend "${backend}" here. Valid: native, cpu.`);
  process.exit(2);
}
const root = (name) => dirname(require.resolve(`${name}/package.json`));
const core = join(root('@tensorflow/tfjs-core'), 'dist');
const cpu = join(root('@tensorflow/tfjs-backend-cpu'), 'dist');
const out = join(here, 'build');
mkdirSync(out, { recursive: true });

const entry = `
import './conformance-jasmine';
import '@tensorflow/tfjs-core';
import '${core}/register_all_gradients.js';
import '${core}/public/chained_ops/register_all_chained_ops.js';
import { setTestEnvs } from '${core}/jasmine_util.js';
import '@tensorflow/tfjs-backend-cpu';
import { registerNativeBackend, nativeAvailable } from '${join(here, 'src/index.ts')}';
if (${backend === 'native'} && !registerNativeBackend()) throw new Error('native: ' + nativeAvailable().why);
setTestEnvs([{ name: ${JSON.stringify(backend)}, backendName: ${JSON.stringify(backend)}, isDataSync: true }]);
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
const bundle = join(out, 'conformance-bundle.mjs');
await build({
  stdin: { contents: entry, resolveDir: here, loader: 'js' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  outfile: bundle,
  ignoreAnnotations: true,
  logLevel: 'error',
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  plugins: [
    {
      name: 'one copy',
      setup(b) {
        b.onResolve({ filter: /^@tensorflow\/tfjs-core$/ }, () => ({ path: join(core, 'index.js') }));
        b.onResolve({ filter: /^@tensorflow\/tfjs-backend-cpu$/ }, () => ({ path: join(cpu, 'index.js') }));
        b.onResolve({ filter: /^\.\/conformance-jasmine$/ }, () => ({ path: 'jasmine', namespace: 'setup' }));
        b.onLoad({ filter: /.*/, namespace: 'setup' }, () => ({ contents: jasmineSetup, resolveDir: here, loader: 'js' }));
      },
    },
  ],
});
if (!existsSync(bundle)) process.exit(2);

const say = console.log;
console.warn = () => {};
await import(pathToFileURL(bundle).href);
const counts = { passed: 0, failed: 0, pending: 0 };
const environment = globalThis.jasmine.getEnv();
environment.configure({ random: false, ...(grep && { specFilter: (spec) => spec.getFullName().includes(grep) }) });
environment.addReporter({
  specDone(spec) {
    if (spec.status === 'passed') counts.passed++;
    else if (spec.status === 'failed') {
      counts.failed++;
      say(`FAILED ${spec.fullName}\n    ${spec.failedExpectations.map((f) => f.message.split('\n')[0].slice(0, 300)).join('\n    ')}`);
    } else if (spec.status === 'pending') counts.pending++;
  },
  jasmineDone() {
    if (counts.pending) say(`${counts.pending} pending`);
    say(`${counts.passed} passed, ${counts.failed} failed`);
    process.exit(counts.failed || !counts.passed ? 1 : 0);
  },
});
environment.execute();
