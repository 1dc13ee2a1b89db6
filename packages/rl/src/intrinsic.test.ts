import { describe, expect, it } from 'vitest';
import { episodicCounts, intrinsicSum, retrievalReward } from './intrinsic.js';

describe('episodicCounts', () => {
  const times = (n: number, beta?: number) => {
    const counts = episodicCounts();
    return Array.from({ length: n }, () => counts.weight(0, 'You find a key.', { beta }));
  };
  it('falls with the third power of the times unless told otherwise', () => {
    const weights = times(10);
    [1, 0.125, 0.037037].forEach((value, i) => void expect(weights[i]).toBeCloseTo(value, 6));
    expect(weights[9]).toBeCloseTo(0.001, 12);
    expect(times(4).reduce((a, b) => a + b, 0)).toBeCloseTo(1.177662, 6);
    expect(times(5000).reduce((a, b) => a + b, 0)).toBeLessThan(1.202057);
    expect(times(3, 0)).toEqual([1, 1, 1]);
  });
  it('counts each message in each environment by itself, until its episode ends', async () => {
    const counts = episodicCounts();
    counts.weight(0, 'a');
    expect(counts.weight(1, 'a')).toBe(1);
    expect(counts.weight(0, 'b')).toBe(1);
    const restored = episodicCounts();
    await restored.load(JSON.parse(JSON.stringify(await counts.save())));
    expect(restored.weight(0, 'a')).toBe(0.125);
    restored.reset(0);
    expect(restored.weight(0, 'a')).toBe(1);
    await expect(restored.load({ tensors: {}, json: null })).rejects.toThrow('these are no counts');
    expect(() => restored.weight(0, 'a', { beta: -1 })).toThrow('beta must be at least 0, got -1');
  });
});

describe('retrievalReward', () => {
  it('is the first label of a message, and 0 where there is none', async () => {
    const table = retrievalReward();
    const messages = ['You unlock the door.', '', 'The rat bites you.'];
    expect([...table.reward(messages)]).toEqual([0, 0, 0]);
    table.observe([{ item: messages[0], label: 1 }, { item: messages[2], label: 0 }]); // biome-ignore format: two labels
    table.observe([{ item: messages[0], label: 0 }]);
    expect([...table.reward(messages)]).toEqual([1, 0, 0]);
    const restored = retrievalReward();
    await restored.load(JSON.parse(JSON.stringify(await table.save())));
    expect([...restored.reward(messages)]).toEqual([1, 0, 0]);
    expect(restored.known).toBe(2);
    expect(() => table.observe([{ item: 'x', label: Number.NaN }])).toThrow('the label of "x" is NaN');
    await expect(restored.load({ tensors: {}, json: {} })).rejects.toThrow('this is no table of labels');
  });
});

describe('intrinsicSum', () => {
  it('has the value done by hand', () => {
    expect(intrinsicSum({ extrinsic: 1, intrinsic: 1, weight: 1 / 8 }, { extrinsicCoef: 10 })).toBeCloseTo(10.05, 12);
    expect(intrinsicSum({ extrinsic: 2, intrinsic: 1 })).toBeCloseTo(0.6, 12);
  });
  it('does not read a term that does not count, and refuses one that is not finite', () => {
    expect(intrinsicSum({ extrinsic: Number.NaN, intrinsic: 1 }, { extrinsicCoef: 0 })).toBeCloseTo(0.4, 12);
    expect(intrinsicSum({ extrinsic: 1, intrinsic: Number.NaN }, { intrinsicCoef: 0 })).toBeCloseTo(0.1, 12);
    expect(() => intrinsicSum({ extrinsic: Number.NaN, intrinsic: 1 })).toThrow('extrinsic is NaN, and counts 0.1 times');
  });
});
