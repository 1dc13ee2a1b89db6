import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { follows, type Instruction, instructionReward, instructionText } from './instructions.js';

const cases: [Instruction, string[], string[]][] = [
  [{ kind: 'length', atLeast: 2, atMost: 3 }, ['two words', 'now there are'], ['one', 'now there are four', '']],
  [{ kind: 'length', atMost: 1 }, ['', 'one'], ['one two']],
  [
    { kind: 'sentences', atLeast: 2, atMost: 2 },
    ['One. Two!', 'She said, "Go." Then it rained.', 'One. And a rest'],
    ['One.', 'One. Two. Three.'],
  ],
  [{ kind: 'keywords', words: ['boat', 'Fox'] }, ['A fox in a boat.', 'BOAT, fox'], ['A fox.', 'boats and foxes', '']],
  [{ kind: 'without', words: ['bad'] }, ['A badge.', 'good'], ['It was bad.', 'BAD', '']],
  [{ kind: 'startsWith', text: 'Once' }, ['Once upon', '  Once'], ['once upon', 'At once']],
  [{ kind: 'endsWith', text: 'The end.' }, ['So it was. The end.', 'The end. '], ['The end']],
  [{ kind: 'form', form: 'lowercase' }, ['all small, 3.'], ['Not', '']],
  [{ kind: 'form', form: 'uppercase' }, ['LOUD!'], ['Loud!']],
  [{ kind: 'form', form: 'oneLine' }, ['one line\n'], ['two\nlines', '']],
  [{ kind: 'form', form: 'question' }, ['Is it?'], ['It is.']],
  [{ kind: 'form', form: 'speech' }, ['He said, "Go."'], ['He said go.', '""']],
];

describe('follows', () => {
  it.each(cases)('%o', (instruction, right, wrong) => {
    for (const text of right) expect(follows(text, instruction), text).toBe(true);
    for (const text of wrong) expect(follows(text, instruction), text).toBe(false);
    expect(instructionText(instruction)).toMatch(/\.$/);
  });
});

describe('instructionReward', () => {
  const instructions: Instruction[] = [
    { kind: 'length', atMost: 3 },
    { kind: 'keywords', words: ['fox'] },
  ];
  const batch = [
    { prompt: '', completion: 'a red fox' },
    { prompt: '', completion: 'a red and quick fox' },
    { prompt: '', completion: 'nothing of all that was asked' },
  ];
  it('is the share that is followed, or all or nothing', async () => {
    const { scores, components, abstained } = await instructionReward({ instructions }).score(batch, { rng: rng(0) });
    expect([...scores]).toEqual([1, 0.5, 0]);
    expect([...components!.all]).toEqual([1, 0, 0]);
    expect(abstained).toBeUndefined();
    expect([...(await instructionReward({ instructions, strict: true }).score(batch, { rng: rng(0) })).scores]).toEqual([1, 0, 0]);
  });

  it('reads the instructions of each candidate, and abstains where there are none', async () => {
    const own = [{ ...batch[0], meta: { instructions: [{ kind: 'endsWith', text: 'fox' }] } }, batch[1]];
    const { scores, abstained } = await instructionReward().score(own, { rng: rng(0) });
    expect([...scores]).toEqual([1, 0]);
    expect([...abstained!]).toEqual([0, 1]);
  });
});
