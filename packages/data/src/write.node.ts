/** Writers of JSON Lines, plain or gzipped, and of Parquet, row by row; a file is there whole or not at all. */
import { randomBytes } from 'node:crypto';
import { closeSync, createWriteStream, openSync, writeSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { ConfigError, FormatError, fileError, makeFolder } from '@plumbline/core';
import type { ParquetWriter } from 'hyparquet-writer';
import { isRow, type Row, show } from './read/cells.js';

export type WriteOptions = {
  /** Default: by the name's end, `.jsonl`, `.jsonl.gz`, `.json` or `.parquet`. */
  format?: 'jsonl' | 'json' | 'parquet';
  /** Rows of Parquet that are held at once and written as one group; types are found out from the first. Default 2,000. */
  rowsPerGroup?: number;
};

/**
 * Writes rows, or records as they are, in the order in which they come, and says how many.
 *
 * In Parquet, messages are lists of structs, as `datasets` has them; other objects (`meta`, `tools`, `tool_calls`) are Parquet's JSON: text in
 * Python, taken apart again by the readers here. `undefined` is left out.
 *
 * @throws ConfigError for a name whose end says nothing; FormatError for a row that does not fit the columns of the first group; FileError where it cannot be written.
 *   Then the old file is as it was
 */
export async function writeRecords(
  path: string,
  rows: AsyncIterable<object> | Iterable<object>,
  { format = formatOf(path), rowsPerGroup = 2000 }: WriteOptions = {},
): Promise<number> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
  try {
    await makeFolder(dirname(path));
    const count =
      format === 'parquet'
        ? await writeParquet(temporary, rows, rowsPerGroup)
        : await writeLines(temporary, rows, format, path.endsWith('.gz'));
    await rename(temporary, path);
    return count;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to tell
    throw fileError(error, `cannot write ${path}`);
  }
}

function formatOf(path: string): 'jsonl' | 'json' | 'parquet' {
  if (/\.(jsonl|ndjson)(\.gz)?$/i.test(path)) return 'jsonl';
  if (/\.json(\.gz)?$/i.test(path)) return 'json';
  if (/\.parquet$/i.test(path)) return 'parquet';
  throw new ConfigError(`${path}: its end must say what to write: .jsonl, .jsonl.gz, .json or .parquet`);
}

async function writeLines(
  path: string,
  rows: AsyncIterable<object> | Iterable<object>,
  format: 'jsonl' | 'json',
  gzip: boolean,
): Promise<number> {
  let count = 0;
  const lines = async function* (): AsyncGenerator<string> {
    let text = format === 'json' ? '[' : '';
    for await (const row of rows) {
      text += format === 'json' ? `${count > 0 ? ',' : ''}\n${JSON.stringify(row, arrays)}` : `${JSON.stringify(row, arrays)}\n`;
      count++;
      if (text.length > 1 << 16) {
        yield text;
        text = '';
      }
    }
    yield format === 'json' ? `${text}\n]\n` : text;
  };
  const file = createWriteStream(path, { flags: 'wx', flush: true });
  if (gzip) await pipeline(Readable.from(lines()), createGzip(), file);
  else await pipeline(Readable.from(lines()), file);
  return count;
}

const arrays = (_: string, value: unknown): unknown =>
  ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number>) : value;

// Parquet.

type SchemaElement = ConstructorParameters<typeof ParquetWriter>[0]['schema'][number];
type Column =
  | { type: 'BOOLEAN' | 'INT64' | 'DOUBLE' | 'STRING' | 'JSON' }
  | { type: 'LIST'; element: Column }
  | { type: 'STRUCT'; fields: Map<string, Column> };

async function writeParquet(path: string, rows: AsyncIterable<object> | Iterable<object>, rowsPerGroup: number): Promise<number> {
  if (!(Number.isInteger(rowsPerGroup) && rowsPerGroup > 0))
    throw new ConfigError(`rowsPerGroup must be a whole number above 0, got ${rowsPerGroup}`);
  const { ByteWriter, ParquetWriter } = await import('hyparquet-writer');
  const file = openSync(path, 'wx');
  try {
    const bytes = new ByteWriter();
    const flush = () => {
      writeSync(file, bytes.getBytes());
      bytes.index = 0; // what was written may be overwritten
    };
    bytes.finish = flush;
    let writer: InstanceType<typeof ParquetWriter> | undefined;
    let columns = new Map<string, Column>();
    let [count, group] = [0, [] as Row[]];
    const writeGroup = async () => {
      if (!writer) {
        columns = columnsOf(group);
        if (columns.size === 0) throw new FormatError('there are no rows to find columns in, which a Parquet file needs');
        writer = new ParquetWriter({ writer: bytes, schema: schemaOf(columns), statistics: false });
      }
      const first = count - group.length;
      group.forEach((row, i) => {
        const unknown = Object.keys(row).find((name) => row[name] !== undefined && !columns.has(name));
        if (unknown !== undefined)
          throw new FormatError(
            `row ${first + i + 1} has a column "${unknown}", which the first ${rowsPerGroup} rows have not; write JSON Lines, or more rows a group`,
          );
      });
      const columnData = [...columns].map(([name, column]) => ({
        name,
        data: group.map((row, i) => fitted(row[name], column, () => `row ${first + i + 1}, "${name}"`)),
      }));
      await writer.write({ columnData, rowGroupSize: group.length });
      flush();
      group = [];
    };
    for await (const row of rows) {
      count++;
      if (group.push(row as Row) >= rowsPerGroup) await writeGroup();
    }
    if (group.length > 0 || !writer) await writeGroup();
    await writer!.finish();
    return count;
  } finally {
    closeSync(file);
  }
}

