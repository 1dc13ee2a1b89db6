/** Readers of JSON Lines, plain or gzipped. */
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { createGunzip } from 'node:zlib';
import { FormatError } from '@plumbline/core';
import { preferencesOfRow, promptOfRow, type Row, type RowOptions, RowSkipped, show } from './read/rows.js';
import type { PreferenceRecord, PromptRecord } from './records.js';

export type ReadOptions = RowOptions & {
  /** Stop after this many records. */
  limit?: number;
  /** What happens to rows that cannot be understood: an error that lists them (the default), or they are left out and reported. */
  badRows?: 'throw' | 'skip';
};
/** A row that gave no record, and why. */
export type SkippedRow = { line: number; reason: string };

/**
 * The objects of a `.jsonl` or `.jsonl.gz` file, one a line. Lines end with "\n" alone: strings may hold other separators. Empty lines are passed over.
 *
 * @throws FormatError naming the file, the line and what it held
 */
export async function readJsonl(path: string, { limit = Infinity }: { limit?: number } = {}): Promise<Row[]> {
  const rows: Row[] = [];
  if (limit <= 0) return rows;
  for await (const { line, row, problem } of jsonLines(path)) {
    if (row === undefined) throw new FormatError(`${path}:${line}: ${problem}`);
    if (rows.push(row) >= limit) break;
  }
  return rows;
}

/**
 * Preference pairs of a file; `preferencesOfRow` says which columns are understood. Rows without a preference in them (ties, equal or empty
 * answers) are left out and reported in `skipped`.
 *
 * @throws FormatError listing the rows that could not be understood, by line with what they held, unless `badRows` is 'skip'
 */
export async function readPreferences(
  path: string,
  options: ReadOptions = {},
): Promise<{ records: PreferenceRecord[]; skipped: SkippedRow[] }> {
  return readRecords(path, options, (row) => preferencesOfRow(row, options));
}

/** Prompts of a file, the other columns in `meta`; of preference pairs, their prompts. Errors and `skipped` as in `readPreferences`. */
export async function readPrompts(path: string, options: ReadOptions = {}): Promise<{ records: PromptRecord[]; skipped: SkippedRow[] }> {
  return readRecords(path, options, (row) => [promptOfRow(row, options)]);
}

async function readRecords<R extends { id?: string }>(path: string, options: ReadOptions, parse: (row: Row) => R[]) {
  const { limit = Infinity, badRows = 'throw' } = options;
  const records: R[] = [];
  const skipped: SkippedRow[] = [];
  const bad: SkippedRow[] = [];
  for await (const { line, row, problem } of jsonLines(path)) {
    if (records.length >= limit) break;
    try {
      if (row === undefined) throw new FormatError(problem);
      const found = parse(row);
      found.forEach((record, i) => {
        const here = `${basename(path)}:${line}${found.length > 1 ? `.${i + 1}` : ''}`;
        if (records.length < limit) records.push({ ...record, id: record.id === undefined ? here : `${record.id} (${here})` });
      });
    } catch (error) {
      if (error instanceof RowSkipped) skipped.push({ line, reason: error.message });
      else if (error instanceof FormatError) bad.push({ line, reason: error.message });
      else throw error;
    }
  }
  if (bad.length > 0 && badRows === 'throw') {
    const listed = bad.slice(0, 5).map(({ line, reason }) => `  line ${line}: ${reason}`);
    if (bad.length > 5) listed.push(`  and ${bad.length - 5} more`);
    throw new FormatError(
      `${path}: ${bad.length} ${bad.length === 1 ? 'row' : 'rows'} could not be read (badRows: 'skip' leaves such rows out)\n${listed.join('\n')}`,
    );
  }
  if (records.length === 0 && limit > 0) {
    const why = [...bad, ...skipped][0];
    throw new FormatError(`${path}: no records${why ? `; line ${why.line}: ${why.reason}` : ', the file is empty'}`);
  }
  return { records, skipped: [...skipped, ...bad].sort((a, b) => a.line - b.line) };
}

type Line = { line: number; row: Row; problem?: undefined } | { line: number; row?: undefined; problem: string };

async function* jsonLines(path: string): AsyncGenerator<Line> {
  let line = 0;
  for await (const text of textLines(path)) {
    line++;
    if (text.trim() === '') continue;
    yield parseLine(line, text);
  }
}

function parseLine(line: number, text: string): Line {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { line, problem: `not JSON: ${(error as Error).message}; the line begins ${show(text.slice(0, 50))}` };
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { line, row: value as Row };
  return { line, problem: `not a JSON object: ${show(value)}` };
}

async function* textLines(path: string): AsyncGenerator<string> {
  const file = createReadStream(path);
  const source = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  if (source !== file) file.on('error', (error) => source.destroy(error));
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  try {
    for await (const chunk of source) {
      const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = parts.pop()!;
      yield* parts;
    }
    rest += decoder.decode();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new FormatError(`${path}: there is no such file`);
    if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw new FormatError(`${path}: not UTF-8 text`);
    if (code?.startsWith('Z_')) throw new FormatError(`${path}: not a whole gzip file (${message}); was the download cut short?`);
    throw error;
  } finally {
    file.destroy();
  }
  if (rest !== '') yield rest;
}
