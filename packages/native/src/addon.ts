/** The compiled addon: found, loaded once, and described. Nothing here throws at import. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

type F32 = Float32Array;
type Any = Float32Array | Int32Array | Uint8Array;
type Mask = Uint8Array | null;

/** The functions of `build/plumbline.node`, in the order of their arguments in src/cc/addon.cc. */
// biome-ignore format: one line a function
export interface Addon {
  simd(): string;
  threads(): number;
  setThreads(n: number): void;
  gemm(
    a: F32, b: F32, c: F32, bias: F32 | null, m: number, n: number, k: number, lda: number, transA: boolean, ldb: number, transB: boolean, ldc: number, relu: boolean, accumulate: boolean, bf16?: boolean,
  ): void;
  bf16Unit(): string;
  hugePages(bytes: Uint8Array): void;
  frozenPack(values: F32 | Uint16Array | Int8Array, bytes: Uint8Array, storage: number, out: number, inputs: number, scales: F32 | null): void;
  frozenGemm(
    a: F32, bytes: Uint8Array, c: F32, bias: F32 | null, rows: number, storage: number, out: number, inputs: number, backward: boolean, accumulate: boolean, bf16: boolean,
  ): void;
  frozenRows(bytes: Uint8Array, storage: number, out: number, inputs: number, ids: Int32Array, y: F32): void;
  gemmBatch(
    a: F32, b: F32, c: F32, bias: F32 | null, m: number, n: number, k: number, transA: boolean, transB: boolean, relu: boolean, batch: number, offsets: Float64Array, bf16?: boolean,
  ): void;
  unary(op: number, x: F32, y: F32, n: number, p0: number, p1: number): void;
  binary(op: number, a: F32, b: F32, y: F32, walk: Float64Array): void;
  compare(op: number, a: F32, b: F32, y: Uint8Array, walk: Float64Array): void;
  select(condition: Uint8Array, a: Any, b: Any, y: Any, rows: number, inner: number): void;
  reduce(op: number, x: F32, y: F32, outer: number, n: number, inner: number): void;
  argReduce(max: boolean, x: F32, y: Int32Array, outer: number, n: number, inner: number): void;
  softmax(x: F32, y: F32, rows: number, n: number, log: boolean): void;
  softmaxGrad(y: F32, dy: F32, dx: F32, rows: number, n: number, log: boolean): void;
  logSumExp(x: F32, y: F32, rows: number, n: number): void;
  cumsum(x: F32, y: F32, outer: number, n: number, exclusive: boolean, reverse: boolean): void;
  copyStrided(x: Any, offsetX: number, y: Any, offsetY: number, walk: Float64Array): void;
  gather(x: Any, ids: Int32Array, y: Any, outer: number, n: number, count: number, inner: number): void;
  segmentScatter(x: F32, ids: Int32Array, y: F32, rows: number, segments: number, inner: number): void;
  plainCopy(x: F32, y: F32): void;
  axpy(alpha: number, x: F32, y: F32, n: number): void;
  convolve(which: number, a: F32, b: F32 | null, bias: F32 | null, y: F32, relu: boolean, shape: Float64Array): void;
  wholeBinary(op: number, a: Int32Array, b: Int32Array, y: Int32Array, walk: Float64Array): void;
  wholeCompare(op: number, a: Int32Array, b: Int32Array, y: Uint8Array, walk: Float64Array): void;
  truthBinary(op: number, a: Uint8Array, b: Uint8Array, y: Uint8Array, walk: Float64Array): void;
  wholeReduce(op: number, x: Int32Array, y: Int32Array, outer: number, n: number, inner: number): void;
  cast(x: Any, y: Any, n: number): void;
  fill(y: Any, value: number, n: number): void;
  topK(x: F32, values: F32, places: Int32Array, rows: number, n: number, k: number): void;
  batchNorm(x: F32, mean: F32, variance: F32, offset: F32 | null, scale: F32 | null, eps: number, y: F32): void;
  resize(x: F32, y: F32, shape: Float64Array, nearest: boolean, alignCorners: boolean, halfPixel: boolean, gradient: boolean): void;
  sumSquares(arrays: readonly F32[]): number;
  adamW(
    params: readonly F32[], grads: readonly F32[], ms: readonly F32[], vs: readonly F32[], decays: Float64Array, beta1: number, beta2: number, eps: number, learningRate: number, scale: number, correction1: number, correction2: number,
  ): void;
  rmsNorm(x: F32, weight: F32, y: F32, r: F32, rows: number, n: number, eps: number): void;
  rmsNormGrad(dy: F32, x: F32, weight: F32, r: F32, dx: F32 | null, dWeight: F32 | null, rows: number, n: number): void;
  layerNorm(x: F32, weight: F32, bias: F32, y: F32, mean: F32, r: F32, rows: number, n: number, eps: number): void;
  layerNormGrad(
    dy: F32, x: F32, weight: F32, mean: F32, r: F32, dx: F32 | null, dWeight: F32 | null, dBias: F32 | null, rows: number, n: number,
  ): void;
  rotary(x: F32, cos: F32, sin: F32, y: F32, tokens: number, heads: number, headDim: number, inverse: boolean): void;
  swiGlu(gate: F32, up: F32, y: F32, n: number): void;
  swiGluGrad(dy: F32, gate: F32, up: F32, dGate: F32 | null, dUp: F32 | null, n: number): void;
  groupNorm(
    x: F32, weight: F32, bias: F32, y: F32, mean: F32, r: F32, batch: number, positions: number, channels: number, groups: number, eps: number, silu: boolean,
  ): void;
  groupNormGrad(
    dy: F32, x: F32, weight: F32, bias: F32, mean: F32, r: F32, dx: F32 | null, dWeight: F32 | null, dBias: F32 | null,
    batch: number, positions: number, channels: number, groups: number, eps: number, silu: boolean,
  ): void;
  geluGrad(dy: F32, x: F32, dx: F32, n: number): void;
  attention(
    q: F32, k: F32, v: F32, cuSeqlens: Int32Array, prefixOf: Int32Array | null, heads: number, kvHeads: number, headDim: number, causal: boolean, scale: number, window: number, softcap: number, y: F32, lse: F32,
  ): void;
  attentionGrad(
    q: F32, k: F32, v: F32, cuSeqlens: Int32Array, prefixOf: Int32Array | null, heads: number, kvHeads: number, headDim: number, causal: boolean, scale: number, window: number, softcap: number,
    dy: F32, y: F32, lse: F32, dq: F32 | null, dk: F32 | null, dv: F32 | null,
  ): void;
  attentionDecode(
    q: F32, k: F32, v: F32, slots: Int32Array, lengths: Int32Array, y: F32, rows: number, heads: number, kvHeads: number, headDim: number, slotStride: number, tokenStride: number, headStride: number, window: number, scale: number, softcap: number,
  ): void;
  pagedAttention(q: F32, keys: F32, values: F32, rows: Int32Array, lengths: Int32Array, tables: Int32Array, y: F32, numbers: Float64Array): void;
  decoderStep(
    numbers: Float64Array, weights: readonly (F32 | Uint8Array | null)[], x: F32, cos: F32 | null, sin: F32 | null, rows: Int32Array, lengths: Int32Array, tables: Int32Array, slots: Int32Array, wanted: Int32Array, logits: F32, kinds: Int32Array, adapters: readonly F32[] | null, adapterNumbers: Float64Array | null,
  ): void;
  tokenLogps(
    hidden: F32, weight: F32 | Uint8Array, bias: F32 | null, targets: Int32Array, n: number, d: number, v: number, temperature: number, softcap: number, storage: number, bf16: boolean,
    logps: F32, lse: F32, entropy: F32 | null, squaredSum: F32 | null,
  ): void;
  tokenLogpsGrad(
    hidden: F32, weight: F32 | Uint8Array, bias: F32 | null, targets: Int32Array, n: number, d: number, v: number, temperature: number, softcap: number, storage: number, bf16: boolean,
    lse: F32, dLogps: F32 | null, dEntropy: F32 | null, dSquaredSum: F32 | null, dHidden: F32 | null, dWeight: F32 | null, dBias: F32 | null,
  ): void;
  sampleRows(logits: F32, uniforms: F32, rows: number, n: number, temperature: number, topK: number, topP: number, minP: number, tokens: Int32Array, logps: F32): void;
  segmentReduce(x: F32, cuSeqlens: Int32Array, mask: Mask, y: F32, d: number, mean: boolean): void;
  segmentReduceGrad(dy: F32, cuSeqlens: Int32Array, mask: Mask, dx: F32, d: number, mean: boolean): void;
}