function columnsOf(rows: readonly Row[]): Map<string, Column> {
  const names = new Set(rows.flatMap((row) => Object.keys(row).filter((name) => row[name] !== undefined)));
  return new Map(Array.from(names, (name) => [name, columnOf(rows.map((row) => row[name]))] as const));
}

/** The type that holds all of these values; JSON text where there is no other. */
function columnOf(values: readonly unknown[]): Column {
  const there = values.filter((value) => value !== null && value !== undefined);
  if (there.every((value) => typeof value === 'string')) return { type: 'STRING' };
  if (there.every((value) => typeof value === 'boolean')) return { type: 'BOOLEAN' };
  if (there.every((value) => typeof value === 'number')) return { type: 'DOUBLE' };
  if (there.every((value) => Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof Uint8Array)))) {
    const inner = there.flatMap((value) => Array.from(value as ArrayLike<unknown>));
    if (inner.length === 0 || inner.every((value) => !isRow(value) && !Array.isArray(value))) {
      const element = columnOf(inner);
      return element.type === 'JSON' ? element : { type: 'LIST', element };
    }
    const isMessage = (value: unknown) => isRow(value) && typeof value.role === 'string' && typeof value.content === 'string';
    if (inner.every(isMessage)) {
      const fields = new Set(inner.flatMap((message) => Object.keys(message as Row)));
      const typed = Array.from(fields, (name) => {
        const column = columnOf(inner.map((message) => (message as Row)[name]));
        return [name, column.type === 'LIST' || column.type === 'STRUCT' ? { type: 'JSON' as const } : column] as const;
      });
      return { type: 'LIST', element: { type: 'STRUCT', fields: new Map(typed) } };
    }
  }
  return { type: 'JSON' };
}

function schemaOf(columns: ReadonlyMap<string, Column>): SchemaElement[] {
  return [{ name: 'root', num_children: columns.size }, ...Array.from(columns).flatMap(([name, column]) => elements(name, column))];
}

function elements(name: string, column: Column): SchemaElement[] {
  const optional = 'OPTIONAL' as const;
  switch (column.type) {
    case 'LIST':
      return [
        { name, repetition_type: optional, converted_type: 'LIST', num_children: 1 },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        ...elements('element', column.element),
      ];
    case 'STRUCT':
      return [
        { name, repetition_type: optional, num_children: column.fields.size },
        ...Array.from(column.fields).flatMap(([field, inner]) => elements(field, inner)),
      ];
    case 'STRING':
    case 'JSON':
      return [{ name, type: 'BYTE_ARRAY', converted_type: column.type === 'JSON' ? 'JSON' : 'UTF8', repetition_type: optional }];
    case 'BOOLEAN':
    case 'INT64':
    case 'DOUBLE':
      return [{ name, type: column.type, repetition_type: optional }];
    default:
      return column satisfies never;
  }
}

function fitted(value: unknown, column: Column, where: () => string): unknown {
  if (value === null || value === undefined) return null;
  const refuse = (): never => {
    throw new FormatError(
      `${where()} holds ${show(value)}, where the first rows have ${column.type.toLowerCase()}; write JSON Lines, or more rows a group`,
    );
  };
  switch (column.type) {
    case 'JSON':
      return ArrayBuffer.isView(value) ? arrays('', value) : value; // the writer makes text of it
    case 'STRING':
      return typeof value === 'string' ? value : refuse();
    case 'BOOLEAN':
      return typeof value === 'boolean' ? value : refuse();
    case 'INT64':
    case 'DOUBLE':
      return typeof value === 'number' ? value : refuse();
    case 'LIST':
      if (!Array.isArray(value) && !ArrayBuffer.isView(value)) return refuse();
      return Array.from(value as ArrayLike<unknown>, (one) => fitted(one, column.element, where));
    case 'STRUCT': {
      if (!isRow(value)) return refuse();
      const unknown = Object.keys(value).find((name) => !column.fields.has(name));
      if (unknown !== undefined)
        throw new FormatError(`${where()} has a field "${unknown}", which the first rows have not; write JSON Lines, or more rows a group`);
      return Object.fromEntries(Array.from(column.fields, ([name, inner]) => [name, fitted(value[name], inner, where)]));
    }
    default:
      return column satisfies never;
  }
}
