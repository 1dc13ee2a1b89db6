/** Groups of earlier steps, kept because they had much to say, in place of groups that say nothing. */
import type { Checkpointable, Json, Rng, Saved } from '@plumbline/core';
import type { Group } from '../experience.js';

/** A group with the log-probabilities of the policy that wrote it, [samples][tokens]. */
export type KeptGroup = { group: Group; oldLogps: Float32Array[]; score: number };

/** At most `capacity` groups, those of the highest score; its groups are in the checkpoint. */
export interface GroupReplay extends Checkpointable {
  readonly size: number;
  /** Keeps those that fit; the lowest scores leave first, of equal ones the older. */
  add(groups: readonly KeptGroup[]): void;
  /** With replacement, in proportion to the scores; empty where the buffer is. */
  draw(n: number, rng: Rng): KeptGroup[];
}

/** TRL's GRPO with a replay buffer: a group's score is `Σ|A| · variance of its rewards`. */
export function groupReplay({ capacity = 64 }: { capacity?: number } = {}): GroupReplay {
  if (!(Number.isInteger(capacity) && capacity >= 1))
    throw new RangeError(`groupReplay: capacity must be a whole number above 0, got ${capacity}`);
  let kept: KeptGroup[] = [];
  return {
    get size() {
      return kept.length;
    },
    add(groups) {
      const all = [...kept, ...groups.filter(({ score }) => score > 0)].map((one, age) => ({ one, age }));
      all.sort((a, b) => b.one.score - a.one.score || b.age - a.age);
      kept = all.slice(0, capacity).map(({ one }) => one);
    },
    draw(n, rng) {
      if (kept.length === 0) return [];
      const scores = kept.map(({ score }) => score);
      return Array.from({ length: n }, () => kept[rng.categorical(scores)]);
    },
    save: async () => ({ tensors: {}, json: { groups: kept.map(toJson) } as Json }),
    load: async (saved: Saved) => {
      const groups = (saved.json as { groups?: unknown } | null)?.groups;
      if (!Array.isArray(groups)) throw new TypeError('groupReplay: the checkpoint holds no groups');
      kept = groups.map(fromJson);
    },
  };
}

const arrays = { Int32Array, Uint8Array, Float32Array } as const;
type Packed = { array: keyof typeof arrays; values: number[] };

/** Typed arrays as lists that say what they were: numbers of either width come back the same. NaN, which JSON has not, is written as text. */
function toJson(value: unknown): Json {
  if (typeof value === 'number') return Number.isFinite(value) ? value : { number: String(value) };
  if (value === null || value === undefined || typeof value !== 'object') return (value ?? null) as Json;
  for (const [array, kind] of Object.entries(arrays)) if (value instanceof kind) return { array, values: Array.from(value) };
  if (Array.isArray(value)) return value.map(toJson);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .map(([key, inner]) => [key, toJson(inner)]),
  );
}

function fromJson(value: unknown): never {
  const read = (one: unknown): unknown => {
    if (one === null || typeof one !== 'object') return one;
    if (Array.isArray(one)) return one.map(read);
    const { array, values, number } = one as Partial<Packed> & { number?: string };
    if (array !== undefined && array in arrays && Array.isArray(values)) return arrays[array].from(values);
    if (typeof number === 'string' && Object.keys(one).length === 1) return Number(number);
    return Object.fromEntries(Object.entries(one).map(([key, inner]) => [key, read(inner)]));
  };
  return read(value) as never;
}
