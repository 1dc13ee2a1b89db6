/** The signatures that every package shares: parameters, what can be saved, optimizers, randomness, runs. */
import type * as tf from '@tensorflow/tfjs-core';
import type { MetricName } from './metrics.js';

/** Named tensors. A `type`, since only a `type` is accepted by `tf.tidy` and `tf.dispose`. */
export type Tensors = Record<string, tf.Tensor>;

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A trainable or frozen tensor. Read `value` inside the step and never keep it: a step replaces or rewrites it. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  trainable: boolean;
  readonly value: tf.Tensor;
}

/** A frozen weight [out, in], stored rounded and packed for the backend. tfjs has no bf16, so it is a handle and not a tensor. */
export interface FrozenMatrix {
  readonly shape: readonly [number, number];
  readonly storage: 'f32' | 'bf16' | 'int8';
  /** All the memory that it takes now. */
  readonly bytes: number;
  /** The rounded values, a new array [out · in]. */
  unpack(): Float32Array;
  /** Rows of the rounded values, a new array [ids.length · in]. */
  rows(ids: Int32Array): Float32Array;
  dispose(): void;
}

/**
 * What products are made of: `f32`, or operands rounded to bfloat16 (8 bits of precision in place of 24), which takes half the time
 * where the processor has such products. Sums are float32 either way.
 */
export type Products = 'f32' | 'bf16';

export type SavedTensor = { shape: number[]; data: Float32Array | Int32Array | Uint16Array | Int8Array };
/** What a part of a run leaves in a checkpoint. `data` is a deep copy. */
export type Saved = { tensors: Record<string, SavedTensor>; json: Json };

/** `load` checks everything (names, shapes, version) before it changes anything. */
export interface Checkpointable {
  save(): Promise<Saved>;
  load(saved: Saved): Promise<void>;
}

export interface ParameterTree extends Checkpointable {
  /** @throws RangeError naming the nearest parameters if there is none of that name */
  get(name: string): Parameter | FrozenMatrix;
  readonly names: readonly string[];
  trainable(): readonly Parameter[];
  /** Freezes the parameters whose name matches and says how many. */
  freeze(names: RegExp): number;
  /** A deep copy that shares nothing with this one. */
  snapshot(): ParameterTree;
  dispose(): void;
}

export interface Optimizer extends Checkpointable {
  /** One update. `scale` multiplies the gradients, `min(1, max / (norm + 1e-6))` to clip. Disposes nothing. */
  apply(grads: ReadonlyMap<Parameter, tf.Tensor>, o: { scale: number; learningRate: number }): void;
  dispose(): void;
}

/** Counter-based generator. `fork` is pure in (seed, path): equal paths give equal streams, whatever was drawn before. */
export interface Rng {
  fork(...path: (string | number)[]): Rng;
  readonly seed32: number;
  /** `n` numbers in [0, 1). */
  uniform(n: number): Float32Array;
  normal(n: number): Float32Array;
  /** A whole number in [0, n). */
  below(n: number): number;
  permutation(n: number): Int32Array;
  /** An index, drawn with probability proportional to its weight. */
  categorical(weights: ArrayLike<number>): number;
}

/** A run folder, or its stand-in in memory. */
export interface Run {
  readonly dir: string;
  readonly rng: Rng;
  readonly signal: AbortSignal;
  readonly saveEvery: number;
  /** Loads the newest intact checkpoint into `parts` and returns its step; 0 where there is none. */
  restore(parts: Record<string, Checkpointable>): Promise<number>;
  save(step: number, parts: Record<string, Checkpointable>): Promise<void>;
  log(step: number, metrics: Partial<Record<MetricName, number>>): void;
  /** Saves `parts` as they are and throws a NonFiniteError that names step and rows. */
  fail(
    step: number,
    why: { rows: readonly string[]; values: Record<string, number> },
    parts: Record<string, Checkpointable>,
  ): Promise<never>;
}
