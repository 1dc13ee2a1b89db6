import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collect, openRecords, readRecords } from './read.node.js';
import { parseDataId, type SourceOptions, sourceRows } from './rowSource.node.js';
import { writeRecords } from './write.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-rows-'));
const file = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
};
const all = async (path: string, options?: SourceOptions) => collect(sourceRows(path, options));
const rows = async (path: string, options?: SourceOptions) => (await all(path, options)).map(({ row }) => row);
const problems = async (path: string, options?: SourceOptions) =>
  (await all(path, options)).flatMap(({ line, problem }) => (problem === undefined ? [] : [`${line}: ${problem}`]));

describe('JSON Lines', () => {
  it('may begin with a byte order mark and end lines with CRLF', async () => {
    expect(await rows(file('bom.jsonl', '\ufeff{"a":1}\r\n\r\n{"a":2}\r\n'))).toEqual([{ a: 1 }, { a: 2 }]);
  });
  it('may hold lines much longer than what is read at once', async () => {
    const long = 'é'.repeat(3_000_000);
    expect(await rows(file('long.jsonl', `{"a":"${long}"}\n{"a":1}`))).toEqual([{ a: long }, { a: 1 }]);
  });
  it('have their broken lines named: not JSON, not an object, not UTF-8', async () => {
    const path = file('bad.jsonl', Buffer.concat([Buffer.from('{"a":1}\n{"a":\n7\n'), Buffer.of(0x22, 0xff, 0x22, 10), Buffer.from('{}')]));
    expect(await problems(path)).toEqual([
      expect.stringMatching(/^2: not JSON: .*the line begins/),
      '3: not a JSON object: 7',
      '4: not UTF-8 text',
    ]);
  });
  it('are unzipped whatever they are called, and a cut archive is told', async () => {
    const lines = Array.from({ length: 5000 }, (_, i) => `{"a":${i},"b":"${Math.sin(i)}"}`).join('\n');
    expect(await rows(file('zipped.jsonl', gzipSync(lines)))).toHaveLength(5000);
    await expect(all(file('cut.jsonl.gz', gzipSync(lines).subarray(0, 20_000)))).rejects.toThrow(/not a whole gzip file.*cut short/);
  });
  it('in UTF-16 are refused with what to do', async () => {
    await expect(all(file('utf16.jsonl', Buffer.from('\ufeff{"a":1}', 'utf16le')))).rejects.toThrow(/but UTF-16; save it as UTF-8/);
  });
  it('are what they were written as', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 8 }), async (list) => {
        const path = join(folder, 'property.jsonl.gz');
        await writeRecords(path, list);
        expect(await rows(path)).toEqual(JSON.parse(JSON.stringify(list)));
      }),
      { numRuns: 40 },
    ));
});

describe('JSON', () => {
  it('is a list, columns, pandas columns, a list under a name, or in truth JSON Lines', async () => {
    const wanted = [
      { a: 'x, [}', b: 1 },
      { a: '"\\', b: 2 },
    ];
    const columns = { a: wanted.map(({ a }) => a), b: [1, 2] };
    const pandas = { a: { 0: wanted[0].a, 1: wanted[1].a }, b: { 0: 1, 1: 2 } };
    for (const text of [
      JSON.stringify(wanted),
      JSON.stringify(wanted, null, 2),
      JSON.stringify(columns),
      JSON.stringify(pandas, null, 1),
      JSON.stringify({ version: 1, data: wanted }),
      wanted.map((row) => JSON.stringify(row)).join('\n'),
    ])
      expect(await rows(file('one.json', text))).toEqual(wanted);
    expect(await rows(file('text.json', '["a", "b"]'))).toEqual([{ text: 'a' }, { text: 'b' }]);
    expect(await rows(file('empty.json', ' [ ] '))).toEqual([]);
  });
  it('has its wrong elements named, and says where it is cut', async () => {
    expect(await problems(file('elements.json', '[{"a":1}, {"a":tru}, [1]]'))).toEqual([
      expect.stringMatching(/^2: not JSON/),
      '3: not a JSON object: [1]',
    ]);
    await expect(all(file('cut.json', '[{"a":1},\n{"a":2},\n{"a"'))).rejects.toThrow(/ends without "]" after row 2.*cut short/);
    await expect(all(file('config.json', '{"lr": 1, "steps": [1]}'))).rejects.toThrow(/neither a list of rows nor an object of columns/);
  });
  it('gives the elements of any list, wherever the pieces end', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.dictionary(fc.string(), fc.jsonValue()), { maxLength: 6 }), fc.nat(3), async (list, indent) => {
        expect(await rows(file('property.json', JSON.stringify(list, null, indent)))).toEqual(JSON.parse(JSON.stringify(list)));
      }),
      { numRuns: 60 },
    ));
});

