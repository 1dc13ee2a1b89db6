// tfjs-core's own test suite, which its package carries, on a backend: `node conformance.mjs [--backend native|cpu] [--grep WORDS]`.
// The last line is `N passed, N failed`; the exit code is 1 if any failed.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
// @boundaries-ignore the workspace's own tools
import { argument, conformance } from '../../tools/conformance.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const backend = argument('backend', 'native');
if (backend !== 'native' && backend !== 'cpu') {
  console.error(`There is no backend "${backend}" here. Valid: native, cpu.`);
  process.exit(2);
}
await conformance({
  here,
  backend,
  packages: ['@tensorflow/tfjs-backend-cpu'],
  prepare: `
import '@tensorflow/tfjs-backend-cpu';
import { registerNativeBackend, nativeAvailable } from '${join(here, 'src/index.ts')}';
if (${backend === 'native'} && !registerNativeBackend()) throw new Error('native: ' + nativeAvailable().why);
`,
});
