/** Choosing among candidates: by score, by vote, by tournament; and what choosing costs. */
import type { Rng } from '@plumbline/core/light';
import {
  type Completion,
  type Context,
  type LanguageModel,
  mathEqual,
  normalizeAnswer,
  type PairwiseJudge,
  type Prompt,
  type RewardFunction,
  type Rubric,
  type Sampling,
} from '@plumbline/data/light';
import { bestOfNKl, mean, standardDeviation } from '@plumbline/data/statistics';

export { bestOfNKl, passAtK } from '@plumbline/data/statistics';

/** The candidate with the highest score, the first of equals. `abstained` ones are passed over. */
export function bestOfN<T>(
  candidates: readonly T[],
  scores: ArrayLike<number>,
  abstained?: ArrayLike<number>,
): { index: number; item: T; score: number } {
  if (candidates.length === 0) throw new RangeError('bestOfN: there are no candidates');
  if (candidates.length !== scores.length) throw new RangeError(`bestOfN: ${candidates.length} candidates and ${scores.length} scores`);
  let index = -1;
  for (let i = 0; i < candidates.length; i++) {
    if (abstained?.[i] === 1) continue;
    if (Number.isNaN(scores[i])) throw new RangeError(`bestOfN: the score of candidate ${i} is not a number`);
    if (index < 0 || scores[i] > scores[index]) index = i;
  }
  if (index < 0) throw new RangeError('bestOfN: no candidate has a score');
  return { index, item: candidates[index], score: scores[index] };
}

/**
 * Expected proxy and gold score of the best of n by proxy, from N samples and without sampling: the i-th smallest proxy (i = 1…N) is the best of a
 * random n-subset with probability C(i - 1, n - 1) / C(N, n). Equal proxies rank in the order given, the first highest.
 *
 * @throws RangeError for n not in 1…N
 */
export function bestOfNCurve(
  proxy: ArrayLike<number>,
  gold: ArrayLike<number>,
  ns: readonly number[],
): { n: number; proxy: number; gold: number; klBound: number }[] {
  const total = proxy.length;
  if (gold.length !== total) throw new RangeError(`bestOfNCurve: ${total} proxy scores and ${gold.length} gold scores`);
  const order = Array.from(proxy, (_, i) => i).sort((a, b) => proxy[a] - proxy[b] || b - a);
  return ns.map((n) => {
    if (!(Number.isInteger(n) && n >= 1 && n <= total))
      throw new RangeError(`bestOfNCurve: n must be a whole number in 1 to ${total}, got ${n}`);
    // C(i - 1, n - 1) / C(N, n) by ratios, from i = N downwards: n / N, then times (i - n) / (i - 1).
    let weight = n / total;
    const sums = { proxy: 0, gold: 0 };
    for (let i = total; i >= n; i--) {
      sums.proxy += weight * proxy[order[i - 1]];
      sums.gold += weight * gold[order[i - 1]];
      weight *= i > 1 ? (i - n) / (i - 1) : 0;
    }
    return { n, ...sums, klBound: bestOfNKl(n) };
  });
}

/** `bestOfNCurve` of several prompts, [prompts][samples] each: means over prompts with their standard errors. */
export function meanBestOfNCurve(
  proxy: readonly ArrayLike<number>[],
  gold: readonly ArrayLike<number>[],
  ns: readonly number[],
): { n: number; proxy: number; gold: number; goldError: number; klBound: number }[] {
  if (proxy.length === 0 || proxy.length !== gold.length)
    throw new RangeError(`meanBestOfNCurve: ${proxy.length} prompts with proxy scores and ${gold.length} with gold scores`);
  const curves = proxy.map((scores, i) => bestOfNCurve(scores, gold[i], ns));
  return ns.map((n, k) => {
    const golds = curves.map((curve) => curve[k].gold);
    return {
      n,
      proxy: mean(curves.map((curve) => curve[k].proxy)),
      gold: mean(golds),
      goldError: standardDeviation(golds) / Math.sqrt(golds.length),
      klBound: bestOfNKl(n),
    };
  });
}

/**
 * The KL of best-of-n to its base, exactly, in nats, where the outputs' probabilities are known: `probabilities` of outputs in ascending order of reward, no two alike. At most
 * `bestOfNKl(n)`.
 */
export function exactBestOfNKl(probabilities: readonly number[], n: number): number {
  if (!(n >= 1)) throw new RangeError(`exactBestOfNKl: n must be at least 1, got ${n}`);
  const total = probabilities.reduce((a, b) => a + b, 0);
  if (!(Math.abs(total - 1) < 1e-6) || probabilities.some((p) => !(p >= 0)))
    throw new RangeError(`exactBestOfNKl: probabilities must be at least 0 and add up to 1, they add up to ${total}`);
  let [below, kl] = [0, 0];
  for (const p of probabilities) {
    const chosen = (below + p) ** n - below ** n;
    if (chosen > 0) kl += chosen * Math.log(chosen / p);
    below += p;
  }
  return kl;
}

