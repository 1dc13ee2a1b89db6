import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { buildNative, nativeAvailable, setThreads, simdLevel } from './index.js';

const run = promisify(execFile);
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const addon = join(here, 'build', 'plumbline.node');
const available = await buildNative();
if (!available.ok) console.warn(`native kernels are not tested: ${available.why}`);

/** A copy of what the package ships, without the compiled file. */
async function withCopy<T>(f: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-native-'));
  try {
    await cp(join(here, 'build.mjs'), join(dir, 'build.mjs'));
    await cp(join(here, 'src', 'cc'), join(dir, 'src', 'cc'), { recursive: true });
    await symlink(join(here, 'node_modules'), join(dir, 'node_modules'));
    return await f(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

describe('the build', () => {
  it('exits 0 with one clear line where there is no compiler', () =>
    withCopy(async (dir) => {
      const { stdout, stderr } = await run(process.execPath, ['build.mjs'], { cwd: dir, env: { ...process.env, CXX: 'nocxx' } });
      expect(stderr).toBe('');
      expect(stdout.trim().split('\n')).toHaveLength(1);
      expect(stdout).toMatch(/not built \(no C\+\+ compiler: "nocxx" cannot be run/);
      expect((await readdir(dir)).includes('build')).toBe(false);
    }));
  it.runIf(available.ok)('exits 0 with one clear line where the compiler fails, and leaves nothing half made', () =>
    withCopy(async (dir) => {
      const { stdout } = await run(process.execPath, ['build.mjs'], {
        cwd: dir,
        env: { ...process.env, PLUMB_CXXFLAGS: '-fno-such-flag' },
      });
      expect(stdout.trim().split('\n')).toHaveLength(1);
      expect(stdout).toMatch(/not built \(.* failed: .*no-such-flag/);
      expect(await readdir(join(dir, 'build'))).toEqual([]);
    }),
  );
  it.runIf(available.ok)('does nothing where sources, flags and compiler are those of the last build', async () => {
    const start = performance.now();
    const { stdout } = await run(process.execPath, ['build.mjs'], { cwd: here });
    expect(stdout).toBe('');
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe.runIf(available.ok)('the addon', () => {
  it('says what it runs on', () => {
    const a = nativeAvailable();
    expect(a).toMatchObject({ ok: true, simd: simdLevel() });
    setThreads(3);
    expect(nativeAvailable()).toMatchObject({ threads: 3 });
    setThreads(2);
    expect(() => setThreads(0)).toThrow('threads must be a whole number of at least 1, got 0');
  });

  const product = `
    const native = require(${JSON.stringify(addon)});
    const [m, n, k] = [150, 70, 300];
    const fill = (size, s) => Float32Array.from({ length: size }, (_, i) => Math.sin(i * s));
    const c = new Float32Array(m * n);
    for (let i = 0; i < 20; i++) native.gemm(fill(m * k, 0.7), fill(k * n, 0.3), c, null, m, n, k, k, false, n, false, n, false, false);
  `;
  it('computes the same in several worker threads at once as in the main thread', async () => {
    const inWorker = () =>
      new Promise<Float32Array>((resolve, reject) => {
        const worker = new Worker(`${product} require('node:worker_threads').parentPort.postMessage(c);`, { eval: true });
        worker.on('message', resolve);
        worker.on('error', reject);
      });
    const [a, b, c] = await Promise.all([inWorker(), inWorker(), inWorker()]);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
  });
  it('answers on every instruction set that this machine has', async () => {
    const answers = await Promise.all(
      ['avx512', 'avx2', 'sse', 'neon'].map(async (simd) => {
        const { stdout } = await run(process.execPath, ['-e', `${product} console.log(native.simd(), JSON.stringify([...c]));`], {
          env: { ...process.env, PLUMB_SIMD: simd },
          maxBuffer: 2 ** 26,
        });
        const space = stdout.indexOf(' ');
        return { simd: stdout.slice(0, space), c: JSON.parse(stdout.slice(space)) as number[] };
      }),
    );
    expect(new Set(answers.map((a) => a.simd)).size).toBeGreaterThanOrEqual(process.arch === 'x64' ? 2 : 1);
    for (const { c } of answers) expect(Math.max(...c.map((x, i) => Math.abs(x - answers[0].c[i])))).toBeLessThan(1e-3);
  });
  it('takes its number of threads from PLUMB_THREADS', async () => {
    const { stdout } = await run(process.execPath, ['-p', `require(${JSON.stringify(addon)}).threads()`], {
      env: { ...process.env, PLUMB_THREADS: '5' },
    });
    expect(stdout.trim()).toBe('5');
  });
});
