/** What a benchmark is: how its official files are read, and how outcomes become its official numbers. */
import type { Completion, MediaRef, PairwiseJudge, Prompt } from '@plumbline/data';

export type Row = Record<string, unknown>;
/** A row's file and line, for errors; `file` is the name without folder and ending, which some benchmarks use as the subset. */
export type RowPlace = { path: string; file: string; line: number };

/** Answers to one prompt: the first `correct` of them are right, each of which should be preferred to each of the others. */
export type PreferenceItem = {
  id: string;
  subset: string;
  prompt: Prompt;
  candidates: readonly Completion[];
  correct: number;
  media?: MediaRef[];
  /** What the report needs to know of the item. */
  info?: Record<string, string>;
};
/** What a judge thought: a score for every candidate, or an outcome (1 right, 0 wrong, 0.5 undecided) for each pair of a right and a wrong one, row by row. */
export type PreferenceOutcome = { scores: number[] } | { wins: number[] };

/** A solution in steps, some of them wrong. `errors` are 0-based and inside `steps`. */
export type StepItem = { id: string; subset: string; prompt: Prompt; steps: string[]; errors: readonly number[]; media?: MediaRef[] };
/** One score a step, in [0, 1]: how sound it is. */
export type StepOutcome = { scores: number[] };

/** A prompt whose answer can be checked. */
export type AnswerItem<T = unknown> = { id: string; subset: string; prompt: Prompt; target: T };
/** What was answered, and what the check says of it by name: 1 passed, 0 failed. */
export type AnswerOutcome = { response: string; passed: Record<string, number> };

/** One number of a benchmark's table: a subset, a group of them, or the whole. */
export type BenchmarkNumber = {
  name: string;
  level: 'overall' | 'group' | 'subset' | 'detail';
  value: number;
  /** Items that it rests on; for step scores, steps. */
  n: number;
  ci95?: [low: number, high: number];
};

type Common = {
  id: string;
  title: string;
  /** arXiv number. */
  paper?: string;
  /** Which files are read, in words. */
  files: string;
  /** Columns of files that have no row of names. */
  header?: readonly string[];
  /** Reads files that are no tables of rows; `benchmarkRows` reads those of the others. */
  rows?(paths: readonly string[]): AsyncIterable<{ row: Row; place: RowPlace }>;
  /** What the first number is, in words. */
  metric: string;
};
export type PreferenceBenchmark = Common & {
  kind: 'preference';
  /** Comparisons of pairs do not do: every candidate needs a score. */
  scoresOnly?: boolean;
  /** @returns nothing for a row that the benchmark leaves out. @throws FormatError for one that does not fit */
  read(row: Row, place: RowPlace): PreferenceItem | undefined;
  /** The first number is the headline. */
  report(items: readonly PreferenceItem[], outcomes: readonly PreferenceOutcome[]): BenchmarkNumber[];
};
export type StepBenchmark = Common & {
  kind: 'steps';
  read(row: Row, place: RowPlace): StepItem | undefined;
  /** @param threshold a step counts as sound where its score is above */
  report(items: readonly StepItem[], outcomes: readonly StepOutcome[], options?: { threshold?: number }): BenchmarkNumber[];
};
export type CheckOptions = { signal?: AbortSignal; command?: string; judge?: PairwiseJudge };
export type AnswerBenchmark<T = unknown> = Common & {
  kind: 'answers';
  /** Tokens that an answer may have, unless the user says. */
  maxTokens: number;
  read(row: Row, place: RowPlace): AnswerItem<T> | undefined;
  /** Asked before the model is. @throws ConfigError where what `check` needs is not there */
  prepare?(items: readonly AnswerItem<T>[], options: CheckOptions): void | Promise<void>;
  /**
   * @param options.command runs what was written, where the benchmark asks for one; `{file}` stands for the file
   * @param options.judge   compares what was written with a reference, where the benchmark asks for that
   */
  check(item: AnswerItem<T>, response: string, options: CheckOptions): Promise<Record<string, number>>;
  report(items: readonly AnswerItem<T>[], outcomes: readonly AnswerOutcome[]): BenchmarkNumber[];
};
// biome-ignore lint/suspicious/noExplicitAny: a check is contravariant in its target, which only `read` makes
export type Benchmark = PreferenceBenchmark | StepBenchmark | AnswerBenchmark<any>;
