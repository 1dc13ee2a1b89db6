import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { createSampler, samplingRule } from './sampling.js';

const sample = createSampler(4);
const logits = Float32Array.of(Math.log(0.5), Math.log(0.3), Math.log(0.15), Math.log(0.05));
const all = samplingRule({});
/** The tokens that a rule can give, with their probabilities, by walking through [0, 1). */
const reachable = (rule: Partial<typeof all>) => {
  const found = new Map<number, number>();
  for (let u = 0; u < 1000; u++) {
    const { token, logp } = sample(logits, samplingRule(rule), u / 1000);
    found.set(token, Math.exp(logp));
  }
  return found;
};

describe('createSampler', () => {
  it('inverts the distribution in the order of ids', () => {
    expect([0, 0.49, 0.51, 0.79, 0.81, 0.94, 0.96, 0.9999999].map((u) => sample(logits, all, u).token)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    expect(sample(logits, all, 0.6).logp).toBeCloseTo(Math.log(0.3), 6);
  });

  it('takes the likeliest token at temperature 0 and says its log-probability at 1', () => {
    expect(sample(logits, samplingRule({ temperature: 0 }), 0.99)).toEqual({ token: 0, logp: expect.closeTo(Math.log(0.5), 6) });
  });

  it('sharpens with a temperature below 1', () => {
    // p² / Σp²: 0.25 / (0.25 + 0.09 + 0.0225 + 0.0025)
    expect(reachable({ temperature: 0.5 }).get(0)).toBeCloseTo(0.25 / 0.365, 5);
  });

  it('keeps the k likeliest, the nucleus, or what is likely beside the likeliest, and renormalises', () => {
    expect([...reachable({ topK: 2 }).keys()]).toEqual([0, 1]);
    expect(reachable({ topK: 2 }).get(1)).toBeCloseTo(0.375, 5);
    expect([...reachable({ topP: 0.79 }).keys()]).toEqual([0, 1]);
    expect([...reachable({ topP: 0.81 }).keys()]).toEqual([0, 1, 2]);
    expect([...reachable({ minP: 0.4 }).keys()]).toEqual([0, 1]);
    expect([...reachable({ topK: 3, topP: 0.5 }).keys()]).toEqual([0]); // 0.5 of 0.95 is more than half
    expect([...reachable({ topP: 0.0001 }).keys()]).toEqual([0]);
  });

  it('never gives a masked token and refuses to be left without any', () => {
    const masked = Float32Array.of(-Infinity, 0, -Infinity, 0);
    for (const u of [0, 0.3, 0.7, 0.999]) expect([1, 3]).toContain(sample(masked, all, u).token);
    expect(() => sample(new Float32Array(4).fill(-Infinity), all, 0.5)).toThrow(/every token is masked/);
    expect(() => sample(Float32Array.of(NaN, 0, 0, 0), all, 0.5)).toThrow(/not finite/);
  });

  it('draws with the right frequencies', () => {
    const uniforms = rng(4).uniform(20_000);
    const counts = [0, 0, 0, 0];
    for (const u of uniforms) counts[sample(logits, all, u).token]++;
    [0.5, 0.3, 0.15, 0.05].forEach(
      (p, i) => void expect(Math.abs(counts[i] / 20_000 - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 20_000)),
    );
  });
});

describe('samplingRule', () => {
  it('names the option, its value and what it may be', () => {
    expect(() => samplingRule({ temperature: -1 })).toThrow(/temperature must be 0 .* got -1/);
    expect(() => samplingRule({ topP: 0 })).toThrow(/topP .* got 0/);
    expect(() => samplingRule({ topK: 1.5 })).toThrow(/topK .* got 1.5/);
    expect(() => samplingRule({ minP: 1 })).toThrow(/minP .* got 1/);
  });
});
