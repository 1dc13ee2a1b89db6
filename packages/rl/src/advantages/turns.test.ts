import { describe, expect, it } from 'vitest';
import { gae } from './temporal.js';
import { brpoAdvantages, gigpoAdvantages, rewardToGo, stepRewardsToTokens } from './turns.js';

const close = (ours: ArrayLike<number>, theirs: ArrayLike<number>, digits = 5) => {
  expect(ours.length).toBe(theirs.length);
  for (let i = 0; i < theirs.length; i++) expect(ours[i]).toBeCloseTo(theirs[i], digits);
};

describe('turns', () => {
  it('stand on the last token of each', () => {
    close(stepRewardsToTokens([0.2, 1], [1, 4], 5), [0, 0.2, 0, 0, 1]);
    expect(() => stepRewardsToTokens([1], [5], 5)).toThrow('turn 0 ends at token 5 of 5');
    expect(() => stepRewardsToTokens([1, 2], [3], 5)).toThrow('2 rewards and 1 ends');
  });
  it('get what is still to come, normalized over all turns of the group', () => {
    const turns = [
      [0.2, 0, 1],
      [0, 0.5],
    ];
    const [a, b] = rewardToGo(turns, { normalize: false });
    close(a, [1.2, 1, 1]);
    close(b, [0.5, 0.5]);
    const [c, d] = rewardToGo(turns);
    close(c, [1.121369, 0.498386, 0.498386]);
    close(d, [-1.059071, -1.059071]);
    close(rewardToGo(turns, { gamma: 0.95, normalize: false })[0], [1.1025, 0.95, 1]);
  });
  it('may have a value each', () => {
    close(gae([0.2, 1], [0.5, 0.7], { lambda: 0.95 }).advantages, [0.685, 0.3]);
  });
  it('are compared where they start from the same state', () => {
    const episode = [1, 0, 0];
    close(
      gigpoAdvantages(episode, [[1], [0], [0]], [['a'], ['b'], ['c']]).flatMap((x) => Array.from(x)),
      [1.154699, -0.57735, -0.57735],
      4,
    );
    close(
      gigpoAdvantages(episode, [[1], [0], [0]], [['a'], ['b'], ['c']], { scale: false }).flatMap((x) => Array.from(x)),
      [2 / 3, -1 / 3, -1 / 3],
    );
    const same = gigpoAdvantages([1, 1], [[0.9025], [0]], [['hall'], ['hall']]).flatMap((x) => Array.from(x));
    close(same, [Math.SQRT1_2, -Math.SQRT1_2]);
    close(
      gigpoAdvantages([1, 1], [[0.9025], [0]], [['hall'], ['hall']], { scale: false }).flatMap((x) => Array.from(x)),
      [0.45125, -0.45125],
    );
  });
});

describe('brpoAdvantages', () => {
  it('are the verdicts themselves, unless the group is lopsided', () => {
    const verdicts = [1, -1, 1, 0, -1, -1, 1, -1];
    close(brpoAdvantages(verdicts)!, verdicts);
    expect(brpoAdvantages([1, 1, 1, 1, 1, 0, 1, 1])).toBeUndefined();
  });
});