describe('CSV and TSV', () => {
  it('keep quoted separators, line breaks and quotes; lines are counted through them', async () => {
    const path = file('cells.csv', '\ufeffprompt,n\r\n"a, ""b""\r\nc",1\r\nx\r\nd,2\r\n');
    const found = await all(path);
    expect(found[0]).toMatchObject({ line: 2, row: { prompt: 'a, "b"\r\nc', n: '1' } });
    expect(found[1]).toMatchObject({ line: 4, problem: '1 cells for 2 columns (prompt, n)' });
    expect(found[2]).toMatchObject({ line: 5, row: { prompt: 'd', n: '2' } });
  });
  it('say where a quote is never closed, and which name is there twice', async () => {
    await expect(all(file('open.csv', 'a,b\n1,"2\n3,4\n'))).rejects.toThrow(/open\.csv:2: not CSV: .*[Qq]uote/);
    await expect(all(file('twice.csv', 'a,a\n1,2\n'))).rejects.toThrow(/two columns are called "a"/);
    await expect(all(file('latin1.csv', Buffer.from('a,b\n\xe9,2\n', 'latin1')))).rejects.toThrow(/not UTF-8 text/);
  });
  it('take names where there is no row of them; TSV has no quotes', async () => {
    expect(await rows(file('plain.tsv', '"a\t1\nb\t2,000\n'), { header: ['question', 'answer'] })).toEqual([
      { question: '"a', answer: '1' },
      { question: 'b', answer: '2,000' },
    ]);
  });
  it('are unzipped', async () => {
    expect(await rows(file('zipped.csv.gz', gzipSync('a\n1\n')))).toEqual([{ a: '1' }]);
  });
});

describe('Parquet', () => {
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f' } }] },
  ];
  const records = [
    { prompt: 'p', chosen: 'c', rejected: 'r', margin: 1.5, labels: [true, false], meta: { any: ['thing'] } },
    { prompt: 'q', chosen: 'ü', rejected: '', meta: {} },
  ];
  it('gives back what was written, over several groups, atomically', async () => {
    const path = join(folder, 'out.parquet');
    await writeRecords(
      path,
      Array.from({ length: 25 }, (_, i) => records[i % 2]),
      { rowsPerGroup: 10 },
    );
    const found = await all(path);
    expect(found).toHaveLength(25);
    expect(found[24]).toMatchObject({ line: 25, row: records[0] });
    expect(found[23].row).toMatchObject({ ...records[1], margin: null, labels: null });
    await expect(writeRecords(path, [{ a: 1 }, { a: 'x' }], { rowsPerGroup: 1 })).rejects.toThrow(
      /row 2, "a" holds "x", where the first rows have double/,
    );
    expect(await rows(path)).toHaveLength(25);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
  it('keeps messages as lists of structs, and reads them as messages', async () => {
    const path = join(folder, 'chat.parquet');
    await writeRecords(path, [
      { messages, tools: [{ type: 'function' }] },
      { messages: messages.slice(0, 1), tools: [] },
    ]);
    expect((await collect(readRecords(path, { kind: 'messages', onBadRow: 'skip' })))[0]).toMatchObject({
      messages,
      tools: [{ type: 'function' }],
    });
  });
  it.each([
    ['cut short', (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 30)],
    ['damaged in the data', (bytes: Uint8Array) => bytes.map((byte, i) => (i > 8 && i < 120 ? byte ^ 0x5a : byte))],
    [
      'damaged in its description',
      (bytes: Uint8Array) => bytes.map((byte, i) => (i > bytes.length - 90 && i < bytes.length - 10 ? 0x77 : byte)),
    ],
    ['nothing but a beginning', () => new TextEncoder().encode('PAR1')],
  ])('%s is refused by name', async (_, damage) => {
    const path = join(folder, 'whole.parquet');
    await writeRecords(
      path,
      Array.from({ length: 40 }, (__, i) => ({ prompt: `prompt ${i}`, n: i })),
    );
    const { readFileSync } = await import('node:fs');
    await expect(all(file('damaged.parquet', damage(readFileSync(path))))).rejects.toThrow(
      /damaged\.parquet: not a Parquet file that can be read .*cut short/,
    );
  });
  it('that Python wrote comes with whole numbers of 64 bits, times, nested lists and any compression', async () => {
    const found = await all(resolve(import.meta.dirname, '../test/fixtures/pyarrow.parquet'));
    expect(found).toHaveLength(3);
    expect(found[0].row).toEqual({
      id: 1,
      big: '9007199254740993',
      when: '2024-01-02T03:04:05.000Z',
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Ho' },
      ],
      score: 0.5,
      label: true,
      steps: [['a', 'b'], ['c']],
    });
    expect(found[2].row).toMatchObject({ id: 3, big: null, messages: [], label: null });
  });
});

