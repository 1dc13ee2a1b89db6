/** Whether two queries have the same answer. */
import type { SqlResult, SqlValue } from './database.js';

/** Numbers that differ by no more than this, or by this share of the larger, are one. */
const tolerance = 1e-6;

/**
 * The same rows, each as often, whatever the columns are called. Numbers are compared by value (1 is 1.0, within a tolerance of 1e-6), and NULL equals NULL.
 *
 * @param ordered whether the rows must come in the same order, which is so where the query that is right has ORDER BY (`hasOrder`)
 * @returns `reason` where they are not equal: an answer that was cut short equals nothing
 */
export function compareResults(
  a: SqlResult,
  b: SqlResult,
  { ordered = false }: { ordered?: boolean } = {},
): { equal: true } | { equal: false; reason: string } {
  const differs = (reason: string) => ({ equal: false as const, reason });
  for (const one of [a, b]) {
    if (!one.ok) return differs(one.error);
    if (one.truncated) return differs(`more than ${one.rows.length} rows`);
  }
  if (!a.ok || !b.ok) return differs('failed');
  if (a.columns.length !== b.columns.length) return differs(`${a.columns.length} and ${b.columns.length} columns`);
  if (a.rows.length !== b.rows.length) return differs(`${a.rows.length} and ${b.rows.length} rows`);
  const [left, right] = ordered ? [a.rows, b.rows] : [[...a.rows].sort(byRow), [...b.rows].sort(byRow)];
  if (left.every((row, i) => sameRow(row, right[i]))) return { equal: true };
  // numbers that differ within the tolerance may have sorted the rows differently
  if (!ordered && left.length <= 500 && matched(left, right)) return { equal: true };
  return differs(ordered ? 'other rows, or another order' : 'other rows');
}

/** `compareResults` as yes or no. */
export const resultsEqual = (a: SqlResult, b: SqlResult, options?: { ordered?: boolean }): boolean => compareResults(a, b, options).equal;

const sameRow = (a: readonly SqlValue[], b: readonly SqlValue[]) => a.every((value, i) => sameValue(value, b[i]));
function sameValue(a: SqlValue, b: SqlValue): boolean {
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [Number(a), Number(b)];
    return a === b || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x), Math.abs(y));
  }
  return rank(a) === rank(b) && text(a) === text(b);
}
const isNumber = (value: SqlValue): value is number | bigint => typeof value === 'number' || typeof value === 'bigint';
const rank = (value: SqlValue) => (value === null ? 0 : isNumber(value) ? 1 : typeof value === 'string' ? 2 : 3);
const text = (value: SqlValue) => (value instanceof Uint8Array ? Array.from(value).join() : String(value));

function byRow(a: readonly SqlValue[], b: readonly SqlValue[]): number {
  for (const [i, x] of a.entries()) {
    const y = b[i];
    const order =
      rank(x) - rank(y) || (isNumber(x) && isNumber(y) ? Number(x) - Number(y) : text(x) < text(y) ? -1 : text(x) > text(y) ? 1 : 0);
    if (order !== 0) return order;
  }
  return 0;
}

function matched(left: readonly SqlValue[][], right: readonly SqlValue[][]): boolean {
  const free = [...right];
  return left.every((row) => {
    const at = free.findIndex((other) => sameRow(row, other));
    if (at >= 0) free.splice(at, 1);
    return at >= 0;
  });
}
