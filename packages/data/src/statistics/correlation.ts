/** Correlations and rankings of two lists of numbers. */

import { tTwoSidedP } from './distributions.js';
import { mean } from './estimates.js';

type Numbers = ArrayLike<number>;

/** Pearson's r with its two-sided p; NaN where a list is constant. */
export function pearson(x: Numbers, y: Numbers): { value: number; p: number } {
  sameLength('pearson', x, y);
  const mx = mean(x);
  const my = mean(y);
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) ** 2;
    yy += (y[i] - my) ** 2;
  }
  const value = Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
  const df = x.length - 2;
  return { value, p: tTwoSidedP(value * Math.sqrt(df / (1 - value * value)), df) };
}

/** Ranks from 1, ties sharing their mean rank. */
export function ranks(x: Numbers): Float64Array {
  const order = Array.from(x, (_, i) => i).sort((i, j) => x[i] - x[j]);
  const out = new Float64Array(x.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && x[order[end + 1]] === x[order[start]]) end++;
    for (let k = start; k <= end; k++) out[order[k]] = (start + end) / 2 + 1;
    start = end + 1;
  }
  return out;
}

/** Spearman's rank correlation: Pearson's r of the ranks. */
export const spearman = (x: Numbers, y: Numbers) => {
  sameLength('spearman', x, y);
  return pearson(ranks(x), ranks(y));
};

/** Kendall's tau: `b` (corrected for ties) or `c` (Stuart's, for tables that are not square). */
export function kendallTau(x: Numbers, y: Numbers, variant: 'b' | 'c' = 'b'): number {
  sameLength('kendallTau', x, y);
  const n = x.length;
  let concordance = 0;
  let tiedX = 0;
  let tiedY = 0;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      const sx = Math.sign(x[i] - x[j]);
      const sy = Math.sign(y[i] - y[j]);
      concordance += sx * sy;
      if (sx === 0) tiedX++;
      if (sy === 0) tiedY++;
    }
  if (variant === 'c') {
    const classes = Math.min(new Set(Array.from(x, (v) => v + 0)).size, new Set(Array.from(y, (v) => v + 0)).size); // + 0: −0 is 0
    return (2 * concordance) / (n * n * ((classes - 1) / classes));
  }
  const pairs = (n * (n - 1)) / 2;
  return concordance / Math.sqrt((pairs - tiedX) * (pairs - tiedY));
}

/** Normalised discounted cumulative gain with linear gain and log2 discount; ties in the score share their mean gain. */
export function ndcg(relevance: Numbers, score: Numbers, k = relevance.length): number {
  sameLength('ndcg', relevance, score);
  const discount = (rank: number) => (rank < k ? 1 / Math.log2(rank + 2) : 0);
  const order = Array.from(score, (_, i) => i).sort((i, j) => score[j] - score[i]);
  let gain = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && score[order[end + 1]] === score[order[start]]) end++;
    let discounts = 0;
    let relevances = 0;
    for (let r = start; r <= end; r++) {
      discounts += discount(r);
      relevances += relevance[order[r]];
    }
    gain += (relevances / (end - start + 1)) * discounts;
    start = end + 1;
  }
  const best = Float64Array.from(relevance).sort().reverse();
  const ideal = best.reduce((sum, value, rank) => sum + value * discount(rank), 0);
  return ideal === 0 ? 0 : gain / ideal;
}

function sameLength(where: string, x: Numbers, y: Numbers) {
  if (x.length !== y.length) throw new RangeError(`${where}: ${x.length} values against ${y.length}`);
}
