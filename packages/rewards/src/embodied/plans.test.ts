import { rng } from '@plumbline/core';
import { maximumAssignment } from '@plumbline/data/statistics';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { finishedReward, orderedMatching, type PlanScoring, parsePlan, planReward, scorePlan } from './plans.js';

const reference = 'pick(apple)\nplace(apple, plate)\npick(cup)\nplace(cup, tray)';
const lines = reference.split('\n');
const score = (text: string, options?: PlanScoring) => scorePlan(parsePlan(text) ?? [], parsePlan(reference)!, options).score;

describe('orderedMatching', () => {
  it('has the values of the card', () => {
    const diagonal = orderedMatching([[0.9, 0.2, 0.1], [0.3, 0.8, 0.4], [0.7, 0.1, 0.6]]); // biome-ignore format: a matrix
    expect(diagonal.total).toBeCloseTo(2.3, 12);
    expect(diagonal.pairs).toEqual([[0, 0], [1, 1], [2, 2]]); // biome-ignore format: pairs
    expect(orderedMatching([[0.1, 0.9], [0.8, 0.2]]).total).toBeCloseTo(0.9, 12); // biome-ignore format: a matrix
    expect(orderedMatching([])).toEqual({ total: 0, pairs: [] });
  });
  it('is the best of all matchings that do not cross, and never more than the best of all', () => {
    const weight = fc.constantFrom(0, 0.25, 0.5, 1);
    const tried = (w: number[][], i: number, from: number): number =>
      i === w.length ? 0 : Math.max(tried(w, i + 1, from), ...w[i].slice(from).map((x, j) => x + tried(w, i + 1, from + j + 1)));
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.array(weight, { minLength: 25, maxLength: 25 }),
        (m, n, all) => {
          const w = Array.from({ length: m }, (_, i) => all.slice(5 * i, 5 * i + n));
          const { total, pairs } = orderedMatching(w);
          expect(total).toBe(tried(w, 0, 0));
          expect(total).toBe(pairs.reduce((sum, [i, j]) => sum + w[i][j], 0));
          expect(pairs.every(([i, j], k) => k === 0 || (i > pairs[k - 1][0] && j > pairs[k - 1][1]))).toBe(true);
          expect(total).toBeLessThanOrEqual(maximumAssignment(w).total);
        },
      ),
    );
  });
  it('names a weight outside of [0, 1]', () => {
    expect(() => orderedMatching([[0, 1], [2, 0]])).toThrow('the weight of steps 1 and 0 is 2'); // biome-ignore format: a matrix
    expect(() => orderedMatching([[Number.NaN]])).toThrow('steps 0 and 0 is NaN');
    expect(() => orderedMatching([[0, 1], [1]])).toThrow('row 1 has 1 weights and row 0 has 2');
    expect(() => orderedMatching(Array.from({ length: 1001 }, () => new Float32Array(1000)))).toThrow('more than a million');
  });
});

describe('scorePlan', () => {
  const exact = { similarity: 'exact' } as const;
  it('has the values of the card for equal steps', () => {
    const swapped = [lines[1], lines[0], ...lines.slice(2)].join('\n');
    const reversed = [...lines].reverse().join('\n');
    const twice = `${reference}\n${reference}`;
    for (const [plan, f1, max] of [
      [reference, 1, 1],
      [swapped, 0.75, 0.75],
      [reversed, 0.25, 0.25],
      [lines.slice(0, 2).join('\n'), 2 / 3, 0.5],
      [twice, 2 / 3, 0.5],
      [`${reference}\nwait`, 8 / 9, 0.8],
      [reference.replaceAll('apple', 'pear'), 0.5, 0.5],
      ['', 0, 0],
    ] as const) {
      expect(score(plan, exact)).toBeCloseTo(f1, 12);
      expect(score(plan, { ...exact, norm: 'max' })).toBeCloseTo(max, 12);
    }
    expect(score(swapped, { ...exact, mode: 'unordered' })).toBe(1);
    expect(score(reversed, { ...exact, mode: 'unordered' })).toBe(1);
    expect(score(swapped, { ...exact, mode: 'prefix' })).toBe(0);
    expect(score(lines.slice(0, 2).join('\n'), { ...exact, mode: 'prefix', norm: 'max' })).toBe(0.5);
    expect([reference, swapped].map((plan) => score(plan, { ...exact, mode: 'exact' }))).toEqual([1, 0]);
  });
  it('gives half of a step for its verb alone', () => {
    expect(score(reference.replaceAll('apple', 'pear'))).toBeCloseTo(0.8125, 12);
    expect(score([...lines].reverse().join('\n'))).toBeCloseTo(0.5, 12);
  });
  it('never rises when a wrong step is added, and takes a similarity of its own', () => {
    for (const at of [0, 2, 4]) expect(score([...lines.slice(0, at), 'fly', ...lines.slice(at)].join('\n'))).toBeLessThan(1);
    expect(score('anything', { similarity: () => 0.5 })).toBeCloseTo(0.2, 12);
    expect(() => score('anything', { similarity: () => 2 })).toThrow('must be in [0, 1]');
    expect(() => scorePlan([], [])).toThrow('the reference has no steps');
  });
});

