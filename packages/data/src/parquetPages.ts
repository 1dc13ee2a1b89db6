/**
 * Checks of a Parquet file's pages before they are decoded. `hyparquet` trusts every count in a file: one damaged byte lets it run for ever, or grow a list until the
 * process dies. Here each count is held against the bytes, the rows and the runs that are there. Format: apache/parquet-format, `parquet.thrift` and `Encodings.md`.
 */
import { FormatError } from '@plumbline/core';
import type { ColumnMetaData, Compressors, SchemaElement } from 'hyparquet';

/** Where the bytes of a file come from, `end` excluded and clipped to the file. */
export type Slices = { byteLength: number; slice(start: number, end?: number): Promise<ArrayBuffer> | ArrayBuffer };
/** One page: its first byte in the file, its length with the header, the rows before it in the chunk. */
export type PagePlace = { offset: number; bytes: number; firstRow: number };

/** More values in one page than any writer puts there, and fewer than a list can hold. */
const maxPageValues = 1 << 26;
/** Of a page without compression that claims more than its column does. */
const maxPageBytes = 1 << 30;

/**
 * Walks the pages of one column chunk.
 *
 * @param rows   that the chunk's row group has
 * @param levels the largest repetition and definition level of the column
 * @returns where its data pages are, and how many bytes they are without compression
 * @throws Error saying what does not fit
 */
export async function checkChunk(
  file: Slices,
  meta: ColumnMetaData,
  { rows, levels, compressors, crc32 }: { rows: number; levels: Levels; compressors: Compressors; crc32?: (bytes: Uint8Array) => number },
): Promise<{ pages: PagePlace[]; bytes: number }> {
  const begin = Number(meta.dictionary_page_offset || meta.data_page_offset);
  const end = begin + Number(meta.total_compressed_size);
  if (!(begin >= 4 && end >= begin && end <= file.byteLength - 8)) throw new Error(`its pages are said to be at bytes ${begin} to ${end}`);
  const pages: PagePlace[] = [];
  let [values, firstRow, bytes] = [0, 0, 0];
  // as hyparquet reads: on while there are rows to come, or, in lists, bytes
  for (let at = begin; levels.repetition === 0 ? firstRow < rows : at < end - 1; ) {
    if (at >= end - 1) throw new Error(`its pages hold ${firstRow} of ${rows} rows`);
    const where = `the page at byte ${at}`;
    const { header, length } = await headerAt(file, at, end);
    const { type, compressedSize, uncompressedSize } = header;
    const from = at + length;
    if (!(compressedSize >= 0 && uncompressedSize >= 0 && from + compressedSize <= end && uncompressedSize <= maxPageBytes))
      throw new Error(`${where} is said to have ${compressedSize} bytes, ${uncompressedSize} without compression`);
    const held = new Uint8Array(await file.slice(from, from + compressedSize));
    if (header.crc !== undefined && crc32 && crc32(held) !== header.crc >>> 0) throw new Error(`the checksum of ${where} is wrong`);
    const unpack = (packed: Uint8Array, size: number) => {
      if (meta.codec === 'UNCOMPRESSED') return packed;
      const found = compressors[meta.codec]?.(packed, size);
      if (!found) throw new Error(`the compression ${meta.codec} is not known`);
      if (found.length !== size) throw new Error(`${where} has ${found.length} bytes without compression, and says ${size}`);
      return found;
    };
    if (type === dictionaryPage) {
      if (!(header.values >= 0 && header.values <= maxPageValues && header.values <= 8 * uncompressedSize))
        throw new Error(`${where} is said to have ${header.values} words in ${uncompressedSize} bytes`);
    } else if (type === dataPage || type === dataPageV2) {
      if (!(header.values >= 0 && header.values <= maxPageValues && values + header.values <= Number(meta.num_values)))
        throw new Error(`${where} is said to have ${header.values} values; the column has ${meta.num_values}`);
      const pageRows =
        type === dataPage ? checkPage(unpack(held, uncompressedSize), header, levels) : checkPageV2(held, header, levels, unpack);
      pages.push({ offset: at, bytes: length + compressedSize, firstRow });
      values += header.values;
      firstRow += pageRows;
    } else throw new Error(`${where} is of the unknown type ${type}`);
    bytes += uncompressedSize;
    at = from + compressedSize;
  }
  if (values !== Number(meta.num_values) || firstRow !== rows)
    throw new Error(`its pages hold ${values} values of ${firstRow} rows, and it should have ${meta.num_values} of ${rows}`);
  return { pages, bytes };
}

/** Largest levels of a column: how many of its ancestors repeat, and how many may be absent. */
export type Levels = { repetition: number; definition: number };

