/** Rows of files, one after another in bounded memory: JSON Lines, JSON, CSV, TSV, text and Parquet, plain or gzipped; folders; repositories of the hub. */
import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { basename, extname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ConfigError, FormatError, fileError } from '@plumbline/core';
import { parse as parseCsv } from 'csv-parse';
import { type HubOptions, hubSnapshot } from './hub.node.js';
import { parquetRows } from './parquet.node.js';
import { isRow, type Row, show } from './read/cells.js';

export type RowFormat = 'jsonl' | 'json' | 'csv' | 'tsv' | 'txt' | 'parquet';
/** A row of a file, or what is wrong with it. `line` counts lines from 1 in text, and rows from 1 in JSON and Parquet. */
export type SourceRow = { file: string; line: number } & ({ row: Row; problem?: undefined } | { row?: undefined; problem: string });

export type SourceOptions = {
  /** Of a folder or repository with several: `train`, `test`, or whatever its files are named after. */
  split?: string;
  /** Of a repository of the hub: the folder that its configuration is in. */
  config?: string;
  /** Column names of a CSV or TSV file that has no row of names. */
  header?: readonly string[];
  /** Default: by the file's name, else by how it begins. */
  format?: RowFormat;
  /** Where the hub and its cache are, for names that are no files here. */
  hub?: Pick<HubOptions, 'cacheDir' | 'hubUrl' | 'offline' | 'token' | 'signal' | 'onProgress' | 'onNotice'>;
};
/** One file of a source. */
export type SourceFile = { path: string; format: RowFormat; gzip: boolean };

const formats: Record<string, RowFormat> = {
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.json': 'json',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.txt': 'txt',
  '.parquet': 'parquet',
};

/** Longest line, or row of CSV, or element of a JSON list. */
const maxRowBytes = 256 << 20;
/** Largest JSON file that is no list of rows: it is read whole. */
const maxJsonBytes = 256 << 20;

/**
 * The rows of a file, a folder's files in the order of their names, or a repository of the hub.
 *
 * @param source a path, or `owner/name[@revision][:config/split]`
 * @throws FormatError naming the file, for what is wrong with it as a whole; a row that is wrong is told as its `problem`. FileError where there is nothing
 *   to read; ConfigError where a split must be named
 */
export async function* sourceRows(source: string, options: SourceOptions = {}): AsyncGenerator<SourceRow> {
  for (const file of await sourceFiles(source, options)) yield* fileRows(file, options);
}

/** The files of a source, in the order in which they are read. */
export async function sourceFiles(source: string, options: SourceOptions = {}): Promise<SourceFile[]> {
  const found = await stat(source).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw fileError(error, `cannot read ${source}`);
  });
  if (found?.isDirectory()) return filesOf(source, options);
  if (found) return [await sniff(source, options.format)];
  const id = parseDataId(source);
  if (!id || knownExtension(source)) throw new FormatError(`${source}: there is no such file`);
  const { dir } = await hubSnapshot({
    repo: id.repo,
    type: 'dataset',
    revision: id.revision,
    patterns: Object.keys(formats).flatMap((ext) => [`**${ext}`, `**${ext}.gz`]),
    ...options.hub,
  });
  return filesOf(dir, { ...options, config: id.config ?? options.config, split: id.split ?? options.split }, source);
}

/** `owner/name[@revision][:config/split]`, or `:split`; `undefined` where the text cannot be such a name. */
export function parseDataId(text: string): { repo: string; revision?: string; config?: string; split?: string } | undefined {
  const [, repo, revision, place] = /^(\w[\w.-]*\/\w[\w.-]*)(?:@([\w./-]+))?(?::([\w./-]+))?$/.exec(text) ?? [];
  if (repo === undefined) return undefined;
  const parts = place?.split('/') ?? [];
  const split = parts.pop();
  return { repo, ...(revision && { revision }), ...(parts.length > 0 && { config: parts.join('/') }), ...(split && { split }) };
}

function knownExtension(path: string): RowFormat | undefined {
  return formats[extname(path.replace(/\.gz$/i, '')).toLowerCase()];
}

