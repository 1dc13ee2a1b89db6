/** Plans of skills compared with a demonstrated one: which steps agree, and in which order. Plain numbers and text. */
import { ConfigError } from '@plumbline/core/light';
import { maximumAssignment } from '@plumbline/data/statistics';
import { knownOf, type Verifier, verifier } from '../verifiers/verifier.js';

/** One skill with its arguments, in lower case, without articles, with spaces for underscores: `pick(apple)`. */
export type PlanStep = { verb: string; args: string[] };
export type StepSimilarity = 'exact' | 'parts' | ((predicted: PlanStep, reference: PlanStep) => number);
export type PlanScoring = {
  /**
   * How alike two steps are, in [0, 1]. `exact`: 1 where all is equal. `parts` (the default): 0 where the verbs differ, else ½ + ½ · equal arguments in their places / the larger number of
   * arguments. Or a function, such as a cosine of embeddings.
   */
  similarity?: StepSimilarity;
  /** What the matched weight M is divided by, of m and n steps: `f1` (the default) is 2M / (m + n), `max` is M / max(m, n). */
  norm?: 'f1' | 'max';
  /** `ordered` (the default): matched steps keep their order. `unordered`: any matching. `prefix`: steps that agree from the first on. `exact`: 1 or 0 for the whole plan. */
  mode?: 'ordered' | 'unordered' | 'prefix' | 'exact';
};

/**
 * The matching of largest weight in which no two pairs cross: `D[i, j] = max(D[i−1, j], D[i, j−1], D[i−1, j−1] + W[i, j])`. For weights of 0 and 1 its total is the length of the
 * longest common subsequence. Bo et al. 2025 (REVER), arXiv:2509.25852; the recurrence is ours, the paper has no code.
 *
 * @param weights [predicted][reference], each in [0, 1]
 * @returns the total, and its pairs [predicted, reference] in order, without those of weight 0; of equal ones the diagonal, then the earlier step
 * @throws RangeError for rows of unlike lengths, a weight outside [0, 1] with its place, or more than a million weights
 */
export function orderedMatching(weights: readonly ArrayLike<number>[]): { total: number; pairs: [number, number][] } {
  const [m, n] = [weights.length, weights[0]?.length ?? 0];
  checkWeights('orderedMatching', weights);
  const best = Array.from({ length: m + 1 }, () => new Float64Array(n + 1));
  for (let i = 1; i <= m; i++)
    for (let j = 1; j <= n; j++) best[i][j] = Math.max(best[i - 1][j], best[i][j - 1], best[i - 1][j - 1] + weights[i - 1][j - 1]);
  const pairs: [number, number][] = [];
  for (let [i, j] = [m, n]; i > 0 && j > 0; ) {
    if (best[i][j] === best[i - 1][j - 1] + weights[i - 1][j - 1]) {
      i--;
      j--;
      if (weights[i][j] > 0) pairs.unshift([i, j]);
    } else if (best[i][j] === best[i - 1][j]) i--;
    else j--;
  }
  return { total: best[m][n], pairs };
}

/**
 * The steps of a plan: one a line or several divided by semicolons, numbered or not, `verb` or `verb(argument, ...)`. Null where a line is none, or there is no line.
 */
export function parsePlan(text: string): PlanStep[] | null {
  const pieces = text
    .split(/[\n;]|\s(?=\d+[.)]\s)/)
    .map((piece) =>
      piece
        .trim()
        .replace(/^\d+[.)]\s*/, '')
        .replace(/\.$/, '')
        .trim(),
    )
    .filter((piece) => piece !== '');
  const steps = pieces.map((piece) => {
    const [, verb, args] = /^([A-Za-z][\w -]*?)\s*(?:\(([^()]*)\))?$/.exec(piece) ?? [];
    return verb === undefined ? null : { verb: plain(verb), args: args?.trim() ? args.split(',').map(plain) : [] };
  });
  return steps.length > 0 && steps.every((step) => step !== null) ? steps : null;
}

const plain = (text: string) =>
  text
    .toLowerCase()
    .replaceAll('_', ' ')
    .replace(/\b(?:a|an|the)\s+/g, '')
    .trim();

/**
 * How far a plan agrees with the demonstrated one, in [0, 1]: the matched similarity M, normalised. 1 only where they agree step by step (in `unordered` mode: up to their order); steps left out,
 * added or repeated cost.
 *
 * @returns the score and the matched pairs [predicted, reference]
 * @throws RangeError for a reference without steps, or a similarity outside [0, 1]
 */
export function scorePlan(
  plan: readonly PlanStep[],
  reference: readonly PlanStep[],
  { similarity = 'parts', norm = 'f1', mode = 'ordered' }: PlanScoring = {},
): { score: number; pairs: [number, number][] } {
  if (reference.length === 0) throw new RangeError('scorePlan: the reference has no steps');
  const alike = similarityOf(similarity);
  const weights = plan.map((step) => reference.map((other) => alike(step, other)));
  checkWeights('scorePlan', weights);
  const { total, pairs } = matchings[mode](weights, reference.length);
  const divisor = { f1: (plan.length + reference.length) / 2, max: Math.max(plan.length, reference.length) }[norm];
  return { score: mode === 'exact' ? total : total / divisor, pairs };
}

