// Compiles src/cc to build/plumbline.node with whatever C++ compiler is there ($CXX, else c++). Downloads nothing.
// Run at install and, where installers block scripts, on first use. Without a compiler it says so in one line and exits 0:
// everything still works on the other backends.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const sources = join(here, 'src', 'cc');
const out = join(here, 'build');
const target = join(out, 'plumbline.node');
const stamp = join(out, 'plumbline.json');

const windows = process.platform === 'win32';
const common = [
  '-std=c++17',
  ...(windows ? [] : ['-fPIC']),
  '-fvisibility=hidden',
  '-ffp-contract=off',
  '-fno-math-errno',
  '-fno-trapping-math',
  '-w',
];
const kernel = ['-O3', '-fno-exceptions', '-fno-rtti'];
const isas =
  process.arch === 'x64'
    ? {
        avx512: ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx2', '-mfma', '-mprefer-vector-width=512'],
        avx2: ['-mavx2', '-mfma'],
        sse: [],
      }
    : process.arch === 'arm64'
      ? { neon: [] }
      : { portable: [] };

/** PLUMB_ISAS leaves out what it does not name, to compile faster while trying something; the lowest set always stays. */
const wanted = (process.env.PLUMB_ISAS ?? '').split(',').filter(Boolean);
if (wanted.length > 0) for (const isa of Object.keys(isas).slice(0, -1)) if (!wanted.includes(isa)) delete isas[isa];

/** Products of bfloat16 numbers, where a compiler knows the instructions: the units `gemm` and `rows` once more. */
const pairs = isas.avx512
  ? { avx512bf16: [...isas.avx512, '-mavx512bf16'] }
  : process.arch === 'arm64'
    ? { neonbf16: ['-march=armv8.2-a+bf16'] }
    : {};

/** Several vectors are computed side by side there: GCC is to mix their instructions (Clang does so by itself and ignores the flag). */
const interleaved = { ops: ['-fschedule-insns'], reduce: ['-fschedule-insns'] };

/** The same products by tiles of a processor with AMX: a unit of its own. */
const amx = isas.avx512 ? [...pairs.avx512bf16, '-mamx-tile', '-mamx-bf16'] : undefined;

/** What widens int8 to bfloat16 by looking it up; asked for beside the products' own instructions where those kernels are chosen. */
const vbmi = isas.avx512 ? ['-mavx512vbmi'] : [];

/** A package of this very version with the addon compiled for this machine, where one is installed. */
function prebuilt() {
  const require = createRequire(import.meta.url);
  for (const libc of process.platform === 'linux' ? ['-gnu', '-musl'] : [''])
    try {
      const file = require.resolve(`@plumbline/native-${process.platform}-${process.arch}${libc}/plumbline.json`);
      if (JSON.parse(readFileSync(file, 'utf8')).sources === sourcesHash()) return true;
    } catch {}
  return false;
}

function headers() {
  const pkg = createRequire(import.meta.url).resolve('node-api-headers/package.json');
  return join(dirname(pkg), 'include');
}

function run(command, args) {
  return new Promise((resolve) => {
    let text = '';
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (d) => (text += d));
    child.stderr.on('data', (d) => (text += d));
    child.on('error', (e) => resolve({ code: -1, text: e.message }));
    child.on('close', (code) => resolve({ code, text }));
  });
}

/** What src/addon.ts compares with, to see whether a compiled file is that of these sources. */
function sourcesHash() {
  const hash = createHash('sha256');
  for (const f of readdirSync(sources).sort()) hash.update(f).update(readFileSync(join(sources, f)));
  return hash.digest('hex');
}

function signature(cxx) {
  const hash = createHash('sha256');
  hash.update(sourcesHash()).update(readFileSync(fileURLToPath(import.meta.url)));
  hash.update(JSON.stringify([cxx, process.platform, process.arch, process.versions.modules, process.env.PLUMB_CXXFLAGS ?? '', wanted]));
  return hash.digest('hex');
}

/** Whether the compiler takes these flags; an old one builds without what they are for. */
function understands(cxx, flags) {
  return spawnSync(cxx, [...flags, '-x', 'c++', '-fsyntax-only', '-'], { input: '' }).status === 0;
}

function lastBuild() {
  try {
    return JSON.parse(readFileSync(stamp, 'utf8'));
  } catch {
    return {};
  }
}

