import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { philox4x32, rng } from './rng.js';

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16).padStart(8, '0')).join(' ');

describe('philox4x32', () => {
  it.each([
    // Random123 1.14, tests/kat_vectors, philox4x32 10
    ['zeros', [0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    ['ones', [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    ['digits of pi', [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ])('answers as Random123 for %s', (_, counter, key, expected) => {
    expect(hex(philox4x32(counter, key))).toBe(expected);
  });
});

describe('rng', () => {
  it('gives the cipher of 0, 1, ... in 24-bit steps', () => {
    // words of the known answer for zeros, without their low 8 bits
    const expected = [0x6627e8, 0xe169c5, 0xbc57ac, 0x9b00db].map((word) => word / 2 ** 24);
    expect([...rng(0).uniform(4)]).toEqual(expected);
  });

  it('continues a stream whatever the sizes of the draws', () => {
    const whole = rng(5).uniform(100);
    const parts = rng(5);
    expect([...parts.uniform(3), ...parts.uniform(60), ...parts.uniform(0), ...parts.uniform(37)]).toEqual([...whole]);
  });

  it('differs between seeds, also above 2^32', () => {
    const firsts = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map((seed) => rng(seed).uniform(1)[0]);
    expect(new Set(firsts).size).toBe(firsts.length);
  });

  it('forks by seed and path alone', () =>
    fc.assert(
      fc.property(fc.nat(), fc.array(fc.oneof(fc.string(), fc.nat()), { minLength: 1, maxLength: 4 }), fc.nat(50), (seed, path, drawn) => {
        const used = rng(seed);
        used.uniform(drawn);
        expect([...used.fork(...path).uniform(4)]).toEqual([
          ...rng(seed)
            .fork(...path)
            .uniform(4),
        ]);
        const oneByOne = path.reduce((r, element) => r.fork(element), rng(seed));
        expect(oneByOne.seed32).toBe(rng(seed).fork(...path).seed32);
      }),
    ));

  it('gives different paths different streams', () => {
    const root = rng(1);
    const paths = [
      ['a'],
      ['b'],
      ['a', 'b'],
      ['ab'],
      ['a', 0],
      [0],
      ['0'],
      [1],
      [-1],
      [0.5],
      [''],
      ['', ''],
      ['a\0'],
      ['aaaa'],
      ['aaaaa'],
      [2 ** 40],
    ];
    const seeds = [root, ...paths.map((path) => root.fork(...path))].map((r) => r.seed32);
    expect(new Set(seeds).size).toBe(seeds.length);
    expect(root.fork(-0).seed32).toBe(root.fork(0).seed32);
  });

  it('does not correlate neighbouring forks', () => {
    const first = Float32Array.from({ length: 20_000 }, (_, i) => rng(1).fork('step', i).uniform(1)[0]);
    const { mean, variance } = moments(first);
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / first.length));
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.002);
    let lagged = 0;
    for (let i = 1; i < first.length; i++) lagged += (first[i] - 0.5) * (first[i - 1] - 0.5);
    expect(Math.abs(lagged / first.length) * 12).toBeLessThan(5 / Math.sqrt(first.length));
  });

  it('draws uniforms that fill [0, 1) evenly', () => {
    const draws = rng(2).uniform(100_000);
    expect(draws.every((u) => u >= 0 && u < 1)).toBe(true);
    expect(chiSquared(draws, (u) => Math.floor(u * 100), Array(100).fill(1000))).toBeLessThan(165); // 99 degrees of freedom, p = 3e-5
  });

  it('draws normals with the moments and tails of N(0, 1)', () => {
    const n = 200_000;
    const draws = rng(3).normal(n);
    const { mean, variance, kurtosis } = moments(draws);
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(variance - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(kurtosis - 3)).toBeLessThan(5 * Math.sqrt(24 / n));
    const beyond2 = draws.filter((x) => Math.abs(x) > 2).length / n;
    expect(beyond2).toBeCloseTo(0.0455, 2); // 2 (1 - Φ(2))
    expect(rng(3).normal(5)).toHaveLength(5);
  });

  it('draws whole numbers below n without favouring any', () => {
    const draw = rng(4);
    const draws = Float64Array.from({ length: 70_000 }, () => draw.below(7));
    expect(chiSquared(draws, (k) => k, Array(7).fill(10_000))).toBeLessThan(30); // 6 degrees of freedom, p = 4e-5
    // Above 2^31, a plain remainder of 32 bits would give the lower third twice the share of the rest.
    const large = Array.from({ length: 30_000 }, () => draw.below(3 * 2 ** 30));
    expect(large.filter((k) => k < 2 ** 30).length / large.length).toBeCloseTo(1 / 3, 1.5);
    expect(draw.below(1)).toBe(0);
    expect(draw.below(2 ** 53 - 1)).toBeGreaterThan(2 ** 32);
    expect(() => draw.below(0)).toThrow('rng.below: n must be a whole number from 1 to 2^53 - 1, got 0');
  });

  it('permutes evenly', () => {
    const draw = rng(5);
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const order = draw.permutation(4).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect([...counts.values()].reduce((sum, c) => sum + (c - 1000) ** 2 / 1000, 0)).toBeLessThan(60); // 23 degrees of freedom, p = 4e-5
    expect([...draw.permutation(1000)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(draw.permutation(0)).toHaveLength(0);
  });

  it('draws categories in proportion to their weights, and never one of weight 0', () => {
    const draw = rng(6);
    const draws = Float64Array.from({ length: 40_000 }, () => draw.categorical([0, 1, 0, 2, 5, 0]));
    expect(draws.every((k) => k === 1 || k === 3 || k === 4)).toBe(true);
    expect(chiSquared(draws, (k) => (k === 1 ? 0 : k === 3 ? 1 : 2), [5000, 10_000, 25_000])).toBeLessThan(20);
    expect(() => draw.categorical([0, 0])).toThrow('at least one of the 2 weights');
    expect(() => draw.categorical([1, Number.NaN])).toThrow('weight 1 of 2 is NaN');
  });

  it('refuses what is not a seed', () => {
    for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) expect(() => rng(seed)).toThrow(`got ${seed}`);
    expect(() => rng(0).fork(Number.NaN)).toThrow('finite numbers');
  });
});

function moments(x: Float32Array) {
  const mean = x.reduce((s, v) => s + v, 0) / x.length;
  const variance = x.reduce((s, v) => s + (v - mean) ** 2, 0) / x.length;
  return { mean, variance, kurtosis: x.reduce((s, v) => s + (v - mean) ** 4, 0) / x.length / variance ** 2 };
}

function chiSquared(draws: ArrayLike<number>, bin: (x: number) => number, expected: number[]): number {
  const counts = expected.map(() => 0);
  for (let i = 0; i < draws.length; i++) counts[bin(draws[i])]++;
  return counts.reduce((sum, c, i) => sum + (c - expected[i]) ** 2 / expected[i], 0);
}
