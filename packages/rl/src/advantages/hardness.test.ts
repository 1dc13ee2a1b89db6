import { describe, expect, it } from 'vitest';
import { chosenAdvantages } from './chosen.js';
import { groupAdvantages } from './group.js';
import { hardness, hardnessScale, hardnessScaled, robustMean } from './hardness.js';

const close = (actual: ArrayLike<number>, expected: readonly number[], digits = 5) => {
  expect(actual.length).toBe(expected.length);
  expected.forEach((x, i) => void expect(actual[i]).toBeCloseTo(x, digits));
};

describe('GRPO-S', () => {
  const distances = [0.12, 0.3, 0.5, 0];
  const gaps = [2, 0.5, -1, 0];
  it('scales by hardness of the data and of the model', () => {
    close(hardnessScale(distances, 0.23), [0.951038, 1.030856, 1.117024, 0.897267]);
    close(hardnessScale(gaps, 0.375), [1.486159, 1.050269, 0.453782, 0.843645]);
    close(hardness(distances, gaps), [1.413395, 1.082676, 0.506885, 0.756974]);
  });
  it('multiplies group advantages', () => {
    const plain = groupAdvantages([1, 0.2, 0.6, 0.2], [0, 0, 0, 0]);
    close(plain, [1.305242, -0.783145, 0.261048, -0.783145]);
    close(hardnessScaled(plain, hardness(distances, gaps)), [1.844821, -0.847893, 0.132322, -0.592821]);
  });
  it('is GRPO where all are equally hard, and stays within its bounds', () => {
    close(hardness([0.3, 0.3, 0.3], [1, 1, 1]), [1, 1, 1], 12);
    expect(Math.max(...hardness([1, 0, 0], [50, -50, -50], { bounds: [0.5, 1.5] }))).toBe(1.5);
    expect(Math.min(...hardness([0, 0, 0], [-50, 50, 50], { bounds: [0.5, 1.5] }))).toBe(0.5);
  });
  it('names what is wrong', () => {
    expect(() => hardness([1], [1, 2])).toThrow('1 distances and 2 gaps');
    expect(() => hardnessScaled([1], [0])).toThrow('scale of sample 0 is 0');
    expect(() => hardnessScale([Number.NaN], 0)).toThrow('sample 0 is NaN');
  });
  it('keeps a running mean that outliers do not move, and saves it', async () => {
    const mean = robustMean({ decay: 0.5, outliers: 1.5 });
    mean.update([1, 1, 1, 1, 1, 100]);
    expect(mean.mean).toBe(1);
    mean.update([3, 3, 3]); // no deviation: taken whole
    expect(mean.mean).toBe(2);
    const other = robustMean();
    await other.load(await mean.save());
    expect([other.mean, other.std]).toEqual([mean.mean, mean.std]);
    await expect(other.load({ tensors: {}, json: {} })).rejects.toThrow('holds no mean');
  });
});

describe('rejection sampling', () => {
  it('learns the best of a group, or all above a reward', () => {
    close(chosenAdvantages([0, 2, 2, 1], [0, 0, 0, 0]), [0, 1, 0, 0]);
    close(chosenAdvantages([0, 2, 2, 1], [0, 0, 0, 0], { above: 0.5 }), [0, 1, 1, 1]);
    close(chosenAdvantages([0, 2, 2, 1], [0, 0, 1, 1], { keep: 1, above: 1 }), [0, 1, 1, 0]);
    close(chosenAdvantages([Number.NaN, -3], [0, 0]), [0, 1]);
  });
});
