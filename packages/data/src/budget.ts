/** Batches by tokens instead of by rows, so that none is much larger than another. */
import type { Rng } from '@plumbline/core';
import type { Duration } from './batches.js';
import type { Batches } from './interfaces.js';

export type BudgetOptions = {
  /** No batch holds more, except one item that is longer by itself, which is refused. */
  tokensPerBatch: number;
  /** Batches that are balanced among each other, at least 1; more of them balance better, and mix less. Default 16. */
  window?: number;
  rng: Rng;
} & Duration;

/**
 * Which items each step takes, where items have lengths: all batches hold at most `tokensPerBatch` tokens, and those of one window about the same. Each epoch is
 * a new permutation, cut into windows; in a window the longest item goes first, each into the batch that is emptiest so far (longest processing time
 * first, Graham 1969). Every item comes once an epoch; a step is a function of seed and step, so that there is nothing to save.
 *
 * @throws RangeError for an item that does not fit a batch, naming it
 */
export function budgetBatches(
  lengths: ArrayLike<number>,
  { tokensPerBatch, window = 16, rng, ...duration }: BudgetOptions,
): Batches<Int32Array> {
  if (lengths.length === 0) throw new RangeError('budgetBatches: there is nothing to take batches from');
  if (!(Number.isInteger(window) && window > 0))
    throw new RangeError(`budgetBatches: window must be a whole number above 0, got ${window}`);
  for (let i = 0; i < lengths.length; i++) {
    if (!(lengths[i] >= 0 && lengths[i] <= tokensPerBatch))
      throw new RangeError(
        `budgetBatches: item ${i} has ${lengths[i]} tokens, and tokensPerBatch is ${tokensPerBatch}; drop it, or cut it`,
      );
  }
  /** Steps before each epoch; epochs are laid out in order, each once, and the last two are kept. */
  const before = [0];
  const kept = new Map<number, Int32Array[]>();
  const epoch = (e: number): Int32Array[] => {
    const known = kept.get(e);
    if (known) return known;
    const batches = layOut(lengths, tokensPerBatch, window, rng.fork('epoch', e));
    if (kept.size >= 2) kept.delete(kept.keys().next().value!);
    kept.set(e, batches);
    before[e + 1] ??= before[e] + batches.length;
    return batches;
  };
  const epochsTo = (step: number): number => {
    for (let e = 0; ; e++) {
      if (before[e + 1] === undefined) epoch(e);
      if (step < before[e + 1]) return e;
    }
  };
  const steps = duration.steps ?? stepsOf(duration.epochs!);
  if (!(Number.isInteger(steps) && steps > 0)) throw new RangeError(`budgetBatches: steps must be a whole number above 0, got ${steps}`);
  return {
    steps,
    async at(step) {
      if (!(Number.isInteger(step) && step >= 0 && step < steps))
        throw new RangeError(`budgetBatches: step ${step} is not in 0 to ${steps - 1}`);
      const e = epochsTo(step);
      return epoch(e)[step - before[e]].slice();
    },
  };

  function stepsOf(epochs: number): number {
    if (!(epochs > 0)) throw new RangeError(`budgetBatches: epochs must be above 0, got ${epochs}`);
    const whole = Math.floor(epochs);
    for (let e = 0; e < Math.ceil(epochs); e++) epoch(e);
    return before[whole] + (epochs > whole ? Math.ceil((epochs - whole) * (before[whole + 1] - before[whole])) : 0);
  }
}

function layOut(lengths: ArrayLike<number>, budget: number, window: number, rng: Rng): Int32Array[] {
  const order = rng.permutation(lengths.length);
  const batches: Int32Array[] = [];
  for (let from = 0; from < order.length; ) {
    let to = from;
    for (let total = 0; to < order.length && (to === from || total + lengths[order[to]] <= window * budget); to++)
      total += lengths[order[to]];
    batches.push(...balance(order.subarray(from, to), lengths, budget));
    from = to;
  }
  const turns = rng.fork('turns').permutation(batches.length);
  return Array.from(turns, (i) => batches[i]);
}

function balance(items: Int32Array, lengths: ArrayLike<number>, budget: number): Int32Array[] {
  const longestFirst = Array.from(items).sort((a, b) => lengths[b] - lengths[a]);
  const total = longestFirst.reduce((sum, i) => sum + lengths[i], 0);
  for (let count = Math.max(1, Math.ceil(total / budget)); ; count++) {
    const bins = Array.from({ length: count }, () => ({ tokens: 0, items: [] as number[] }));
    const fits = longestFirst.every((i) => {
      const bin = bins.reduce((least, one) => (one.tokens < least.tokens ? one : least));
      bin.tokens += lengths[i];
      bin.items.push(i);
      return bin.tokens <= budget;
    });
    if (fits) return bins.filter((bin) => bin.items.length > 0).map((bin) => Int32Array.from(bin.items));
  }
}
