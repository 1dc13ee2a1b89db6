/** The maths bed: problems that a small language model solves in steps, each step with an exact label. */
import { rng as newRng, type Rng } from '@plumbline/core';
import {
  type Candidate,
  type CompletionRecord,
  extractAnswer,
  joinSequence,
  mathEqual,
  type PromptRecord,
  type RewardFunction,
  type StepRewardFunction,
  textOf,
} from '@plumbline/data';
import { generate, type LocalDecoder, loadDecoder, type TokenSample } from '@plumbline/models';
import { completionLogpSums } from '../words/likelihood.js';
import { type CountdownKnobs, type CountdownProblem, countdownOf, labelCountdown, solveCountdown, verifyCountdown } from './countdown.js';
import { labelSteps } from './oracle.js';
import { type Level, type MathsKnobs, type MathsProblem, problemOf, type Split } from './problem.js';
import { deduction, equationOf, renderSolution, splitSolution, stepSeparator } from './solution.js';

export type AnyProblem = MathsProblem | CountdownProblem;

/** What a policy is shown: the problem and a line's end. Its solution follows, one step a line. */
export const mathsPrompt = ({ text }: AnyProblem): string => `${text}${stepSeparator}`;

/** Whether a solution's answer is right. Chains and trees: the last answer offered equals it as a number. Countdown: legal moves that end at the target. */
export function verifyMaths(problem: AnyProblem, solution: string): boolean {
  if (problem.kind === 'countdown') return verifyCountdown(problem, solution);
  const found = extractAnswer(solution);
  return found !== null && mathEqual(found.value, problem.answer);
}

/** Of each step of a solution whether it and all before it are right. */
export function stepsOnPath(problem: AnyProblem, steps: readonly string[]): boolean[] {
  return problem.kind === 'countdown'
    ? labelCountdown(problem, steps).map(({ correct }) => correct)
    : labelSteps(problem, steps).map(({ onPath }) => onPath);
}

/**
 * 1 where the answer is right, 0 where not. Problems are known by their prompts, so any sampler of them will do.
 * Components: `sound` (right, and every step is), `answered` (an answer can be read at all).
 *
 * @throws RangeError for a prompt that is none of the problems'
 */
export function mathsReward(problems: Iterable<AnyProblem>): RewardFunction {
  const find = byPrompt(problems);
  return {
    name: 'mathsAnswer',
    async score(batch) {
      const judged = batch.map((candidate) => judge(find(candidate), textOf(candidate.completion)));
      const column = (name: keyof (typeof judged)[number]) => Float32Array.from(judged, (row) => Number(row[name]));
      return { scores: column('right'), components: { sound: column('sound'), answered: column('answered') } };
    },
  };
}

/** The oracle as a process reward: 1 up to the first error, 0 from there on. */
export function mathsStepReward(problems: Iterable<AnyProblem>): StepRewardFunction {
  const find = byPrompt(problems);
  return {
    name: 'mathsOracle',
    scoreSteps: async (batch) => batch.map(({ prompt, steps }) => Float32Array.from(stepsOnPath(find({ prompt }), steps), Number)),
  };
}

function byPrompt(problems: Iterable<AnyProblem>) {
  const known = new Map(Array.from(problems, (problem) => [mathsPrompt(problem).trim(), problem]));
  return ({ prompt }: Pick<Candidate, 'prompt'>): AnyProblem => {
    const problem = known.get(textOf(prompt).trim());
    if (!problem) throw new RangeError(`mathsReward: "${textOf(prompt).slice(0, 60)}" is the prompt of none of the ${known.size} problems`);
    return problem;
  };
}

function judge(problem: AnyProblem, solution: string): { right: boolean; sound: boolean; answered: boolean } {
  const right = verifyMaths(problem, solution);
  const answered = problem.kind === 'countdown' ? solution.includes('(left:') : extractAnswer(solution) !== null;
  return { right, sound: right && stepsOnPath(problem, splitSolution(solution)).every(Boolean), answered };
}

export type MathsMix = {
  /** Shares by level; 0 is countdown. They need not add up to 1. */
  levels: Partial<Record<Level | 0, number>>;
  /** Share of the solutions of chains that have a step which is true and of no use. */
  redundant: number;
  countdown: Partial<CountdownKnobs>;
};

/** What `zoo:maths-1m` was pretrained on: mostly levels 2 to 4, some countdown with three or four numbers. */
export const pretrainingMix: MathsMix = {
  levels: { 1: 0.1, 2: 0.25, 3: 0.35, 4: 0.15, 0: 0.15 },
  redundant: 0.05,
  countdown: { numbers: [3, 4], largest: 12, target: [10, 99] },
};