describe('parsePlan', () => {
  it('reads numbered lines, arguments and verbs alone, without articles and underscores', () => {
    expect(parsePlan(' 1. Pick_up(the red_apple) 2. place(apple, plate).\n3) wait')).toEqual([
      { verb: 'pick up', args: ['red apple'] },
      { verb: 'place', args: ['apple', 'plate'] },
      { verb: 'wait', args: [] },
    ]);
    expect(parsePlan('grab(a); close(b); put(a,b)')?.map(({ verb }) => verb)).toEqual(['grab', 'close', 'put']);
  });
  it('is null where a line is no step', () => {
    for (const text of ['', 'pick(apple', 'pick(apple))', '1.\n!']) expect(parsePlan(text)).toBeNull();
  });
  it('scores lists of actions in any order as the sets that they are', () => {
    const [said, known] = ['grab(a); close(b); put(a,b)', 'grab(a); put(a,b); close(b)'].map((text) => parsePlan(text)!);
    const by = (mode: PlanScoring['mode']) => scorePlan(said, known, { similarity: 'exact', mode }).score;
    expect([by('ordered'), by('unordered'), by('exact')]).toEqual([2 / 3, 1, 0]);
  });
});

describe('planReward', () => {
  const scoreOf = async (completion: string, meta: Record<string, unknown> = { plan: lines }) => {
    const { scores, abstained } = await planReward().score([{ prompt: 'Tidy up.', completion, meta }], { rng: rng(0) });
    return abstained?.[0] ? null : scores[0];
  };
  it('adds form and content, and gives no content to what is no plan', async () => {
    expect(await scoreOf(`<think>so</think><answer>${reference}</answer>`)).toBeCloseTo(1, 6);
    expect(await scoreOf(`<answer>${reference}</answer>`)).toBeCloseTo(0.9, 6);
    expect(await scoreOf(reference)).toBe(0);
    expect(await scoreOf('<think>so</think><answer>(?)</answer>')).toBe(0);
    expect(await scoreOf(`<think>a</think><think>b</think><answer>${reference}</answer>`)).toBeCloseTo(0.9, 6);
    expect(await scoreOf(`<answer>${reference}</answer><answer>${reference}</answer>`)).toBe(0);
  });
  it('abstains where no plan is known, and refuses what is none', async () => {
    expect(await scoreOf('<answer>wait</answer>', {})).toBeNull();
    await expect(scoreOf('<answer>wait</answer>', { plan: '(' })).rejects.toThrow('"plan" is no plan');
    expect(() => planReward({ formatWeight: 0, contentWeight: 0 })).toThrow('both 0');
    expect(() => planReward({ formatWeight: -1 })).toThrow('formatWeight must be at least 0, got -1');
  });
});

describe('finishedReward', () => {
  it('is full where the answer is the label, and the format alone where it is not', async () => {
    const texts = [
      '<think>it is</think><answer> True </answer>',
      '<think>it is</think><answer>False</answer>',
      '<answer>true</answer>',
      'True',
    ];
    const batch = texts.map((completion) => ({ prompt: 'Done?', completion, meta: { finished: true } }));
    const { scores } = await finishedReward().score(batch, { rng: rng(0) });
    [1, 0.1, 0.9, 0].forEach((value, i) => void expect(scores[i]).toBeCloseTo(value, 6));
    await expect(finishedReward().score([{ ...batch[0], meta: { finished: 'maybe' } }], { rng: rng(0) })).rejects.toThrow(
      'must be true or false',
    );
  });
});
