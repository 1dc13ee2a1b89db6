/** Judges a reward, a judge, a step scorer or a model on a benchmark: item by item, kept as it goes, then the official table. */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, FormatError, InterruptedError, type Rng, rng as seeded, writeFileAtomic } from '@plumbline/core';
import type { LanguageModel, PairwiseJudge, RewardFunction, Sampling, StepRewardFunction } from '@plumbline/data';
import { reportPage } from '../report/index.js';
import { benchmarkReport } from './report.js';
import type {
  AnswerItem,
  AnswerOutcome,
  Benchmark,
  BenchmarkNumber,
  CheckOptions,
  PreferenceItem,
  PreferenceOutcome,
  Row,
  RowPlace,
  StepItem,
  StepOutcome,
} from './types.js';

/** What is judged. A reward and a judge fit benchmarks of preferences, a step scorer those of steps, a model those of answers. */
export type Subject =
  | { kind: 'reward'; reward: RewardFunction }
  | { kind: 'judge'; judge: PairwiseJudge }
  | { kind: 'steps'; steps: StepRewardFunction }
  | { kind: 'model'; model: LanguageModel; sampling?: Partial<Omit<Sampling, 'rng' | 'signal'>> };
export type Item = PreferenceItem | StepItem | AnswerItem;
type Outcome = (PreferenceOutcome | StepOutcome | AnswerOutcome) & { firstShown?: number; agrees?: number; pairs?: number };
/** One line of `results.jsonl`; `item` says what was judged, so that another file's item of the same id does not pass for it. */
type Line = { id: string; item: string; outcome?: Outcome; error?: string };
/** What judging took: tokens as servers counted them, or as a model here wrote them. */
export type Spent = {
  seconds: number;
  promptTokens?: number;
  completionTokens?: number;
  requests?: number;
  retries?: number;
  cached?: number;
  /** What a judge answered, and how much of it could not be read: such a pair is undecided, such a step 0.5. */
  verdicts?: number;
  unparsed?: number;
};

export type EvaluateOptions = {
  items: readonly Item[];
  subject: Subject;
  /** Where `results.jsonl`, `result.json` and `report.html` go; results of an earlier start under the same name are kept. */
  dir: string;
  /** Items at once; 16 unless said. A model on this machine likes many, an endpoint as many as it serves. */
  batch?: number;
  /** A step counts as sound above this. */
  threshold?: number;
  /** What runs the programs of a benchmark of code; `{file}` stands for the file. */
  command?: string;
  /** Compares answers with references, for benchmarks of critiques. */
  judge?: PairwiseJudge;
  /** What the subject has taken so far, for the sum that is reported. */
  spent?: () => Omit<Spent, 'seconds'>;
  seed?: number;
  /** What else tells this subject from others of its name, such as a hash of its weights: results of others are not gone on with. */
  identity?: string;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number, note?: string) => void;
};
export type EvalResult = {
  format: 1;
  benchmark: string;
  title: string;
  metric: string;
  paper?: string;
  subject: string;
  date: string;
  /** The headline first. */
  numbers: BenchmarkNumber[];
  items: number;
  /** Items without an outcome, left out of the numbers, and why by the first of them. */
  missing: number;
  firstError?: string;
  /** Of a judge: how often both orders agree, and how often it takes the answer shown first. */
  orders?: { agreement: number; firstShown: number; pairs: number };
  /** Of all starts together. */
  spent: Spent;
};

const fits: Record<Benchmark['kind'], readonly Subject['kind'][]> = {
  preference: ['reward', 'judge'],
  steps: ['steps'],
  answers: ['model'],
};
const wanted: Record<Benchmark['kind'], string> = {
  preference: 'a reward function or a pairwise judge',
  steps: 'a step reward function',
  answers: 'a language model',
};

/** The items in rows of a benchmark's files. @throws FormatError for a row that does not fit, an id that is there twice, or where there is none */
export async function readItems(
  benchmark: Benchmark,
  rows: AsyncIterable<{ row: Row; place: RowPlace }>,
  { limit = Infinity }: { limit?: number } = {},
): Promise<Item[]> {
  const items: Item[] = [];
  const ids = new Set<string>();
  for await (const { row, place } of rows) {
    if (items.length >= limit) break;
    const item = benchmark.read(row, place) as Item | undefined;
    if (!item) continue;
    if (ids.has(item.id)) throw new FormatError(`${place.path}, line ${place.line}: the id "${item.id}" is there twice`);
    ids.add(item.id);
    items.push(item);
  }
  if (items.length === 0) throw new FormatError(`no item of ${benchmark.title} was found; it reads ${benchmark.files}`);
  return items;
}