/** A training problem with a true compact solution, drawn from `rng`. */
export function mathsExample(rng: Rng, mix: MathsMix = pretrainingMix): { problem: AnyProblem; record: CompletionRecord } {
  const levels = Object.keys(mix.levels).map(Number) as (Level | 0)[];
  const level = levels[rng.categorical(levels.map((l) => mix.levels[l]!))];
  const problem = level === 0 ? countdownOf('train', rng.fork('problem'), mix.countdown) : problemOf('train', rng.fork('problem'), level);
  const steps =
    problem.kind === 'countdown'
      ? solveCountdown(problem, rng.fork('solution'))
      : renderSolution(problem, 'compact', { rng: rng.fork('solution') });
  if (problem.kind !== 'countdown' && rng.uniform(1)[0] < mix.redundant) {
    const after = rng.below(problem.nodes.length);
    const { c } = equationOf(problem.nodes[after], problem.values);
    steps.splice(after + 1, 0, rng.below(2) === 0 ? deduction('+', c, 0, c) : steps[after]);
  }
  return { problem, record: { id: problem.id, prompt: mathsPrompt(problem), completion: steps.join(stepSeparator) } };
}

/** Arrays are means over the samples of each problem, [problems]. */
export type MathsEvaluation = {
  problems: readonly AnyProblem[];
  /** Share of the answers that are right. */
  accuracy: Float64Array;
  /** Share of the samples whose answer and every step are right. */
  sound: Float64Array;
  answered: Float64Array;
  /** Tokens. */
  length: Float64Array;
  /** `log π − log π_base` of the sampled tokens, summed over the sequence, in nats; 0 for the base itself. At temperature 0 it is no estimate of a divergence. */
  kl: Float64Array;
  samples: { prompt: string; completions: string[] }[];
};

export type MathsEvaluateOptions = {
  rng: Rng;
  /** The first 200 held-out ones by default. */
  problems?: readonly AnyProblem[];
  samplesPerProblem?: number;
  /** 1 by default, as in training; 0 is greedy. */
  temperature?: number;
  signal?: AbortSignal;
  onProgress?: (progress: { done: number; total: number }) => void;
};

export type MathsGroup = {
  problem: AnyProblem;
  prompt: string;
  completions: string[];
  samples: TokenSample[];
  scores: Float32Array;
  components: Record<string, Float32Array>;
};

export interface MathsBed {
  readonly base: LocalDecoder;
  /** A copy of the base to train; the caller disposes it. */
  policy(): LocalDecoder;
  /** Of the training split: 2,000 unless said otherwise. */
  readonly problems: readonly AnyProblem[];
  /** Of the validation split. */
  readonly heldOutProblems: readonly AnyProblem[];
  /** The training problems as a trainer takes them; `meta` holds `answer`, `key` and `level`. */
  readonly prompts: readonly PromptRecord[];
  /** 1 for a right answer; knows the training and the held-out problems. */
  readonly gold: RewardFunction;
  readonly stepGold: StepRewardFunction;
  readonly sampling: { readonly maxTokens: number; readonly temperature: number };
  sampleGroups(options: {
    problems: readonly AnyProblem[];
    n: number;
    rng: Rng;
    policy?: LocalDecoder;
    temperature?: number;
    signal?: AbortSignal;
    onProgress?: MathsEvaluateOptions['onProgress'];
  }): Promise<MathsGroup[]>;
  evaluate(policy: LocalDecoder, options: MathsEvaluateOptions): Promise<MathsEvaluation>;
}

/** Enough for the longest solution of level 5; one of level 6 may take more. */
export const solutionTokens = 112;

/**
 * The maths bed: verifiable problems of one or several levels that a small decoder solves in compact steps. It never trains.
 *
 * `seed` decides the problems; which of them may be trained on is a property of the problem (`splitOf`), so no seed can leak one. `base` is
 * `zoo:maths-1m` unless said otherwise; the caller disposes it.
 *
 * @param levels 4 by default, of which `zoo:maths-1m` solves about half; 0 is countdown
 */
