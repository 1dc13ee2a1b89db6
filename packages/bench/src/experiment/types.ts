import type { MetricName, Rng, Run } from '@plumbline/core';
import type { Completion, PreferenceRecord, Prompt, RewardFunction, StepRewardFunction } from '@plumbline/data';
import type { MathsBed, WordsBed } from '@plumbline/envs';
import type { LocalDecoder, LocalScorer, Pooling } from '@plumbline/models';
import { z } from 'zod';
import type { StepBenchmark, StepItem } from '../benchmarks/index.js';
import type { Estimate, Verdict } from '../metrics/index.js';
import type { PaperSource } from '../papers.js';
import type { Section } from '../report/index.js';

/** What an experiment stands on. A bed gives prompts, data and scores; it never trains. */
export interface Beds {
  /** Story openings that a small decoder continues; gold is guarded sentiment. */
  words: WordsBed;
  /** The same, with the fixed larger reward model `zoo:gold-words` as gold. */
  goldWords: WordsBed;
  /** Arithmetic and countdown in steps, with exact labels. */
  maths: MathsBed;
}
/** Makes each bed for a seed; the same seed gives the same prompts. `model` is a zoo name or a folder, as the experiment's config has it. */
export type BedMakers = { [B in keyof Beds]: (options: { seed: number; model?: string }) => Promise<Beds[B]> };

export type MetricSpec = { unit: string; better: 'higher' | 'lower' };

/**
 * What decides a claim. `smallestEffect` is the smallest difference worth having (of a statistic: the smallest distance from its bound), in the metric's unit, fixed
 * beforehand; `margin` makes it a claim of "not worse" by no more than that.
 *
 * `resample` says what the interval is over: the seeds; `units`, the same prompts or problems in every seed (averaged over the seeds), for arms that do not vary with the
 * seed; `drawnUnits`, such as boards that every seed draws for itself and on which nothing is trained (all of them count).
 */
export type ClaimTest<A extends string = string> =
  | { metric: string; better: A; than: A; smallestEffect?: number; margin?: number; resample?: 'seeds' | 'units' | 'drawnUnits' }
  | { statistic: string; above?: number; below?: number; smallestEffect?: number }
  | 'full scale only';
export type Claim<A extends string = string> = { id: string; text: string; test: ClaimTest<A> };

export type SeedContext<C, A extends string> = {
  config: C;
  seed: number;
  /** Fork it: `rng.fork('labels')`. Equal in all arms, so that they see the same draws. */
  rng: Rng;
  signal: AbortSignal;
  /** The run folder of an arm: equal seeds in all arms, resumed where it was interrupted. */
  arm(name: A): Run;
  /** A run folder for what the arms share, such as a reward model. */
  shared(name: string): Promise<Run>;
  /** What a run of this seed has logged so far, in order, also before it was interrupted. */
  history(name: string): readonly LoggedRow[];
  bed<B extends keyof Beds>(name: B): Promise<Beds[B]>;
  /** One line about what is going on, for whoever watches. */
  say(message: string): void;
};

/** One line of a run's log. */
export type LoggedRow = { step: number } & Partial<Record<MetricName, number>>;

/** Numbers, or paired units such as the held-out prompts, the same ones in every arm. */
export type ArmValues = Record<string, number | Float64Array>;
export type SeedOutcome<A extends string> = {
  arms: Record<A, ArmValues>;
  statistics?: Record<string, number>;
  /** Of the model that it trained itself; that of the bed unless said. */
  parameters?: number;
  /** Texts of each arm for a few prompts, for the report. */
  samples?: readonly { prompt: string; texts: Partial<Record<A, string>> }[];
};

export type ExperimentSpec<C extends z.ZodType, A extends string> = {
  /** The paper's id and the experiment's folder. */
  id: string;
  paper: string;
  /** Packages whose code the result depends on, without the scope. */
  packages: readonly string[];
  /** A strict object: laptop defaults, real models by flags. */
  config: C;
  /** What makes it two steps long, for the tests and `--quick`. */
  quick: Partial<z.input<C>>;
  /** What makes it larger, by the name that `--scale` takes, where it trains its own start; a bed's model is named as it is. */
  scales?: Readonly<Record<string, Partial<z.input<C>>>>;
  arms: readonly A[];
  metrics: Readonly<Record<string, MetricSpec>>;
  /** What arrays of a metric are over, in the plural: prompts, boards. */
  units?: string;
  claims: readonly Claim<A>[];
  /** Seeds of the pilot that fixes the number of counted seeds, where the user names neither; 3 unless said, 1 where units are resampled that every seed draws. */
  pilot?: number;
  /** Metrics of the run logs that the report draws over the steps; those that are there of the usual ones, unless said. */
  curves?: readonly MetricName[];
  /** Symptoms of a run by name (core's `knownSymptoms`) that are this experiment's design, so that no hint is given of them. */
  expected?: readonly string[];
  /** Once per seed. */
  run(ctx: SeedContext<z.infer<C>, NoInfer<A>>): Promise<SeedOutcome<NoInfer<A>>>;
  /** The method on a user's own model and preference pairs, where it can be had (`plumb apply`). */
  apply?: ApplySpec;
};

