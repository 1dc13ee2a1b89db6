import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { collect, readRecords } from '@plumbline/data';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { check, convert, dedup, split, stats } from './data.js';

const folder = mkdtempSync(join(tmpdir(), 'plumb-data-'));
const at = (name: string) => join(folder, name);
const file = (name: string, rows: readonly unknown[]) => {
  writeFileSync(at(name), rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'));
  return at(name);
};
const printed = async (run: () => Promise<void>): Promise<string> => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  await run();
  const text = log.mock.calls.map(([line]) => String(line)).join('\n');
  log.mockRestore();
  return text;
};
const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
const pairs = Array.from({ length: 40 }, (_, i) => ({ prompt: `prompt ${i % 20}`, chosen: `chosen ${i}`, rejected: 'no', tag: i }));

afterEach(() => {
  process.exitCode = undefined;
});

describe('plumb data check', () => {
  it('names bad rows by line, and what looks wrong', async () => {
    const path = file('bad.jsonl', [
      pairs[0],
      '{"prompt":',
      { prompt: 'p', chosen: 'c' },
      pairs[0],
      { ...pairs[1], rejected: pairs[1].chosen },
    ]);
    const text = await printed(() => check(path, {}));
    expect(text).toMatch(/2 preference records in 5 rows/);
    expect(text).toMatch(/2 rows could not be read:\n {2}line 2: not JSON.*\n {2}line 3: no column for a rejected answer/);
    expect(text).toMatch(/1 left out: chosen and rejected are the same \(line 5\)/);
    expect(text).toMatch(/1 say the same as an earlier record \(line 4\)/);
    expect(process.exitCode).toBe(1);
  });
  it('says so where nothing is wrong, also as JSON', async () => {
    const path = file('good.jsonl', pairs);
    expect(await printed(() => check(path, {}))).toMatch(/nothing looks wrong/);
    expect(JSON.parse(await printed(() => check(path, { json: true })))).toMatchObject({
      kind: 'preference',
      records: 40,
      bad: { count: 0 },
    });
    expect(process.exitCode).toBeUndefined();
  });
  it('refuses a kind, a format and a renaming that are none', async () => {
    const path = file('good.jsonl', pairs);
    await expect(check(path, { kind: 'pair' })).rejects.toThrow(/--kind pair: the kinds of record are preference/);
    await expect(check(path, { format: 'xml' })).rejects.toThrow(/--format xml: there are jsonl/);
    await expect(check(path, { columns: ['a'] })).rejects.toThrow(/--columns a: expected name=value/);
  });
});

describe('plumb data stats', () => {
  it('prints lengths, words and which side is longer', async () => {
    const text = await printed(() => stats(file('pairs.jsonl', pairs), {}));
    expect(text).toMatch(/40 preference records/);
    expect(text).toMatch(/chosen is longer {4}in 100\.0% of the pairs that differ/);
    expect(text).toMatch(/different words {5}about 43/);
  });
});

describe('plumb data convert', () => {
  it('makes another kind and another format', async () => {
    const path = file('pairs.jsonl', pairs.slice(0, 2));
    expect(await printed(() => convert(path, at('kto.jsonl'), { to: 'unpaired' }))).toMatch(/4 unpaired records of 2 preference records/);
    expect(linesOf(at('kto.jsonl'))[1]).toEqual({ prompt: 'prompt 0', completion: 'no', label: false, meta: { tag: 0 } });
    await printed(() => convert(path, at('pairs.parquet'), {}));
    expect(await collect(readRecords(at('pairs.parquet'), { ids: 'own' }))).toEqual(
      pairs.slice(0, 2).map(({ tag, ...pair }) => ({ ...pair, meta: { tag } })),
    );
  });
  it('makes pairs of scored answers that stand apart', async () => {
    writeFileSync(at('scored.csv'), 'prompt,response,helpfulness\np,a,1\nq,z,5\np,b,"1,000"\n');
    await printed(() => convert(at('scored.csv'), at('made.jsonl'), { to: 'preference' }));
    expect(linesOf(at('made.jsonl'))).toEqual([{ prompt: 'p', chosen: 'b', rejected: 'a', chosen_score: 1000, rejected_score: 1 }]);
  });
  it('says what cannot be, and leaves no file', async () => {
    await expect(convert(file('t.jsonl', [{ text: 'a' }]), at('x.jsonl'), { to: 'preference' })).rejects.toThrow(
      /text records cannot become preference/,
    );
    const bad = file('bad.jsonl', [pairs[0], '{']);
    await expect(convert(bad, at('x.jsonl'), {})).rejects.toThrow(/bad\.jsonl:2: .*--skip-bad/);
    expect(() => readFileSync(at('x.jsonl'))).toThrow(/ENOENT/);
    expect(await printed(() => convert(bad, at('x.jsonl'), { skipBad: true }))).toMatch(/1 preference records of 1.*; 1 could not be read/);
    await expect(convert(bad, at('x.jsonl'), { to: 'pairs' })).rejects.toThrow(/--to pairs: there are the kinds/);
  });
});

describe('plumb data split and dedup', () => {
  it('puts every record on one side, and a prompt on one only', async () => {
    await printed(() => split(file('pairs.jsonl', pairs), at('part.jsonl'), { shares: 'train=0.6,test=0.4', seed: '1' }));
    const [train, test] = [linesOf(at('part-train.jsonl')), linesOf(at('part-test.jsonl'))];
    expect(train.length + test.length).toBe(40);
    const prompts = (rows: { prompt: string }[]) => new Set(rows.map(({ prompt }) => prompt));
    expect([...prompts(train)].filter((prompt) => prompts(test).has(prompt))).toEqual([]);
    expect(Math.min(train.length, test.length)).toBeGreaterThan(0);
  });
  it('keeps the first of what is the same, or nearly', async () => {
    const long = Array.from({ length: 60 }, (_, i) => `word${i}`).join(' ');
    const path = file('texts.jsonl', [{ text: long }, { text: long }, { text: `${long} more` }, { text: 'other' }]);
    await printed(() => dedup(path, at('exact.jsonl'), { ngram: '5' }));
    expect(linesOf(at('exact.jsonl'))).toHaveLength(3);
    await printed(() => dedup(path, at('near.jsonl'), { near: true, ngram: '5' }));
    expect(linesOf(at('near.jsonl'))).toEqual([{ text: long }, { text: 'other' }]);
  });
});