const notData = /^(dataset_infos?|dataset_dict|state|manifest|package|config)\.json$|^(readme|license)/i;

async function filesOf(folder: string, { split, config, format }: SourceOptions, name = folder): Promise<SourceFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const all = entries
    .filter((entry) => !entry.isDirectory() && knownExtension(entry.name) && !entry.name.startsWith('.') && !notData.test(entry.name))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .filter((path) => !path.split('/').some((part) => part.startsWith('.')))
    .sort();
  const inConfig = config === undefined ? all : all.filter((path) => path.startsWith(`${config}/`) || path.includes(`/${config}/`));
  const ofSplit = split === undefined ? inConfig : inConfig.filter((path) => splitOf(path, split) !== undefined);
  const listed = (paths: readonly string[]) => `${paths.slice(0, 5).join(', ')}${paths.length > 5 ? ` and ${paths.length - 5} more` : ''}`;
  if (ofSplit.length === 0) {
    const wanted = [config && `the configuration ${config}`, split && `the split ${split}`].filter(Boolean).join(' and ');
    throw new FormatError(
      all.length === 0
        ? `${name}: holds no ${Object.keys(formats).join(', ')} file`
        : `${name}: no file belongs to ${wanted}; there are ${listed(all)}`,
    );
  }
  if (split === undefined) {
    const splits = [...new Set(ofSplit.map((path) => splitOf(path)).filter((one) => one !== undefined))];
    if (splits.length > 1) throw new ConfigError(`${name}: has the splits ${splits.join(', ')}; say which (split)`);
  }
  const kinds = [...new Set(ofSplit.map((path) => knownExtension(path)!))];
  if (kinds.length > 1 && format === undefined)
    throw new ConfigError(`${name}: holds files of several formats (${listed(ofSplit)}); name one of them, or a format`);
  const wanted = format === undefined ? ofSplit : ofSplit.filter((path) => knownExtension(path) === format);
  return Promise.all(wanted.map((path) => sniff(join(folder, path), format)));
}

/** The split that a path names in its file name or folders: one of the usual names, or the given one. */
function splitOf(path: string, wanted?: string): string | undefined {
  const words = path
    .replace(/\.[a-z]+(\.gz)?$/i, '')
    .toLowerCase()
    .split(/[/._-]+/);
  if (wanted !== undefined) {
    const parts = wanted.toLowerCase().split(/[._-]+/);
    return words.some((_, i) => parts.every((part, j) => words[i + j] === part)) ? wanted : undefined;
  }
  return words.map((word) => usualSplits[word]).find((split) => split !== undefined);
}
const usualSplits: Record<string, string> = {
  train: 'train',
  test: 'test',
  validation: 'validation',
  valid: 'valid',
  val: 'val',
  dev: 'dev',
  eval: 'eval',
};

/** What a file is: by its first bytes where they tell, by its name, by how its text begins. */
async function sniff(path: string, wanted?: RowFormat): Promise<SourceFile> {
  let head: Uint8Array;
  try {
    head = await headOf(path);
  } catch (error) {
    throw fileError(error, `cannot read ${path}`);
  }
  const magic = Buffer.from(head.subarray(0, 4)).toString('latin1');
  const gzip = (head[0] === 0x1f && head[1] === 0x8b) || /\.gz$/i.test(path);
  const format = wanted ?? (magic === 'PAR1' ? 'parquet' : knownExtension(path));
  if (format === 'parquet' && magic !== 'PAR1') throw new FormatError(`${path}: not a Parquet file; it begins ${show(magic)}`);
  if (format) return { path, format, gzip };
  if (gzip) return { path, format: 'jsonl', gzip };
  const text = Buffer.from(head)
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart();
  if (text.startsWith('{')) return { path, format: 'jsonl', gzip };
  if (text.startsWith('[')) return { path, format: 'json', gzip };
  throw new FormatError(
    `${path}: neither its name nor its beginning says what it is; known are ${Object.keys(formats).join(', ')}, each also with .gz`,
  );
}

