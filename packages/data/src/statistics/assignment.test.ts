import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maximumAssignment } from './assignment.js';

/** The best sum over all ways to give each row another column, by trying them. */
function tried(weights: number[][]): number {
  const columns = weights[0].length;
  const best = (row: number, used: number, left: number): number => {
    if (left === 0) return 0;
    let largest = weights.length - row > left ? best(row + 1, used, left) : -Infinity;
    for (let j = 0; j < columns; j++)
      if (!(used & (1 << j))) largest = Math.max(largest, weights[row][j] + best(row + 1, used | (1 << j), left - 1));
    return largest;
  };
  return best(0, 0, Math.min(weights.length, columns));
}

describe('maximumAssignment', () => {
  it('crosses where that is worth more', () => {
    expect(maximumAssignment([[0.1, 0.9], [0.8, 0.2]])).toEqual({ total: 0.9 + 0.8, pairs: [[0, 1], [1, 0]] }); // biome-ignore format: a matrix
    expect(maximumAssignment([[1, 2, 3]])).toEqual({ total: 3, pairs: [[0, 2]] });
    expect(maximumAssignment([[1], [2], [3]])).toEqual({ total: 3, pairs: [[2, 0]] });
    expect(maximumAssignment([])).toEqual({ total: 0, pairs: [] });
  });
  it('is the best of all ways', () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 25, maxLength: 25 }),
        (rows, columns, all) => {
          const weights = Array.from({ length: rows }, (_, i) => all.slice(i * 5, i * 5 + columns));
          const { total, pairs } = maximumAssignment(weights);
          expect(total).toBe(tried(weights));
          expect(new Set(pairs.map(([i]) => i)).size).toBe(Math.min(rows, columns));
          expect(new Set(pairs.map(([, j]) => j)).size).toBe(Math.min(rows, columns));
        },
      ),
    ));
  it('names a weight that is not finite, and a row that is too short', () => {
    expect(() => maximumAssignment([[1, 2], [3, Number.NaN]])).toThrow('row 1 and column 1 is NaN'); // biome-ignore format: a matrix
    expect(() => maximumAssignment([[1, 2], [3]])).toThrow('row 1 has 1 columns and row 0 has 2');
  });
});