export type Availability = { ok: true; simd: string; threads: number; bf16: string } | { ok: false; why: string };

// Both src/ and dist/ lie beside build/.
const built = fileURLToPath(new URL('../build/plumbline.node', import.meta.url));
const sources = fileURLToPath(new URL('../src/cc', import.meta.url));
const script = fileURLToPath(new URL('../build.mjs', import.meta.url));

let loaded: Addon | null = null;
let failure = '';

/** Where the compiled addon may be: a package for this platform, then what was built here. */
function candidates(): string[] {
  const require = createRequire(import.meta.url);
  const found: string[] = [];
  for (const libc of process.platform === 'linux' ? ['-gnu', '-musl'] : [''])
    try {
      found.push(require.resolve(`@plumbline/native-${process.platform}-${process.arch}${libc}/plumbline.node`));
    } catch {} // not installed
  if (existsSync(built)) found.push(built);
  return found;
}

/** Whether a compiled file is that of the sources beside this one: its functions' arguments are those of this very version. */
function isCurrent(file: string, hash: string): boolean {
  try {
    return (JSON.parse(readFileSync(file.replace(/\.node$/, '.json'), 'utf8')) as { sources?: string }).sources === hash;
  } catch {
    return false;
  }
}
function sourcesHash(): string {
  const hash = createHash('sha256');
  for (const f of readdirSync(sources).sort()) hash.update(f).update(readFileSync(join(sources, f)));
  return hash.digest('hex');
}

