import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parquetRows } from './parquet.node.js';
import { checkChunk, columnLevels } from './parquetPages.js';
import { writeRecords } from './write.node.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-parquet-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const fixture = resolve(import.meta.dirname, '../test/fixtures/pyarrow.parquet');
async function rowsOf(bytes: Uint8Array): Promise<object[]> {
  const path = join(folder, 'damaged.parquet');
  writeFileSync(path, bytes);
  const rows = [];
  for await (const { row } of parquetRows(path)) rows.push(row);
  return rows;
}
const flipped = (bytes: Uint8Array, at: number, mask: number) => bytes.map((byte, i) => (i === at ? byte ^ mask : byte));

/** Where `found` stands in a file for the only time. */
function placeOf(bytes: Uint8Array, found: readonly number[]): number {
  const places = Array.from(bytes.keys()).filter((at) => found.every((byte, i) => bytes[at + i] === byte));
  expect(places).toHaveLength(1);
  return places[0];
}

describe('a damaged Parquet file', () => {
  const message = /damaged\.parquet: not a Parquet file that can be read \(.*\); was the download cut short\?$/s;

  it('gives its rows, or an error that names it, whichever bytes are others', async () => {
    const own = join(folder, 'own.parquet');
    await writeRecords(
      own,
      Array.from({ length: 300 }, (_, i) => ({
        prompt: `prompt ${i % 7}`,
        n: i,
        messages: [{ role: 'user', content: 'x'.repeat(i % 9) }],
      })),
    );
    const files = [readFileSync(fixture), readFileSync(own)];
    const damage = fc.record({
      file: fc.constantFrom(...files),
      from: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      // half of the time in the description at the end, where every count is
      inFooter: fc.boolean(),
      masks: fc.array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ file, from, inFooter, masks }) => {
        const bytes = new Uint8Array(file);
        const footer = new DataView(bytes.buffer).getUint32(bytes.length - 8, true) + 8;
        const begin = Math.floor(inFooter ? bytes.length - footer + from * footer : from * bytes.length);
        for (const [i, mask] of masks.entries()) if (begin + i < bytes.length) bytes[begin + i] ^= mask;
        const found = await rowsOf(bytes).catch((error: Error) => error);
        if (found instanceof Error) expect(found.message).toMatch(message);
      }),
      { numRuns: 400 },
    );
  });
  it('gives its rows, or an error that names it, wherever it was cut', async () => {
    const whole = readFileSync(fixture);
    for (let length = 0; length < whole.length; length += 97)
      await expect(rowsOf(whole.subarray(0, length))).rejects.toThrow(/damaged\.parquet/);
  });
  it('is refused where its schema counts children backwards', async () => {
    // "messages", an optional list: one child (zigzag 2) becomes minus two
    const whole = new Uint8Array(readFileSync(fixture));
    const at = placeOf(whole, [...new TextEncoder().encode('messages'), 0x15, 0x02, 0x15, 0x06]) + 9;
    await expect(rowsOf(flipped(whole, at, 1))).rejects.toThrow(/its schema gives "messages" -1 children|its schema/);
    expect(() =>
      columnLevels([
        { name: 'schema', num_children: 1 },
        { name: 'a', num_children: -3 },
      ]),
    ).toThrow('its schema gives "a" -3 children');
    expect(() => columnLevels([{ name: 'schema', num_children: 2 }, { name: 'a' }])).toThrow('columns that are not there');
    expect(() => columnLevels([{ name: 'schema', num_children: 1 }, { name: 'a' }, { name: 'b' }])).toThrow(
      '3 elements, of which 2 are used',
    );
  });
  it('knows how deep lists and absent values go', () => {
    const list = { name: 'list', repetition_type: 'REPEATED', num_children: 1 } as const;
    const optional = { name: 'x', repetition_type: 'OPTIONAL' } as const;
    expect(
      columnLevels([
        { name: 'schema', num_children: 2 },
        { name: 'n', repetition_type: 'REQUIRED' },
        { ...optional, num_children: 1 },
        list,
        optional,
      ]),
    ).toEqual([
      { repetition: 0, definition: 0 },
      { repetition: 1, definition: 3 },
    ]);
  });
  it('is refused where a run is longer than its page, which would be grown to that many values', async () => {
    const chunk = (values: number, run: readonly number[]) => {
      const page = [run.length, 0, 0, 0, ...run, 0x61, 0x62, 0x63];
      // Thrift: a data page of the first version, its sizes, then its values, plain, and levels in runs
      const bytes = [
        ...[0x15, 0, 0x15, 2 * page.length, 0x15, 2 * page.length, 0x2c, 0x15, 2 * values, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0],
        ...page,
      ];
      const file = new Uint8Array([0, 0, 0, 0, ...bytes, 0, 0, 0, 0, 0, 0, 0, 0]);
      return checkChunk(
        { byteLength: file.length, slice: (from, to) => file.slice(from, to).buffer },
        {
          type: 'BYTE_ARRAY',
          encodings: [],
          path_in_schema: ['a'],
          codec: 'UNCOMPRESSED',
          num_values: 3n,
          total_uncompressed_size: 0n,
          total_compressed_size: BigInt(bytes.length),
          data_page_offset: 4n,
        },
        { rows: 3, levels: { repetition: 0, definition: 1 }, compressors: {} },
      );
    };
    expect(await chunk(3, [6, 1])).toEqual({ pages: [{ offset: 4, bytes: 26, firstRow: 0 }], bytes: 9 });
    await expect(chunk(3, [0xfe, 0xff, 0xff, 0x7f, 1])).rejects.toThrow('a run of 134217727 values where 3 are to come');
    await expect(chunk(4, [8, 1])).rejects.toThrow('the page at byte 4 is said to have 4 values; the column has 3');
    await expect(chunk(2, [4, 1])).rejects.toThrow('its pages hold 2 of 3 rows');
    await expect(chunk(3, [0xff])).rejects.toThrow('a run of 50168 values where 3 are to come');
  });
});
