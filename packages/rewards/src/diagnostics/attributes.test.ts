import { rng } from '@plumbline/core/light';
import { spearman } from '@plumbline/data/statistics';
import { expect, it } from 'vitest';
import { chooseRidge, gatedScore, gateWeights, ridgeProbe, verbosityPenalties, withoutVerbosity } from './attributes.js';

it('solves ridge regression in closed form', () => {
  const weights = ridgeProbe(
    [
      [1, 0],
      [0, 1],
      [1, 1],
    ],
    [1, 2, 3.5],
    { alpha: 0.5 },
  );
  expect([...weights].map((w) => w.toFixed(6))).toEqual(['1.095238', '1.761905']);
  expect(() => ridgeProbe([[1]], [1, 2], { alpha: 1 })).toThrow('1 items and 2 targets');
});
it('chooses little regularisation where the targets are exact, and more where they are noise', () => {
  const draw = rng(1);
  const x = Array.from({ length: 60 }, () => [...draw.normal(8)]);
  const exact = chooseRidge(
    x,
    x.map((row) => row[0] - 2 * row[1]),
  );
  expect(exact.alpha).toBeLessThan(0.01);
  expect(exact.weights[1]).toBeCloseTo(-2, 3);
  expect(chooseRidge(x, draw.normal(60)).alpha).toBeGreaterThan(100 * exact.alpha);
});
it('gates rewards by a softmax with a temperature', () => {
  const [logits, rewards] = [
    [0.5, -1, 2],
    [3, 1, 2],
  ];
  expect([...gateWeights(logits)].map((w) => w.toFixed(6))).toEqual(['0.330847', '0.284763', '0.384390']);
  expect([...gateWeights(logits, 1)].map((w) => w.toFixed(6))).toEqual(['0.175290', '0.039113', '0.785597']);
  expect(gatedScore(rewards, gateWeights(logits))).toBeCloseTo(2.046084, 6);
});
it('takes verbosity off', () => {
  const off = withoutVerbosity([3, 1, 2], [0.3, 0.1, 1], 2);
  expect([...off].map((r) => r.toFixed(6))).toEqual(['2.400000', '0.800000', '0.000000']);
  expect(gatedScore(off, gateWeights([0.5, -1, 2]))).toBeCloseTo(1.021844, 6);
});
it('finds the smallest penalty at which an attribute no longer follows length', () => {
  const draw = rng(2);
  const rows = Array.from({ length: 300 }, () => {
    const [long, own, free] = draw.normal(3);
    return [own + 0.4 * long, free, long];
  });
  const penalty = verbosityPenalties(rows, { verbosity: 2 });
  const correlation = (k: number, p: number) =>
    spearman(
      rows.map((row) => row[k] - p * row[2]),
      rows.map((row) => row[2]),
    ).value;
  expect(penalty[2]).toBe(1);
  expect(penalty[0]).toBeGreaterThan(0.2);
  expect(penalty[0]).toBeLessThan(0.6);
  expect(correlation(0, penalty[0])).toBeLessThanOrEqual(0.03);
  expect(correlation(0, penalty[0] - 0.05)).toBeGreaterThan(0.03);
  expect(() => verbosityPenalties(rows, { verbosity: 3 })).toThrow('verbosity is 3, no attribute of 3');
});