/** What an arm of `apply` comes to; what can be measured of it follows from what it is. */
export type AppliedArm =
  /** A trained policy, and what stands in place of a prompt where it is used, such as a goal before it: held-out pairs, answers to held-out prompts, kept under `NAME/model` unless `keep` is false. */
  | { policy: LocalDecoder; ask?: (prompt: Prompt) => Prompt; keep?: boolean }
  /** Who chooses among answers of the model: held-out pairs, the chosen answers to held-out prompts, kept as `NAME/selected.jsonl`. */
  | { reward: RewardFunction }
  /** Who judges solutions in steps: the benchmark's own table on held-out ones, kept under `NAME`. */
  | { steps: StepRewardFunction; threshold?: number }
  /** What the experiment measured itself. */
  | { numbers: Readonly<Record<string, number>> };

/** What every `apply` can be set to; an experiment adds its own settings. */
export const applySettings = {
  steps: z.int().positive().default(100).describe('Optimizer updates of each policy'),
  pairsPerStep: z.int().positive().default(8).describe('Pairs of one update'),
  pairsPerMicroBatch: z.int().positive().default(2).describe('Pairs in memory at once; lower it when memory runs out'),
  maxTokens: z.int().positive().default(512).describe('Longer pairs are left out, never cut'),
  answers: z.int().min(0).default(8).describe('Held-out prompts that the arms answer, and the judge scores'),
  answerTokens: z.int().positive().default(128).describe('Tokens of an answer'),
  products: z
    .enum(['f32', 'bf16'])
    .default('f32')
    .describe('What products are computed in; bf16 is faster where the processor has it, and sums stay float32'),
};
const { steps: _steps, ...withoutPolicies } = applySettings;
/** The same where no policy is trained. */
export const applyMeasureSettings = withoutPolicies;
/** In place of those above where the policies write as they train. */
export const applyOnlineSettings = {
  answerTokens: z.int().positive().default(64).describe('Tokens of an answer, in training too'),
  learningRate: z.number().positive().default(1e-4).describe('Of the policies: 1e-4 for adapters'),
};
/** Settings of the reward model that is trained on the pairs, where there is one. */
export const applyRewardSettings = {
  rewardSteps: z.int().positive().default(100).describe('Updates of the reward model'),
  rewardLearningRate: z.number().positive().default(5e-4).describe('Of the reward model: 5e-4 for adapters'),
};

