/** The interfaces through which sibling packages meet: records, packed batches, rewards, judges and language models. */
import type { Checkpointable, ParameterTree, Rng } from '@plumbline/core';
import type * as tf from '@tensorflow/tfjs-core';

export type Message = { role: 'system' | 'user' | 'assistant' | 'tool' | (string & {}); content: string; [key: string]: unknown };
/** Plain text, or the messages before the answer. */
export type Prompt = string | readonly Message[];
/** Plain text, or the messages of the answer. */
export type Completion = string | readonly Message[];
export type MediaRef = { kind: 'image' | 'video' | 'audio'; uri: string };

export interface Tokenizer {
  readonly name: string;
  readonly vocabSize: number;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  /** Ids of `text` alone: no bos, no eos, unless `special` asks for what the tokenizer's own post-processor adds. */
  encode(text: string, options?: { special?: boolean }): Int32Array;
  decode(ids: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  readonly hasChatTemplate: boolean;
  /** @throws ConfigError where the tokenizer has no chat template */
  renderChat(messages: readonly Message[], options?: { addGenerationPrompt?: boolean }): string;
}

/**
 * Sequences on one [tokens] axis, without padding. Segment `s` holds tokens `cuSeqlens[s]` to `cuSeqlens[s + 1]`.
 * `completionMask` is 1 on tokens that count in the loss (their log-probability is read at the token before them).
 * `rows[s]` is the caller's row; `prefixOf[s]` the segment whose tokens are seen first, -1 for none.
 */
export type PackedBatch = {
  tokens: Int32Array;
  positions: Int32Array;
  completionMask: Uint8Array;
  cuSeqlens: Int32Array;
  prefixOf?: Int32Array;
  rows: Int32Array;
};

/** Batches as a pure function of (seed, step): there is no data position to save. */
export interface Batches<B> {
  readonly steps: number;
  at(step: number): Promise<B>;
}

export interface Candidate {
  prompt: Prompt;
  completion: Completion;
  media?: MediaRef[];
  meta?: Record<string, unknown>;
}
export interface Context {
  rng: Rng;
  step?: number;
  signal?: AbortSignal;
}
/** `scores` [n], finite wherever `abstained` is not 1. */
export type Scores = { scores: Float32Array; abstained?: Uint8Array; components?: Record<string, Float32Array> };

export interface RewardFunction {
  readonly name: string;
  score(batch: readonly Candidate[], ctx: Context): Promise<Scores>;
}
/** Sees all samples of one prompt. */
export interface GroupRewardFunction {
  readonly name: string;
  scoreGroup(group: readonly Candidate[], ctx: Context): Promise<Scores>;
}
/** Answers [n][steps], each in [0, 1]. */
export interface StepRewardFunction {
  readonly name: string;
  scoreSteps(batch: readonly { prompt: Prompt; steps: string[] }[], ctx: Context): Promise<Float32Array[]>;
}
/** Rewards of one batch, [n], with what a shaper may need of each row: its prompt's reference rewards, the completion's length in tokens. */
export type ShapeInput = { rewards: Float32Array; references?: readonly Float32Array[]; lengths?: Int32Array };
/** Turns rewards into what the policy is trained on. A shaper with running statistics updates them first; they are its checkpoint. */
export interface Shaper extends Checkpointable {
  readonly name: string;
  apply(x: ShapeInput): Float32Array;
}
export interface Criterion {
  readonly name: string;
  readonly description: string;
  readonly weight?: number;
  /** A rule that was stated and can be checked, or a quality that nobody needed to state. */
  readonly kind?: 'hardRule' | 'principle';
}
export interface Rubric {
  readonly criteria: readonly Criterion[];
}
/** What could not be parsed says `parsed: false`, `winner: 'tie'`, `probA: 0.5`, and is counted. */
export interface PairVerdict {
  winner: 'a' | 'b' | 'tie';
  probA: number;
  /** `log(probA / (1 − probA))` of a judge that scores each answer: their difference, also where `probA` rounds to 0 or 1. */
  logOdds?: number;
  parsed: boolean;
  rationale?: string;
}
export interface PairwiseJudge {
  readonly name: string;
  /** `meta` is what is known of the prompt, such as the answer that a verifier compares with. */
  compare(
    batch: readonly { prompt: Prompt; a: Completion; b: Completion; rubric?: Rubric; meta?: Record<string, unknown> }[],
    ctx: Context,
  ): Promise<PairVerdict[]>;
}

/** Sets disallowed logits to -Infinity in place; `generated` are the ids so far. */
export type TokenMask = (logits: Float32Array, generated: readonly number[]) => void;
export type Sampling = {
  n?: number;
  maxTokens: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  /** Divides positive logits of tokens that are in the prompt or were generated, multiplies negative ones; 1 is off. */
  repetitionPenalty?: number;
  stop?: readonly string[];
  rng: Rng;
  signal?: AbortSignal;
  mask?: TokenMask;
};
/** `samplingLogps` are under the sampling distribution; a loss takes its log-probabilities from the training path instead. */
export interface Generation {
  text: string;
  tokens: Int32Array;
  samplingLogps: Float32Array;
  finish: 'stop' | 'length' | 'aborted';
}
/** Local models and OpenAI-compatible servers alike. `generate` answers [prompts][n]. */
export interface LanguageModel {
  readonly name: string;
  readonly can: { score: boolean; embed: boolean; logps: boolean };
  generate(prompts: readonly Prompt[], sampling: Sampling): Promise<Generation[][]>;
  score?(batch: readonly { prompt: Prompt; completion: Completion }[]): Promise<{ tokens: Int32Array; logps: Float32Array }[]>;
  embed?(texts: readonly string[]): Promise<Float32Array[]>;
}

/** `tokens` [completion tokens] in order, `sums` and `lengths` [segments]; `entropy` and `squaredSum` (log of the sum of p²) as `tokens`. */
export type CompletionLogps = {
  tokens: tf.Tensor1D;
  sums: tf.Tensor1D;
  lengths: tf.Tensor1D;
  entropy?: tf.Tensor1D;
  squaredSum?: tf.Tensor1D;
};
/** Local and trainable. */
export interface Decoder {
  readonly name: string;
  readonly parameters: ParameterTree;
  readonly tokenizer: Tokenizer;
  readonly contextLength: number;
  readonly width: number;
  /** About how many bytes a token's activations take from the forward pass to the backward one; trainers size their micro-batches by it. */
  readonly activationBytes?: number;
  /** The last hidden state after the final norm, [tokens, width]. */
  hidden(batch: PackedBatch): tf.Tensor2D;
  completionLogps(batch: PackedBatch, options?: { temperature?: number; entropy?: boolean; squaredSum?: boolean }): CompletionLogps;
}
/** A backbone with a scalar head: one score per segment of a batch, [segments]. */
export interface Scorer {
  readonly name: string;
  readonly parameters: ParameterTree;
  readonly tokenizer: Tokenizer;
  readonly contextLength: number;
  /** As a decoder's. */
  readonly activationBytes?: number;
  scores(batch: PackedBatch): tf.Tensor1D;
}
/** Keys and values of past tokens; the one thing beside parameters that is changed in place. Never on the tape. */
export interface KvCache {
  append(layer: number, rows: Int32Array, k: tf.Tensor3D, v: tf.Tensor3D): void;
  attend(layer: number, rows: Int32Array, q: tf.Tensor3D): tf.Tensor3D;
  share(from: number, to: Int32Array): void;
  free(rows: Int32Array): void;
  dispose(): void;
}
