import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { buildNative } from './index.js';

const run = promisify(execFile);
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const available = await buildNative();
if (!available.ok) console.warn(`tfjs-core's suite is not run: ${available.why}`);

it.runIf(available.ok)('passes every spec of tfjs-core that the CPU backend passes', async () => {
  const { stdout } = await run(process.execPath, ['conformance.mjs'], { cwd: here, maxBuffer: 2 ** 26 });
  expect(stdout.trim().split('\n').at(-1)).toBe('4225 passed, 0 failed');
});
