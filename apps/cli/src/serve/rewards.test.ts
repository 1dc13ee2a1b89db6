import { rng } from '@plumbline/core';
import { expect, it } from 'vitest';
import { namedReward, rewardNames } from './rewards.js';

const scored = async (name: string, completions: string[]) =>
  Array.from(
    (
      await namedReward(name)!.score(
        completions.map((completion) => ({ prompt: 'How are you?', completion })),
        { rng: rng(0) },
      )
    ).scores,
  );

it('reads sentiment from the words of an answer, in [-1, 1], 0 where none is in the lexicon', async () => {
  const [kind, plain, unkind] = await scored('sentiment', ['I am happy to help.', 'It is a table.', 'I hate this awful table.']);
  expect(kind).toBeGreaterThan(0.5);
  expect(plain).toBe(0);
  expect(unkind).toBeLessThan(-0.5);
  expect(kind).toBeLessThanOrEqual(1);
});

it('counts letters by code point, and knows no other name', async () => {
  expect(await scored('length', ['abc', '🙂'])).toEqual([3, 1]);
  expect(rewardNames).toContain('sentiment');
  expect(namedReward('toString')).toBeUndefined();
});
