/** Generation's kernels: attention over a cache in blocks, and a whole step of a decoder. Part of raw.ts. */
import { need } from './addon.js';
import { expect, type PackedMatrix, storages } from './raw.js';

type F32 = Float32Array;

/** Where a cache in blocks keeps its tokens: row r's token t is entry `t % blockTokens` of block `tables[r · blocksPerRow + ⌊t / blockTokens⌋]`. */
export type PagedShape = {
  heads: number;
  kvHeads: number;
  headDim: number;
  scale: number;
  softcap?: number;
  /** A multiple of 16. */
  blockTokens: number;
  blocksPerRow: number;
};
function pagedNumbers(kernel: string, n: number, o: PagedShape): number[] {
  if (o.heads % o.kvHeads !== 0) throw new RangeError(`${kernel}: ${o.kvHeads} key heads do not divide ${o.heads} query heads`);
  if (!(o.blockTokens > 0 && o.blockTokens % 16 === 0))
    throw new RangeError(`${kernel}: blockTokens must be a multiple of 16, got ${o.blockTokens}`);
  return [n, o.heads, o.kvHeads, o.headDim, o.scale, o.softcap ?? 0, o.blockTokens, o.blocksPerRow];
}
function expectPages(kernel: string, o: PagedShape, size: number, rows: Int32Array, lengths: Int32Array, tables: Int32Array): void {
  const blocks = size / (o.kvHeads * o.headDim * o.blockTokens);
  expect(kernel, { lengths: [lengths, rows.length] });
  for (let i = 0; i < rows.length; i++) {
    const used = Math.ceil(lengths[i] / o.blockTokens);
    if (!(lengths[i] >= 1 && rows[i] >= 0 && used <= o.blocksPerRow && (rows[i] + 1) * o.blocksPerRow <= tables.length))
      throw new RangeError(`${kernel}: query ${i} reads ${lengths[i]} tokens of row ${rows[i]}, beyond the cache`);
    for (let b = rows[i] * o.blocksPerRow; b < rows[i] * o.blocksPerRow + used; b++)
      if (!(tables[b] >= 0 && tables[b] < blocks)) throw new RangeError(`${kernel}: row ${rows[i]} has block ${tables[b]} among ${blocks}`);
  }
}

/**
 * Queries `q` [n, heads, headDim] over a cache in blocks: keys [blocks, kvHeads, headDim, blockTokens], values [blocks, kvHeads, blockTokens,
 * headDim]; query i sees the first `lengths[i]` tokens of row `rows[i]`, or the last `window` of them. `y` as q. A query does not depend on the others.
 */
export function pagedAttention(
  q: F32,
  keys: F32,
  values: F32,
  rows: Int32Array,
  lengths: Int32Array,
  tables: Int32Array,
  o: PagedShape & { window?: number },
  y: F32,
): void {
  const n = rows.length;
  const numbers = pagedNumbers('pagedAttention', n, o);
  expect('pagedAttention', { q: [q, n * o.heads * o.headDim], y: [y, q.length], values: [values, keys.length] });
  expectPages('pagedAttention', o, keys.length, rows, lengths, tables);
  need().pagedAttention(q, keys, values, rows, lengths, tables, y, Float64Array.of(...numbers, o.window ?? 0));
}

/** What tells one decoder's step from another. `gelu` in place of SiLU; `gemma` multiplies norms by 1 + weight. */
export type DecoderStepShape = PagedShape & {
  layers: number;
  width: number;
  mlpWidth: number;
  vocabulary: number;
  eps: number;
  logitSoftcap?: number;
  gemma: boolean;
  gelu: boolean;
  /** Queries, keys and values in 3 matrices, or in 1. */
  qkvParts: number;
  /** Gate and up in 2 matrices, or up alone in 1. */
  upParts: number;
  /** Gate and up side by side in the one matrix. */
  fusedUp: boolean;
  /** Matrices of the layers that are plain floats are [in, out]. */
  transposed: boolean;
  /** Tokens that a layer's queries see; 0 is all. */
  windows: readonly number[];
  /** Products of bfloat16 operands. */
  bf16: boolean;
};
const perLayer = 24;
const afterLayers = 4;

