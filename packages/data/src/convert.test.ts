import { describe, expect, it } from 'vitest';
import { convertRecord, groupByPrompt } from './convert.js';
import { detectKind, recordsOfRow } from './read/kinds.js';
import { RowSkipped } from './read/rows.js';
import type { RecordKind } from './records.js';
import { checkRecord } from './schemas.js';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

describe('detectKind and recordsOfRow', () => {
  it.each<[RecordKind, Record<string, unknown>, unknown[]]>([
    ['unpaired', { prompt: 'p', completion: 'c', label: false, n: 1 }, [{ prompt: 'p', completion: 'c', label: false, meta: { n: 1 } }]],
    ['unpaired', { messages: [user('p'), assistant('c')], label: 1 }, [{ prompt: [user('p')], completion: [assistant('c')], label: true }]],
    [
      'completion',
      { instruction: 'p', input: '', output: ['a', 'b'] },
      [
        { prompt: 'p', completion: 'a' },
        { prompt: 'p', completion: 'b' },
      ],
    ],
    [
      'stepwise',
      { prompt: 'p', completions: ['a', 'b'], labels: [1, 0] },
      [{ prompt: 'p', completions: ['a', 'b'], labels: [true, false] }],
    ],
    [
      'stepwise',
      { input: 'p', steps: ['a', 'b', 'c'], mistake_index: 1, target: 't' },
      [{ prompt: 'p', completions: ['a', 'b'], labels: [true, false], meta: { mistake_index: 1, target: 't' } }],
    ],
    [
      'stepwise',
      { input: 'p', steps: ['a'], mistake_index: null },
      [{ prompt: 'p', completions: ['a'], labels: [true], meta: { mistake_index: null } }],
    ],
    [
      'multiscore',
      { prompt: 'p', response: 'c', helpfulness: 3, verbosity: '1' },
      [{ prompt: 'p', completion: 'c', scores: { helpfulness: 3, verbosity: 1 } }],
    ],
    ['ranked', { prompt: 'p', generations: ['a', 'b'], ranking: [2, 1] }, [{ prompt: 'p', completions: ['a', 'b'], scores: [-2, -1] }]],
    [
      'ranked',
      {
        instruction: 'p',
        completions: [
          { response: 'a', overall_score: 7 },
          { response: 'b', overall_score: '8.5' },
        ],
      },
      [{ prompt: 'p', completions: ['a', 'b'], scores: [7, 8.5] }],
    ],
    [
      'messages',
      {
        conversations: [
          { from: 'human', value: 'p' },
          { from: 'gpt', value: 'c' },
        ],
        tools: '[{"type":"function"}]',
        system: 's',
      },
      [{ messages: [{ role: 'system', content: 's' }, user('p'), assistant('c')], tools: [{ type: 'function' }] }],
    ],
    [
      'trajectory',
      { messages: [user('p'), assistant('c')], step_labels: { 1: -1 }, final_label: 1, tag: 't' },
      [{ messages: [user('p'), assistant('c')], step_labels: { 1: -1 }, reward: 1, meta: { tag: 't' } }],
    ],
    [
      'prompt',
      { problem: 'p', image: 'x.png', level: 2 },
      [{ prompt: 'p', media: [{ kind: 'image', uri: 'x.png' }], meta: { image: 'x.png', level: 2 } }],
    ],
    ['text', { text: 't' }, [{ text: 't' }]],
  ])('%s: %o', (kind, row, records) => {
    expect(detectKind(row)).toBe(kind);
    expect(recordsOfRow(row, kind)).toEqual(records);
    for (const record of recordsOfRow(row, kind)) checkRecord(kind, record);
  });
  it('takes several answers with a list of verdicts on every two', () => {
    const row = { question: 'q', 'prediction 1': 'a', 'prediction 2': 'b', 'prediction 3': 'c', preference: [1, 0, 2] };
    expect(detectKind(row)).toBe('preference');
    expect(recordsOfRow(row, 'preference').map(({ chosen, rejected }) => `${chosen}${rejected}`)).toEqual(['ab', 'cb']);
  });
  it('reads Math-Shepherd', () => {
    const row = { input: 'Q? Step 1: a ки\nStep 2: b ки', label: 'Q? Step 1: a +\nStep 2: b -', task: 'GSM8K' };
    expect(recordsOfRow(row, 'stepwise')).toEqual([
      { prompt: 'Q?', completions: ['Step 1: a', 'Step 2: b'], labels: [true, false], meta: { task: 'GSM8K' } },
    ]);
  });
  it('leaves out steps that are not there, empty answers and null ones', () => {
    expect(() => recordsOfRow({ question: 'q', modified_process: ['a'], error_steps: [2] }, 'stepwise')).toThrow(RowSkipped);
    expect(() => recordsOfRow({ prompt: 'p', response: ' ' }, 'completion')).toThrow(RowSkipped);
    expect(() => recordsOfRow({ prompt: 'p', response: null }, 'completion')).toThrow(RowSkipped);
  });
  it.each<[RecordKind, Record<string, unknown>, RegExp]>([
    ['unpaired', { prompt: 'p', completion: 'c', label: 'maybe' }, /"label" must be true or false, got "maybe"/],
    ['stepwise', { prompt: 'p', completions: ['a', 3], labels: [1, 1] }, /"completions\[1\]" must be text, got 3/],
    ['stepwise', { prompt: 'p', completions: ['a'], labels: [1, 1] }, /1 steps and 2 labels/],
    ['ranked', { prompt: 'p', completions: ['a'], scores: [1, 2] }, /"scores" has 2 numbers for 1 completions/],
    ['multiscore', { prompt: 'p', completion: 'c', scores: { a: 'x' } }, /"a" must be a finite number, got "x"/],
    ['trajectory', { messages: [user('p'), assistant('c')], step_labels: { 7: 1 } }, /"step_labels" names message 7, and there are 2/],
    ['completion', { completion: 'c' }, /no column for a prompt/],
    ['messages', { messages: [{ content: 'x' }] }, /"messages\[0\]" has no role/],
  ])('names the column of a wrong %s', (kind, row, message) => {
    expect(() => recordsOfRow(row, kind)).toThrow(message);
  });
});