async function headOf(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(new Uint8Array(512), 0, 512, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** The rows of one file. */
export async function* fileRows(file: SourceFile, { header }: Pick<SourceOptions, 'header'> = {}): AsyncGenerator<SourceRow> {
  switch (file.format) {
    case 'jsonl':
      return yield* jsonLines(file);
    case 'json':
      return yield* jsonRows(file);
    case 'csv':
      return yield* csvRows(file, header);
    case 'tsv':
      return yield* tsvRows(file, header);
    case 'txt':
      for await (const { line, text } of textLines(file)) {
        if (text === undefined) yield { file: file.path, line, problem: 'not UTF-8 text' };
        else if (text.trim() !== '') yield { file: file.path, line, row: { text: text.replace(/\r$/, '') } };
      }
      return;
    case 'parquet':
      for await (const one of parquetRows(file.path)) yield { file: file.path, ...one };
      return;
    default:
      file.format satisfies never;
  }
}

// Text, by lines.

/** The file's bytes, unzipped. Errors of the system and of gzip are told in words. */
async function* bytesOf({ path, gzip }: SourceFile): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  let source: Readable = file;
  if (gzip) {
    source = file.pipe(createGunzip({ chunkSize: 1 << 18 }));
    file.on('error', (error) => source.destroy(error));
  }
  try {
    for await (const chunk of source) yield chunk as Buffer;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new FormatError(`${path}: there is no such file`);
    if (code?.startsWith('Z_')) throw new FormatError(`${path}: not a whole gzip file (${message}); was the download cut short?`);
    throw fileError(error, `cannot read ${path}`);
  } finally {
    source.destroy();
    file.destroy();
  }
}

/** Lines end with "\n" alone: strings may hold other separators. Of a line that is not UTF-8 there is no text. A mark of the byte order is taken off. */
async function* textLines(file: SourceFile): AsyncGenerator<{ line: number; text?: string }> {
  let line = 0;
  let pieces: Buffer[] = [];
  let held = 0;
  const take = (last: Buffer): { line: number; text?: string } => {
    const bytes = pieces.length > 0 ? Buffer.concat([...pieces, last]) : last;
    [pieces, held] = [[], 0];
    line++;
    if (!isUtf8(bytes)) return { line };
    const text = bytes.toString('utf8');
    return { line, text: line === 1 && text.startsWith('\ufeff') ? text.slice(1) : text };
  };
  let first = true;
  for await (const chunk of bytesOf(file)) {
    if (first) refuseUtf16(file.path, chunk);
    first = false;
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      yield take(chunk.subarray(from, at));
      from = at + 1;
    }
    if (from < chunk.length) {
      pieces.push(chunk.subarray(from));
      held += chunk.length - from;
      if (held > maxRowBytes) throw new FormatError(`${file.path}:${line + 1}: the line is longer than ${maxRowBytes >> 20} MiB`);
    }
  }
  if (held > 0) yield take(Buffer.alloc(0));
}

function refuseUtf16(path: string, head: Buffer): void {
  const marks = [head[0] === 0xff && head[1] === 0xfe, head[0] === 0xfe && head[1] === 0xff];
  if (marks.some(Boolean)) throw new FormatError(`${path}: not UTF-8 text, but UTF-16; save it as UTF-8`);
}

async function* jsonLines(file: SourceFile): AsyncGenerator<SourceRow> {
  for await (const { line, text } of textLines(file)) {
    if (text === undefined) yield { file: file.path, line, problem: 'not UTF-8 text' };
    else if (text.trim() !== '') yield { file: file.path, line, ...parsedRow(text, 'the line') };
  }
}

function parsedRow(text: string, what: string, texts = false): { row: Row } | { problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `not JSON: ${(error as Error).message}; ${what} begins ${show(text.slice(0, 50))}` };
  }
  if (texts && typeof value === 'string') return { row: { text: value } };
  return isRow(value) ? { row: value } : { problem: `not a JSON object: ${show(value)}` };
}

// JSON.

/**
 * A list of rows, or of texts, is read element by element; anything else whole: columns (lists, or pandas' objects by index), or a list under one of the usual names. A file that
 * has an object a line is read as JSON Lines.
 */