type Matching = { total: number; pairs: [number, number][] };
const matchings: Record<NonNullable<PlanScoring['mode']>, (weights: number[][], n: number) => Matching> = {
  ordered: orderedMatching,
  unordered: (weights) => {
    const { total, pairs } = maximumAssignment(weights);
    return { total, pairs: pairs.filter(([i, j]) => weights[i][j] > 0) };
  },
  prefix: (weights, n) => {
    const pairs: [number, number][] = [];
    while (pairs.length < Math.min(weights.length, n) && weights[pairs.length][pairs.length] === 1)
      pairs.push([pairs.length, pairs.length]);
    return { total: pairs.length, pairs };
  },
  exact: (weights, n) => {
    const whole = weights.length === n && weights.every((row, i) => row[i] === 1);
    return { total: Number(whole), pairs: whole ? weights.map((_, i): [number, number] => [i, i]) : [] };
  },
};

function similarityOf(similarity: StepSimilarity): (a: PlanStep, b: PlanStep) => number {
  if (typeof similarity === 'function') return similarity;
  return (a, b) => {
    const count = Math.max(a.args.length, b.args.length);
    const equal = a.args.filter((arg, k) => arg === b.args[k]).length;
    if (a.verb !== b.verb) return 0;
    if (similarity === 'exact') return Number(equal === count);
    return count === 0 ? 1 : 0.5 + (0.5 * equal) / count;
  };
}

/**
 * REVER's reward of a plan, as a reward function: `formatWeight · f + contentWeight · c`. f is 1 where the completion is `<think>...</think><answer>...</answer>`, each tag once and the answer a
 * plan; c is `scorePlan` of the answer, 0 where it is none, so that without a plan there is at most the format's share. Bo et al. 2025, arXiv:2509.25852; weights of 0.1 and 0.9 are ours.
 *
 * The demonstrated plan stands under `column` of each candidate's `meta`, as text or a list of steps. Abstains where there is none.
 *
 * @throws ConfigError for weights below 0 or that add up to 0, or a reference that is no plan
 */
export function planReward({
  column = 'plan',
  formatWeight = 0.1,
  contentWeight = 0.9,
  ...scoring
}: { column?: string; formatWeight?: number; contentWeight?: number } & PlanScoring = {}): Verifier {
  checkShares('planReward', formatWeight, contentWeight);
  return verifier('plan', 'score', (text, candidate) => {
    const known = knownOf(candidate, column);
    const reference = parsePlan(Array.isArray(known) ? known.join('\n') : String(known));
    if (!reference) throw new ConfigError(`"${column}" is no plan: ${JSON.stringify(known)}`);
    const { answer, tagged } = answerOf(text);
    const plan = answer === null ? null : parsePlan(answer);
    return formatWeight * Number(tagged && plan !== null) + contentWeight * (plan ? scorePlan(plan, reference, scoring).score : 0);
  });
}

/**
 * REVER's reward of the question whether a skill is finished: `formatWeight · f + contentWeight · 1[answer = label]`, where the answer between the tags is True or False and the label (a boolean or its
 * word) stands under `column` of `meta`. Same paper and weights as `planReward`.
 */
export function finishedReward({ column = 'finished', formatWeight = 0.1, contentWeight = 0.9 } = {}): Verifier {
  checkShares('finishedReward', formatWeight, contentWeight);
  return verifier('finished', 'score', (text, candidate) => {
    const label = String(knownOf(candidate, column)).toLowerCase();
    if (label !== 'true' && label !== 'false') throw new ConfigError(`"${column}" must be true or false, got "${label}"`);
    const { answer, tagged } = answerOf(text);
    const said = answer?.trim().toLowerCase();
    return formatWeight * Number(tagged && (said === 'true' || said === 'false')) + contentWeight * Number(said === label);
  });
}

/** What stands between the answer's tags, null unless they stand there once, and whether the whole keeps to the form. */
function answerOf(text: string): { answer: string | null; tagged: boolean } {
  const once = (tag: string) => text.split(`<${tag}>`).length === 2 && text.split(`</${tag}>`).length === 2;
  const answer = once('answer') ? (/<answer>([\s\S]*)<\/answer>/.exec(text)?.[1] ?? null) : null;
  return { answer, tagged: once('think') && answer !== null && /^\s*<think>[\s\S]*<\/think>\s*<answer>[\s\S]*<\/answer>\s*$/.test(text) };
}

function checkShares(who: string, formatWeight: number, contentWeight: number): void {
  for (const [name, weight] of Object.entries({ formatWeight, contentWeight }))
    if (!(weight >= 0)) throw new ConfigError(`${who}: ${name} must be at least 0, got ${weight}`);
  if (!(formatWeight + contentWeight > 0)) throw new ConfigError(`${who}: formatWeight and contentWeight are both 0`);
}

function checkWeights(who: string, weights: readonly ArrayLike<number>[]): void {
  const n = weights[0]?.length ?? 0;
  if (weights.length * n > 1e6) throw new RangeError(`${who}: ${weights.length} by ${n} steps are more than a million weights`);
  weights.forEach((row, i) => {
    if (row.length !== n) throw new RangeError(`${who}: row ${i} has ${row.length} weights and row 0 has ${n}`);
    const bad = Array.from(row).findIndex((weight) => !(weight >= 0 && weight <= 1));
    if (bad >= 0) throw new RangeError(`${who}: the weight of steps ${i} and ${bad} is ${row[bad]}; it must be in [0, 1]`);
  });
}