describe('checkRecord', () => {
  it('names the record and the fields', () => {
    expect(() => checkRecord('unpaired', { prompt: 'p', completion: 3, label: 'x' }, 'row 4')).toThrow(
      /^row 4 is no unpaired record: "completion": must be text or a list of messages.*"label": /,
    );
    expect(() => checkRecord('stepwise', { prompt: 'p', completions: ['a'], labels: [] })).toThrow(/"labels": must have a label for each/);
    expect(() => checkRecord('text', { text: 't', txt: '' })).toThrow(/txt/);
  });
});

describe('convertRecord', () => {
  const pair = { id: 'x', prompt: 'p', chosen: 'c', rejected: 'r' };
  it('makes labels of both sides of a pair, and an answer to imitate of one', () => {
    expect(convertRecord(pair, 'preference', 'unpaired')).toEqual([
      { id: 'x:chosen', prompt: 'p', completion: 'c', label: true },
      { id: 'x:rejected', prompt: 'p', completion: 'r', label: false },
    ]);
    expect(convertRecord(pair, 'preference', 'completion')).toEqual([{ id: 'x', prompt: 'p', completion: 'c' }]);
    expect(convertRecord(pair, 'preference', 'prompt')).toEqual([{ id: 'x', prompt: 'p' }]);
  });
  it('makes pairs of ranked answers, by gap, and never of equal ones', () => {
    const group = { prompt: 'p', completions: ['a', 'b', 'a'], scores: [3, 1, 2] };
    const pairs = (minGap: number) =>
      convertRecord(group, 'ranked', 'preference', { minGap }).map(({ chosen, rejected }) => `${chosen}>${rejected}`);
    expect(pairs(0)).toEqual(['a>b', 'a>b']);
    expect(pairs(1)).toEqual(['a>b']);
  });
  it('splits messages at the last answer, tools included', () => {
    const messages = [user('1'), assistant('2'), user('3'), assistant('4'), { role: 'tool', content: '5' }, assistant('6'), user('7')];
    expect(convertRecord({ messages }, 'messages', 'completion')).toEqual([
      { prompt: messages.slice(0, 3), completion: messages.slice(3, 6) },
    ]);
    expect(convertRecord({ messages: [user('a')] }, 'messages', 'completion')).toEqual([]);
  });
  it('joins steps, right where all are, and drops wrong ones as answers', () => {
    const steps = { prompt: 'p', completions: ['a', 'b'], labels: [true, false] };
    expect(convertRecord(steps, 'stepwise', 'unpaired')).toEqual([{ prompt: 'p', completion: 'a\nb', label: false }]);
    expect(convertRecord(steps, 'stepwise', 'completion')).toEqual([]);
  });
  it('takes each labelled message of a trajectory after what was before it', () => {
    const messages = [user('1'), assistant('2'), { role: 'tool', content: '3' }, assistant('4')];
    expect(convertRecord({ messages, step_labels: { 1: 1, 3: -1 } }, 'trajectory', 'unpaired')).toEqual([
      { prompt: messages.slice(0, 1), completion: messages.slice(1, 2), label: true },
      { prompt: messages.slice(0, 3), completion: messages.slice(3), label: false },
    ]);
  });
  it('goes through other kinds, and says where it can go', () => {
    const scored = { prompt: 'p', completion: 'c', scores: { a: 1, b: 3 } };
    expect(convertRecord(scored, 'multiscore', 'messages')).toEqual([{ messages: [user('p'), assistant('c')] }]);
    expect(convertRecord(scored, 'multiscore', 'unpaired', { weights: { a: 1, b: -1 }, threshold: -0.5 })[0].label).toBe(false);
    expect(() => convertRecord({ text: 't' }, 'text', 'preference')).toThrow(
      /text records cannot become preference records; they can become prompt/,
    );
    expect(() => convertRecord(scored, 'multiscore', 'unpaired', { weights: { z: 1 } })).toThrow(/no score for "z"; it has a, b/);
  });
});

describe('groupByPrompt', () => {
  it('brings scored answers of one prompt together, and through them makes pairs', () => {
    const groups = groupByPrompt([
      { prompt: 'p', completion: 'a', scores: { x: 1 } },
      { prompt: 'q', completion: 'z', scores: { x: 1 } },
      { prompt: 'p', completion: 'b', scores: { x: 2 } },
    ]);
    expect(groups).toEqual([
      { prompt: 'p', completions: ['a', 'b'], scores: [1, 2] },
      { prompt: 'q', completions: ['z'], scores: [1] },
    ]);
    expect(groups.flatMap((group) => convertRecord(group, 'ranked', 'preference'))).toMatchObject([{ chosen: 'b', rejected: 'a' }]);
  });
});
