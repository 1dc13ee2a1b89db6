import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Message } from './interfaces.js';
import { preferencesOfRow, promptOfRow, RowSkipped } from './read/rows.js';
import { parseTranscript, renderTranscript } from './read/transcript.js';
import { readJsonl, readPreferences, readPrompts } from './read.node.js';

const fixture = (name: string) => resolve(import.meta.dirname, '../test/fixtures', name);
const shared = join(process.env.PLUMB_SHARED ?? resolve(import.meta.dirname, '../../../../shared'), 'data');
/** A file of the public data sets, where they lie beside the repository. */
const publicFile = (name: string): string | undefined => {
  const path = join(shared, name);
  if (existsSync(path)) return path;
  console.log(`skipped: there is no ${name} in ../shared/data or $PLUMB_SHARED/data`);
  return undefined;
};
const folder = mkdtempSync(join(tmpdir(), 'plumbline-data-'));
const file = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const lines = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n');

describe('preferencesOfRow', () => {
  it('takes prompt, chosen and rejected as they are, with scores, margin and weight', () => {
    expect(
      preferencesOfRow({ prompt: 'p', chosen: 'c', rejected: 'r', score_chosen: 8, rejected_score: 2.5, margin: 1, weight: 2, id: 7 }),
    ).toEqual([{ id: '7', prompt: 'p', chosen: 'c', rejected: 'r', chosen_score: 8, rejected_score: 2.5, margin: 1, weight: 2 }]);
  });
  it('adds the input to an instruction', () => {
    expect(preferencesOfRow({ instruction: 'Sum.', input: '1 2', chosen: '3', rejected: '4' })[0].prompt).toBe('Sum.\n\n1 2');
  });
  it('reads a dialogue in one text as messages and parts it at the last answer that both sides share', () => {
    const talk = '\n\nHuman: Hi\n\nAssistant: Hello.\n\nStill me.\n\nHuman: Why?\n\nAssistant:';
    const [record] = preferencesOfRow({ chosen: `${talk} Because.`, rejected: `${talk} Go away.` });
    expect(record.prompt).toEqual([
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello.\n\nStill me.' },
      { role: 'user', content: 'Why?' },
    ]);
    expect([record.chosen, record.rejected]).toEqual([
      [{ role: 'assistant', content: 'Because.' }],
      [{ role: 'assistant', content: 'Go away.' }],
    ]);
  });
  it('takes the answer before as the beginning where the two sides part at a question', () => {
    const [record] = preferencesOfRow({
      chosen: '\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant: D',
      rejected: '\n\nHuman: A\n\nAssistant: B\n\nHuman: X\n\nAssistant: D',
    });
    expect(record.prompt).toEqual([{ role: 'user', content: 'A' }]);
    expect(record.chosen).toHaveLength(3);
  });
  it('keeps dialogues as text if asked to', () => {
    const [record] = preferencesOfRow(
      { chosen: '\n\nHuman: Hi\n\nAssistant: Ho', rejected: '\n\nHuman: Hi\n\nAssistant: He' },
      { transcripts: 'text' },
    );
    expect(record).toEqual({ prompt: '\n\nHuman: Hi\n\nAssistant:', chosen: ' Ho', rejected: ' He' });
  });
  it('cuts the shared beginning of plain texts at a word', () => {
    expect(preferencesOfRow({ chosen: 'Once upon a time', rejected: 'Once upon a tile' })).toEqual([
      { prompt: 'Once upon a', chosen: ' time', rejected: ' tile' },
    ]);
  });
  it('takes the prompt off answers that repeat it', () => {
    const asked = { role: 'user', content: 'Hi' };
    const answers = { chosen: [asked, { role: 'assistant', content: 'Yes' }], rejected: [asked, { role: 'assistant', content: 'No' }] };
    for (const row of [
      { prompt: 'Hi', ...answers },
      { prompt: [asked], ...answers },
      { query: 'Hi', chosen: { messages: answers.chosen }, reject: { messages: answers.rejected } },
    ]) {
      const [record] = preferencesOfRow(row);
      expect(record.prompt).toEqual([asked]);
      expect(record.rejected).toEqual([{ role: 'assistant', content: 'No' }]);
    }
  });
  it('makes messages of all three parts as soon as one is messages', () => {
    expect(preferencesOfRow({ prompt: 'Hi', chosen: [{ role: 'assistant', content: 'Yes' }], rejected: 'No' })).toEqual([
      {
        prompt: [{ role: 'user', content: 'Hi' }],
        chosen: [{ role: 'assistant', content: 'Yes' }],
        rejected: [{ role: 'assistant', content: 'No' }],
      },
    ]);
  });
  it('pairs every chosen with every rejected of lists', () => {
    const pairs = preferencesOfRow({ prompt: 'p', chosen: ['a', 'b', 'c'], rejected: ['x', 'y', 'z'] });
    expect(pairs.map(({ chosen, rejected }) => `${chosen}${rejected}`)).toEqual(['ax', 'ay', 'az', 'bx', 'by', 'bz', 'cx', 'cy', 'cz']);
  });
  it.each([
    [{ prompt: 'p', response_0: 'a', response_1: 'b', better_response_id: 1 }, 'b'],
    [{ input: 'p', output_1: 'a', output_2: 'b', label: 2 }, 'b'],
    [{ prompt: 'p', 'response 1': 'a', 'response 2': 'b', label: 0 }, 'a'],
    [{ question: 'p', response_A: 'a', response_B: 'b', label: 'B>A' }, 'b'],
    [{ prompt: 'p', completion_a: 'a', completion_b: 'b', preference: 'a-is-slightly-better' }, 'a'],
    [{ instruction: 'p', input: '', response1: 'a', response2: 'b', annotator1: 2, annotator2: 1, annotator3: 2 }, 'b'],
  ])('reads the verdict of %o', (row, winner) => {
    expect(preferencesOfRow(row)).toEqual([{ prompt: 'p', chosen: winner, rejected: winner === 'a' ? 'b' : 'a' }]);
  });
  it('keeps how sure a continuous preference was', () => {
    const [record] = preferencesOfRow({ instruction: 'p', output_1: 'a', output_2: 'b', preference: 1.8 });
    expect(record.chosen).toBe('b');
    expect(record.preference).toBeCloseTo(0.8, 12);
  });
  it.each([
    ['a tie', { prompt: 'p', 'response 1': 'a', 'response 2': 'b', label: 2 }],
    ['equal answers', { prompt: 'p', chosen: 'a', rejected: 'a' }],
    ['equal conversations', { chosen: '\n\nHuman: a\n\nAssistant: b', rejected: '\n\nHuman: a\n\nAssistant: b' }],
    ['an empty answer', { prompt: 'p', chosen: 'a', rejected: ' ' }],
  ])('skips %s', (_, row) => {
    expect(() => preferencesOfRow(row)).toThrow(RowSkipped);
  });
  it.each([
    [{ prompt: 'p', chosen: 'a' }, /no column for a rejected answer \(.*reject\); the row has prompt, chosen/],
    [{ prompt: 'p', chosen: 3, rejected: 'r' }, /"chosen" must be text, a message or a list of messages, got 3/],
    [{ prompt: 'p', chosen: 'a', rejected: 'r', score_chosen: 'high' }, /"score_chosen" must be a finite number, got "high"/],
    [{ prompt: 'p', response_0: 'a', response_1: 'b', better_response_id: 2 }, /"better_response_id" must be one of 0, 1, got 2/],
    [{ prompt: [{ content: 'x' }], chosen: 'a', rejected: 'b' }, /"prompt\[0\]" has no role: it holds content/],
    [{ chosen: 'one', rejected: 'two' }, /do not begin with the same words/],
    [{ prompt: '', chosen: 'one', rejected: 'two' }, /the prompt is empty/],
  ])('says what is wrong with %o', (row, message) => {
    expect(() => preferencesOfRow(row)).toThrow(message);
  });
});

