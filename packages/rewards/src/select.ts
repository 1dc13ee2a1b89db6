/** Choosing among candidates by score. */

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

/** KL of best-of-n to its base in nats, `ln n - (n - 1) / n`; an upper bound where outputs repeat. */
export function bestOfNKl(n: number): number {
  if (!(n >= 1)) throw new RangeError(`bestOfNKl: n must be at least 1, got ${n}`);
  return Math.log(n) - (n - 1) / n;
}