/** Weights ready to be handed over; good for as long as none of the arrays changes its place. */
export type StepWeights = { arrays: readonly (F32 | Uint8Array | null)[]; kinds: Int32Array };
/**
 * With null for what there is not: of each layer attention norm and bias; q, k, v, each with its bias (or one matrix and its bias, and
 * four nulls); q norm; k norm; o and bias; norm after attention; mlp norm and bias; gate, up, each with its bias (or one, and two nulls); down
 * and bias; norm after the mlp; keys; values. Then final norm and bias, head and null. A matrix is [out, in], or one of `packMatrix`. Their
 * lengths are trusted.
 */
export function stepWeights(weights: readonly (F32 | PackedMatrix | null)[]): StepWeights {
  const kinds = Int32Array.from(weights, (one) => (one && 'storage' in one ? storages[one.storage] : -1));
  return { kinds, arrays: weights.map((one) => (one && 'storage' in one ? one.bytes : one)) };
}

/** An adapter's updates `scale · b · a` of q, k, v, o, gate, up and down of each layer (q is all three, and gate both, where they lie in one matrix); `a` [rank, in], `b` [out, rank]. */
export type StepUpdates = { factors: readonly F32[]; numbers: Float64Array };
export function stepUpdates(updates: readonly ({ a: F32; b: F32; rank: number; scale: number } | null)[]): StepUpdates {
  return {
    factors: updates.flatMap((one) => (one ? [one.a, one.b] : [])),
    numbers: Float64Array.from(updates.flatMap((one) => (one ? [one.rank, one.scale] : [0, 0]))),
  };
}

/**
 * One step of a decoder: `x` [n, width], embedded tokens, which is overwritten; their keys and values go to `slots` of the caches; `logits` [wanted,
 * vocabulary] after the tokens that `wanted` names.
 */
export function decoderStep(
  o: DecoderStepShape,
  { arrays, kinds }: StepWeights,
  x: F32,
  rotary: { cos: F32; sin: F32 } | null,
  at: { rows: Int32Array; lengths: Int32Array; tables: Int32Array; slots: Int32Array; wanted: Int32Array },
  logits: F32,
  updates: StepUpdates | null = null,
): void {
  const { rows, lengths, tables, slots, wanted } = at;
  const n = rows.length;
  const table = (n * o.headDim) / 2;
  const numbers = pagedNumbers('decoderStep', n, o);
  if (arrays.length !== o.layers * perLayer + afterLayers)
    throw new RangeError(`decoderStep: ${arrays.length} weights for ${o.layers} layers`);
  expect('decoderStep', {
    x: [x, n * o.width],
    cos: [rotary?.cos, table],
    sin: [rotary?.sin, table],
    slots: [slots, n],
    logits: [logits, wanted.length * o.vocabulary],
    windows: [o.windows, o.layers],
  });
  const cacheSize = (arrays[perLayer - 1] as F32 | null)?.length ?? 0;
  expectPages('decoderStep', o, cacheSize, rows, lengths, tables);
  const places = cacheSize / (o.kvHeads * o.headDim);
  for (const slot of slots) if (!(slot >= 0 && slot < places)) throw new RangeError(`decoderStep: slot ${slot} among ${places}`);
  for (const token of wanted) if (!(token >= 0 && token < n)) throw new RangeError(`decoderStep: token ${token} is wanted of ${n}`);
  const flags = [o.gemma, o.gelu, o.qkvParts, o.upParts, o.fusedUp, o.transposed, o.bf16].map(Number);
  const all = Float64Array.of(...numbers, o.layers, o.width, o.mlpWidth, o.vocabulary, o.eps, o.logitSoftcap ?? 0, ...flags, ...o.windows);
  const { factors, numbers: ranks } = updates ?? { factors: null, numbers: null };
  const [cos, sin] = [rotary?.cos ?? null, rotary?.sin ?? null];
  need().decoderStep(all, arrays, x, cos, sin, rows, lengths, tables, slots, wanted, logits, kinds, factors, ranks);
}