async function* jsonRows(file: SourceFile): AsyncGenerator<SourceRow> {
  const [begin, firstLine] = await beginningOf(file);
  if (begin === '[') return yield* jsonElements(file);
  if (begin === '{' && 'row' in parsedRow(firstLine, '')) {
    let lines = 0;
    for await (const { text } of textLines(file)) if (text?.trim() !== '' && ++lines > 1) break;
    if (lines > 1) return yield* jsonLines(file);
  }
  const pieces: Buffer[] = [];
  let held = 0;
  for await (const chunk of bytesOf(file)) {
    pieces.push(chunk);
    held += chunk.length;
    if (held > maxJsonBytes)
      throw new FormatError(
        `${file.path}: a JSON file of more than ${maxJsonBytes >> 20} MiB must be a list of rows; JSON Lines have no limit`,
      );
  }
  const bytes = Buffer.concat(pieces);
  if (!isUtf8(bytes)) throw new FormatError(`${file.path}: not UTF-8 text`);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8').replace(/^\ufeff/, ''));
  } catch (error) {
    throw new FormatError(`${file.path}: not JSON: ${(error as Error).message}; was the download cut short?`);
  }
  let line = 0;
  for (const row of rowsIn(value, file.path)) {
    line++;
    yield isRow(row) ? { file: file.path, line, row } : { file: file.path, line, problem: `not a JSON object: ${show(row)}` };
  }
}

/** The first character that is no space, and, where that opens an object, its line. */
async function beginningOf(file: SourceFile): Promise<[character: string, line: string]> {
  let character = '';
  for await (const chunk of bytesOf(file)) {
    character =
      chunk
        .toString('utf8')
        .replace(/^\ufeff/, '')
        .trimStart()[0] ?? '';
    if (character !== '') break;
  }
  if (character !== '{') return [character, ''];
  for await (const { text } of textLines(file)) if (text?.trim()) return [character, text];
  return [character, ''];
}

function* rowsIn(value: unknown, path: string): Generator<unknown> {
  if (!isRow(value)) throw new FormatError(`${path}: expected rows, found ${show(value)}`);
  const list = ['data', 'rows', 'examples', 'train'].map((name) => value[name]).find((one) => Array.isArray(one) && isRow(one[0]));
  if (Array.isArray(list)) return yield* list;
  const columns = Object.entries(value);
  const lengths = columns.map(([, column]) => (Array.isArray(column) ? column.length : isRow(column) ? Object.keys(column).length : -1));
  if (columns.length === 0 || lengths.some((n) => n !== lengths[0] || n < 1))
    throw new FormatError(`${path}: neither a list of rows nor an object of columns of one length; it holds ${show(value)}`);
  const keys = isRow(columns[0][1]) ? Object.keys(columns[0][1]) : Array.from({ length: lengths[0] }, (_, i) => String(i));
  for (const key of keys) yield Object.fromEntries(columns.map(([name, column]) => [name, (column as Row)[key]]));
}

/** The elements of a list, found by counting brackets outside of strings, each parsed by itself. */
async function* jsonElements(file: SourceFile): AsyncGenerator<SourceRow> {
  let [depth, inString, escaped, done] = [0, false, false, false];
  let line = 0;
  let pieces: Buffer[] = [];
  let held = 0;
  const element = function* (last: Buffer): Generator<SourceRow> {
    const bytes = Buffer.concat([...pieces, last]);
    [pieces, held] = [[], 0];
    if (bytes.every((byte) => byte <= 32)) return;
    line++;
    const text = isUtf8(bytes) ? bytes.toString('utf8') : undefined;
    const parsed = text === undefined ? { problem: 'not UTF-8 text' } : parsedRow(text.trim(), 'the element', true);
    yield { file: file.path, line, ...parsed };
  };
  for await (const chunk of bytesOf(file)) {
    let from = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === 0x5c) escaped = true;
        else if (byte === 0x22) inString = false;
        continue;
      }
      if (byte === 0x22) inString = true;
      else if (byte === 0x5b || byte === 0x7b) {
        if (depth++ === 0) from = i + 1;
      } else if (byte === 0x5d || byte === 0x7d) {
        if (--depth === 0) {
          yield* element(chunk.subarray(from, i));
          [done, from] = [true, i + 1];
        } else if (depth < 0) throw new FormatError(`${file.path}: not JSON: a bracket closes that was not opened, after row ${line}`);
      } else if (byte === 0x2c && depth === 1) {
        yield* element(chunk.subarray(from, i));
        from = i + 1;
      }
    }
    if (depth > 0) {
      pieces.push(chunk.subarray(from));
      held += chunk.length - from;
      if (held > maxRowBytes) throw new FormatError(`${file.path}: row ${line + 1} is longer than ${maxRowBytes >> 20} MiB`);
    }
  }
  if (!done) throw new FormatError(`${file.path}: the list of rows ends without "]" after row ${line}; was the download cut short?`);
}