describe('promptOfRow', () => {
  it('keeps the other columns in meta', () => {
    expect(promptOfRow({ question: '1+1?', answer: '2' })).toEqual({ prompt: '1+1?', meta: { answer: '2' } });
  });
  it('takes the prompt of a pair', () => {
    expect(promptOfRow({ chosen: '\n\nHuman: Hi\n\nAssistant: Ho', rejected: '\n\nHuman: Hi\n\nAssistant: He' }).prompt).toEqual([
      { role: 'user', content: 'Hi' },
    ]);
  });
  it('takes the answer off a conversation that has one', () => {
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Ho' },
    ];
    expect(promptOfRow({ messages }).prompt).toEqual(messages.slice(0, 1));
  });
});

describe('transcripts', () => {
  it('come back from their messages', () => {
    const text = '\n\nHuman: Hi\n\nAssistant: Hello.\n\nAgain.\n\nHuman: Bye';
    expect(renderTranscript(parseTranscript(text))).toBe(text);
    expect(renderTranscript(parseTranscript(text), { addGenerationPrompt: true })).toBe(`${text}\n\nAssistant:`);
  });
});

describe('files', () => {
  it('are read whole, gzipped or not, with ids that name the line', async () => {
    const { records, skipped } = await readPreferences(fixture('hh.jsonl.gz'));
    expect(records).toHaveLength(4);
    expect(skipped).toEqual([]);
    expect(records[2].id).toBe('hh.jsonl.gz:3');
    expect(records[1]).toMatchObject({
      prompt: [{ role: 'user', content: 'Is it possible to download a car?' }],
      rejected: [{ role: 'assistant', content: 'I’m sorry, I don’t understand.' }],
    });
    expect(records[3].prompt).toHaveLength(3);
  });
  it('are read in the forms that LLaMA-Factory, LLMBar and PandaLM have', async () => {
    const [factory, v1, llmbar, pandalm] = await Promise.all(
      ['llama-factory-dpo.jsonl', 'llama-factory-v1.jsonl', 'llmbar.jsonl', 'pandalm.jsonl'].map((name) => readPreferences(fixture(name))),
    );
    expect(factory.records.map(({ prompt }) => (prompt as Message[]).map(({ role }) => role).join())).toEqual([
      'system,user',
      'user',
      'user',
      'user',
    ]);
    expect(factory.records[2].chosen).toEqual([{ role: 'assistant', content: '256626720691 + 1646615806005 = 1903242526696' }]);
    expect(v1.records[0].prompt).toMatchObject([{ role: 'system' }, { role: 'user' }]);
    expect(v1.records[0].chosen).toMatchObject([{ role: 'assistant', content: expect.stringMatching(/^Abdulah Hasanagic/) }]);
    expect(llmbar.records.map(({ chosen }) => chosen)).toEqual([
      'Soon, Loon',
      'My daughter was jumping up and down, because she was excited to go out to the park.',
      'Remove one of the two adjacent "the"',
    ]);
    expect(pandalm.records[0].prompt).toMatch(/might like\.\n\nBitcoin/);
  });
  it('split at "\\n" alone, not at other separators inside strings', async () => {
    const path = file('separators.jsonl', `${JSON.stringify({ text: 'a\u2028b\u0085c' })}\r\n\n${JSON.stringify({ text: 'ü' })}`);
    expect(await readJsonl(path)).toEqual([{ text: 'a\u2028b\u0085c' }, { text: 'ü' }]);
  });
  it('survive characters cut by the border of two chunks', async () => {
    const text = 'é'.repeat(70_001);
    expect(await readJsonl(file('chunks.jsonl', `${JSON.stringify({ text })}\n`))).toEqual([{ text }]);
  });
  it('stop at the limit', async () => {
    expect((await readPreferences(fixture('hh.jsonl.gz'), { limit: 2 })).records).toHaveLength(2);
    expect(await readJsonl(fixture('hh.jsonl.gz'), { limit: 1 })).toHaveLength(1);
  });
  it('list bad rows by line with what they held, or leave them out if asked to', async () => {
    const path = file(
      'bad.jsonl',
      `${lines({ prompt: 'p', chosen: 'a', rejected: 'b' }, { prompt: 'p', chosen: null, rejected: 'b' })}\n{"prompt": "p", "chosen\n[1, 2]\n${lines({ prompt: 'p', chosen: 'a', rejected: 'a' })}\n`,
    );
    const error = await readPreferences(path).catch((e: Error) => e.message);
    expect(error).toMatch(/bad\.jsonl: 3 rows could not be read/);
    expect(error).toMatch(/line 2: no column for a chosen answer/);
    expect(error).toMatch(/line 3: not JSON: .*the line begins "\{\\"prompt\\": \\"p\\"/);
    expect(error).toMatch(/line 4: not a JSON object: \[1,2\]/);
    const { records, skipped } = await readPreferences(path, { badRows: 'skip' });
    expect(records).toHaveLength(1);
    expect(skipped.map(({ line }) => line)).toEqual([2, 3, 4, 5]);
    expect(skipped[3].reason).toMatch(/the same/);
  });
  it.each([
    ['that are missing', () => join(folder, 'none.jsonl'), /none\.jsonl: there is no such file/],
    ['that are empty', () => file('empty.jsonl', ''), /no records, the file is empty/],
    [
      'of ties alone',
      () => file('ties.jsonl', lines({ prompt: 'p', chosen: 'a', rejected: 'a' })),
      /no records; line 1: chosen and rejected are the same/,
    ],
    ['that are not text', () => file('binary.jsonl', Uint8Array.of(0xff, 0xfe, 0x00)), /not UTF-8 text/],
    [
      'cut short',
      () => file('cut.jsonl.gz', gzipSync('{"a":1}\n'.repeat(9999)).subarray(0, 60)),
      /not a whole gzip file.*was the download cut short/,
    ],
    ['that only look gzipped', () => file('fake.jsonl.gz', '{"a":1}'), /not a whole gzip file/],
  ])('%s are refused by name', async (_, path, message) => {
    await expect(readPreferences(path())).rejects.toThrow(message);
  });

  // Rows with a preference, and rows without one: ties, equal and empty answers.
  it.each([
    ['hh-rlhf-harmless/harmless_base_test.jsonl.gz', 2286, 4],
    ['hh-single-turn/harmless_train_gt.jsonl', 3978, 4],
    ['llama-factory-demos/dpo_en_demo.jsonl', 299, 0],
    ['llama-factory-demos/dpo_zh_demo.jsonl', 300, 0],
    ['llama-factory-demos/v1_dpo_demo.jsonl', 10, 0],
    ['medicalgpt-dpo-zh/dpo_zh_500.jsonl', 497, 0],
    ['medicalgpt-dpo-zh/toolcall_dpo_zh_demo.jsonl', 11, 0],
    ['safe-rlhf-mini/saferlhf_sample.jsonl', 32, 0],
    ['llmbar/natural.jsonl', 99, 0],
    ['llmbar/processed_llmeval2.jsonl', 195, 2],
    ['alpaca-eval/annotations_claude-2.1.jsonl.gz', 800, 2],
    ['auto-j/testdata_pairwise.jsonl', 1015, 375],
    ['tulu-human-eval/annotations.jsonl', 773, 377],
    ['judgebench/pairs_gpt-4o-2024-05-13.jsonl', 350, 0],
    ['rm-bench/chat_filtered.jsonl', 1161, 0],
    ['plan-rewardbench/tool_irrelevance.jsonl', 90, 0],
  ])('of public data are understood: %s', async (name, pairs, without) => {
    const path = publicFile(name);
    if (!path) return;
    const { records, skipped } = await readPreferences(path);
    expect([records.length, skipped.length]).toEqual([pairs, without]);
    for (const { prompt, chosen, rejected } of records) {
      expect([typeof chosen, typeof rejected]).toEqual([typeof prompt, typeof prompt]);
      if (typeof prompt !== 'string') expect(prompt.at(-1)!.role).not.toBe('assistant');
    }
  });
  it('of public data with cells that are no text are refused or read without them', async () => {
    const path = publicFile('pandalm-testset/testset-v1.jsonl');
    if (!path) return;
    await expect(readPreferences(path)).rejects.toThrow(/6 rows could not be read.*\n.*line 158: "response1" must be text.*got true/);
    const { records, skipped } = await readPreferences(path, { badRows: 'skip' });
    expect(records.length + skipped.length).toBe(999);
    expect(skipped.filter(({ reason }) => reason.includes('is empty')).length).toBeGreaterThan(20);
  });
  it('of public prompts are understood', async () => {
    for (const name of [
      'gsm8k/test.jsonl',
      'ifeval/ifeval_input_data.jsonl',
      'humaneval/HumanEval.jsonl.gz',
      'safe-rlhf-mini/beavertails_evaluation_prompts.jsonl',
    ]) {
      const path = publicFile(name);
      if (!path) continue;
      const { records } = await readPrompts(path, { limit: 20 });
      expect(records).toHaveLength(20);
      expect(records.every(({ meta }) => meta !== undefined)).toBe(true);
    }
  });
});