/** The largest levels of every leaf, in the order of the column chunks. @throws Error where the schema names more children than it has */
export function columnLevels(schema: readonly SchemaElement[]): Levels[] {
  const leaves: Levels[] = [];
  let at = 0;
  const walk = (above: Levels, root: boolean): void => {
    const element = schema[at++];
    if (!element) throw new Error('its schema names columns that are not there');
    const here = root
      ? above
      : {
          repetition: above.repetition + (element.repetition_type === 'REPEATED' ? 1 : 0),
          definition: above.definition + (element.repetition_type === 'REQUIRED' ? 0 : 1),
        };
    const children = element.num_children ?? 0;
    if (children < 0) throw new Error(`its schema gives "${element.name}" ${children} children`);
    if (children === 0) leaves.push(here);
    for (let i = 0; i < children; i++) walk(here, false);
  };
  walk({ repetition: 0, definition: 0 }, true);
  if (at !== schema.length) throw new Error(`its schema has ${schema.length} elements, of which ${at} are used`);
  return leaves;
}

// Pages.

const [dataPage, dictionaryPage, dataPageV2] = [0, 2, 3];
/** Encodings by their number in the format. */
const encoding = { plainDictionary: 2, rle: 3, deltaBinary: 5, deltaLength: 6, deltaBytes: 7, rleDictionary: 8 } as const;

/** The first version: levels and values are compressed together. @returns the rows that begin in it */
function checkPage(page: Uint8Array, header: PageHeader, levels: Levels): number {
  const reader = new Reader(page);
  const lengthPrefixed = (largest: number, wanted: number) => {
    if (largest === 0) return header.values;
    const length = reader.uint32();
    const end = reader.at + length;
    if (end > page.length) throw new Error(`levels of ${length} bytes in a page of ${page.length}`);
    const found = countIn(reader, widthOf(largest), header.values, wanted);
    reader.at = end;
    return found;
  };
  const pageRows = lengthPrefixed(levels.repetition, 0);
  checkValues(reader, header, lengthPrefixed(levels.definition, levels.definition));
  return pageRows;
}

/** The second version: levels stand before the values, uncompressed. */
function checkPageV2(
  held: Uint8Array,
  header: PageHeader,
  levels: Levels,
  unpack: (packed: Uint8Array, size: number) => Uint8Array,
): number {
  const { repetitionBytes, definitionBytes, values, nulls } = header;
  const before = repetitionBytes + definitionBytes;
  if (!(repetitionBytes >= 0 && definitionBytes >= 0 && before <= held.length && before <= header.uncompressedSize && nulls >= 0))
    throw new Error(`levels of ${repetitionBytes} and ${definitionBytes} bytes, ${nulls} nulls, in a page of ${held.length}`);
  const count = (from: number, largest: number, wanted: number) => {
    if (largest === 0) return values;
    const reader = new Reader(held);
    reader.at = from;
    return countIn(reader, widthOf(largest), values, wanted);
  };
  const pageRows = count(0, levels.repetition, 0);
  const present = count(repetitionBytes, levels.definition, levels.definition);
  if (present !== values - nulls) throw new Error(`${present} values are there, and ${values} less ${nulls} nulls are said to be`);
  const size = header.uncompressedSize - before;
  const packed = held.subarray(before);
  checkValues(new Reader(header.isCompressed && size > 0 ? unpack(packed, size) : packed), header, present);
  return pageRows;
}

/** Runs and blocks of the encodings that have them; what is plain cannot be read past its end. */
function checkValues(reader: Reader, header: PageHeader, n: number): void {
  switch (header.encoding) {
    case encoding.plainDictionary:
    case encoding.rleDictionary: {
      if (n === 0 && reader.at >= reader.bytes.length) return;
      const width = reader.byte();
      if (width > 32) throw new Error(`places in the dictionary of ${width} bits`);
      if (width > 0) countIn(reader, width, n);
      else if (header.type === dataPageV2) countIn(reader, 0, n);
      return;
    }
    case encoding.rle:
      reader.uint32();
      countIn(reader, 1, n);
      return;
    case encoding.deltaBinary:
    case encoding.deltaLength:
      checkDeltas(reader, n);
      return;
    case encoding.deltaBytes:
      checkDeltas(reader, n);
      checkDeltas(reader, n);
      return;
    default:
  }
}

const widthOf = (largest: number) => 32 - Math.clz32(largest);

/** Reads runs of `width` bits until there are `n` values. @returns how many of them are `wanted` */
function countIn(reader: Reader, width: number, n: number, wanted = -1): number {
  let [seen, found] = [0, 0];
  while (seen < n) {
    const head = reader.varint();
    const count = head % 2 === 1 ? Math.floor(head / 2) * 8 : head / 2;
    // the last group of packed values is filled up
    if (count > n - seen + (head % 2 === 1 ? 504 : 0)) throw new Error(`a run of ${count} values where ${n - seen} are to come`);
    if (head % 2 === 1) {
      const from = reader.skip((count / 8) * width);
      if (wanted >= 0) for (let i = 0; i < Math.min(count, n - seen); i++) if (reader.bits(8 * from + i * width, width) === wanted) found++;
    } else {
      const from = reader.skip((width + 7) >> 3);
      if (wanted >= 0 && reader.bits(8 * from, width) === wanted) found += count;
    }
    seen += count;
  }
  return found;
}

