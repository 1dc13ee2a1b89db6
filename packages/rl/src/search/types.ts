/** What a search over steps walks on: how a state goes on, and where it ends. */
import type { Rng } from '@plumbline/core';

export interface StepGenerator<S> {
  /** Up to `n` states that are one step further; none where nothing can follow. */
  propose(state: S, n: number, rng: Rng): Promise<S[]>;
  isTerminal(state: S): boolean;
  /** Equal for states that are the same: what duplicates and steps that lead nowhere are known by. */
  key?(state: S): string;
}

/** Proposals of one state, at most `n`. @throws RangeError where a proposal is the state itself, which would go on for ever */
export async function proposals<S>(who: string, gen: StepGenerator<S>, state: S, n: number, rng: Rng): Promise<S[]> {
  const next = (await gen.propose(state, n, rng)).slice(0, n);
  const own = gen.key?.(state);
  next.forEach((candidate, i) => {
    if (own !== undefined && gen.key!(candidate) === own)
      throw new RangeError(`${who}: proposal ${i} of "${own}" is that state itself; a step has to lead further`);
  });
  return next;
}

export function checkCount(who: string, name: string, value: number): void {
  if (!(Number.isInteger(value) && value >= 1)) throw new RangeError(`${who}: ${name} must be a whole number of at least 1, got ${value}`);
}