export async function mathsBed({
  seed,
  base: given = 'zoo:maths-1m',
  levels = [4],
  count = 2000,
  heldOut = 500,
  knobs,
  countdown = pretrainingMix.countdown,
}: {
  seed: number;
  base?: LocalDecoder | string;
  levels?: readonly (Level | 0)[];
  count?: number;
  heldOut?: number;
  knobs?: Partial<MathsKnobs>;
  countdown?: Partial<CountdownKnobs>;
}): Promise<MathsBed> {
  const base = typeof given === 'string' ? await loadDecoder(given) : given;
  const rng = newRng(seed).fork('maths bed');
  const draw = (split: Split, n: number) =>
    differentProblems(n, rng.fork(split), (own, i) => {
      const level = levels[i % levels.length];
      return level === 0 ? countdownOf(split, own, countdown) : problemOf(split, own, level, knobs);
    });
  const heldOutProblems = draw('validation', heldOut);
  const problems = draw('train', count);
  const gold = mathsReward([...problems, ...heldOutProblems]);
  const { tokenizer } = base;
  const sampling = { maxTokens: solutionTokens, temperature: 1 };

  const bed: MathsBed = {
    base,
    policy: () => base.snapshot(),
    problems,
    heldOutProblems,
    prompts: problems.map(promptRecord),
    gold,
    stepGold: mathsStepReward([...problems, ...heldOutProblems]),
    sampling,

    async sampleGroups({ problems: asked, n, rng, policy = base, temperature = 1, signal, onProgress }) {
      const groups: MathsGroup[] = [];
      const scorer = asked.every((problem) => bed.problems.includes(problem)) ? gold : mathsReward(asked);
      const perBatch = Math.max(1, Math.floor(samplesPerBatch / n));
      for (let from = 0; from < asked.length; from += perBatch) {
        signal?.throwIfAborted();
        const some = asked.slice(from, from + perBatch);
        const ids = some.map((problem) => tokenizer.encode(mathsPrompt(problem)));
        const sampled = await generate(policy, ids, { ...sampling, temperature, n, rng: rng.fork('samples', from), signal });
        signal?.throwIfAborted(); // a batch that was cut short is not a sample of the policy
        const candidates = some.flatMap((problem, i) =>
          sampled[i].map(({ text }): Candidate => ({ prompt: mathsPrompt(problem), completion: text })),
        );
        const scored = await scorer.score(candidates, { rng: rng.fork('gold', from), signal });
        some.forEach((problem, i) => {
          const own = (values: Float32Array) => values.slice(i * n, (i + 1) * n);
          groups.push({
            problem,
            prompt: mathsPrompt(problem),
            completions: sampled[i].map(({ text }) => text),
            samples: sampled[i],
            scores: own(scored.scores),
            components: Object.fromEntries(Object.entries(scored.components ?? {}).map(([name, values]) => [name, own(values)])),
          });
        });
        onProgress?.({ done: groups.length * n, total: asked.length * n });
      }
      return groups;
    },

    async evaluate(
      policy,
      { rng, problems: asked = heldOutProblems.slice(0, 200), samplesPerProblem = 1, temperature = 1, signal, onProgress },
    ) {
      const groups = await bed.sampleGroups({ problems: asked, n: samplesPerProblem, rng, policy, temperature, signal, onProgress });
      const sequences = groups.flatMap(({ prompt, samples }) =>
        samples.map(({ tokens }) => joinSequence(tokenizer.encode(prompt), tokens)),
      );
      const [ours, theirs] =
        policy === base
          ? [null, null]
          : [await completionLogpSums(policy, sequences, { signal }), await completionLogpSums(base, sequences, { signal })];
      return {
        problems: asked,
        accuracy: Float64Array.from(groups, ({ scores }) => mean(scores)),
        sound: Float64Array.from(groups, ({ components }) => mean(components.sound)),
        answered: Float64Array.from(groups, ({ components }) => mean(components.answered)),
        length: Float64Array.from(groups, ({ samples }) => mean(samples.map(({ tokens }) => tokens.length))),
        kl: Float64Array.from(groups, (_, g) =>
          ours && theirs
            ? mean(Array.from({ length: samplesPerProblem }, (_, s) => ours[g * samplesPerProblem + s] - theirs[g * samplesPerProblem + s]))
            : 0,
        ),
        samples: groups.map(({ prompt, completions }) => ({ prompt, completions })),
      };
    },
  };
  return bed;
}

/** Samples drawn and scored between two calls of `onProgress`. */
const samplesPerBatch = 256;

function promptRecord(problem: AnyProblem): PromptRecord {
  const { id, key, answer, kind } = problem;
  return { id, prompt: mathsPrompt(problem), meta: { answer, key, kind, ...('level' in problem && { level: problem.level }) } };
}

/** No two with the same text. */
function differentProblems(n: number, rng: Rng, draw: (rng: Rng, i: number) => AnyProblem): AnyProblem[] {
  const found = new Map<string, AnyProblem>();
  for (let i = 0; found.size < n; i++) {
    if (i > 20 * n + 1000) throw new RangeError(`mathsBed: ${n} different problems were asked for; there are about ${found.size}`);
    const problem = draw(rng.fork(i), i);
    if (!found.has(problem.text)) found.set(problem.text, problem);
  }
  return [...found.values()];
}

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;
