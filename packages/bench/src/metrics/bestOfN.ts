/** Best-of-n curves from one set of samples, without bias. */
import { bestOfNKl, mean } from '@plumbline/data/statistics';

export type BestOfNPoint = { n: number; gold: number; proxy: number /** Bound on the KL to the base, in nats. */; kl: number };

/**
 * Expected gold and proxy reward of the sample with the highest proxy among n, averaged over every choice of n of the N samples (equal proxies share).
 * With samples in ascending order of proxy, sample i (from 0) is the best of n with probability `C(i, n − 1) / C(N, n)`.
 *
 * @param proxy [prompts][N] what selects
 * @param gold  [prompts][N] what is measured
 * @param ns    sizes, each at most N; powers of two up to N by default
 */
export function bestOfNCurve(
  proxy: readonly ArrayLike<number>[],
  gold: readonly ArrayLike<number>[],
  ns?: readonly number[],
): BestOfNPoint[] {
  if (proxy.length === 0 || proxy.length !== gold.length)
    throw new RangeError(
      `bestOfNCurve: ${proxy.length} prompts with proxies and ${gold.length} with gold; needs as many of each, at least one`,
    );
  const most = Math.min(...proxy.map((row) => row.length));
  const sizes = ns ?? Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, k) => 2 ** k);
  const bad = sizes.find((n) => !(n >= 1 && n <= most));
  if (bad !== undefined) throw new RangeError(`bestOfNCurve: n = ${bad}, with ${most} samples a prompt`);
  return sizes.map((n) => {
    const each = proxy.map((row, p) => expectedBest(Array.from(row), Array.from(gold[p]), n));
    return { n, gold: mean(each.map((one) => one.gold)), proxy: mean(each.map((one) => one.proxy)), kl: bestOfNKl(n) };
  });
}

function expectedBest(proxy: readonly number[], gold: readonly number[], n: number): { gold: number; proxy: number } {
  const total = proxy.length;
  const order = proxy.map((_, i) => i).sort((a, b) => proxy[a] - proxy[b]);
  // equal proxies are drawn from evenly: each has the mean gold of its equals
  const shared = new Float64Array(total);
  for (let from = 0; from < total; ) {
    let to = from;
    while (to < total && proxy[order[to]] === proxy[order[from]]) to++;
    const tied = mean(order.slice(from, to).map((i) => gold[i]));
    shared.fill(tied, from, to);
    from = to;
  }
  let weight = n / total; // C(N − 1, n − 1) / C(N, n), the weight of the highest
  let sum = { gold: 0, proxy: 0 };
  for (let i = total - 1; i >= n - 1; i--) {
    sum = { gold: sum.gold + weight * shared[i], proxy: sum.proxy + weight * proxy[order[i]] };
    weight *= (i - n + 1) / i;
  }
  return sum;
}
