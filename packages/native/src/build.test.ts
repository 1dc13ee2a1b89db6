import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
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
    const before = await stat(addon);
    const { stdout } = await run(process.execPath, ['build.mjs'], { cwd: here });
    expect(stdout).toBe('');
    const { ino, mtimeMs } = await stat(addon);
    expect({ ino, mtimeMs }).toEqual({ ino: before.ino, mtimeMs: before.mtimeMs });
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
  it('carries the whole backend in worker threads, each with its own pool, beside the main thread', async () => {
    const { build } = await import('esbuild');
    const file = join(here, '.results', 'worker.mjs');
    const program = `
      import * as tf from '@tensorflow/tfjs-core';
      import { registerNativeBackend, poolStats } from '../src/index.ts';
      import { parentPort } from 'node:worker_threads';
      registerNativeBackend();
      await tf.setBackend('native');
      const x = tf.tensor2d(Float32Array.from({ length: 150 * 70 }, (_, i) => Math.sin(i)), [150, 70]);
      const y = tf.tidy(() => tf.softmax(tf.matMul(x, x, false, true)));
      const values = await y.data();
      tf.dispose([x, y]);
      parentPort.postMessage({ values, used: poolStats().usedBytes });
    `;
    await build({
      stdin: { contents: program, resolveDir: join(here, 'src'), loader: 'ts' },
      outfile: file,
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['@tensorflow/*'],
      logLevel: 'error',
    });
    const inWorker = () =>
      new Promise<{ values: Float32Array; used: number }>((resolve, reject) => {
        const worker = new Worker(file);
        worker.on('message', resolve);
        worker.on('error', reject);
      });
    const [a, b, c] = await Promise.all([inWorker(), inWorker(), inWorker()]);
    expect(a.values.length).toBe(150 * 150);
    expect(b).toEqual(a);
    expect(c).toEqual(a);
    expect(a.used).toBe(0);
  });
  it('is taken from a package for this platform where one is installed, and not where that is of other sources', async () => {
    const { build } = await import('esbuild');
    const dir = await mkdtemp(join(tmpdir(), 'plumbline-prebuilt-'));
    try {
      await cp(join(here, 'src', 'cc'), join(dir, 'src', 'cc'), { recursive: true });
      await cp(join(here, 'build.mjs'), join(dir, 'build.mjs'));
      await build({
        entryPoints: [join(here, 'src', 'addon.ts')],
        outfile: join(dir, 'dist', 'addon.mjs'),
        platform: 'node',
        format: 'esm',
        logLevel: 'error',
      });
      const { stdout: made } = await run(process.execPath, [
        join(here, '..', '..', 'tools', 'prebuilt.mjs'),
        'pack',
        join(dir, 'node_modules', '@plumbline'),
      ]);
      const manifest = JSON.parse(await readFile(join(made.trim(), 'package.json'), 'utf8'));
      expect(manifest).toMatchObject({ os: [process.platform], cpu: [process.arch] });
      const ask = async () =>
        (
          await run(process.execPath, [
            '--input-type=module',
            '-e',
            `import { nativeAvailable } from ${JSON.stringify(join(dir, 'dist', 'addon.mjs'))}; console.log(JSON.stringify(nativeAvailable()))`,
          ])
        ).stdout;
      expect(JSON.parse(await ask())).toMatchObject({ ok: true });
      const { stdout } = await run(process.execPath, ['build.mjs'], { cwd: dir, env: { ...process.env, CXX: '' } });
      expect(stdout).toBe(''); // nothing to build
      await writeFile(join(made.trim(), 'plumbline.json'), '{"sources":"others"}');
      expect(JSON.parse(await ask())).toMatchObject({ ok: false, why: expect.stringContaining('built from other sources') });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
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
