/** Rows of Parquet files, row group by row group, large groups in parts. */
import { isUtf8 } from 'node:buffer';
import { type FileHandle, open } from 'node:fs/promises';
import { createContext, Script } from 'node:vm';
import * as zlib from 'node:zlib';
import { FormatError, fileError } from '@plumbline/core';
import type { AsyncBuffer, Compressors, FileMetaData, RowGroup } from 'hyparquet';
import { checkChunk, columnLevels, type Levels } from './parquetPages.js';
import { isRow, type Row } from './read/cells.js';

/** Row groups of more bytes than this, without compression, are read in parts. */
const maxGroupBytes = 64 << 20;

/**
 * The rows of one file, numbered from 1.
 *
 * @throws FormatError naming the file, and where it can the column and the page, before a damaged part is decoded
 */
export async function* parquetRows(path: string): AsyncGenerator<{ line: number; row: Row }> {
  const [{ parquetMetadataAsync, parquetReadObjects, readOffsetIndex }, { compressors: all }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ]);
  const compressors = decompressors(all);
  const handle = await open(path, 'r').catch((error) => {
    throw fileError(error, `cannot read ${path}`);
  });
  const wrong = (error: unknown) =>
    new FormatError(`${path}: not a Parquet file that can be read (${(error as Error).message}); was the download cut short?`);
  try {
    const file = await bufferOf(handle);
    let metadata: FileMetaData;
    let levels: Levels[];
    try {
      // what marks columns of places on the earth runs for ever on a damaged schema
      metadata = await parquetMetadataAsync(file, { geoparquet: false });
      levels = columnLevels(metadata.schema);
      checkCounts(metadata, levels.length);
    } catch (error) {
      throw wrong(error);
    }
    /** Bytes of a group without compression, from its pages; drops indices of pages that are not those of the pages. */
    const checkGroup = async (group: RowGroup): Promise<number> => {
      let bytes = 0;
      for (const [i, column] of group.columns.entries()) {
        const meta = column.meta_data!;
        try {
          const { pages, bytes: own } = await checkChunk(file, meta, {
            rows: Number(group.num_rows),
            levels: levels[i],
            compressors,
            ...(crc32 && { crc32 }),
          });
          bytes += own;
          if (!column.offset_index_offset || !column.offset_index_length) continue;
          const begin = Number(column.offset_index_offset);
          const index = readOffsetIndex({ view: new DataView(await file.slice(begin, begin + column.offset_index_length)), offset: 0 });
          const same =
            index.page_locations.length === pages.length &&
            index.page_locations.every(
              (one, p) =>
                Number(one.offset) === pages[p].offset &&
                one.compressed_page_size === pages[p].bytes &&
                Number(one.first_row_index) === pages[p].firstRow,
            );
          if (!same) column.offset_index_offset = undefined;
        } catch (error) {
          throw new Error(`the column ${meta.path_in_schema.join('.')}: ${(error as Error).message}`);
        }
      }
      return bytes;
    };
    let begin = 0;
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows);
      if (rows === 0) continue;
      let size: number;
      try {
        size = Math.max(1, Math.ceil(rows / Math.max(1, Math.ceil((await checkGroup(group)) / maxGroupBytes))));
      } catch (error) {
        throw wrong(error);
      }
      for (let from = 0; from < rows; from += size) {
        const [rowStart, rowEnd] = [begin + from, begin + Math.min(rows, from + size)];
        let found: Row[];
        try {
          found = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors, useOffsetIndex: size < rows, utf8: false });
          if (found.length !== rowEnd - rowStart) throw new Error(`${found.length} rows where there should be ${rowEnd - rowStart}`);
          found = found.map((row) => plain(row) as Row);
        } catch (error) {
          throw wrong(error);
        }
        for (const [i, row] of found.entries()) yield { line: rowStart + i + 1, row };
      }
      begin += rows;
    }
  } finally {
    await handle.close();
  }
}

/** @throws Error where the file, its groups and their columns do not say the same of themselves */
function checkCounts({ row_groups, num_rows }: FileMetaData, columns: number): void {
  let sum = 0;
  for (const { num_rows: rows, columns: own } of row_groups) {
    if (!(Number(rows) >= 0)) throw new Error(`a group claims ${rows} rows`);
    if (own.length !== columns || own.some(({ meta_data, file_path }) => !meta_data || file_path))
      throw new Error(`a group has ${own.length} columns here, and its schema ${columns}`);
    sum += Number(rows);
  }
  if (sum !== Number(num_rows)) throw new Error(`its groups have ${sum} rows, and it says ${num_rows}`);
}

/** Of Node, the first from version 20.15 and 22.2 on, the second from 22.15. */
const { crc32, zstdDecompressSync: zstd } = zlib as {
  crc32?: (bytes: Uint8Array) => number;
  zstdDecompressSync?: (packed: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
};

/** Those of the system where it has them, since damaged data cannot hold them up; an empty page is what each makes of nothing. */
function decompressors(all: Compressors): Compressors {
  const own: Compressors = {
    ...all,
    GZIP: (packed, size) => zlib.gunzipSync(packed, { maxOutputLength: size }),
    BROTLI: (packed, size) => zlib.brotliDecompressSync(packed, { maxOutputLength: size }),
    ZSTD: zstd ? (packed, size) => zstd(packed, { maxOutputLength: size }) : timed(all.ZSTD!),
    LZ4: timed(all.LZ4!),
    LZ4_RAW: timed(all.LZ4_RAW!),
  };
  return Object.fromEntries(
    Object.entries(own).map(([codec, unpack]) => [codec, (packed, size) => (size === 0 ? new Uint8Array(0) : unpack(packed, size))]),
  ) as Compressors;
}

/** The decompressors written in JavaScript can turn in circles on damaged data: they are stopped after ten seconds, and one more for each megabyte. */
function timed(unpack: NonNullable<Compressors[keyof Compressors]>): typeof unpack {
  const context = createContext({});
  const script = new Script('run()');
  return (packed, size) => {
    context.run = () => unpack(packed, size);
    try {
      return script.runInContext(context, { timeout: 10_000 + Math.ceil(size / 1000) }) as Uint8Array;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new Error('a page cannot be decompressed');
      throw error;
    }
  };
}

async function bufferOf(handle: FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      const [from, to] = [start < 0 ? Math.max(0, size + start) : start, Math.min(size, end < 0 ? size + end : end)];
      const bytes = new Uint8Array(Math.max(0, to - from));
      let at = 0;
      while (at < bytes.length) {
        const { bytesRead } = await handle.read(bytes, at, bytes.length - at, from + at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

/** As JSON would have it: whole numbers of 64 bits as numbers where they are exact, else as text; times as text; bytes as text where they are UTF-8. @throws Error for a value that is missing */
function plain(value: unknown): unknown {
  if (value === undefined) throw new Error('a value is missing');
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value))
    return value instanceof Uint8Array
      ? isUtf8(value)
        ? new TextDecoder().decode(value)
        : value
      : Array.from(value as unknown as ArrayLike<number | bigint>, plain);
  if (isRow(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value;
}