describe('damaged text files', () => {
  it('of every form give rows, problems with their line, or an error that names the file', async () => {
    const list = Array.from({ length: 40 }, (_, i) => ({
      prompt: `a "${i}"\n`,
      score: i / 3,
      messages: [{ role: 'user', content: 'é, [}' }],
    }));
    const lines = Buffer.from(list.map((row) => JSON.stringify(row)).join('\n'));
    const csv = Buffer.from(`prompt,score\n${list.map(({ prompt, score }) => `"${prompt.replaceAll('"', '""')}",${score}`).join('\n')}\n`);
    const files: [string, Buffer][] = [
      ['damaged.jsonl', lines],
      ['damaged.jsonl.gz', gzipSync(lines)],
      ['damaged.json', Buffer.from(JSON.stringify(list, null, 1))],
      ['damaged-columns.json', Buffer.from(JSON.stringify({ prompt: list.map(({ prompt }) => prompt) }))],
      ['damaged.csv', csv],
      ['damaged.tsv.gz', gzipSync('a\tb\n1\t2\n3\t4\n')],
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.array(fc.nat(255), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        async ([name, whole], from, bytes, cut) => {
          const begin = Math.floor(from * whole.length);
          const damaged = cut
            ? whole.subarray(0, begin)
            : Buffer.concat([whole.subarray(0, begin), Buffer.from(bytes), whole.subarray(begin + bytes.length)]);
          const found = await all(file(name, damaged)).catch((error: Error) => error);
          if (found instanceof Error) expect(found.message).toContain(name);
          else for (const { line, problem } of found) if (problem !== undefined) expect(line).toBeGreaterThan(0);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('folders', () => {
  const shard = (...n: number[]) => n.map((i) => JSON.stringify({ prompt: `p${i}` })).join('\n');
  it('are read in the order of names; splits are named by files or folders', async () => {
    file('set/data/train-00001-of-00002.jsonl', shard(2, 3));
    file('set/data/train-00000-of-00002.jsonl.gz', gzipSync(shard(0, 1)));
    file('set/data/test-00000-of-00001.jsonl', shard(9));
    file('set/README.md', '# set');
    file('set/dataset_infos.json', '{}');
    const set = join(folder, 'set');
    expect((await rows(set, { split: 'train' })).map((row) => row!.prompt)).toEqual(['p0', 'p1', 'p2', 'p3']);
    expect(await rows(set, { split: 'test' })).toEqual([{ prompt: 'p9' }]);
    await expect(rows(set)).rejects.toThrow(/has the splits test, train; say which/);
    await expect(rows(set, { split: 'dev' })).rejects.toThrow(/no file belongs to the split dev; there are data\/test/);
  });
  it('of several formats, or of none, are refused with what is there', async () => {
    file('mixed/a.csv', 'prompt\nx\n');
    file('mixed/b.jsonl', shard(1));
    await expect(rows(join(folder, 'mixed'))).rejects.toThrow(/files of several formats \(a\.csv, b\.jsonl\)/);
    expect(await rows(join(folder, 'mixed'), { format: 'csv' })).toEqual([{ prompt: 'x' }]);
    mkdirSync(join(folder, 'none'), { recursive: true });
    await expect(rows(join(folder, 'none'))).rejects.toThrow(/holds no \.jsonl, /);
  });
});

describe('the hub', () => {
  it('has names with a revision, a configuration and a split', () => {
    expect(parseDataId('owner/name')).toEqual({ repo: 'owner/name' });
    expect(parseDataId('owner/name@refs/pr/1:main/train')).toEqual({
      repo: 'owner/name',
      revision: 'refs/pr/1',
      config: 'main',
      split: 'train',
    });
    expect(parseDataId('owner/name:test')).toEqual({ repo: 'owner/name', split: 'test' });
    expect(parseDataId('./pairs.jsonl')).toBeUndefined();
  });
  it('is read from the cache where Python would have put it', async () => {
    const commit = '0123456789abcdef0123456789abcdef01234567';
    const base = 'cache/datasets--owner--pairs';
    file(`${base}/refs/main`, commit);
    file(`${base}/snapshots/${commit}/helpful/train.jsonl`, '{"prompt":"a","chosen":"b","rejected":"c"}');
    file(`${base}/snapshots/${commit}/harmless/train.jsonl`, '{"prompt":"x","chosen":"y","rejected":"z"}');
    const hub = { cacheDir: join(folder, 'cache'), offline: true };
    expect(await collect(readRecords('owner/pairs:harmless/train', { hub }))).toMatchObject([{ prompt: 'x', chosen: 'y' }]);
    expect(await collect(readRecords(`owner/pairs@${commit}:helpful/train`, { hub }))).toMatchObject([{ prompt: 'a' }]);
    await expect(collect(readRecords('owner/nothing', { hub }))).rejects.toThrow(/owner\/nothing/);
  });
});

describe('readRecords', () => {
  const pairs =
    '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":"a","chosen":"b"}\n{"prompt":"a","chosen":"b","rejected":"b"}\n{"prompt":"d","chosen":"e","rejected":"f","source":"s"}';
  it('finds the kind out, keeps other columns, and names the first bad row', async () => {
    const path = file('pairs.jsonl', pairs);
    await expect(collect(readRecords(path))).rejects.toThrow(/pairs\.jsonl:2: no column for a rejected answer/);
    const told: unknown[] = [];
    const found = await collect(
      readRecords(path, { onBadRow: (row) => told.push(row.line), onSkippedRow: (row) => told.push(row.reason) }),
    );
    expect(told).toEqual([2, 'chosen and rejected are the same']);
    expect(found).toEqual([
      { id: 'pairs.jsonl:1', prompt: 'a', chosen: 'b', rejected: 'c' },
      { id: 'pairs.jsonl:4', prompt: 'd', chosen: 'e', rejected: 'f', meta: { source: 's' } },
    ]);
    expect(await collect(readRecords(path, { kind: 'prompt', limit: 2 }))).toMatchObject([{ prompt: 'a' }, { prompt: 'a' }]);
  });
  it('renames columns, also those inside others', async () => {
    const path = file('renamed.jsonl', '{"q":{"text":"a"},"answers":["b","c"],"s":"3,500"}');
    const columns = { prompt: 'q.text', completion: 'answers.1', 'scores.size': 's' };
    expect(await collect(readRecords(path, { columns }))).toMatchObject([{ prompt: 'a', completion: 'c', scores: { size: 3500 } }]);
  });
  it('says which columns there are where they fit nothing', async () => {
    await expect(collect(readRecords(file('odd.csv', 'x,y\n1,2\n')))).rejects.toThrow(
      /its columns \(x, y\) fit no kind of record .*prompt=x/,
    );
    await expect(collect(readRecords(file('no.jsonl', '\n')))).rejects.toThrow(/no records, it is empty/);
    expect((await openRecords(file('odd2.csv', 'x\n1\n'), { columns: { prompt: 'x' } })).kind).toBe('prompt');
  });
  it('closes its file where the reader stops', async () => {
    const path = file('many.jsonl', Array.from({ length: 50_000 }, (_, i) => `{"prompt":"${i}"}`).join('\n'));
    for await (const record of readRecords(path)) if (record.id?.endsWith(':3')) break;
    expect(await collect(readRecords(path, { limit: 2 }))).toHaveLength(2);
  });
});
