/** Numbers computed by the reference libraries: a few files beside the package under test, the rest in a folder that not every checkout has. */
import { existsSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** Path of a reference file, or undefined where it is not here. `$PLUMB_SHARED` may name the folder. Tests run in their package's folder. */
export function fixturePath(name: string): string | undefined {
  const shared = process.env.PLUMB_SHARED ? new URL(`file://${process.env.PLUMB_SHARED}/`) : new URL('../../shared/', import.meta.url);
  const copied = new URL(`test/fixtures/${name}`, pathToFileURL(`${process.cwd()}/`));
  return [copied, new URL(`fixtures/${name}`, shared)].find((url) => existsSync(url))?.pathname;
}

/** Path of a file of real data (`gsm8k/test.jsonl`), or undefined where it is not here. `$PLUMB_SHARED` may name the folder that holds `data`. */
export function dataPath(name: string): string | undefined {
  const shared = process.env.PLUMB_SHARED ? new URL(`file://${process.env.PLUMB_SHARED}/`) : new URL('../../shared/', import.meta.url);
  const url = new URL(`data/${name}`, shared);
  return existsSync(url) ? url.pathname : undefined;
}

/** A JSON file of reference numbers, in which the strings NaN, Infinity and -Infinity are numbers. */
export function readFixture<T>(path: string): T {
  const words: Record<string, number> = { NaN: Number.NaN, Infinity: Number.POSITIVE_INFINITY, '-Infinity': Number.NEGATIVE_INFINITY };
  return JSON.parse(readFileSync(path, 'utf8'), (_, value) => (typeof value === 'string' && value in words ? words[value] : value)) as T;
}

/** The largest `|ours − theirs| / (1 + |theirs|)`. */
export function largestError(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < Math.max(ours.length, theirs.length); i++) {
    const error = Math.abs(ours[i] - theirs[i]) / (1 + Math.abs(theirs[i]));
    if (!(error <= largest)) largest = error;
  }
  return largest;
}