/** Blocks of differences, the last one maybe without its unused ends. */
function checkDeltas(reader: Reader, n: number): void {
  const [block, miniblocks, total] = [reader.varint(), reader.varint(), reader.varint()];
  const size = block / miniblocks;
  if (!(block > 0 && block % 128 === 0 && block <= 1 << 20 && Number.isInteger(size) && size % 32 === 0))
    throw new Error(`blocks of ${block} values in ${miniblocks} parts`);
  if (total !== n) throw new Error(`${total} differences for ${n} values`);
  reader.varint(10);
  for (let seen = 1; seen < n; ) {
    reader.varint(10);
    const widths = reader.skip(miniblocks);
    for (let i = 0; i < miniblocks && seen < n; i++, seen += size) {
      const width = reader.bytes[widths + i];
      if (width > 64) throw new Error(`differences of ${width} bits`);
      reader.skip((size * width) / 8);
    }
  }
}

class Reader {
  at = 0;
  constructor(readonly bytes: Uint8Array) {}
  byte(): number {
    if (this.at >= this.bytes.length) throw new RangeError('it ends in the middle of a value');
    return this.bytes[this.at++];
  }
  /** Moves on by `n` bytes. @returns where it was */
  skip(n: number): number {
    const from = this.at;
    if (!(n >= 0 && from + n <= this.bytes.length)) throw new RangeError('it ends in the middle of a value');
    this.at += n;
    return from;
  }
  uint32(): number {
    const at = this.skip(4);
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength).getUint32(at, true);
  }
  /** Exact below 2^53; of at most `longest` bytes. */
  varint(longest = 5): number {
    let [value, scale] = [0, 1];
    for (let i = 0; i < longest; i++, scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 128) return value;
    }
    throw new Error('a number without an end');
  }
  zigzag(): number {
    const value = this.varint(10);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
  /** `width` bits from the bit `at` on, the lowest first. */
  bits(at: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= ((this.bytes[(at + i) >> 3] >> ((at + i) & 7)) & 1) << i;
    return value;
  }
}

// Page headers: structs of Thrift's compact protocol.

type PageHeader = {
  type: number;
  uncompressedSize: number;
  compressedSize: number;
  crc?: number;
  values: number;
  encoding: number;
  nulls: number;
  repetitionBytes: number;
  definitionBytes: number;
  isCompressed: boolean;
};
type Field = number | boolean | Struct | undefined;
type Struct = Map<number, Field>;

/** The header at a byte. Its statistics may hold long texts, so that more is read where it does not fit. */
async function headerAt(file: Slices, at: number, end: number): Promise<{ header: PageHeader; length: number }> {
  for (let window = 4096; ; window *= 8) {
    const reader = new Reader(new Uint8Array(await file.slice(at, Math.min(end, at + window))));
    try {
      return { header: pageHeader(readStruct(reader, 0)), length: reader.at };
    } catch (error) {
      if (error instanceof RangeError && at + window < end) continue;
      throw new Error(`the page at byte ${at}: ${(error as Error).message}`);
    }
  }
}

function pageHeader(fields: Struct): PageHeader {
  const struct = (id: number): Struct => {
    const found = fields.get(id);
    return found instanceof Map ? found : new Map();
  };
  const int = (from: Struct, id: number): number => {
    const found = from.get(id);
    return typeof found === 'number' ? found : Number.NaN;
  };
  const type = int(fields, 1);
  const kind = struct(type === dataPage ? 5 : type === dictionaryPage ? 7 : 8);
  const v2 = type === dataPageV2;
  return {
    type,
    uncompressedSize: int(fields, 2),
    compressedSize: int(fields, 3),
    ...(fields.has(4) && { crc: int(fields, 4) }),
    values: int(kind, 1),
    encoding: int(kind, v2 ? 4 : 2),
    nulls: v2 ? int(kind, 2) : 0,
    definitionBytes: v2 ? int(kind, 5) : 0,
    repetitionBytes: v2 ? int(kind, 6) : 0,
    isCompressed: kind.get(7) !== false,
  };
}

function readStruct(reader: Reader, depth: number): Struct {
  if (depth > 8) throw new Error('its header is nested too deeply');
  const fields: Struct = new Map();
  for (let id = 0; ; ) {
    const head = reader.byte();
    if (head === 0) return fields;
    id = head >> 4 ? id + (head >> 4) : reader.zigzag();
    fields.set(id, readField(reader, head & 15, depth));
  }
}

function readField(reader: Reader, type: number, depth: number): Field {
  switch (type) {
    case 1:
    case 2:
      return type === 1;
    case 3:
      return reader.byte();
    case 4:
    case 5:
    case 6:
      return reader.zigzag();
    case 7:
      reader.skip(8);
      return undefined;
    case 8:
      reader.skip(reader.varint());
      return undefined;
    case 9: {
      const head = reader.byte();
      const size = head >> 4 === 15 ? reader.varint() : head >> 4;
      for (let i = 0; i < size; i++) readField(reader, (head & 15) <= 2 ? 3 : head & 15, depth + 1);
      return undefined;
    }
    case 12:
      return readStruct(reader, depth + 1);
    default:
      throw new FormatError(`its header has a field of the unknown type ${type}`);
  }
}
