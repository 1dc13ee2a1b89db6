// The kernel tests with the C++ compiled under a sanitizer: `node sanitize.mjs address|thread`. Works in a copy of the package and leaves
// nothing behind. Node itself is not instrumented: the sanitizer's library is loaded before it, and leaks are not looked for. Linux only.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const kind = process.argv[2];
if (kind !== 'address' && kind !== 'thread') {
  console.error(`There is no sanitizer "${kind ?? ''}" here. Valid: address, thread.`);
  process.exit(2);
}
const cxx = process.env.CXX || 'c++';
const library = spawnSync(cxx, [`-print-file-name=lib${kind === 'address' ? 'asan' : 'tsan'}.so`], { encoding: 'utf8' }).stdout?.trim();
if (process.platform !== 'linux' || !library?.includes('/')) {
  console.log(`${kind} sanitizer: ${cxx} has no library for it here`);
  process.exit(3);
}

const dir = mkdtempSync(join(tmpdir(), 'plumbline-sanitize-'));
const run = (command, args, env) =>
  spawnSync(command, args, {
    cwd: dir,
    stdio: ['ignore', 'inherit', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
  });
try {
  for (const name of ['src', 'build.mjs', 'package.json', 'vitest.config.ts'])
    cpSync(join(here, name), join(dir, name), { recursive: true });
  writeFileSync(join(dir, 'tsconfig.json'), '{ "compilerOptions": { "target": "ES2022" } }');
  symlinkSync(join(here, 'node_modules'), join(dir, 'node_modules'));
  const flags = `-fsanitize=${kind} -g -O1 -fno-omit-frame-pointer`;
  const built = run(process.execPath, ['build.mjs'], { PLUMB_CXXFLAGS: flags, CXX: cxx, PLUMB_ISAS: process.env.PLUMB_ISAS ?? 'avx512' });
  if (built.status !== 0) throw new Error(built.stderr);
  // V8 hands memory from thread to thread in ways that the sanitizer cannot see, since Node is not compiled with it.
  writeFileSync(join(dir, 'suppressions'), 'race:node::\nrace:v8::\nrace:uv_\ncalled_from_lib:libuv\nrace:^node\n');
  const options =
    kind === 'address'
      ? { ASAN_OPTIONS: 'detect_leaks=0:halt_on_error=1:abort_on_error=0:exitcode=66:allocator_may_return_null=1' }
      : { TSAN_OPTIONS: `halt_on_error=0:exitcode=66:ignore_noninstrumented_modules=1:suppressions=${join(dir, 'suppressions')}` };
  const tests = ['convolution', 'elementwise', 'memory', 'moves', 'products', 'raw', 'reductions', 'wholes'].map(
    (name) => `src/${name}.test.ts`,
  );
  const vitest = join(here, 'node_modules', 'vitest', 'vitest.mjs');
  // A fixed layout of addresses: the thread sanitizer's shadow memory does not fit every random one.
  const command = kind === 'thread' ? ['setarch', ['-R', process.execPath]] : [process.execPath, []];
  const tested = run(command[0], [...command[1], vitest, 'run', ...tests, '--testTimeout=600000'], {
    LD_PRELOAD: library,
    PLUMB_THREADS: '4',
    PLUMB_CXXFLAGS: flags,
    ...options,
  });
  const reports = tested.stderr.split('\n').filter((line) => /(ERROR|WARNING|SUMMARY): \w+Sanitizer/.test(line));
  if (reports.length > 0 || tested.status !== 0) {
    console.log(tested.stderr.slice(-8000));
    console.log(`${kind} sanitizer: ${reports.length} reports, the tests ended with ${tested.status}`);
    process.exitCode = 1;
  } else console.log(`${kind} sanitizer: no report`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
