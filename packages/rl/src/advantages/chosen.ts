/** Rejection sampling as an advantage: 1 on the samples that are learned, 0 on the others. Plain numbers. */
import { groupRows, isScored } from './statistics.js';

/**
 * Expert iteration (RAFT, arXiv:2304.06767): with the REINFORCE loss this is cross-entropy on the `keep` best samples of each group, or on all whose
 * reward is above `above`. Of equal rewards the earlier sample goes first; one that was not scored (NaN) is never chosen.
 */
export function chosenAdvantages(
  rewards: ArrayLike<number>,
  groups: ArrayLike<number>,
  { keep, above }: { keep?: number; above?: number } = {},
): Float64Array {
  const most = keep ?? (above === undefined ? 1 : Infinity);
  if (!(most >= 1)) throw new RangeError(`chosenAdvantages: keep must be at least 1, got ${keep}`);
  const advantages = new Float64Array(rewards.length);
  for (const rows of groupRows('chosenAdvantages', rewards, groups)) {
    const given = rows.filter((i) => isScored(rewards[i]) && rewards[i] > (above ?? -Infinity));
    given.sort((a, b) => rewards[b] - rewards[a] || a - b);
    for (const i of given.slice(0, most)) advantages[i] = 1;
  }
  return advantages;
}
