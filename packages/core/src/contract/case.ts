import type { Saved } from '../types.js';

/** One check of a contract, for any test framework: `for (const { name, run } of cases) it(name, run)`. */
export type ContractCase = { name: string; run(): Promise<void> };

export function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** The message of what `f` throws. */
export async function ensureThrows(f: () => unknown, what: string): Promise<string> {
  try {
    await f();
  } catch (error) {
    ensure(error instanceof Error, `${what} throws ${String(error)}, which is no Error`);
    return error.message;
  }
  throw new Error(`${what} is accepted without an error`);
}

/** The first difference between two saved states, to the bit; undefined where there is none. */
export function savedDifference(a: Saved, b: Saved): string | undefined {
  if (JSON.stringify(a.json) !== JSON.stringify(b.json)) return `json is ${JSON.stringify(a.json)} and ${JSON.stringify(b.json)}`;
  const names = (saved: Saved) => Object.keys(saved.tensors).sort().join(', ');
  if (names(a) !== names(b)) return `tensors are ${names(a) || 'none'} and ${names(b) || 'none'}`;
  for (const [name, { shape, data }] of Object.entries(a.tensors)) {
    const other = b.tensors[name];
    if (shape.join() !== other.shape.join()) return `"${name}" is [${shape}] and [${other.shape}]`;
    const at = bitDifference(data, other.data);
    if (at >= 0) return `"${name}" holds ${data[at]} and ${other.data[at]} at ${at}`;
  }
  return undefined;
}

/** Where two arrays first differ in their bits (NaN is NaN, -0 is not 0), or -1. */
export function bitDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
}

export function copyOf(saved: Saved): Saved {
  return {
    tensors: Object.fromEntries(
      Object.entries(saved.tensors).map(([name, { shape, data }]) => [name, { shape: [...shape], data: data.slice() }]),
    ),
    json: JSON.parse(JSON.stringify(saved.json)),
  };
}
