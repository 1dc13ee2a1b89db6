/** Reward functions and judges made of others. Each exists once, here. */
import type { Candidate, Completion, Context, PairwiseJudge, RewardFunction, Scores, StepRewardFunction } from '@plumbline/data/light';
import { textOf } from '@plumbline/data/light';
import { type Aggregation, aggregateSteps } from './select.js';

/**
 * `Σ weight · score`, each part's scores as a component under its name. It abstains where any part with a weight does; with `abstain: 'all'` a part that abstains on a row is left out of
 * that row's sum, as TRL's trainers do, and the whole abstains only where all do.
 *
 * @throws RangeError for no parts, weights that are not finite, two parts of one name, or a part whose score is not finite
 */
export function weightedSum(
  parts: readonly { reward: RewardFunction; weight: number }[],
  name = parts.map(({ reward }) => reward.name).join(' + '),
  { abstain = 'any' }: { abstain?: 'any' | 'all' } = {},
): RewardFunction {
  if (parts.length === 0) throw new RangeError('weightedSum: there are no parts');
  for (const { reward, weight } of parts)
    if (!Number.isFinite(weight)) throw new RangeError(`weightedSum: the weight of ${reward.name} is ${weight}`);
  const names = parts.map(({ reward }) => reward.name);
  if (new Set(names).size < names.length) throw new RangeError(`weightedSum: two parts have the same name among ${names.join(', ')}`);
  return {
    name,
    async score(batch, ctx) {
      const answers: Scores[] = [];
      for (const { reward } of parts)
        answers.push(checkScores(reward.name, await reward.score(batch, { ...ctx, rng: ctx.rng.fork(reward.name) }), batch.length));
      const scores = new Float32Array(batch.length);
      const [missing, counted] = [new Uint8Array(batch.length), new Uint8Array(batch.length)];
      const components: Record<string, Float32Array> = {};
      answers.forEach((answer, p) => {
        components[names[p]] = answer.scores;
        for (let i = 0; i < batch.length; i++) {
          if (parts[p].weight === 0) continue;
          if (answer.abstained?.[i] === 1) missing[i] = 1;
          else {
            counted[i] = 1;
            scores[i] += parts[p].weight * answer.scores[i];
          }
        }
      });
      const abstained = abstain === 'any' ? missing : Uint8Array.from(missing, (gone, i) => (gone === 1 && counted[i] === 0 ? 1 : 0));
      scores.forEach((_, i) => {
        if (abstained[i] === 1) scores[i] = 0;
      });
      return { scores, components, ...(abstained.includes(1) && { abstained }) };
    },
  };
}

/**
 * Remembers scores by candidate, and asks only for those it has not seen; equal candidates of one call are asked for once. For rewards that do not
 * use the context's randomness. `size` candidates are kept, the oldest go first.
 */
export function cached(
  reward: RewardFunction,
  { keyOf = keyOfCandidate, size = 100_000 }: { keyOf?: (candidate: Candidate) => string; size?: number } = {},
): RewardFunction {
  type Entry = { score: number; abstained: boolean; components?: Record<string, number> };
  const seen = new Map<string, Entry>();
  return {
    name: reward.name,
    async score(batch, ctx) {
      const keys = batch.map(keyOf);
      const found = new Map<string, Entry>();
      const asked = new Map<string, Candidate>();
      keys.forEach((key, i) => {
        const known = seen.get(key);
        if (known) found.set(key, known);
        else if (!asked.has(key)) asked.set(key, batch[i]);
      });
      if (asked.size > 0) {
        const fresh = await reward.score([...asked.values()], ctx);
        [...asked.keys()].forEach((key, i) => {
          const components =
            fresh.components && Object.fromEntries(Object.entries(fresh.components).map(([name, values]) => [name, values[i]]));
          const entry = { score: fresh.scores[i], abstained: fresh.abstained?.[i] === 1, components };
          found.set(key, entry);
          seen.set(key, entry);
        });
        for (const oldest of seen.keys()) {
          if (seen.size <= size) break;
          seen.delete(oldest);
        }
      }
      return collect(keys.map((key) => found.get(key)!));
    },
  };

  function collect(entries: Entry[]): Scores {
    const names = Object.keys(entries.find(({ components }) => components)?.components ?? {});
    const abstained = Uint8Array.from(entries, (entry) => (entry.abstained ? 1 : 0));
    return {
      scores: Float32Array.from(entries, ({ score }) => score),
      ...(abstained.includes(1) && { abstained }),
      ...(names.length > 0 && {
        components: Object.fromEntries(
          names.map((name) => [name, Float32Array.from(entries, ({ components }) => components?.[name] ?? 0)]),
        ),
      }),
    };
  }
}

const keyOfCandidate = ({ prompt, completion, media }: Candidate): string => JSON.stringify([prompt, completion, media]);

