/** Rewards for what a policy meets on its way, from labels that come while it plays. Plain numbers. */
import { type Checkpointable, CheckpointError } from '@plumbline/core';

export interface EpisodicCounts extends Checkpointable {
  /** Counts the message as seen once more in this environment's episode, and answers `1 / N^beta`, N with this time. */
  weight(environment: number, message: string, options?: { beta?: number }): number;
  /** A new episode of this environment: it has seen nothing. */
  reset(environment: number): void;
}

/**
 * What a message is still worth: `1 / N^beta` at its N-th time in an episode, with beta 3 unless given, so that all its times together are worth less than 1.203 of the first; beta 0 counts every time fully,
 * and a policy then repeats one good thing. Zheng et al. 2024 (ONI), arXiv:2410.23022.
 *
 * @throws RangeError from `weight` for a beta below 0
 */
export function episodicCounts(): EpisodicCounts {
  let counts = new Map<number, Map<string, number>>();
  return {
    weight(environment, message, { beta = 3 } = {}) {
      if (!(beta >= 0)) throw new RangeError(`episodicCounts: beta must be at least 0, got ${beta}`);
      const own = counts.get(environment) ?? new Map<string, number>();
      const n = (own.get(message) ?? 0) + 1;
      counts.set(environment, own.set(message, n));
      return 1 / n ** beta;
    },
    reset: (environment) => void counts.delete(environment),
    save: async () => ({ tensors: {}, json: { counts: [...counts].map(([environment, own]) => [environment, [...own]]) } }),
    async load({ json }) {
      const saved = (json as { counts?: [number, [string, number][]][] } | null)?.counts;
      if (!Array.isArray(saved)) throw new CheckpointError('episodicCounts: these are no counts');
      counts = new Map(saved.map(([environment, own]) => [environment, new Map(own)]));
    },
  };
}

export interface RetrievalReward extends Checkpointable {
  /** The label of each message, 0 for those without one and for an empty message. */
  reward(messages: readonly string[]): Float32Array;
  /** Takes labels up, as `asyncAnnotator` of rewards gives them. The first label of a message stays. */
  observe(labels: readonly { item: string; label: number }[]): void;
  readonly known: number;
}

/** Intrinsic rewards from a table of labels: nothing is learned, and nothing is known of a message that was not labelled. Same paper. @throws RangeError from `observe` for a label that is not finite */
export function retrievalReward(): RetrievalReward {
  let table = new Map<string, number>();
  return {
    reward: (messages) => Float32Array.from(messages, (message) => (message === '' ? 0 : (table.get(message) ?? 0))),
    observe(labels) {
      for (const { item, label } of labels) {
        if (!Number.isFinite(label)) throw new RangeError(`retrievalReward: the label of ${JSON.stringify(item)} is ${label}`);
        if (!table.has(item)) table.set(item, label);
      }
    },
    get known() {
      return table.size;
    },
    save: async () => ({ tensors: {}, json: { table: [...table] } }),
    async load({ json }) {
      const saved = (json as { table?: [string, number][] } | null)?.table;
      if (!Array.isArray(saved)) throw new CheckpointError('retrievalReward: this is no table of labels');
      table = new Map(saved);
    },
  };
}

/**
 * `extrinsicCoef · extrinsic + intrinsicCoef · intrinsic · weight`, the reward of a step; 0.1 and 0.4 unless given, as for dense tasks, and 10 and 0.4 for sparse ones. A term whose coefficient is 0 is not read,
 * so that a run without rewards may hold NaN there. Same paper.
 *
 * @throws RangeError where a term that counts is not finite
 */
export function intrinsicSum(
  { extrinsic, intrinsic, weight = 1 }: { extrinsic: number; intrinsic: number; weight?: number },
  { extrinsicCoef = 0.1, intrinsicCoef = 0.4 }: { extrinsicCoef?: number; intrinsicCoef?: number } = {},
): number {
  const term = (name: string, coef: number, value: number): number => {
    if (coef === 0) return 0;
    if (!Number.isFinite(coef * value)) throw new RangeError(`intrinsicSum: ${name} is ${value}, and counts ${coef} times`);
    return coef * value;
  };
  return term('extrinsic', extrinsicCoef, extrinsic) + term('intrinsic', intrinsicCoef, intrinsic * weight);
}
