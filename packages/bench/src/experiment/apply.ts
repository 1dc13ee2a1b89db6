/** A paper's method on a user's own model and data: what it would take, baseline and method side by side, and what stays behind. */
import { join } from 'node:path';
import { ConfigError, InterruptedError, makeFolder, rng as newRng, type Rng, writeFileAtomic } from '@plumbline/core';
import { encodePairs, type PreferenceRecord, type Prompt, type RewardFunction, textOf, writeRecords } from '@plumbline/data';
import { policyClassifier } from '@plumbline/dpo';
import { isAdapted, type LocalDecoder, saveAdapter, saveDecoder } from '@plumbline/models';
import { evaluate } from '../benchmarks/index.js';
import { bootstrapInterval, type Estimate, pairedDifference, tInterval, wilsonInterval } from '../metrics/index.js';
import type { Section } from '../report/index.js';
import { answersOf, applyContext, completionOf } from './applyContext.js';
import { type ApplyConfig, type ApplyData, type ApplyPlan, type Prepared, prepareApply } from './applyPlan.js';
import type { AppliedArm, ApplyContext, ApplySpec, Experiment } from './types.js';

export type ApplyOptions = ApplyData & {
  /** Reward functions of the user's own, for experiments that compare or combine them. */
  rewards?: readonly RewardFunction[];
  /** Scores the answers of both arms to held-out prompts, in place of a bed's gold. */
  judge?: RewardFunction;
  signal?: AbortSignal;
  onProgress?: (line: string) => void;
};

/** What was measured of an arm; what is absent does not apply to it. */
export type ArmResult = {
  /** Share of held-out pairs that come out right: a policy's, whose chosen side gained more log-probability; a reward's, whose chosen side scores higher. */
  heldOutAccuracy?: number;
  heldOutInterval?: Estimate;
  /** What training did to the log-probability of the answers of held-out pairs: the mean of `log π − log π_start`, in nats an answer. */
  changes?: { chosen: Estimate; rejected: Estimate };
  /** The judge's mean score of the answers to held-out prompts. */
  judged?: Estimate;
  answers: string[];
  /** Of a benchmark's table, or what the experiment measured itself. */
  numbers: Record<string, number>;
};

/** What both arms are measured by on what was held out, each pair or prompt on its own. */
export const applyMeasures = {
  judged: "the judge's score of answers to held-out prompts",
  right: 'share of held-out pairs that comes out right',
  chosen: 'change of the log-probability of held-out chosen answers, in nats',
  rejected: 'change of the log-probability of held-out rejected answers, in nats',
};
export type ApplyMeasure = keyof typeof applyMeasures;

export type ApplyResult = {
  id: string;
  plan: ApplyPlan;
  config: Record<string, unknown>;
  arms: Record<string, ArmResult>;
  prompts: string[];
  /** Method minus baseline, paired: t intervals over prompts or pairs, of `right` a bootstrap over pairs. */
  differences: Partial<Record<ApplyMeasure, Estimate>>;
  /** The judge's name, and what the model answered before any training with its mean score. */
  judge?: { name: string; start: Estimate; answers: string[] };
  sections: Section[];
  seconds: number;
};

/**
 * What `applyExperiment` would do, without training: rows that do not serve and why, tokens, memory and hours.
 * @throws ConfigError where the experiment cannot be applied, or fewer than 10 rows are left
 */
export async function planApply(experiment: Experiment, options: ApplyOptions): Promise<ApplyPlan> {
  const { base, plan } = await prepareApply(experiment, options);
  base.dispose();
  return plan;
}

/**
 * Trains baseline and method on the user's data, measures both on what was held out, and leaves in `dir` what the experiment promises, with `result.json`. In a folder that an
 * interrupted run left it goes on from there.
 *
 * @throws ConfigError as `planApply`, and with the plan's reason where this machine is not enough; InterruptedError once stopped and saved
 */
