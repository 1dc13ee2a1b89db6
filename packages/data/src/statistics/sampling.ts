/** What many samples of one prompt say: pass@k, best-of-n, diversity, over-optimisation. */

/** Unbiased pass@k from `correct` of `n` samples: `1 − C(n − c, k) / C(n, k)`. Chen et al. 2021, arXiv:2107.03374, eq. 1. */
export function passAtK(n: number, correct: number, k: number): number {
  if (!(k >= 1 && k <= n)) throw new RangeError(`passAtK: k must be in [1, n = ${n}], got ${k}`);
  if (n - correct < k) return 1;
  let miss = 1;
  for (let i = n - correct + 1; i <= n; i++) miss *= 1 - k / i;
  return 1 - miss;
}

/** Upper bound on the KL of best-of-n to its base, in nats: `ln n − (n − 1) / n`. */
export const bestOfNKl = (n: number) => Math.log(n) - (n - 1) / n;

/** Different n-grams over all n-grams, of all texts together; 1 where nothing repeats. Takes token ids or words. */
export function distinctN(texts: readonly ArrayLike<number | string>[], n: number): number {
  const seen = new Set<string>();
  let total = 0;
  for (const text of texts)
    for (let i = 0; i + n <= text.length; i++) {
      seen.add(gram(text, i, n));
      total++;
    }
  return total === 0 ? 0 : seen.size / total;
}

/** Share of a text's n-grams that stood in it before: 0 where none repeats; a loop comes near 1. */
export function repetition(text: ArrayLike<number | string>, n = 3): number {
  const seen = new Set<string>();
  let total = 0;
  for (let i = 0; i + n <= text.length; i++) {
    seen.add(gram(text, i, n));
    total++;
  }
  return total === 0 ? 0 : 1 - seen.size / total;
}

export type OverOptimisation = {
  alpha: number;
  beta: number;
  /** Share of the variance explained. */
  r2: number;
  /** The distance `√KL` at which the fitted gold gain is largest; Infinity where the fit never turns down. */
  peak: number;
  predict(distance: number): number;
};

/**
 * Fits gold gain against the distance d = √KL (KL to the start in nats, gain over the start's gold reward) by least squares.
 * Gao et al. 2023, arXiv:2210.10760: `d (α − β d)` for best-of-n, `d (α − β ln d)` for RL.
 *
 * @throws RangeError with fewer than two different distances above 0
 */
export function fitOverOptimisation(kl: ArrayLike<number>, goldGain: ArrayLike<number>, how: 'bestOfN' | 'rl' = 'rl'): OverOptimisation {
  if (kl.length !== goldGain.length) throw new RangeError(`fitOverOptimisation: ${kl.length} KLs against ${goldGain.length} gold gains`);
  const bend = (d: number) => (how === 'bestOfN' ? d * d : d * Math.log(d));
  let [aa, ab, bb, ay, by] = [0, 0, 0, 0, 0];
  const rows: [number, number][] = [];
  for (let i = 0; i < kl.length; i++) {
    const d = Math.sqrt(Math.max(0, kl[i]));
    if (!(d > 0)) continue; // at distance 0 both terms vanish: it says nothing
    rows.push([d, goldGain[i]]);
    const [a, b, y] = [d, -bend(d), goldGain[i]];
    aa += a * a;
    ab += a * b;
    bb += b * b;
    ay += a * y;
    by += b * y;
  }
  const determinant = aa * bb - ab * ab;
  if (!(determinant > 1e-12 * aa * bb))
    throw new RangeError(`fitOverOptimisation: needs at least two different KLs above 0, got ${rows.length}`);
  const alpha = (ay * bb - by * ab) / determinant;
  const beta = (aa * by - ab * ay) / determinant;
  const predict = (d: number) => (d > 0 ? alpha * d - beta * bend(d) : 0);
  const centre = rows.reduce((s, [, y]) => s + y, 0) / rows.length;
  const total = rows.reduce((s, [, y]) => s + (y - centre) ** 2, 0);
  const left = rows.reduce((s, [d, y]) => s + (y - predict(d)) ** 2, 0);
  const turn = how === 'bestOfN' ? alpha / (2 * beta) : Math.exp(alpha / beta - 1);
  return { alpha, beta, r2: total === 0 ? 1 : 1 - left / total, peak: beta > 0 && turn > 0 ? turn : Infinity, predict };
}

const gram = (text: ArrayLike<number | string>, start: number, n: number) => {
  let key = '';
  for (let k = 0; k < n; k++) key += `${text[start + k]}\u0000`;
  return key;
};