/**
 * @returns the result and where its page lies
 * @throws ConfigError for a subject that does not fit; InterruptedError after `signal`, with what is done kept; the first error where more than half of the items fail
 */
export async function evaluate(
  benchmark: Benchmark,
  {
    items,
    subject,
    dir,
    batch = 16,
    threshold,
    command,
    judge: referee,
    spent = () => ({}),
    identity,
    seed = 0,
    signal,
    onProgress = () => {},
  }: EvaluateOptions,
): Promise<{ result: EvalResult; reportPath: string }> {
  if (!fits[benchmark.kind].includes(subject.kind)) throw new ConfigError(`${benchmark.title} judges ${wanted[benchmark.kind]}`);
  if (benchmark.kind === 'preference' && benchmark.scoresOnly && subject.kind === 'judge')
    throw new ConfigError(`${benchmark.title} needs scores, which a judge of pairs does not give: name a reward function`);
  if (benchmark.kind === 'answers') await benchmark.prepare?.(items as readonly AnswerItem[], { command, judge: referee });
  const started = Date.now();
  mkdirSync(dir, { recursive: true });
  const name = nameOf(subject);
  const { done, before, add } = openResults(
    join(dir, 'results.jsonl'),
    JSON.stringify({ benchmark: benchmark.id, subject: name, seed, ...(identity && { identity }) }),
  );
  const rng = seeded(seed).fork('evaluate', benchmark.id);
  for (const item of items) if (done.get(item.id)?.item !== fingerprint(item)) done.delete(item.id);
  const open = items.filter(({ id }) => !done.get(id)?.outcome);
  const taken = () => ({ ...spent(), ...verdictsOf(subject) });
  const begun = taken();
  let failures = 0;
  for (let from = 0; from < open.length; from += batch) {
    if (signal?.aborted) break;
    const some = open.slice(from, from + batch);
    const lines = await tryEach(some, (part) => judge(benchmark, part, subject, { rng, signal, command, judge: referee }), signal);
    // what the signal cut short may look like an empty answer, or a verdict that could not be read: these items are judged again
    if (signal?.aborted) break;
    for (const line of lines) {
      if (line.error !== undefined) failures++;
      done.set(line.id, line);
      add(line);
    }
    if (failures > 8 && failures > (from + some.length) / 2)
      throw new FormatError(
        `${name} failed on ${failures} of ${from + some.length} items; the last error: ${[...done.values()].findLast(({ error }) => error)?.error}`,
      );
    onProgress(items.length - open.length + from + some.length, items.length, failures > 0 ? `${failures} failed` : undefined);
  }
  const now: Spent = { seconds: (Date.now() - started) / 1000, ...spentSince(begun, taken()) };
  if (open.length > 0) add({ spent: now });
  if (signal?.aborted)
    throw new InterruptedError(
      `Stopped. ${[...done.values()].filter(({ outcome }) => outcome).length} of ${items.length} items are kept in ${dir}; the same command goes on from there.`,
    );

  const judged = items.filter(({ id }) => done.get(id)?.outcome);
  if (judged.length === 0) throw new FormatError(`${name} answered no item: ${done.get(items[0].id)?.error}`);
  const outcomes = judged.map(({ id }) => done.get(id)!.outcome!);
  const firstError = items.map(({ id }) => done.get(id)?.error).find((error) => error !== undefined);
  const result: EvalResult = {
    format: 1,
    benchmark: benchmark.id,
    title: benchmark.title,
    metric: benchmark.metric,
    ...(benchmark.paper && { paper: benchmark.paper }),
    subject: name,
    date: new Date().toISOString().slice(0, 10),
    numbers: numbersOf(benchmark, judged, outcomes, threshold),
    items: judged.length,
    missing: items.length - judged.length,
    ...(firstError !== undefined && { firstError }),
    ...ordersOf(outcomes),
    spent: sumSpent([...before, now]),
  };
  await writeFileAtomic(join(dir, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
  const reportPath = join(dir, 'report.html');
  await writeFileAtomic(reportPath, reportPage(benchmarkReport(benchmark, result, judged, outcomes, { threshold })));
  return { result, reportPath };
}

/** The official table from outcomes that are there already: recorded scores, for one. */
export function numbersOf(
  benchmark: Benchmark,
  items: readonly Item[],
  outcomes: readonly object[],
  threshold?: number,
): BenchmarkNumber[] {
  if (benchmark.kind === 'preference')
    return benchmark.report(items as readonly PreferenceItem[], outcomes as readonly PreferenceOutcome[]);
  if (benchmark.kind === 'steps')
    return benchmark.report(items as readonly StepItem[], outcomes as readonly StepOutcome[], threshold === undefined ? {} : { threshold });
  return benchmark.report(items as readonly AnswerItem[], outcomes as readonly AnswerOutcome[]);
}

const nameOf = (subject: Subject): string =>
  subject.kind === 'reward'
    ? subject.reward.name
    : subject.kind === 'judge'
      ? subject.judge.name
      : subject.kind === 'steps'
        ? subject.steps.name
        : subject.model.name;

const fingerprint = (item: Item): string => createHash('sha256').update(JSON.stringify(item)).digest('hex').slice(0, 16);

/** A batch at once; where it fails, one by one, so that one bad item costs itself alone. */
async function tryEach(
  items: readonly Item[],
  run: (items: readonly Item[]) => Promise<(Outcome | Error)[]>,
  signal?: AbortSignal,
): Promise<Line[]> {
  try {
    const outcomes = await run(items);
    return items.map(({ id }, i) => {
      const outcome = outcomes[i];
      return { id, item: fingerprint(items[i]), ...(outcome instanceof Error ? { error: outcome.message } : { outcome }) };
    });
  } catch (error) {
    if (signal?.aborted) return [];
    const [{ id }] = items;
    if (items.length === 1) return [{ id, item: fingerprint(items[0]), error: error instanceof Error ? error.message : String(error) }];
    const lines: Line[] = [];
    for (const item of items) lines.push(...(await tryEach([item], run, signal)));
    return lines;
  }
}

/** A judge takes a failed request for a verdict that could not be read; here the item has none instead, and is asked again at the next start. */
async function judge(...asked: Parameters<typeof outcomesOf>): Promise<(Outcome | Error)[]> {
  const report = reportOf(asked[2]);
  const before = report?.errors ?? 0;
  const outcomes = await outcomesOf(...asked);
  if (report && report.errors > before)
    throw new Error(report.examples.findLast((text) => text.startsWith('error: ')) ?? 'a request failed');
  return outcomes;
}

async function outcomesOf(
  benchmark: Benchmark,
  items: readonly Item[],
  subject: Subject,
  { rng, ...options }: { rng: Rng } & CheckOptions,
): Promise<(Outcome | Error)[]> {
  const ctx = { rng: rng.fork(items[0].id), signal: options.signal };
  if (subject.kind === 'reward') return rewardOutcomes(items as readonly PreferenceItem[], subject.reward, ctx);
  if (subject.kind === 'judge') return judgeOutcomes(items as readonly PreferenceItem[], subject.judge, ctx);
  if (subject.kind === 'steps') {
    const asked = (items as readonly StepItem[]).map(({ prompt, steps }) => ({ prompt, steps }));
    const scores = await subject.steps.scoreSteps(asked, ctx);
    return items.map((item, i) => {
      if (scores[i].length !== asked[i].steps.length || scores[i].some(Number.isNaN))
        throw new RangeError(`item "${item.id}": ${scores[i].length} scores for ${asked[i].steps.length} steps, or one that is no number`);
      return { scores: Array.from(scores[i]) };
    });
  }
  if (benchmark.kind !== 'answers') throw new ConfigError(`${benchmark.title} judges ${wanted[benchmark.kind]}`);
  const sampling = { maxTokens: benchmark.maxTokens, temperature: 0, ...subject.sampling, rng: ctx.rng, signal: ctx.signal };
  const answers = await subject.model.generate(
    items.map(({ prompt }) => prompt),
    sampling,
  );
  return Promise.all(
    items.map(async (item, i) => {
      const response = answers[i][0].text;
      try {
        return { response, passed: await benchmark.check(item as AnswerItem, response, options) };
      } catch (error) {
        // the answers of the others need not be asked for again
        if (options.signal?.aborted) throw error;
        return error instanceof Error ? error : new Error(String(error));
      }
    }),
  );
}

type Asking = { rng: Rng; signal?: AbortSignal };
async function rewardOutcomes(items: readonly PreferenceItem[], reward: RewardFunction, ctx: Asking): Promise<Outcome[]> {
  const batch = items.flatMap(({ prompt, candidates, media }) =>
    candidates.map((completion) => ({ prompt, completion, ...(media && { media }) })),
  );
  const { scores, abstained } = await reward.score(batch, ctx);
  let at = 0;
  return items.map((item) => {
    const from = at;
    at += item.candidates.length;
    if (abstained?.subarray(from, at).some(Boolean))
      throw new RangeError(`item "${item.id}": the reward abstained (a reward model does on what is longer than its context)`);
    const own = Array.from(scores.subarray(from, at));
    if (own.length < item.candidates.length || !own.every(Number.isFinite))
      throw new RangeError(`item "${item.id}": the reward gave ${own.join(', ')} for ${item.candidates.length} answers, not a number each`);
    return { scores: own };
  });
}

/** Each pair of a right and a wrong answer in both orders: right where the two verdicts together favour the right one, 0.5 where they cancel. */
async function judgeOutcomes(items: readonly PreferenceItem[], judge: PairwiseJudge, ctx: Asking): Promise<Outcome[]> {
  const pairs = items.flatMap(({ prompt, candidates, correct }, item) =>
    candidates.slice(0, correct).flatMap((right) => candidates.slice(correct).map((wrong) => ({ item, prompt, right, wrong }))),
  );
  const verdicts = await judge.compare(
    pairs.flatMap(({ prompt, right, wrong }) => [
      { prompt, a: right, b: wrong },
      { prompt, a: wrong, b: right },
    ]),
    ctx,
  );
  const outcomes = items.map(() => ({ wins: [] as number[], firstShown: 0, agrees: 0, pairs: 0 }));
  for (const [p, { item }] of pairs.entries()) {
    const [forward, backward] = [verdicts[2 * p].winner, verdicts[2 * p + 1].winner];
    const votes = (forward === 'a' ? 1 : forward === 'b' ? -1 : 0) + (backward === 'b' ? 1 : backward === 'a' ? -1 : 0);
    const outcome = outcomes[item];
    outcome.wins.push(votes > 0 ? 1 : votes < 0 ? 0 : 0.5);
    outcome.pairs++;
    if (Math.abs(votes) === 2) outcome.agrees++;
    outcome.firstShown += ((forward === 'a' ? 1 : forward === 'tie' ? 0.5 : 0) + (backward === 'a' ? 1 : backward === 'tie' ? 0.5 : 0)) / 2;
  }
  return outcomes;
}

function ordersOf(outcomes: readonly Outcome[]): Pick<EvalResult, 'orders'> {
  const pairs = outcomes.reduce((sum, one) => sum + (one.pairs ?? 0), 0);
  if (pairs === 0) return {};
  const share = (name: 'agrees' | 'firstShown') => outcomes.reduce((sum, one) => sum + (one[name] ?? 0), 0) / pairs;
  return { orders: { agreement: share('agrees'), firstShown: share('firstShown'), pairs } };
}

/** What a judge that is a language model says of its own answers. */
function reportOf(subject: Subject): { asked: number; unparsed: number; errors: number; examples: string[] } | undefined {
  const asking =
    subject.kind === 'judge' ? subject.judge : subject.kind === 'steps' ? subject.steps : subject.kind === 'reward' ? subject.reward : {};
  return (asking as { report?: ReturnType<typeof reportOf> }).report;
}
function verdictsOf(subject: Subject): Pick<Spent, 'verdicts' | 'unparsed'> {
  const report = reportOf(subject);
  return report ? { verdicts: report.asked, unparsed: report.unparsed } : {};
}

const counted = ['promptTokens', 'completionTokens', 'requests', 'retries', 'cached', 'verdicts', 'unparsed'] as const;
const spentSince = (before: Omit<Spent, 'seconds'>, after: Omit<Spent, 'seconds'>): Omit<Spent, 'seconds'> =>
  Object.fromEntries(counted.flatMap((what) => (after[what] === undefined ? [] : [[what, after[what]! - (before[what] ?? 0)]])));
const sumSpent = (parts: readonly Spent[]): Spent => ({
  seconds: parts.reduce((sum, { seconds }) => sum + seconds, 0),
  ...Object.fromEntries(
    counted.flatMap((what) => {
      const known = parts.flatMap((part) => part[what] ?? []);
      return known.length > 0 ? [[what, known.reduce((sum, n) => sum + n, 0)]] : [];
    }),
  ),
});

/** The lines that are there, and how to add one; a line that a crash cut short is dropped. @throws ConfigError where they are another subject's */
function openResults(file: string, header: string): { done: Map<string, Line>; before: Spent[]; add(line: Line | { spent: Spent }): void } {
  const done = new Map<string, Line>();
  const before: Spent[] = [];
  if (!existsSync(file)) appendFileSync(file, `${header}\n`);
  else {
    const content = readFileSync(file);
    const whole = content.subarray(0, content.lastIndexOf(10) + 1);
    if (whole.length < content.length) truncateSync(file, whole.length);
    const [first, ...lines] = whole.toString('utf8').split('\n').filter(Boolean);
    if (first === undefined) appendFileSync(file, `${header}\n`);
    else if (first !== header) throw new ConfigError(`${file} holds the results of ${first}, not of ${header}; choose another folder`);
    for (const text of lines) {
      const line = JSON.parse(text) as Line | { spent: Spent };
      if ('spent' in line) before.push(line.spent);
      else done.set(line.id, line);
    }
  }
  return { done, before, add: (line) => appendFileSync(file, `${JSON.stringify(line)}\n`) };
}
