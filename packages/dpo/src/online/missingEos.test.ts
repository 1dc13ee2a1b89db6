import { rng } from '@plumbline/core';
import { type EncodedPair, type PairVerdict, type PairwiseJudge, promptBatches } from '@plumbline/data';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import { describe, expect, it } from 'vitest';
import { penaliseMissingEos } from './missingEos.js';
import { onlinePairs } from './onlinePairs.js';
import { opponentPairs } from './opponentPairs.js';
import { roundPairs } from './roundPairs.js';

const eosId = 3;
const policy = () => tinyDecoder({}, plainTokenizer(23, { eosId }));
const ended = (tokens: Int32Array) => tokens.at(-1) === eosId;
const prompts = Array.from({ length: 8 }, (_, i) => ({ id: String(i), prompt: String.fromCodePoint(34 + i, 40) }));
/** Finds all answers alike, so that nothing but the penalty orders them. */
const alike: PairwiseJudge = {
  name: 'alike',
  compare: async (batch) => batch.map(() => ({ winner: 'tie', probA: 0.5, logOdds: 0, parsed: true })),
};
const sampling = { maxTokens: 12, rng: rng(6) };

describe('penaliseMissingEos', () => {
  const verdict = (logOdds: number): PairVerdict => ({ winner: 'a', probA: 1 / (1 + Math.exp(-logOdds)), logOdds, parsed: true });
  it('takes the penalty from the log-odds of the side that lacks its end', () => {
    const of = (logOdds: number, a: boolean, b: boolean) => penaliseMissingEos('judge', [verdict(logOdds)], [[a, b]], 3)[0];
    expect(of(2, true, false)).toMatchObject({ winner: 'b', logOdds: -1, probA: expect.closeTo(0.268941, 6) });
    expect(of(2, false, true)).toMatchObject({ winner: 'a', logOdds: 5, probA: expect.closeTo(0.993307, 6) });
    expect(of(3, true, false)).toMatchObject({ winner: 'tie', probA: 0.5 });
    for (const both of [true, false]) expect(of(2, both, both)).toEqual(verdict(2));
  });
  it('counts where the probability has long rounded to 1', () => {
    expect(penaliseMissingEos('judge', [verdict(100)], [[true, false]], 101)[0]).toMatchObject({ winner: 'b', logOdds: -1 });
  });
  it('leaves what could not be read as it is, and refuses a judge without rewards', () => {
    const unread: PairVerdict = { winner: 'tie', probA: 0.5, parsed: false };
    expect(penaliseMissingEos('judge', [unread], [[true, false]], 1)).toEqual([unread]);
    expect(() => penaliseMissingEos('opinion', [{ winner: 'a', probA: 0.9, parsed: true }], [[true, false]], 1)).toThrow(
      'missingEosPenalty is taken from a reward, and opinion compares answers without one',
    );
  });
});

describe('missingEosPenalty', () => {
  const online = (missingEosPenalty?: number, made = policy(), preference = alike) =>
    onlinePairs({
      ...sampling,
      policy: made,
      prompts: promptBatches(prompts, { promptsPerStep: 8, steps: 1, rng: rng(5) }),
      preference,
      missingEosPenalty,
    });

  it('of onlinePairs: what ended is chosen over what did not, and the rest stays a tie', async () => {
    const pairs = await online(1).pairsAt(0);
    const decided = pairs.filter(({ weight }) => weight === 1);
    expect(decided.length).toBeGreaterThan(0);
    for (const { chosen, rejected, weight } of pairs) expect(weight).toBe(ended(chosen) === ended(rejected) ? 0 : 1);
    for (const { chosen } of decided) expect(ended(chosen)).toBe(true);
    expect((await online().pairsAt(0)).map(({ weight }) => weight)).toEqual(pairs.map(() => 0));
  });

  it('of opponentPairs: likewise, and Nash-MD is told the probability after it', async () => {
    const batch = (kind: 'reference' | 'mixture') =>
      opponentPairs({
        ...sampling,
        policy: policy(),
        prompts,
        judge: alike,
        pairsPerStep: 8,
        steps: 1,
        opponent: { kind, model: tinyDecoder({ seed: 8 }, plainTokenizer(23, { eosId })) },
        missingEosPenalty: 1,
      }).at(0);
    const { preference, dropped } = await batch('reference');
    expect(dropped!.ties).toBeLessThan(8);
    for (const p of preference!) expect([0.5, expect.closeTo(0.731059, 5)]).toContainEqual(p);
    const mixed = await batch('mixture');
    for (const p of mixed.preference!) expect([expect.closeTo(0.268941, 5), 0.5, expect.closeTo(0.731059, 5)]).toContainEqual(p);
  });

  it('of roundPairs: is taken from the scores', async () => {
    const pairs: EncodedPair[] = [];
    const rounds = roundPairs({
      ...sampling,
      policy: policy(),
      prompts,
      score: async (groups) => groups.map((group) => group.map(() => 2)),
      pairsPerStep: 1,
      steps: 1,
      stepsPerRound: 8,
      missingEosPenalty: 0.5,
      kept: { read: async () => undefined, write: async (_, made) => void pairs.push(...made) },
    });
    await rounds.at(0);
    expect(pairs.length).toBeGreaterThan(0);
    for (const { chosen, rejected, scores } of pairs) {
      expect([ended(chosen), ended(rejected)]).toEqual([true, false]);
      expect(scores).toEqual({ chosen: 2, rejected: 1.5 });
    }
  });

  it('needs a tokenizer with an end token', async () => {
    await expect(online(1, tinyDecoder()).at(0)).rejects.toThrow('the tokenizer has no end token');
  });
});
