import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { beamSearch } from './beam.js';
import { type MctsNode, mcts, stepPreferencePairs, stepValues, upperConfidence } from './mcts.js';
import type { StepGenerator } from './types.js';

/** A binary tree of depth 2; a state is the path to it. */
const tree: StepGenerator<string> = {
  propose: async (state) => [`${state}0`, `${state}1`],
  isTerminal: (state) => state.length === 2,
  key: (state) => state,
};
/** Only leaf 00 verifies; a completion always takes child 0. */
function leftmost() {
  const ends: string[] = [];
  return {
    ends,
    rollout: async (state: string) => {
      ends.push(state);
      return state.padEnd(2, '0') === '00' ? 1 : 0;
    },
  };
}
const counts = (root: MctsNode<string>) => {
  const found: Record<string, [number, number]> = {};
  const walk = (node: MctsNode<string>) => {
    found[node.state] = [node.visits, node.correct];
    node.children?.forEach(walk);
  };
  walk(root);
  return found;
};
const run = (iterations: number, options = {}) => {
  const { ends, rollout } = leftmost();
  return mcts('', tree, rollout, { iterations, children: 2, exploration: 1, ...options }, rng(1)).then((root) => ({ root, ends }));
};

describe('mcts', () => {
  it('weighs values against visits', () => {
    const at = (correct: number, visits: number) => upperConfidence({ correct, visits }, 10, 1);
    expect(at(3, 4)).toBeCloseTo(1.508714, 6);
    expect(at(1, 2)).toBeCloseTo(1.572983, 6);
    expect(at(2, 4)).toBeCloseTo(1.258714, 6);
  });
  it('visits what the rule says, in its order', async () => {
    const { root, ends } = await run(12);
    expect(ends).toEqual(['0', '10', '00', '01', '00', '00', '00', '00', '11', '00', '00', '00']);
    expect(counts(root)).toEqual({ '': [12, 9], 0: [10, 9], '00': [8, 8], '01': [1, 0], 1: [2, 0], 10: [1, 0], 11: [1, 0] });
    expect(counts((await run(4)).root)['']).toEqual([4, 2]);
    expect(counts((await run(8)).root)['']).toEqual([8, 6]);
  });
  it('makes preferences between siblings and values of steps', async () => {
    const { root } = await run(12);
    expect(stepPreferencePairs(root)).toEqual([
      { parent: '', chosen: '0', rejected: '1', gap: 0.9 },
      { parent: '0', chosen: '00', rejected: '01', gap: 1 },
    ]);
    expect(stepPreferencePairs(root, { minGap: 0.9 })).toHaveLength(1); // strictly more
    expect(stepPreferencePairs(root, { minVisits: 2 })).toHaveLength(1);
    expect(stepPreferencePairs(root, { maxPairsPerNode: 0 })).toEqual([]);
    expect(stepValues(root)).toContainEqual({ state: '0', value: 0.9, visits: 10 });
    expect(stepValues(root)).toHaveLength(6);
  });
  it('keeps its invariants and gives the same tree for the same seed, on a random one', async () => {
    const random: StepGenerator<string> = {
      propose: async (state, n, draw) => Array.from({ length: n }, () => state + Math.floor(draw.uniform(1)[0] * 4)),
      isTerminal: (state) => state.length === 5,
      key: (state) => state,
    };
    const value = async (state: string, draw: { uniform(n: number): Float32Array }) =>
      state.length < 5 && draw.uniform(1)[0] < 0.5 ? 1 : Number(state.includes('2'));
    const search = () => mcts('', random, value, { iterations: 80, children: 3, depthLimit: 4, dedupe: true }, rng(7));
    const [one, two] = [await search(), await search()];
    expect(counts(two)).toEqual(counts(one));
    const check = (node: MctsNode<string>) => {
      expect(node.correct).toBeLessThanOrEqual(node.visits);
      const below = (node.children ?? []).reduce((sum, child) => sum + child.visits, 0);
      expect(node.visits).toBeGreaterThanOrEqual(below);
      expect(node.depth).toBeLessThanOrEqual(4);
      const states = (node.children ?? []).map(({ state }) => state);
      expect(new Set(states).size).toBe(states.length);
      node.children?.forEach(check);
    };
    check(one);
    expect(one.visits).toBe(80);
  });
  it('gives 0 to a state from which nothing follows, without a rollout', async () => {
    const { ends, rollout } = leftmost();
    const dead = { propose: async () => [], isTerminal: () => false };
    const root = await mcts('', dead, rollout, { iterations: 3 }, rng(1));
    expect([root.visits, root.correct, ends]).toEqual([3, 0, []]);
  });
  it('refuses what would never end or mean nothing', async () => {
    const { rollout } = leftmost();
    await expect(mcts('', tree, rollout, { iterations: 0 }, rng(1))).rejects.toThrow(
      'iterations must be a whole number of at least 1, got 0',
    );
    await expect(mcts('', tree, rollout, { children: 0 }, rng(1))).rejects.toThrow('children must be');
    await expect(mcts('', tree, async () => 2, { iterations: 1 }, rng(1))).rejects.toThrow('the rollout of iteration 0 gave 2');
    const still = { ...tree, propose: async (state: string) => [state] };
    await expect(mcts('a', still, rollout, { iterations: 1 }, rng(1))).rejects.toThrow('proposal 0 of "a" is that state itself');
    await expect(mcts('', { ...tree, key: undefined }, rollout, { dedupe: true }, rng(1))).rejects.toThrow('give the generator a key');
  });
});