/** Hands the batch on in pieces of at most `size` candidates, one after another. */
export function batched(reward: RewardFunction, size: number): RewardFunction {
  if (!(Number.isInteger(size) && size > 0)) throw new RangeError(`batched: size must be a whole number above 0, got ${size}`);
  return {
    name: reward.name,
    async score(batch, ctx) {
      const parts: Scores[] = [];
      for (let from = 0; from < batch.length; from += size) {
        ctx.signal?.throwIfAborted();
        const rng = from === 0 ? ctx.rng : ctx.rng.fork('batch', from / size);
        parts.push(await reward.score(batch.slice(from, from + size), { ...ctx, rng }));
      }
      return concatScores(parts, size);
    },
  };
}

function concatScores(parts: readonly Scores[], size: number): Scores {
  const total = parts.reduce((sum, { scores }) => sum + scores.length, 0);
  const joined = (of: (part: Scores) => Float32Array | undefined): Float32Array => {
    const all = new Float32Array(total);
    parts.forEach((part, p) => {
      const values = of(part);
      if (values) all.set(values, p * size);
    });
    return all;
  };
  const names = [...new Set(parts.flatMap(({ components = {} }) => Object.keys(components)))];
  const abstained = Uint8Array.from(joined(({ abstained }) => abstained && Float32Array.from(abstained)));
  return {
    scores: joined(({ scores }) => scores),
    ...(abstained.includes(1) && { abstained }),
    ...(names.length > 0 && {
      components: Object.fromEntries(names.map((name) => [name, joined(({ components }) => components?.[name])])),
    }),
  };
}

/**
 * The probability that the judge prefers a candidate to a reference completion of its prompt, asked in both orders. Where the judge could not be
 * parsed in either order it abstains.
 */
export function pointwiseFromPairwise(judge: PairwiseJudge, referenceOf: (candidate: Candidate) => Completion): RewardFunction {
  const both = debiased(judge);
  return {
    name: `${judge.name} against a reference`,
    async score(batch, ctx) {
      const verdicts = await both.compare(
        batch.map((candidate) => ({ prompt: candidate.prompt, a: candidate.completion, b: referenceOf(candidate) })),
        ctx,
      );
      const abstained = Uint8Array.from(verdicts, ({ parsed }) => (parsed ? 0 : 1));
      return { scores: Float32Array.from(verdicts, ({ probA }) => probA), ...(abstained.includes(1) && { abstained }) };
    },
  };
}

/** A judge with `probA = σ((score(a) - score(b)) / temperature)`; what the reward abstains on is not parsed. */
export function pairwiseFromPointwise(reward: RewardFunction, { temperature = 1 }: { temperature?: number } = {}): PairwiseJudge {
  if (!(temperature > 0)) throw new RangeError(`pairwiseFromPointwise: temperature must be > 0, got ${temperature}`);
  return {
    name: reward.name,
    async compare(batch, ctx) {
      const sides = (side: 'a' | 'b') =>
        batch.map((pair) => ({ prompt: pair.prompt, completion: pair[side], ...(pair.meta && { meta: pair.meta }) }));
      const { scores, abstained } = await reward.score([...sides('a'), ...sides('b')], ctx);
      return batch.map((_, i) => {
        const j = batch.length + i;
        if (abstained?.[i] === 1 || abstained?.[j] === 1) return { winner: 'tie', probA: 0.5, parsed: false };
        const logOdds = (scores[i] - scores[j]) / temperature;
        return { ...verdictOf(1 / (1 + Math.exp(-logOdds))), logOdds };
      });
    },
  };
}

/**
 * Asks in both orders and averages: `(P(a first) + 1 - P(b first)) / 2`. One order that could not be parsed leaves the other's answer; neither leaves
 * `parsed: false`. With `requireConsistent`, orders that disagree about the winner make a tie.
 */
export function debiased(
  judge: PairwiseJudge,
  { requireConsistent = false }: { requireConsistent?: boolean } = {},
): PairwiseJudge & {
  /** Share of the pairs so far, among those parsed in both orders, whose two orders named the same winner. */
  readonly consistency: number;
} {
  let [asked, agreed] = [0, 0];
  return {
    name: `${judge.name}, both orders`,
    get consistency() {
      return agreed / asked;
    },
    async compare(batch, ctx) {
      const forwards = await judge.compare(batch, { ...ctx, rng: ctx.rng.fork('forwards') });
      const backwards = await judge.compare(
        batch.map((pair) => ({ ...pair, a: pair.b, b: pair.a })),
        { ...ctx, rng: ctx.rng.fork('backwards') },
      );
      return batch.map((_, i) => {
        const [first, second] = [forwards[i], backwards[i]];
        if (!first.parsed && !second.parsed) return { winner: 'tie', probA: 0.5, parsed: false };
        if (!first.parsed) return { ...verdictOf(1 - second.probA), rationale: second.rationale };
        if (!second.parsed) return { ...verdictOf(first.probA), rationale: first.rationale };
        const swapped = { a: 'b', b: 'a', tie: 'tie' } as const;
        const consistent = first.winner === swapped[second.winner];
        asked++;
        if (consistent) agreed++;
        if (requireConsistent && !consistent) return { winner: 'tie', probA: 0.5, parsed: true, rationale: first.rationale };
        return { ...verdictOf((first.probA + 1 - second.probA) / 2), rationale: first.rationale };
      });
    },
  };
}

