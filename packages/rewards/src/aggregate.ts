/** Several scores of one thing as one: rules, and how far the members disagree. Plain numbers. */
import type { RewardFunction } from '@plumbline/data/light';
import { kendallTau, quantile } from '@plumbline/data/statistics';
import { checkScores } from './adapters.js';

/**
 * `mean`, `median`, `min` (worst case), `max`; `meanMinusStd` (`- coefficient · sd`, by default 1, population sd unless `sample`); `uwo` (uncertainty-weighted: `mean - coefficient · variance`, by
 * default 0.1; Coste et al. 2024, arXiv:2310.02743); `quantile` (of `share`, by default 0.25, between order statistics).
 */
export type EnsembleRule =
  | 'mean'
  | 'median'
  | 'min'
  | 'max'
  | { rule: 'meanMinusStd'; coefficient?: number; sample?: boolean }
  | { rule: 'uwo'; coefficient?: number }
  | { rule: 'quantile'; share?: number };

/**
 * Scores of an ensemble, [members][items], put together item by item.
 *
 * @throws RangeError for no members, unlike lengths, or a score that is not finite
 */
export function aggregateEnsemble(scores: readonly ArrayLike<number>[], how: EnsembleRule): Float32Array {
  checkMembers('aggregateEnsemble', scores);
  const combine = combiner(how, scores.length);
  return Float32Array.from({ length: scores[0].length }, (_, i) => combine(scores.map((member) => member[i])));
}

function combiner(how: EnsembleRule, members: number): (values: number[]) => number {
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const squares = (values: number[]) => values.reduce((sum, x) => sum + (x - mean(values)) ** 2, 0);
  const { rule, ...options } = typeof how === 'string' ? { rule: how } : how;
  const { coefficient, sample, share } = options as { coefficient?: number; sample?: boolean; share?: number };
  switch (rule) {
    case 'mean':
      return mean;
    case 'median':
      return (values) => quantile(values, 0.5);
    case 'min':
      return (values) => Math.min(...values);
    case 'max':
      return (values) => Math.max(...values);
    case 'meanMinusStd': {
      if (sample && members < 2) throw new RangeError('aggregateEnsemble: a sample standard deviation needs at least two members');
      return (values) => mean(values) - (coefficient ?? 1) * Math.sqrt(squares(values) / (values.length - (sample ? 1 : 0)));
    }
    case 'uwo':
      return (values) => mean(values) - (coefficient ?? 0.1) * (squares(values) / values.length);
    case 'quantile': {
      const at = share ?? 0.25;
      if (!(at >= 0 && at <= 1)) throw new RangeError(`aggregateEnsemble: share must be in [0, 1], got ${at}`);
      return (values) => quantile(values, at);
    }
    default:
      throw new RangeError(
        `aggregateEnsemble: there is no rule "${rule satisfies never}"; there are mean, median, min, max, meanMinusStd, uwo, quantile`,
      );
  }
}

/** How far members disagree: the population standard deviation of each item, and the mean Kendall tau-b over pairs of members (NaN with fewer than two items or members). */
export function disagreement(scores: readonly ArrayLike<number>[]): { std: Float32Array; kendallTau: number } {
  checkMembers('disagreement', scores);
  const std = Float32Array.from({ length: scores[0].length }, (_, i) => {
    const values = scores.map((member) => member[i]);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  });
  const taus = scores.flatMap((a, i) => scores.slice(i + 1).map((b) => kendallTau(a, b)));
  return { std, kendallTau: taus.length === 0 ? Number.NaN : taus.reduce((a, b) => a + b, 0) / taus.length };
}

/**
 * Several rewards as one, by a rule; each member's scores and their standard deviation are components. It abstains where any member does. Members' scores must be of one scale: standardise them.
 */
export function ensembleReward(members: readonly RewardFunction[], how: EnsembleRule): RewardFunction {
  if (members.length === 0) throw new RangeError('ensembleReward: there are no members');
  const label = typeof how === 'string' ? how : how.rule;
  combiner(how, members.length);
  return {
    name: `${label} of ${members.map(({ name }) => name).join(', ')}`,
    async score(batch, ctx) {
      if (batch.length === 0) return { scores: new Float32Array() };
      const abstained = new Uint8Array(batch.length);
      const all: Float32Array[] = [];
      for (const [m, member] of members.entries()) {
        const answer = checkScores(member.name, await member.score(batch, { ...ctx, rng: ctx.rng.fork('member', m) }), batch.length);
        answer.abstained?.forEach((gone, i) => {
          if (gone === 1) abstained[i] = 1;
        });
        all.push(answer.scores.map((score, i) => (answer.abstained?.[i] === 1 ? 0 : score)));
      }
      const scores = aggregateEnsemble(all, how);
      for (let i = 0; i < batch.length; i++) if (abstained[i] === 1) scores[i] = 0;
      const components = { ...Object.fromEntries(all.map((values, m) => [`member ${m + 1}`, values])), std: disagreement(all).std };
      return { scores, components, ...(abstained.includes(1) && { abstained }) };
    },
  };
}

function checkMembers(who: string, scores: readonly ArrayLike<number>[]): void {
  if (scores.length === 0) throw new RangeError(`${who}: there are no members`);
  scores.forEach((member, m) => {
    if (member.length !== scores[0].length)
      throw new RangeError(`${who}: member ${m} has ${member.length} scores and the first ${scores[0].length}`);
    for (let i = 0; i < member.length; i++)
      if (!Number.isFinite(member[i])) throw new RangeError(`${who}: score ${i} of member ${m} is ${member[i]}`);
  });
}