/** Loads the addon if there is one; null (and a reason in `nativeAvailable`) if not. */
export function addon(): Addon | null {
  if (loaded) return loaded;
  const simd = process.env.PLUMB_SIMD;
  if (simd && !['avx512', 'avx2', 'sse', 'neon', 'portable'].includes(simd)) {
    failure = `PLUMB_SIMD is "${simd}"; valid are avx512, avx2, sse, neon and portable`;
    return null;
  }
  const files = candidates();
  failure = 'not built; a C++ compiler and `node build.mjs` in @plumbline/native build it';
  if (files.length === 0) return null;
  const hash = sourcesHash();
  for (const file of files) {
    if (!isCurrent(file, hash)) {
      failure = 'built from other sources; `node build.mjs` in @plumbline/native builds it anew';
      continue;
    }
    try {
      loaded = createRequire(import.meta.url)(file) as Addon;
      return loaded;
    } catch (e) {
      failure = `cannot be loaded: ${e instanceof Error ? e.message : String(e)}`;
    }
  }
  return null;
}

/** The addon, where the caller knows that it is there. */
export function need(): Addon {
  const a = addon();
  if (!a) throw new Error(`@plumbline/native: ${failure}`);
  return a;
}

/** Whether the kernels can be used, and with which instruction set and how many threads. Synchronous; never throws. */
export function nativeAvailable(): Availability {
  const a = addon();
  return a ? { ok: true, simd: a.simd(), threads: a.threads(), bf16: units[a.bf16Unit()] ?? a.bf16Unit() } : { ok: false, why: failure };
}

/** Compiles the kernels if they are not there yet (about ten seconds), then says what `nativeAvailable` says. Never rejects. */
export async function buildNative(): Promise<Availability> {
  if (addon()) return nativeAvailable();
  const text = await new Promise<string>((resolve) => {
    const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString();
    });
    child.on('error', (e) => resolve(e.message));
    child.on('close', () => resolve(out.trim()));
  });
  if (addon()) return nativeAvailable();
  return { ok: false, why: text.match(/not built \((.*)\);/)?.[1] ?? (text || failure) };
}

/** Threads that kernels use, the caller's included. Results do not depend on it. */
export function setThreads(n: number): void {
  if (!(Number.isInteger(n) && n >= 1)) throw new RangeError(`setThreads: threads must be a whole number of at least 1, got ${n}`);
  need().setThreads(n);
}

/** Whether the processor multiplies bfloat16 numbers itself. Where it does not, they are rounded and multiplied as float32. */
export function bf16Instructions(): boolean {
  return need().bf16Unit() !== '';
}

/** By what bfloat16 numbers are multiplied; two of them were never run on a processor that has them. */
const units: Record<string, string> = {
  avx512bf16: 'AVX-512 BF16',
  amx: 'AMX (untested)',
  neonbf16: 'NEON BF16 (untested)',
  '': 'float32 instructions',
};

/** 'avx512', 'avx2', 'sse', 'neon' or 'portable'; `PLUMB_SIMD`, read when the addon loads, asks for a lower one. */
export function simdLevel(): string {
  return need().simd();
}