// CSV and TSV.

/** RFC 4180: quoted cells hold separators and line breaks. Cells are text. */
async function* csvRows(file: SourceFile, header?: readonly string[]): AsyncGenerator<SourceRow> {
  const parser = parseCsv({ bom: true, relax_column_count: true, skip_empty_lines: true, info: true, max_record_size: maxRowBytes });
  let failure: unknown;
  const feed = async () => {
    const decoder = new TextDecoder('utf-8', { fatal: true });
    let first = true;
    for await (const chunk of bytesOf(file)) {
      if (first) refuseUtf16(file.path, chunk);
      first = false;
      try {
        decoder.decode(chunk, { stream: true });
      } catch {
        throw new FormatError(`${file.path}: not UTF-8 text`);
      }
      if (!parser.write(chunk) && !parser.destroyed)
        await new Promise<void>((resolve) => void parser.once('drain', resolve).once('close', resolve));
      if (parser.destroyed) return;
    }
    parser.end();
  };
  const feeding = feed().catch((error) => {
    failure = error;
    parser.destroy(error as Error);
  });
  let names = header;
  let line = 1;
  let twice = 0; // a CRLF in a cell counts as two lines in the parser
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      const at = line;
      for (const cell of record) twice += cell.split('\r\n').length - 1;
      line = info.lines + 1 - twice;
      if (!names) {
        names = record;
        const same = record.find((name, i) => record.indexOf(name) !== i);
        if (same !== undefined) throw new FormatError(`${file.path}: two columns are called ${show(same)}`);
        continue;
      }
      if (record.length !== names.length)
        yield {
          file: file.path,
          line: at,
          problem: `${record.length} cells for ${names.length} columns (${names.slice(0, 4).join(', ')})`,
        };
      else yield { file: file.path, line: at, row: named(names, record) };
    }
  } catch (error) {
    if (failure) throw failure;
    if (error instanceof FormatError) throw error;
    throw new FormatError(`${file.path}:${line}: not CSV: ${(error as Error).message}`);
  } finally {
    parser.destroy();
    await feeding;
  }
}

/** Cells without quotes, as the field's `.tsv` files are. */
async function* tsvRows(file: SourceFile, header?: readonly string[]): AsyncGenerator<SourceRow> {
  let names = header;
  for await (const { line, text } of textLines(file)) {
    if (text === undefined) yield { file: file.path, line, problem: 'not UTF-8 text' };
    if (!text?.trim()) continue;
    const cells = text.replace(/\r$/, '').split('\t');
    if (!names) names = cells;
    else if (cells.length !== names.length)
      yield {
        file: file.path,
        line,
        problem: `${cells.length} cells for ${names.length} columns (${names.slice(0, 4).map(show).join(', ')})`,
      };
    else yield { file: file.path, line, row: named(names, cells) };
  }
}

const named = (names: readonly string[], cells: readonly string[]): Row => Object.fromEntries(names.map((name, i) => [name, cells[i]]));

/** What a row is called in messages and ids: its file and line. */
export const placeOf = ({ file, line }: { file: string; line: number }): string => `${basename(file)}:${line}`;