/** @returns {Promise<{ built: boolean, why: string, seconds?: number }>} `built` says whether there is an addon to load now. */
export async function build({ force = false } = {}) {
  if (!force && !process.env.CXX && prebuilt()) return { built: true, why: 'a package with the compiled addon is installed' };
  const cxx = process.env.CXX || (windows ? 'clang++' : 'c++'); // the kernels use the vectors of GCC and Clang, which MSVC's own compiler lacks
  let include;
  try {
    include = headers();
  } catch {
    return { built: existsSync(target), why: 'node-api-headers is not installed' };
  }
  const want = signature(cxx);
  const last = existsSync(target) ? lastBuild() : {};
  if (!force && last.signature === want) return { built: true, why: 'up to date' };
  const probe = spawnSync(cxx, ['--version'], { encoding: 'utf8' });
  const noCompiler = probe.error || probe.status !== 0;
  if (noCompiler && last.sources === sourcesHash()) return { built: true, why: 'built before, from these sources' };
  if (noCompiler) return { built: false, why: `no C++ compiler: "${cxx}" cannot be run (set CXX to one)` };
  const start = Date.now();
  let work;
  try {
    mkdirSync(out, { recursive: true });
    work = mkdtempSync(join(out, 'tmp-'));
    const extra = (process.env.PLUMB_CXXFLAGS ?? '').split(' ').filter(Boolean);
    const known = Object.entries(pairs).filter(([, flags]) => understands(cxx, flags));
    const tiles = amx && process.platform === 'linux' && understands(cxx, amx);
    const has = [...Object.keys(isas), ...known.map(([isa]) => isa), ...(tiles ? ['amx'] : [])].map(
      (isa) => `-DPLUMB_HAS_${isa.toUpperCase()}`,
    );
    const jobs = [];
    for (const [isa, flags] of Object.entries(isas))
      for (const unit of ['fused', 'ops', 'reduce', 'gemm', 'decode', 'rows'])
        jobs.push({
          source: unit,
          object: `${unit}-${isa}`,
          flags: [...kernel, ...(interleaved[unit] ?? []), ...flags, `-DPLUMB_ISA=${isa}`],
        });
    for (const [isa, flags] of known)
      for (const unit of ['gemm', 'rows'])
        jobs.push({
          source: unit,
          object: `${unit}-${isa}`,
          flags: [...kernel, ...flags, ...(unit === 'rows' ? vbmi : []), `-DPLUMB_ISA=${isa}`, '-DPLUMB_PAIRS'],
        });
    if (tiles) jobs.push({ source: 'amx', object: 'amx', flags: [...kernel, ...amx] });
    jobs.push(
      { source: 'frozen', object: 'frozen', flags: ['-O3'] },
      { source: 'addon', object: 'addon', flags: ['-O2', '-I', include, ...has] },
      { source: 'pool', object: 'pool', flags: ['-O2'] },
      { source: 'sample', object: 'sample', flags: ['-O2'] },
      { source: 'conv', object: 'conv', flags: ['-O3'] },
      { source: 'wholes', object: 'wholes', flags: ['-O3'] },
    );
    if (process.platform === 'darwin') jobs.push({ source: 'accelerate', object: 'accelerate', flags: ['-O2'] });
    const objects = jobs.map((j) => join(work, `${j.object}.o`));
    let failure = '';
    const queue = [...jobs];
    const lane = async () => {
      for (let j = queue.shift(); j && !failure; j = queue.shift()) {
        const r = await run(cxx, [
          ...common,
          ...j.flags,
          ...extra,
          '-c',
          join(sources, `${j.source}.cc`),
          '-o',
          join(work, `${j.object}.o`),
        ]);
        if (r.code !== 0) failure ||= r.text;
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, Math.min(4, availableParallelism())) }, lane));
    let link = ['-Wl,-z,nodelete', '-pthread'];
    if (process.platform === 'darwin') link = ['-undefined', 'dynamic_lookup', '-framework', 'Accelerate'];
    if (windows && !failure) {
      // What the addon calls is in node.exe: an import library of its names, out of the headers' package.
      const library = join(work, 'node.lib');
      const machine = process.arch === 'arm64' ? 'arm64' : 'i386:x86-64';
      const r = await run('llvm-dlltool', [
        '-m',
        machine,
        '-D',
        'node.exe',
        '-d',
        join(include, '..', 'def', 'node_api.def'),
        '-l',
        library,
      ]);
      if (r.code !== 0) failure = r.text;
      link = [library];
    }
    if (!failure) {
      const r = await run(cxx, ['-shared', ...objects, '-o', join(work, 'plumbline.node'), ...link, ...extra]);
      if (r.code !== 0) failure = r.text;
    }
    if (failure) {
      const lines = failure.split('\n');
      return { built: false, why: `${cxx} failed: ${(lines.find((l) => /error/i.test(l)) ?? lines[0]).trim()}` };
    }
    renameSync(join(work, 'plumbline.node'), target);
    writeFileSync(stamp, JSON.stringify({ signature: want, sources: sourcesHash(), compiler: probe.stdout.split('\n')[0] }));
    return { built: true, why: 'compiled', seconds: (Date.now() - start) / 1000 };
  } catch (e) {
    return { built: false, why: e instanceof Error ? e.message : String(e) };
  } finally {
    if (work) rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const r = await build({ force: process.argv.includes('--force') });
  if (r.seconds) console.log(`@plumbline/native: compiled in ${r.seconds.toFixed(1)} s`);
  else if (!r.built) console.log(`@plumbline/native: not built (${r.why}); tensors run on another backend, slower`);
  process.exit(0);
}