/**
 * Draws one candidate with probability proportional to `exp(score / temperature)` among those that were scored: soft best-of-n (Verdun et al. 2025, arXiv:2505.03156). Towards temperature 0 it
 * is `bestOfN`, towards infinity a draw of the base.
 */
export function softBestOfN<T>(
  candidates: readonly T[],
  scores: ArrayLike<number>,
  { temperature, rng, abstained }: { temperature: number; rng: Rng; abstained?: ArrayLike<number> },
): { index: number; item: T; score: number } {
  if (!(temperature > 0)) throw new RangeError(`softBestOfN: temperature must be > 0, got ${temperature}`);
  const best = bestOfN(candidates, scores, abstained);
  const weights = candidates.map((_, i) => (abstained?.[i] === 1 ? 0 : Math.exp((scores[i] - best.score) / temperature)));
  const index = rng.categorical(weights);
  return { index, item: candidates[index], score: scores[index] };
}

/**
 * The candidate with the highest `score - beta · penalty`, such as a length, a KL or minus a log-probability of the base: regularised best-of-n (Jinnai et al. 2024, arXiv:2404.01054), which
 * gives a flawed reward less to exploit.
 */
export function regularisedBestOfN<T>(
  candidates: readonly T[],
  scores: ArrayLike<number>,
  penalties: ArrayLike<number>,
  { beta, abstained }: { beta: number; abstained?: ArrayLike<number> },
): { index: number; item: T; score: number } {
  if (!(beta >= 0)) throw new RangeError(`regularisedBestOfN: beta must be >= 0, got ${beta}`);
  if (penalties.length !== scores.length)
    throw new RangeError(`regularisedBestOfN: ${scores.length} scores and ${penalties.length} penalties`);
  return bestOfN(
    candidates,
    Array.from(scores, (score, i) => score - beta * penalties[i]),
    abstained,
  );
}

export type BestOfNSample = {
  prompt: Prompt;
  completion: Completion;
  index: number;
  score: number;
  samples: Completion[];
  scores: (number | null)[];
};

/**
 * Samples n completions of each prompt and keeps the best by `reward`; `null` scores are abstentions. A prompt all of whose samples are abstained on keeps the first, with a score of NaN.
 */
export async function sampleBestOfN(
  model: LanguageModel,
  reward: RewardFunction,
  prompts: readonly Prompt[],
  { n, ...sampling }: Sampling & { n: number },
): Promise<BestOfNSample[]> {
  if (!(Number.isInteger(n) && n > 0)) throw new RangeError(`sampleBestOfN: n must be a whole number above 0, got ${n}`);
  const samples = (await model.generate(prompts, { ...sampling, n })).map((generations, i) =>
    generations.map(({ text }): Completion => (typeof prompts[i] === 'string' ? text : [{ role: 'assistant', content: text }])),
  );
  const { scores, abstained } = await reward.score(
    prompts.flatMap((prompt, i) => samples[i].map((completion) => ({ prompt, completion }))),
    { rng: sampling.rng.fork('reward'), signal: sampling.signal },
  );
  let at = 0;
  return prompts.map((prompt, i) => {
    const own = samples[i].map((): number | null => {
      const value = abstained?.[at] === 1 ? null : scores[at];
      at++;
      return value;
    });
    const known = own.some((score) => score !== null);
    const values = own.map((score) => score ?? 0);
    const none = own.map((score) => (score === null ? 1 : 0));
    const { index, score } = known ? bestOfN(samples[i], values, none) : { index: 0, score: Number.NaN };
    return { prompt, completion: samples[i][index], index, score, samples: samples[i], scores: own };
  });
}

/**
 * The winner of a knockout: candidates meet in pairs, in the order given, and a tie goes to the earlier one; n - 1 comparisons, those of one round in one batch. For judges of pairs, which
 * need not be transitive.
 */
export async function knockout(
  judge: PairwiseJudge,
  prompt: Prompt,
  candidates: readonly Completion[],
  ctx: Context,
  { rubric }: { rubric?: Rubric } = {},
): Promise<{ index: number; item: Completion; comparisons: number; unparsed: number }> {
  if (candidates.length === 0) throw new RangeError('knockout: there are no candidates');
  let alive = candidates.map((_, i) => i);
  let [comparisons, unparsed] = [0, 0];
  for (let round = 0; alive.length > 1; round++) {
    const games = Array.from({ length: Math.floor(alive.length / 2) }, (_, g) => [alive[2 * g], alive[2 * g + 1]] as const);
    const verdicts = await judge.compare(
      games.map(([a, b]) => ({ prompt, a: candidates[a], b: candidates[b], ...(rubric && { rubric }) })),
      { ...ctx, rng: ctx.rng.fork('round', round) },
    );
    comparisons += games.length;
    unparsed += verdicts.filter(({ parsed }) => !parsed).length;
    const winners = games.map(([a, b], g) => (verdicts[g].winner === 'b' ? b : a));
    alive = alive.length % 2 === 1 ? [...winners, alive.at(-1)!] : winners;
  }
  return { index: alive[0], item: candidates[alive[0]], comparisons, unparsed };
}