function verdictOf(probA: number): { winner: 'a' | 'b' | 'tie'; probA: number; parsed: true } {
  return { winner: probA > 0.5 ? 'a' : probA < 0.5 ? 'b' : 'tie', probA, parsed: true };
}

/** A check in code as a reward function: one number for each candidate's text, a pure function of it. */
export function rewardFromText(name: string, scoreOf: (text: string, candidate: Candidate, ctx: Context) => number): RewardFunction {
  return {
    name,
    score: async (batch, ctx) => ({
      scores: Float32Array.from(batch, (candidate) => scoreOf(textOf(candidate.completion), candidate, ctx)),
    }),
  };
}

/** The scores as they are, once each is finite or abstained on and there is one for each candidate. @throws RangeError naming the reward and the candidate */
export function checkScores(name: string, answer: Scores, candidates: number): Scores {
  if (answer.scores.length !== candidates) throw new RangeError(`${name}: ${answer.scores.length} scores for ${candidates} candidates`);
  const bad = answer.scores.findIndex((score, i) => answer.abstained?.[i] !== 1 && !Number.isFinite(score));
  if (bad >= 0) throw new RangeError(`${name}: the score of candidate ${bad} is ${answer.scores[bad]}; a reward is finite or abstains`);
  return answer;
}

/**
 * A reward that may take at most so long for a batch. What comes later is abstained on (the whole batch) and counted in `timeouts`, or an error; the work behind it is told to stop through its
 * signal.
 */
export function timeLimited(
  reward: RewardFunction,
  { seconds, late = 'abstain' }: { seconds: number; late?: 'abstain' | 'throw' },
): RewardFunction & { readonly timeouts: number } {
  if (!(seconds > 0)) throw new RangeError(`timeLimited: seconds must be > 0, got ${seconds}`);
  let timeouts = 0;
  return {
    name: reward.name,
    get timeouts() {
      return timeouts;
    },
    async score(batch, ctx) {
      const controller = new AbortController();
      const signal = ctx.signal ? AbortSignal.any([ctx.signal, controller.signal]) : controller.signal;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const limit = new Promise<'late'>((resolve) => {
        timer = setTimeout(() => resolve('late'), seconds * 1000);
      });
      const work = reward.score(batch, { ...ctx, signal });
      work.catch(() => {}); // an answer after the limit has nobody to hear its error
      try {
        const answer = await Promise.race([work, limit]);
        if (answer !== 'late') return answer;
      } finally {
        clearTimeout(timer);
      }
      timeouts++;
      controller.abort(new Error(`${reward.name} took more than ${seconds} s`));
      if (late === 'throw') throw new RangeError(`${reward.name} took more than ${seconds} s for ${batch.length} candidates`);
      return { scores: new Float32Array(batch.length), abstained: new Uint8Array(batch.length).fill(1) };
    },
  };
}

/** A reward that goes on where another one throws: the whole batch is abstained on and counted. An abort still throws. */
export function forgiving(reward: RewardFunction): RewardFunction & { readonly failures: { count: number; last?: string } } {
  const failures: { count: number; last?: string } = { count: 0 };
  return {
    name: reward.name,
    failures,
    async score(batch, ctx) {
      try {
        return checkScores(reward.name, await reward.score(batch, ctx), batch.length);
      } catch (error) {
        ctx.signal?.throwIfAborted();
        failures.count++;
        failures.last = error instanceof Error ? error.message : String(error);
        return { scores: new Float32Array(batch.length), abstained: new Uint8Array(batch.length).fill(1) };
      }
    },
  };
}

/** The reward of a whole solution from those of its steps: the completion is cut into steps at line ends, their scores put together by `how`. Empty completions are abstained on. */
export function stepwiseToOutcome(
  reward: StepRewardFunction,
  how: Aggregation,
  { stepsOf = linesOf, temperature }: { stepsOf?: (text: string) => string[]; temperature?: number } = {},
): RewardFunction {
  return {
    name: `${reward.name}, ${how}`,
    async score(batch, ctx) {
      const steps = batch.map(({ completion }) => stepsOf(textOf(completion)));
      const kept = steps.flatMap((own, i) => (own.length > 0 ? [i] : []));
      const found = await reward.scoreSteps(
        kept.map((i) => ({ prompt: batch[i].prompt, steps: steps[i] })),
        ctx,
      );
      const scores = new Float32Array(batch.length);
      const abstained = new Uint8Array(batch.length).fill(1);
      kept.forEach((i, at) => {
        scores[i] = aggregateSteps(found[at], how, { temperature });
        abstained[i] = 0;
      });
      return {
        scores,
        components: { steps: Float32Array.from(steps, ({ length }) => length) },
        ...(abstained.includes(1) && { abstained }),
      };
    },
  };
}

const linesOf = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');