export async function applyExperiment(experiment: Experiment, options: ApplyOptions & { dir: string }): Promise<ApplyResult> {
  const started = performance.now();
  const { dir, judge, rewards = [], model, seed = 0, signal = new AbortController().signal, onProgress: say = () => {} } = options;
  const prepared = await prepareApply(experiment, options);
  const { base, plan, config } = prepared;
  const rng = newRng(seed).fork('apply', experiment.id);
  const opened = applyContext(prepared, { id: experiment.id, model, dir, seed, rng, rewards, judge, signal, say });
  let made: Record<string, AppliedArm> = {};
  try {
    if (plan.refusal) throw new ConfigError(plan.refusal);
    await makeFolder(join(dir, 'kept'));
    made = await experiment.apply!.run(opened.ctx);
    const arms: Record<string, Measured> = {};
    const measuring = { apply: experiment.apply!, prepared, ctx: opened.ctx, judge, dir, model };
    for (const [name, arm] of Object.entries(made))
      arms[name] = await opened.ctx.once(`measured ${name}`, () => measure(name, arm, measuring));
    const start = await opened.ctx.once('measured start', async () => (await judgedStart(measuring)) ?? null);
    const result: ApplyResult = {
      id: experiment.id,
      plan,
      config,
      arms: Object.fromEntries(Object.entries(arms).map(([name, { units: _, ...shown }]) => [name, shown])),
      prompts: opened.ctx.heldOutPrompts.map(textOf),
      differences: differencesOf(Object.values(arms), rng.fork('bootstrap')),
      ...(judge && start && { judge: { name: judge.name, ...start } }),
      sections: opened.sections,
      seconds: (performance.now() - started) / 1000,
    };
    await writeFileAtomic(join(dir, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } catch (error) {
    // sampling and judging stop with errors of their own
    if (!signal.aborted || error instanceof InterruptedError) throw error;
    throw new InterruptedError(`Stopped. What is done is kept in ${dir}; the same command goes on from there.`, { cause: error });
  } finally {
    await opened.close();
    for (const arm of Object.values(made)) if ('policy' in arm) arm.policy.dispose();
    base.dispose();
  }
}

/** `units`: what was measured of each held-out pair or prompt. */
type Measured = ArmResult & { units: Partial<Record<ApplyMeasure, number[]>> };
type Measuring = { apply: ApplySpec; prepared: Prepared; ctx: ApplyContext; judge?: RewardFunction; dir: string; model: string };

function differencesOf([baseline, method]: readonly Measured[], draws: Rng): ApplyResult['differences'] {
  const both = (Object.keys(applyMeasures) as ApplyMeasure[]).flatMap((name) => {
    const [a, b] = [baseline?.units[name], method?.units[name]];
    if (!a || !b || a.length < 2) return [];
    const difference = name === 'right' ? bootstrapInterval(b.map((x, i) => x - a[i]), draws) : pairedDifference(b, a); // biome-ignore format: one line
    return [[name, difference] as const];
  });
  return Object.fromEntries(both);
}

async function measure(name: string, arm: AppliedArm, measuring: Measuring): Promise<Measured> {
  const { ctx } = measuring;
  if ('numbers' in arm) return { answers: [], numbers: { ...arm.numbers }, units: {} };
  if ('steps' in arm) return { answers: [], numbers: await benchmarkNumbers(name, arm, measuring), units: {} };
  const measured = 'policy' in arm ? await measurePolicy(name, arm, measuring) : await measureReward(name, arm.reward, measuring);
  const { right, answers, changes } = measured;
  const accuracy = right.reduce((sum, x) => sum + x, 0) / right.length;
  ctx.say(`${name}: right on ${(100 * accuracy).toFixed(1)}% of ${right.length} held-out pairs`);
  const scores = await judged(answers, measuring);
  return {
    heldOutAccuracy: accuracy,
    heldOutInterval: wilsonInterval(Math.round(accuracy * right.length), right.length),
    ...(changes && { changes: { chosen: tInterval(changes.chosen), rejected: tInterval(changes.rejected) } }),
    ...(scores && { judged: tInterval(scores) }),
    answers,
    numbers: {},
    units: { right, ...changes, ...(scores && { judged: scores }) },
  };
}

/** Saves the policy before anything else, so that what took hours is the user's. */
async function measurePolicy(
  name: string,
  { policy, ask = (prompt) => prompt, keep = true }: Extract<AppliedArm, { policy: LocalDecoder }>,
  { prepared: { base, heldOut, config }, ctx: { heldOutPrompts, rng, signal }, dir, model }: Measuring,
): Promise<Held> {
  const kept = join(dir, name, 'model');
  if (keep) await (isAdapted(policy) ? saveAdapter(kept, policy, { base: model }) : saveDecoder(kept, policy));
  const { pairs } = encodePairs(
    base.tokenizer,
    heldOut.map((record) => ({ ...record, prompt: ask(record.prompt) })),
    { maxTokens: base.contextLength },
  );
  const changes: Required<Held>['changes'] = { chosen: [], rejected: [] };
  const right: number[] = [];
  for (const pair of pairs) {
    const { accuracy, chosenChange, rejectedChange } = await policyClassifier(policy, base, [pair], { signal });
    right.push(accuracy);
    changes.chosen.push(chosenChange);
    changes.rejected.push(rejectedChange);
  }
  return { right, changes, answers: await heldOutAnswers(policy, heldOutPrompts.map(ask), config, { rng, signal }) };
}

/** Of each held-out pair whether it comes out right; of a policy what each side gained; the answers to held-out prompts. */
type Held = { right: number[]; changes?: { chosen: number[]; rejected: number[] }; answers: string[] };

const heldOutAnswers = async (
  policy: LocalDecoder,
  prompts: readonly Prompt[],
  { answerTokens }: ApplyConfig,
  { rng, signal }: { rng: Rng; signal: AbortSignal },
): Promise<string[]> =>
  (await answersOf(policy, prompts, { answerTokens, n: 1, temperature: 0.7 }, rng.fork('answers'), signal)).map(([text]) => text);

/** The answers to held-out prompts are written once and serve every reward. */
async function measureReward(name: string, reward: RewardFunction, { prepared: { heldOut, config }, ctx, dir }: Measuring): Promise<Held> {
  const { heldOutPrompts, rng, signal } = ctx;
  const right = await rightPairs(reward, heldOut, { rng: rng.fork('score'), signal });
  const n = (config.candidates as number | undefined) ?? 4;
  const candidates = await ctx.write('candidates', heldOutPrompts, { n });
  const flat = heldOutPrompts.flatMap((prompt, i) => candidates[i].map((completion) => ({ prompt, completion })));
  const given = flat.length > 0 ? await reward.score(flat, { rng: rng.fork('choose'), signal }) : { scores: new Float32Array() };
  const scores = given.scores.map((score, i) => (given.abstained?.[i] === 1 ? -Infinity : score)); // chosen only where it has a score for none
  const chosen = candidates.map((own, i) => {
    const values = scores.subarray(i * n, i * n + own.length);
    const best = values.indexOf(Math.max(...values));
    const score = values[best];
    return { prompt: heldOutPrompts[i], completion: own[best], score: Number.isFinite(score) ? score : null };
  });
  await makeFolder(join(dir, name));
  await writeRecords(join(dir, name, 'selected.jsonl'), chosen);
  return { right, answers: chosen.map(({ completion }) => textOf(completion)) };
}

/** Of each pair 1 where the chosen side scores higher, ½ for a tie. @throws ConfigError where the reward abstains */
export async function rightPairs(
  reward: RewardFunction,
  records: readonly PreferenceRecord[],
  ctx: { rng: Rng; signal: AbortSignal },
): Promise<number[]> {
  const sides = records.flatMap(({ prompt, chosen, rejected }) => [chosen, rejected].map((completion) => ({ prompt, completion })));
  const { scores, abstained } = await reward.score(sides, ctx);
  const gone = abstained?.indexOf(1) ?? -1;
  if (gone >= 0) throw new ConfigError(`${reward.name} has no score for a side of held-out pair ${Math.floor(gone / 2)}`);
  return records.map((_, i) => (scores[2 * i] > scores[2 * i + 1] ? 1 : scores[2 * i] === scores[2 * i + 1] ? 0.5 : 0));
}

async function judged(answers: readonly string[], { judge, ctx }: Measuring): Promise<number[] | undefined> {
  if (!judge || answers.length === 0) return undefined;
  const answered = ctx.heldOutPrompts.map((prompt, i) => ({ prompt, completion: completionOf(prompt, answers[i]) }));
  const { scores, abstained } = await judge.score(answered, { rng: ctx.rng.fork('judge'), signal: ctx.signal });
  const gone = abstained?.indexOf(1) ?? -1;
  if (gone >= 0) throw new ConfigError(`${judge.name} has no score for the answer to held-out prompt ${gone}`);
  return Array.from(scores);
}

/** Where there is a judge, its score of the model's own answers: without it nobody sees whether either arm learned anything. */
async function judgedStart(measuring: Measuring): Promise<{ start: Estimate; answers: string[] } | undefined> {
  const { judge, prepared, ctx } = measuring;
  if (!judge || ctx.heldOutPrompts.length === 0) return undefined;
  const answers = await heldOutAnswers(prepared.base, ctx.heldOutPrompts, prepared.config, ctx);
  const scores = await judged(answers, measuring);
  return scores && { start: tInterval(scores), answers };
}

/** The benchmark's table on held-out solutions; item by item in `NAME/results.jsonl`, so that an interrupted one goes on. */
async function benchmarkNumbers(
  name: string,
  arm: Extract<AppliedArm, { steps: unknown }>,
  { apply: { benchmark }, prepared: { heldOutSolutions, config }, ctx, dir }: Measuring,
): Promise<Record<string, number>> {
  if (!benchmark) throw new ConfigError(`the arm "${name}" judges steps, and the experiment names no benchmark of them`);
  ctx.say(`${name}: ${heldOutSolutions.length} held-out solutions`);
  const { result } = await evaluate(benchmark, {
    items: heldOutSolutions,
    subject: { kind: 'steps', steps: arm.steps },
    dir: join(dir, name, 'held-out'),
    batch: (config as ApplyConfig).pairsPerMicroBatch,
    signal: ctx.signal,
    ...(arm.threshold !== undefined && { threshold: arm.threshold }),
  });
  return Object.fromEntries(result.numbers.filter(({ level }) => level !== 'detail').map((one) => [one.name, one.value]));
}

export type { ApplyPlan };
