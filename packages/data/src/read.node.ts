/** Records of any source: files, folders and repositories of the hub, one after another in bounded memory. */
import { FormatError } from '@plumbline/core';
import { detectKind, recordKinds, recordsOfRow } from './read/kinds.js';
import { type PreferenceRowOptions, preferencesOfRow, promptOfRow, type Row, type RowOptions, RowSkipped } from './read/rows.js';
import type { PreferenceRecord, PromptRecord, RecordKind, Records } from './records.js';
import { placeOf, type SourceOptions, type SourceRow, sourceRows } from './rowSource.node.js';

/** A row that gave no record, and why; `bad` where it could not be understood, else it is well-formed and holds nothing to use, such as a tie. */
export type SkippedRow = { line: number; reason: string; file?: string; bad?: boolean };

export type RecordOptions<K extends RecordKind = RecordKind> = SourceOptions &
  RowOptions & {
    /** Default: found out from the columns (`detectKind`). */
    kind?: K;
    /** Columns by the name that they should have: `{ chosen: 'postedit' }`. A dot leads inside: `'question.problem'`, `'answers.0'`, and on the left `'scores.toxicity'`. */
    columns?: Readonly<Record<string, string>>;
    /** Stop after this many records. */
    limit?: number;
    /** Ids of records: the row's own with the place where it stands, `file:line` (the default), or its own alone. */
    ids?: 'place' | 'own';
    /** Rows that cannot be understood: an error that names the first (the default), left out, or left out and told. */
    onBadRow?: 'throw' | 'skip' | ((row: SkippedRow) => void);
    /** Hears of well-formed rows that hold nothing to use: ties, equal or empty answers. They are left out. */
    onSkippedRow?: (row: SkippedRow) => void;
  };

/** A row of a source with its records, or why it gave none. */
export type RecordRow<K extends RecordKind> = { file: string; line: number; row?: Row } & (
  | { records: Records[K][]; problem?: undefined }
  | { records?: undefined; problem: string; bad: boolean }
);

/**
 * The records of a file (JSON Lines, JSON, CSV, TSV, text or Parquet, plain or gzipped), a folder, or a repository of the hub
 * (`owner/name[@revision][:config/split]`), as a stream.
 *
 * @throws FormatError naming file, line and column, for what cannot be understood; and where there is no record at all
 */
export async function* readRecords<K extends RecordKind>(source: string, options: RecordOptions<K> = {}): AsyncGenerator<Records[K]> {
  const { limit = Infinity, onBadRow = 'throw', onSkippedRow } = options;
  if (limit <= 0) return;
  let count = 0;
  let first: SkippedRow | undefined;
  const { rows } = await openRecords(source, options);
  for await (const { file, line, records, ...why } of rows) {
    if (records === undefined) {
      const { problem, bad } = why as { problem: string; bad: boolean };
      const skipped = { file, line, reason: problem, bad };
      first ??= skipped;
      if (!bad) onSkippedRow?.(skipped);
      else if (onBadRow === 'throw') throw new FormatError(`${file}:${line}: ${problem}`);
      else if (onBadRow !== 'skip') onBadRow(skipped);
      continue;
    }
    for (const record of records) {
      yield record;
      if (++count >= limit) return;
    }
  }
  if (count === 0) throw new FormatError(`${source}: no records${first ? `; line ${first.line}: ${first.reason}` : ', it is empty'}`);
}

/**
 * What a source holds, and its rows with their records; rows that are wrong do not stop it. For tools that look at the data itself; `readRecords` for using it.
 *
 * @returns `columns` of the first rows, after renaming
 * @throws FormatError where the columns fit no kind of record, or not the one asked for
 */
export async function openRecords<K extends RecordKind>(
  source: string,
  options: RecordOptions<K> = {},
): Promise<{ kind: K; columns: string[]; rows: AsyncGenerator<RecordRow<K>> }> {
  const rows = sourceRows(source, options);
  const seen: SourceRow[] = [];
  const merged: Row = {};
  while (seen.filter(({ row }) => row).length < looksAt && seen.length < 10 * looksAt) {
    const { value, done } = await rows.next();
    if (done) break;
    const one = value.row && options.columns ? { ...value, row: renamed(value.row, options.columns) } : value;
    seen.push(one);
    for (const [column, cell] of Object.entries(one.row ?? {})) if (empty(merged[column])) merged[column] = cell;
  }
  const columns = Object.keys(merged);
  const kind = options.kind ?? (detectKind(merged) as K | undefined);
  if (kind === undefined && columns.length > 0) {
    await rows.return(undefined);
    throw new FormatError(
      `${source}: its columns (${columns.join(', ')}) fit no kind of record (${recordKinds.join(', ')}); rename some (columns), such as prompt=${columns[0]}`,
    );
  }
  const read = async function* (): AsyncGenerator<RecordRow<K>> {
    try {
      for (const one of seen) yield parse(one, kind as K, options);
      for await (const one of rows)
        yield parse(one.row && options.columns ? { ...one, row: renamed(one.row, options.columns) } : one, kind as K, options);
    } finally {
      await rows.return(undefined);
    }
  };
  return { kind: kind as K, columns, rows: read() };
}

