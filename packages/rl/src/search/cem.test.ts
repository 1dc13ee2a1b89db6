import { rng } from '@plumbline/core';
import { recordEpisode } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { pointMass } from '../testing/pointMass.js';
import { type CemOptions, crossEntropyMethod } from './cem.js';

const bowl = (candidates: readonly Float64Array[]) => candidates.map(([x, y]) => -((x - 3) ** 2) - 4 * (y + 1) ** 2);
const search = (options: Partial<CemOptions> = {}) =>
  crossEntropyMethod({ score: bowl, mean: [0, 0], std: 2, rounds: 25, rng: rng(0), ...options });

describe('crossEntropyMethod', () => {
  it('finds the bottom of a bowl, and each round is better than the first', async () => {
    const { best, score, mean, history } = await search();
    expect(Math.hypot(best[0] - 3, best[1] + 1)).toBeLessThan(0.05);
    expect(Math.hypot(mean[0] - 3, mean[1] + 1)).toBeLessThan(0.05);
    expect(score).toBe(Math.max(...history.map((round) => round.best)));
    expect(history.at(-1)!.mean).toBeGreaterThan(history[0].mean);
  });
  it('moves to the mean and deviation of its elites, a tenth of the old ones kept', async () => {
    const seen: Float64Array[] = [];
    const score = (candidates: readonly Float64Array[]) => {
      seen.push(...candidates.map((own) => own.slice()));
      return candidates.map(([x]) => x);
    };
    const { mean, std } = await crossEntropyMethod({ score, mean: [0], std: 1, rounds: 1, population: 10, elites: 2, rng: rng(0) });
    const [a, b] = seen.map(([x]) => x).sort((x, y) => y - x);
    expect(mean[0]).toBeCloseTo(0.9 * ((a + b) / 2), 12);
    expect(std[0]).toBeCloseTo(0.1 + 0.9 * ((a - b) / 2), 12);
  });
  it('keeps to its bounds and its floor, takes NaN as worst, and repeats itself for a seed', async () => {
    const bounds = { low: [-1, -1], high: [1, 1] };
    const { best, std } = await search({ bounds });
    expect(best[0]).toBe(1);
    expect(Math.min(...std)).toBeGreaterThanOrEqual(0.02);
    const holes = await search({ score: (all) => bowl(all).map((value, i) => (i % 2 === 0 ? Number.NaN : value)) });
    expect(Math.hypot(holes.best[0] - 3, holes.best[1] + 1)).toBeLessThan(0.1);
    expect(await search()).toEqual(await search());
    expect(await search({ rng: rng(1) })).not.toEqual(await search());
  });
  it('finds gains with which a controller brakes a point mass', async () => {
    const returnOf = async (gains: Float64Array) => {
      const episodes = await Promise.all(
        [1, 2, 3].map((seed) => recordEpisode(pointMass(), { act: ([x, v]) => [-gains[0] * x - gains[1] * v] }, seed)),
      );
      return episodes.reduce((sum, { rewards }) => sum + rewards.reduce((a, b) => a + b, 0), 0) / 3;
    };
    const { score, best } = await crossEntropyMethod({
      score: (all) => Promise.all(all.map(returnOf)),
      mean: [0, 0],
      std: 1,
      rounds: 8,
      population: 24,
      elites: 6,
      rng: rng(0),
    });
    expect(score).toBeGreaterThan((await returnOf(Float64Array.of(0, 0))) / 2);
    expect(Math.min(...best)).toBeGreaterThan(0);
  });
  it('names what does not fit', async () => {
    await expect(search({ rounds: 0 })).rejects.toThrow('rounds must be a whole number above 0, got 0');
    await expect(search({ elites: 65 })).rejects.toThrow('65 elites of a population of 64');
    await expect(search({ std: [1] })).rejects.toThrow('there are 2 dimensions and the deviations [1]');
    await expect(search({ score: () => [1] })).rejects.toThrow('64 candidates were given 1 scores');
  });
});