describe('beamSearch', () => {
  /** Scores that lead a greedy search astray: 1 looks better than 0, and 00 is best. */
  const worth: Record<string, number> = { '': 0, 0: 0.4, 1: 0.5, '00': 0.9, '01': 0.1, 10: 0.3, 11: 0.3 };
  const score = async (states: string[]) => states.map((state) => worth[state]);
  it('is greedy with a beam of one, and finds more with two', async () => {
    const at = (beam: number, maxSteps = 5) => beamSearch('', tree, score, { beam, candidates: 2, maxSteps }, rng(1));
    expect(await at(1)).toEqual({ best: '10', score: 0.3, beams: ['10'] }); // of equals the first
    expect(await at(2)).toEqual({ best: '00', score: 0.9, beams: ['00', '10'] });
    expect(await at(2, 1)).toEqual({ best: '1', score: 0.5, beams: ['1', '0'] });
  });
  it('keeps finished states in the pool by their score', async () => {
    const uneven: StepGenerator<string> = {
      propose: async (state) => (state === '' ? ['1', '0'] : ['00']),
      isTerminal: (s) => s !== '0' && s !== '',
    };
    expect((await beamSearch('', uneven, score, { beam: 1, candidates: 2, maxSteps: 9 }, rng(1))).best).toBe('1');
    expect((await beamSearch('', uneven, score, { beam: 2, candidates: 2, maxSteps: 9 }, rng(1))).beams).toEqual(['00', '1']);
  });
  it('stays at the root where nothing follows, and refuses scores that are none', async () => {
    const dead = { propose: async () => [], isTerminal: () => false };
    expect(await beamSearch('', dead, score, { beam: 1, candidates: 1, maxSteps: 1 }, rng(1))).toEqual({ best: '', score: 0, beams: [''] });
    const settings = { beam: 1, candidates: 2, maxSteps: 1 };
    await expect(beamSearch('', tree, async () => [1], settings, rng(1))).rejects.toThrow('1 scores for 2 states');
    await expect(beamSearch('', tree, async () => [1, Number.NaN], settings, rng(1))).rejects.toThrow('the score of state 1 is NaN');
    await expect(beamSearch('', tree, score, { ...settings, beam: 0 }, rng(1))).rejects.toThrow('beam must be');
  });
});