/** Rows from which the kind is found out. */
const looksAt = 20;
const empty = (cell: unknown): boolean => cell === undefined || cell === null || cell === '' || (Array.isArray(cell) && cell.length === 0);

function parse<K extends RecordKind>(source: SourceRow, kind: K, options: RecordOptions<K>): RecordRow<K> {
  const { file, line, row } = source;
  if (row === undefined) return { file, line, problem: source.problem!, bad: true };
  try {
    const found = recordsOfRow(row, kind, options);
    if (options.ids === 'own') return { file, line, row, records: found };
    return { file, line, row, records: found.map((record, i) => withPlace(record, source, found.length > 1 ? i : undefined)) };
  } catch (error) {
    if (error instanceof RowSkipped) return { file, line, row, problem: error.message, bad: false };
    if (error instanceof FormatError) return { file, line, row, problem: error.message, bad: true };
    throw error;
  }
}

function withPlace<R extends { id?: string }>(record: R, source: SourceRow, index?: number): R {
  const here = `${placeOf(source)}${index === undefined ? '' : `.${index + 1}`}`;
  return { ...record, id: record.id === undefined ? here : `${record.id} (${here})` };
}

/** The row with columns renamed; what they were called before is gone, unless something inside of it was taken. */
function renamed(row: Row, columns: Readonly<Record<string, string>>): Row {
  const result = { ...row };
  for (const source of Object.values(columns)) if (source in row && !(source in columns)) delete result[source];
  for (const [target, source] of Object.entries(columns)) {
    const value = source in row ? row[source] : source.split('.').reduce<unknown>((at, key) => (at as Row | undefined | null)?.[key], row);
    const [outer, inner] = target in row || !target.includes('.') ? [target] : target.split(/\.(.*)/s);
    result[outer] = inner === undefined ? value : { ...(result[outer] as Row | undefined), [inner]: value };
  }
  return result;
}

/** All of a stream in a list. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}

// Whole files at once.

export type ReadOptions = SourceOptions &
  RowOptions & {
    /** Stop after this many records. */
    limit?: number;
    /** What happens to rows that cannot be understood: an error that lists them (the default), or they are left out and reported. */
    badRows?: 'throw' | 'skip';
  };

/**
 * The objects of a file, one a row, in whatever format it is.
 *
 * @throws FormatError naming the file, the line and what it held
 */
export async function readRows(path: string, { limit = Infinity, ...options }: SourceOptions & { limit?: number } = {}): Promise<Row[]> {
  const rows: Row[] = [];
  if (limit <= 0) return rows;
  for await (const { file, line, row, problem } of sourceRows(path, options)) {
    if (row === undefined) throw new FormatError(`${file}:${line}: ${problem}`);
    if (rows.push(row) >= limit) break;
  }
  return rows;
}

/** The objects of a `.jsonl` or `.jsonl.gz` file, one a line; lines end with "\n" alone, and empty ones are passed over. Errors as in `readRows`. */
export async function readJsonl(path: string, { limit }: { limit?: number } = {}): Promise<Row[]> {
  return readRows(path, { limit, format: 'jsonl' });
}

/**
 * Preference pairs of a file; `preferencesOfRow` says which columns are understood. Rows without a preference in them (ties, equal or empty
 * answers) are left out and reported in `skipped`.
 *
 * @throws FormatError listing the rows that could not be understood, by line with what they held, unless `badRows` is 'skip'
 */
export async function readPreferences(
  path: string,
  options: ReadOptions & PreferenceRowOptions = {},
): Promise<{ records: PreferenceRecord[]; skipped: SkippedRow[] }> {
  return readWhole(path, options, (row) => preferencesOfRow(row, options));
}

/** Prompts of a file, the other columns in `meta`; of preference pairs, their prompts. Errors and `skipped` as in `readPreferences`. */
export async function readPrompts(path: string, options: ReadOptions = {}): Promise<{ records: PromptRecord[]; skipped: SkippedRow[] }> {
  return readWhole(path, options, (row) => [promptOfRow(row, options)]);
}

async function readWhole<R extends { id?: string }>(path: string, options: ReadOptions, parseRow: (row: Row) => R[]) {
  const { limit = Infinity, badRows = 'throw' } = options;
  const records: R[] = [];
  const skipped: SkippedRow[] = [];
  const bad: SkippedRow[] = [];
  for await (const source of sourceRows(path, options)) {
    if (records.length >= limit) break;
    const { line, row } = source;
    try {
      if (row === undefined) throw new FormatError(source.problem);
      const found = parseRow(row);
      found.forEach((record, i) => {
        if (records.length < limit) records.push(withPlace(record, source, found.length > 1 ? i : undefined));
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
