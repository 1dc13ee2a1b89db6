/** For tests: pairs with something to learn, and batches as TRL pads them. */
import { rng } from '@plumbline/core';
import { type EncodedPair, packSequences } from '@plumbline/data';

/** Random prompts; chosen completions are of even ids, rejected ones of odd ids, of 2 to 5 tokens. */
export function separablePairs(count: number, seed = 1): EncodedPair[] {
  const draw = rng(seed);
  return Array.from({ length: count }, (_, i) => {
    const side = (odd: number) => Int32Array.from({ length: 2 + draw.below(4) }, () => 2 * draw.below(11) + odd);
    const prompt = Int32Array.from({ length: 1 + draw.below(4) }, () => draw.below(23));
    return { id: `pair-${i}`, prompt, chosen: side(0), rejected: side(1) };
  });
}

/** A padded batch as TRL's trainers see it, packed: rows in their order, padding left out on either side. */
export function packRows(ids: number[][], attention: number[][], completion: number[][]) {
  return packSequences(
    ids.map((row, i) => {
      const kept = row.map((_, t) => t).filter((t) => attention[i][t] === 1);
      return { tokens: Int32Array.from(kept, (t) => row[t]), completionStart: kept.findIndex((t) => completion[i][t] === 1), row: i };
    }),
  );
}