export type Aggregation = 'min' | 'product' | 'last' | 'mean' | 'max' | 'sum' | 'sumlog' | 'sumlogit' | 'softmin';

/**
 * One score of a solution from the scores of its steps: `product`, `sumlog` (Σ ln r), `sumlogit` (Σ ln r / (1 - r)) and `sum` depend on the number of steps; `min`, `mean`, `last` and `max` do
 * not. `min` and `product` never rise when a step is added, `last` and `mean` may. `softmin` is `Σ r exp(-r / T) / Σ exp(-r / T)`.
 *
 * @throws RangeError naming the first score that is not a number, or outside of (0, 1] (`sumlog`) or (0, 1) (`sumlogit`)
 */
export function aggregateSteps(scores: ArrayLike<number>, how: Aggregation, { temperature = 0.1 }: { temperature?: number } = {}): number {
  const values = Array.from(scores);
  if (values.length === 0) throw new RangeError('aggregateSteps: there are no steps');
  const range = { sumlog: [1e-300, 1], sumlogit: [1e-300, 1 - 1e-12] }[how as string] ?? [-Infinity, Infinity];
  const bad = values.findIndex((value) => !(value >= range[0] && value <= range[1]));
  if (bad >= 0) throw new RangeError(`aggregateSteps: the score of step ${bad} is ${values[bad]}, which ${how} does not take`);
  const sum = (f: (x: number) => number) => values.reduce((total, x) => total + f(x), 0);
  switch (how) {
    case 'min':
      return Math.min(...values);
    case 'max':
      return Math.max(...values);
    case 'last':
      return values.at(-1)!;
    case 'mean':
      return sum((x) => x) / values.length;
    case 'sum':
      return sum((x) => x);
    case 'product':
      return values.reduce((product, x) => product * x, 1);
    case 'sumlog':
      return sum(Math.log);
    case 'sumlogit':
      return sum((x) => Math.log(x / (1 - x)));
    case 'softmin': {
      if (!(temperature > 0)) throw new RangeError(`aggregateSteps: temperature must be > 0, got ${temperature}`);
      const least = Math.min(...values);
      const weight = (x: number) => Math.exp((least - x) / temperature);
      return sum((x) => x * weight(x)) / sum(weight);
    }
    default:
      throw new RangeError(
        `aggregateSteps: there is no aggregation "${how satisfies never}"; there are min, product, last, mean, max, sum, sumlog, sumlogit, softmin`,
      );
  }
}

/** The answer that most agree on, `null` only where all are; equal numbers and normal forms count as one, ties go to the answer seen first. */
export function majorityVote(answers: readonly (string | null)[]): { answer: string | null; count: number; indices: number[] } {
  const { answer, weight, indices } = weightedVote(
    answers,
    answers.map(() => 1),
  );
  return { answer, count: weight, indices };
}

/**
 * The answer with the most weight (weighted best-of-n; Wang et al. 2023, arXiv:2203.11171; Li et al. 2023, arXiv:2206.02336). Answers group as in `majorityVote`; `null` ones do not vote.
 *
 * @throws RangeError for no answers, unlike lengths, or a weight that is negative or not a number
 */
export function weightedVote(
  answers: readonly (string | null)[],
  weights: ArrayLike<number>,
): { answer: string | null; weight: number; indices: number[] } {
  if (answers.length === 0) throw new RangeError('weightedVote: there are no answers');
  if (answers.length !== weights.length) throw new RangeError(`weightedVote: ${answers.length} answers and ${weights.length} weights`);
  const bad = Array.from(weights).findIndex((weight) => !(weight >= 0));
  if (bad >= 0) throw new RangeError(`weightedVote: the weight of answer ${bad} is ${weights[bad]}; it must be at least 0`);
  const groups: { answer: string; weight: number; indices: number[] }[] = [];
  answers.forEach((answer, i) => {
    if (answer === null) return;
    const group = groups.find((one) => normalizeAnswer(one.answer) === normalizeAnswer(answer) || mathEqual(one.answer, answer));
    if (group) {
      group.weight += weights[i];
      group.indices.push(i);
    } else groups.push({ answer, weight: weights[i], indices: [i] });
  });
  if (groups.length === 0)
    return { answer: null, weight: Array.from(weights).reduce((a, b) => a + b, 0), indices: answers.map((_, i) => i) };
  return groups.reduce((best, group) => (group.weight > best.weight ? group : best));
}
