import { describe, expect, it } from 'vitest';
import { costOf, type Norm, norm } from './costs.js';

const x = [0.3, -0.4];

describe('norm', () => {
  it('has the values of its formula', () => {
    for (const [kind, options, value] of [
      ['quadratic', {}, 0.125],
      ['l2', { p: 0.1 }, 0.409902],
      ['l22', { p: 0.1, q: 2 }, 0.409902],
      ['l22', { p: 0.1, q: 4 }, 0.4002],
      ['cosh', { p: 0.1 }, 0.353759],
      ['power', { p: 1.5 }, 0.417299],
      ['smoothAbs', { p: 0.1 }, 0.528538],
      ['smoothAbs2', { p: 0.1, q: 3 }, 0.505731],
      ['rectify', { p: 0.1 }, 0.306674],
    ] as const)
      expect(norm(kind, x, options)).toBeCloseTo(value, 6);
  });
  it('is flat and 0 at the origin, but for power and rectify', () => {
    for (const kind of ['quadratic', 'l2', 'l22', 'cosh', 'smoothAbs', 'smoothAbs2'] as Norm[]) {
      expect(norm(kind, [0, 0])).toBeCloseTo(0, 15);
      expect((norm(kind, [1e-5]) - norm(kind, [-1e-5])) / 2e-5).toBeCloseTo(0, 9);
    }
    expect(norm('rectify', [0])).toBeCloseTo(0.1 * Math.LN2, 12);
    expect(norm('rectify', [-1e4])).toBe(0);
  });
  it('names what is out of range', () => {
    expect(() => norm('l2', x, { p: 0 })).toThrow('p must be > 0, got 0');
    expect(() => norm('l22', x, { q: 0.5 })).toThrow('q must be at least 1, got 0.5');
    expect(() => norm('l3' as Norm, x)).toThrow('there is no norm "l3"');
  });
});

describe('costOf', () => {
  const torso = (pitch: number, height: number) =>
    costOf<null>([
      { name: 'height', weight: 0.5, norm: 'l2', residual: () => [height - 0.292] },
      { name: 'pitch', weight: 0.6, norm: 'l2', residual: () => [pitch] },
      { name: 'roll', weight: 1, norm: 'l2', residual: () => [0] },
    ]);
  it('is the weighted sum', () => {
    expect(torso(0.2, 0.2)(null)).toBeCloseTo(0.092105, 6);
  });
  it('goes over into the plain cost as the risk goes to 0', () => {
    const two = (risk: number) => costOf<null>([{ name: 'two', weight: 1, norm: 'quadratic', residual: () => [2] }], { risk })(null);
    expect([0, 1, -1].map(two).map((value) => value.toFixed(6))).toEqual(['2.000000', '6.389056', '0.864665']);
    expect(two(1e-9)).toBeCloseTo(2, 6);
  });
  it('names what does not fit', () => {
    expect(() => costOf([])).toThrow('there are no terms');
    expect(() => costOf([{ name: 'height', weight: -1, norm: 'l2', residual: () => [0] }])).toThrow(
      'the weight of "height" must be at least 0, got -1',
    );
  });
});
