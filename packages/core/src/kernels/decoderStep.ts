import * as tf from '@tensorflow/tfjs-core';
import type { FrozenMatrix } from '../types.js';

/** What tells one decoder's step from another. */
export type DecoderStepShape = {
  layers: number;
  width: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  mlpWidth: number;
  vocabulary: number;
  eps: number;
  /** Multiplies `q·k`. */
  scale: number;
  softcap?: number;
  logitSoftcap?: number;
  /** Norms multiply by 1 + weight. */
  gemma: boolean;
  /** The gate is a GELU in place of a SiLU. */
  gelu: boolean;
  /** Queries, keys and values in 3 matrices, or side by side in 1. */
  qkvParts: number;
  /** Gate and up in 2 matrices, or in 1: side by side (`fusedUp`), or there is no gate. */
  upParts: number;
  fusedUp: boolean;
  /** Matrices of the layers that are tensors are [in, out]. */
  transposed: boolean;
  /** Tokens that the queries of a layer see, 0 for all, [layers]. */
  windows: readonly number[];
  blockTokens: number;
  blocksPerRow: number;
  products?: 'f32' | 'bf16';
};

export type DecoderStepCall = {
  shape: DecoderStepShape;
  /**
   * A list that stays as it is, so that a backend may remember it; another one where a tensor is another.
   * Of each layer: attention norm, bias; q, bias; k, bias; v, bias; q norm; k norm; o, bias; norm after attention; mlp norm, bias; gate, bias; up, bias;
   * down, bias; norm after the mlp; keys and values of the cache. Then final norm, bias, head, null. What there is not is null.
   */
  weights: readonly (tf.Tensor | FrozenMatrix | Float32Array | null)[];
  /**
   * What an adapter adds, `scale · (x · aᵀ) · bᵀ` with a [rank, in] and b [out, rank] in float32, of q, k, v, o, gate, up and down of each layer; of what lies in
   * one matrix under the first of its names. A list that stays as it is, too.
   */
  updates?: readonly ({ a: tf.Tensor; b: tf.Tensor; scale: number } | null)[];
  /** Embedded tokens, [n, width]; spent by the call, which neither keeps nor disposes it. */
  x: tf.Tensor2D;
  /** Cosines and sines, [n, headDim / 2]. */
  rotary: { cos: Float32Array; sin: Float32Array } | null;
  /** Of each token, [n]: its cache row, how many tokens of it it sees, and where its own keys and values go (block · blockTokens + place). */
  rows: Int32Array;
  lengths: Int32Array;
  slots: Int32Array;
  /** Blocks of the cache rows, [cache rows, blocksPerRow]. */
  tables: Int32Array;
  /** Indices of the tokens after which logits are wanted. */
  wanted: Int32Array;
  /** Filled: [wanted, vocabulary]. */
  logits: Float32Array;
};

/** What a backend registers under `DecoderStep`. */
export type DecoderStepKernel = (call: { attrs: DecoderStepCall; backend: unknown }) => void;

/**
 * All layers of a decoder over a few tokens and a paged cache, in one call: what generation does once a token. The numbers are those of the kernels
 * that a layer is made of.
 *
 * @returns false where the backend has no such kernel, and the caller goes layer by layer
 */
export function decoderStep(call: DecoderStepCall): boolean {
  const backend = tf.getBackend();
  const kernel = tf.getKernel('DecoderStep', backend);
  if (!kernel) return false;
  (kernel.kernelFunc as unknown as DecoderStepKernel)({ attrs: call, backend: tf.backend() });
  return true;
}

/** Whether this backend takes a step of a decoder in one call. */
export const hasDecoderStep = (): boolean => tf.getKernel('DecoderStep', tf.getBackend()) !== undefined;
