/** Rows of a benchmark's official files, with their places. */
import { basename } from 'node:path';
import { FormatError } from '@plumbline/core';
import { type SourceOptions, sourceRows } from '@plumbline/data';
import type { Row, RowPlace } from './types.js';

/**
 * The rows of files, folders or repositories of the hub, in order. Wherever a benchmark's parts are told apart by their files, the file's name says which it is.
 *
 * @throws FormatError naming file and line of a row that cannot be read
 */
export async function* benchmarkRows(paths: readonly string[], options: SourceOptions = {}): AsyncGenerator<{ row: Row; place: RowPlace }> {
  for (const path of paths)
    for await (const { file, line, row, problem } of sourceRows(path, options)) {
      if (problem !== undefined) throw new FormatError(`${file}, line ${line}: ${problem}`);
      yield { row, place: { path: file, file: basename(file).replace(/(\.(jsonl?|ndjson|csv|tsv|parquet))?(\.gz)?$/i, ''), line } };
    }
}