export type ApplyContext = {
  /** As the spec's schema has it. */
  // biome-ignore lint/suspicious/noExplicitAny: its own schema gave it its type and checked it
  config: any;
  /** Frozen: the reference, and what policies begin as. */
  base: LocalDecoder;
  /** What is learned from: pairs, or solutions in steps where the spec names a benchmark. The other is empty. */
  train: readonly PreferenceRecord[];
  solutions: readonly StepItem[];
  /** Different prompts of `train`. */
  prompts: readonly Prompt[];
  /** Prompts of held-out pairs, which the arms answer. */
  heldOutPrompts: readonly Prompt[];
  /** Reward functions that the user named, and the judge. */
  rewards: readonly RewardFunction[];
  judge?: RewardFunction;
  rng: Rng;
  signal: AbortSignal;
  say(message: string): void;
  /** A run folder, resumed where it was interrupted. */
  run(name: string): Promise<Run>;
  /** What `make` answers, which must be plain JSON: kept in the folder, so that a run that goes on does not make it again. */
  once<T>(name: string, make: () => Promise<T>): Promise<T>;
  /** A policy to train: all weights of a small model, adapters on the shared base of a larger one. */
  policy(name: string): Promise<LocalDecoder>;
  /** A reward model to train, likewise; mean-pooled unless said. The experiment disposes it. */
  scorer(name: string, options?: { pooling?: Pooling }): Promise<LocalScorer>;
  /** A Bradley-Terry reward model trained on `train` (or these pairs) with `applyRewardSettings`, kept under `NAME/model`. The experiment disposes it. */
  rewardModel(name: string, options?: { records?: readonly PreferenceRecord[] }): Promise<LocalScorer>;
  /** Answers of the base (or of `policy`) to prompts, [prompts][n], in the form of the prompt. Written once. */
  write(name: string, prompts: readonly Prompt[], options: { n: number; temperature?: number }): Promise<Completion[][]>;
  /** Keeps a trained reward model for the user, under `NAME/model`. */
  keep(name: string, scorer: LocalScorer): Promise<void>;
  /** Keeps records for the user, as JSON lines under this name. */
  leave(file: string, records: readonly object[]): Promise<void>;
  /** Adds to the report. */
  show(section: Section): void;
  /** Called once everything is measured, or where the run stops: frees what the arms stand on. */
  onEnd(free: () => void): void;
};
export type ApplySpec = {
  /** A strict object with `applySettings` and the method's own. */
  config: z.ZodType;
  /** Where the user's data are the files of a benchmark of steps, which one; preference pairs otherwise. */
  benchmark?: StepBenchmark;
  /** Reads the user's data where they are no file of preference pairs: as pairs, and which rows were left out and why. */
  read?(path: string): Promise<{ records: PreferenceRecord[]; skipped: readonly { line: number; reason: string }[] }>;
  /** What the records must hold, as the end of "ID needs ...". */
  needs: string;
  /** Why a record does not serve; undefined where it does. */
  unusable?(record: PreferenceRecord): string | undefined;
  leaves: readonly { path: string; what: string }[];
  /** Rows (pairs, solutions) whose gradient is taken, by baseline and method and all that they need, and answers that are written for training, of `answerTokens` each. */
  work(config: ApplyContext['config']): { trainedPairs: number; writtenAnswers: number };
  /** Tokens that an arm's `ask` adds to a prompt, at most: pairs leave as much of the model's context free. 0 unless said. */
  addedTokens?: number;
  /** The largest model of which a run makes sense on a laptop's processor; above it takes one GPU. */
  laptopParameters: number;
  /** Baseline first, then the method, then controls. The caller measures them, keeps them for the user and disposes policies. */
  run(ctx: ApplyContext): Promise<Record<string, AppliedArm>>;
};
/** An experiment whose arms and config the caller does not know. */
// biome-ignore lint/suspicious/noExplicitAny: a run function is contravariant in its config, which only `config` itself can check
export type Experiment = ExperimentSpec<z.ZodType<any, any>, any>;

export type Progress =
  | { kind: 'seed'; seed: number; pilot: boolean; index: number; total: number; state: 'started' | 'kept' | 'finished'; seconds?: number }
  | { kind: 'step'; seed: number; run: string; step: number; metrics: Partial<Record<MetricName, number>> }
  | { kind: 'message'; seed: number; text: string };

/** One seed's outcome as it is stored: arrays as lists. */
export type StoredSeed = {
  seed: number;
  seconds: number;
  backend: string;
  /** Of the bed's model, or of the experiment's own. */
  parameters?: number;
  codeHash: string;
  arms: Record<string, Record<string, number | number[]>>;
  statistics: Record<string, number>;
  samples: { prompt: string; texts: Record<string, string> }[];
};

export type ClaimResult = {
  id: string;
  claim: string;
  verdict: Verdict;
  why: string;
  /** Positive speaks for the claim; null where the claim needs full scale. */
  difference: number | null;
  ci95: [low: number | null, high: number | null] | null;
  /** Units of the interval, and what they are: seeds, or what the experiment's `units` are. */
  n: number;
  unit: string;
  p: number | null;
  adjustedP: number | null;
  smallestEffect: number | null;
  margin: number | null;
  /** Standard deviation over the pilot's units, from which the power follows; null without a pilot of at least two. */
  pilotDeviation: number | null;
  /** Of the counted seeds, from the pilot's deviation; null without a pilot or a smallest effect. */
  power: number | null;
  /** Seeds that would give power 0.8, at least 5, from the pilot; null where it would take more than 10,000. */
  seedsForPower: number | null;
};

export type ArmSummary = { mean: number; ci95: [low: number | null, high: number | null]; perSeed: number[] };
export type ExperimentResult = {
  format: 1;
  id: string;
  title: string;
  paper: string;
  source: PaperSource | null;
  command: string;
  date: string;
  seeds: number[];
  pilotSeeds: number[];
  /** Seeds that the pilot asks for: power 0.8 on every claim, before the most that are run is looked at. Null without a pilot, or where no number is enough. */
  plannedSeeds: number | null;
  quick: boolean;
  claims: ClaimResult[];
  arms: Record<string, Record<string, ArmSummary>>;
  statistics: Record<string, ArmSummary>;
  config: Record<string, unknown>;
  versions: Record<string, string>;
  backend: string;
  /** Of the model that is trained, where there is one. */
  parameters: number | null;
  packages: string[];
  codeHash: string;
  /** All counted seeds together. */
  seconds: number;
  /** Code on which one of the seeds was measured again since, and gave the same numbers (`plumb reproduce ID --confirm`). */
  confirmed?: { codeHash: string; seed: number; date: string };
};

export type { Estimate };
