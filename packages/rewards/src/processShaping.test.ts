import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { combineStepRewards, etaFromQuantile, type ProcessRefinement, refineProcess } from './processShaping.js';

const scores = [0.9, 0.7, 0.95, 0.6];
const sum = (x: ArrayLike<number>) => Array.from(x).reduce((a, b) => a + b, 0);
const returns = (x: ArrayLike<number>) => Array.from(x, (_, t) => sum(Array.from(x).slice(t)));
const close = (ours: ArrayLike<number>, theirs: number[]) => {
  expect(ours.length).toBe(theirs.length);
  theirs.forEach((value, i) => void expect(ours[i]).toBeCloseTo(value, 12));
};

describe('refineProcess', () => {
  it('has the values of the card', () => {
    close(refineProcess(scores, 'clip', { eta: 0.8 }), [0, -0.1, 0, -0.2]);
    close(refineProcess(scores, 'delta'), [0.2, -0.25, 0.95, 0]);
    close(returns(refineProcess(scores, 'delta')), [0.9, 0.7, 0.95, 0]);
    close(refineProcess(scores, 'clip-delta', { eta: 0.8 }), [0.1, -0.1, 0, 0]);
    close(returns(refineProcess(scores, 'clip-delta', { eta: 0.8 })), [0, -0.1, 0, 0]);
    close(refineProcess(scores, 'raw'), scores);
  });
  it('pays nothing for repeating a good step, but for raw scores', () => {
    const [once, often] = [[0.9, 0.95, 0.6], [0.9, 0.9, 0.9, 0.9, 0.9, 0.95, 0.6]]; // biome-ignore format: two solutions
    const of = (how: ProcessRefinement) => [often, once].map((own) => sum(refineProcess(own, how, { eta: 0.8 })));
    close(of('raw'), [6.05, 2.45]);
    close(of('delta'), [0.9, 0.9]);
    close(of('clip'), [-0.2, -0.2]);
  });
  it('telescopes: the return from each step but the last is its score', () =>
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 2, maxLength: 9 }), (own) => {
        const back = returns(refineProcess(own, 'delta'));
        own.slice(0, -1).forEach((score, t) => void expect(back[t]).toBeCloseTo(score, 9));
        expect(Math.max(...refineProcess(own, 'clip', { eta: 0.4 }))).toBeLessThanOrEqual(0);
        expect(sum(refineProcess(own, 'clip', { eta: 0 }))).toBe(0);
      }),
    ));
  it('leaves the only step to success, and the first of two its score', () => {
    close(refineProcess([0.7], 'delta'), [0]);
    close(refineProcess([0.7], 'clip', { eta: 0.8 }), [-0.1]);
    close(refineProcess([0.7, 0.2], 'delta'), [0.7, 0]);
  });
  it('names what does not fit', () => {
    expect(() => refineProcess([], 'raw')).toThrow('there are no steps');
    expect(() => refineProcess([1, Number.NaN], 'raw')).toThrow('the score of step 1 is NaN');
    expect(() => refineProcess([1], 'clip')).toThrow('clip needs a finite eta, got undefined');
    expect(() => refineProcess([1], 'cut' as 'clip')).toThrow('there is no "cut"; there are raw, clip, delta, clip-delta');
  });
});

describe('etaFromQuantile and combineStepRewards', () => {
  it('take the quantile of all steps, and put success on the last', () => {
    expect(etaFromQuantile([[0, 0.1, 0.2], [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]])).toBeCloseTo(0.3, 12); // biome-ignore format: two solutions
    const refined = refineProcess(scores, 'clip-delta', { eta: 0.8 });
    close(combineStepRewards(refined, 1, { alpha: 0.5 }), [0.05, -0.05, 0, 1]);
    close(returns(combineStepRewards(refined, 1, { alpha: 0.5 })), [1, 0.95, 1, 1]);
    expect(() => etaFromQuantile([])).toThrow('there are no scores');
    expect(() => combineStepRewards([], 1)).toThrow('there are no steps');
    expect(() => combineStepRewards([1], Number.NaN)).toThrow('success is NaN');
  });
});
