/** The slow checks of `npm run test:full`: tfjs-core's suite on each instruction set and on 1, 2 and 5 threads, and the sanitizers. */
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { buildNative } from './index.js';

const run = promisify(execFile);
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const available = await buildNative();
const sets = process.arch === 'x64' ? ['avx512', 'avx2', 'sse'] : ['neon'];

describe.runIf(process.env.PLUMB_FULL && available.ok)('on every instruction set, any threads, and under the sanitizers (slow)', () => {
  const conformance = async (env: Record<string, string>) => {
    const { stdout } = await run(process.execPath, ['conformance.mjs'], { cwd: here, maxBuffer: 2 ** 26, env: { ...process.env, ...env } });
    expect(stdout.trim().split('\n').at(-1)).toBe('4225 passed, 0 failed');
  };
  it.each(sets)('passes the suite of tfjs-core with %s', (simd) => conformance({ PLUMB_SIMD: simd }), 900_000);
  it.each([1, 2, 5])(
    'passes the suite of tfjs-core with %d threads',
    (threads) => conformance({ PLUMB_THREADS: String(threads) }),
    900_000,
  );
  it.runIf(process.platform === 'linux').each(['address', 'thread'])(
    'runs its kernel tests under the %s sanitizer without a report',
    async (kind) => {
      const { stdout } = await run(process.execPath, ['sanitize.mjs', kind], { cwd: here, maxBuffer: 2 ** 28 });
      expect(stdout).toContain(`${kind} sanitizer: no report`);
    },
    1_800_000,
  );
});
