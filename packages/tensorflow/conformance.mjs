// tfjs-core's own test suite on TensorFlow: `node conformance.mjs [--grep WORDS]`. Specs on the ignore list of tfjs-node's own
// test runner, which lies in the copy of it that is used, may fail: they are listed and counted apart. 3 where TensorFlow is not set up.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runInNewContext } from 'node:vm';
// @boundaries-ignore the workspace's own tools
import { conformance } from '../../tools/conformance.mjs';
import { findTensorflow, readSetup } from './dist/api.js';

const here = dirname(fileURLToPath(import.meta.url));
const found = findTensorflow();
const setup = readSetup();
if ('why' in found || !setup) {
  console.log(`tensorflow: ${found.why ?? 'not set up; run `plumb gpu setup`'}`);
  process.exit(3);
}
const runner = readFileSync(join(setup.tfjsNode, 'dist', 'run_tests.js'), 'utf8');
const ignored = runInNewContext(/var IGNORE_LIST = (\[[\s\S]*?\n\]);/.exec(runner)[1]);

await conformance({
  here,
  backend: 'tensorflow',
  prepare: `
import { registerTensorflowBackend } from '${join(here, 'src/api.ts')}';
const info = registerTensorflowBackend();
console.log('TensorFlow ' + info.version + ' on ' + info.device);
`,
  expected: (name) => ignored.some((part) => name.includes(part)),
});
