/**
 * The safetensors format (https://huggingface.co/docs/safetensors): 8 bytes with the length of a JSON header, the header, then the numbers.
 * A file is checked whole before any tensor is read: nothing that a header says is believed, or allocated, before it fits the file.
 */
import { FormatError, ShapeError } from './errors.js';

export type SafetensorsDtype = keyof typeof dtypes;
export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

export type SafetensorsEntry = {
  dtype: SafetensorsDtype;
  shape: number[] /** Offsets into the numbers, after the header. */;
  begin: number;
  end: number;
};

/** An opened file, whose header is checked. Tensors are read one by one, when they are asked for; every array is the caller's own. */
export interface Safetensors {
  readonly names: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  has(name: string): boolean;
  /** @throws FormatError if there is no tensor of that name; so do the readers below */
  entry(name: string): SafetensorsEntry;
  /** The numbers as stored; F16 and BF16, for which there is no array type, as Float32Array; BOOL as 0 and 1. */
  read(name: string): { dtype: SafetensorsDtype; shape: number[]; data: NumberArray };
  /** The numbers as float32, whatever they are stored as. */
  floats(name: string): Float32Array;
  /** The numbers as int32. @throws FormatError if they are fractions or do not fit */
  integers(name: string): Int32Array;
}

/** Bytes of one number. */
const dtypes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1 } as const;

const largestHeader = 100_000_000; // as the reference implementation

/**
 * Checks a file in memory. Tensors are copied out of `bytes` when they are read.
 *
 * @param label what messages call the file
 * @throws FormatError saying what is wrong and where
 */
export function parseSafetensors(bytes: Uint8Array, label = 'safetensors'): Safetensors {
  const headerBytes = headerLength(bytes, bytes.length, label);
  const header = parseHeader(bytes.subarray(8, 8 + headerBytes), bytes.length - 8 - headerBytes, label);
  return opened(header, label, (begin, end) => bytes.slice(8 + headerBytes + begin, 8 + headerBytes + end));
}

export type SafetensorsHeader = { metadata: Record<string, string>; entries: Map<string, SafetensorsEntry> };

/** Bytes of the header, from the file's first eight bytes. */
export function headerLength(start: Uint8Array, fileBytes: number, label: string): number {
  if (start.length < 8) throw new FormatError(`${label}: has ${fileBytes} bytes; a safetensors file has at least 8`);
  const length = new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(Math.max(0, fileBytes - 8))) {
    const text = String.fromCharCode(...start.subarray(0, 8));
    const hint =
      text === 'version '
        ? 'this is a Git LFS pointer, not the file itself'
        : text.startsWith('GGUF')
          ? 'this is a GGUF file'
          : 'was the download cut short?';
    throw new FormatError(`${label}: the header should have ${length} bytes, but the file has ${fileBytes}; ${hint}`);
  }
  if (length > largestHeader)
    throw new FormatError(`${label}: the header should have ${length} bytes; at most ${largestHeader} are allowed`);
  return Number(length);
}

/** Checks names, types, shapes, sizes, and that the tensors cover the file's `dataBytes` without gap or overlap. */
export function parseHeader(bytes: Uint8Array, dataBytes: number, label: string): SafetensorsHeader {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new FormatError(`${label}: the header of ${bytes.length} bytes is not JSON: ${(error as Error).message}`);
  }
  if (!isRecord(json)) throw new FormatError(`${label}: the header is ${describe(json)} where an object belongs`);
  const { __metadata__: metadata = {}, ...tensors } = json;
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string'))
    throw new FormatError(`${label}: __metadata__ must map names to strings, found ${describe(metadata)}`);
  const entries = new Map(Object.entries(tensors).map(([name, entry]) => [name, checkEntry(name, entry, dataBytes, label)]));
  let covered = 0;
  let last = '';
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin < covered)
      throw new FormatError(`${label}: tensor "${name}" begins at byte ${begin}, inside "${last}", which ends at ${covered}`);
    if (begin > covered)
      throw new FormatError(
        `${label}: bytes ${covered}-${begin} belong to no tensor; "${name}" should begin where ${last ? `"${last}"` : 'the data'} ends`,
      );
    covered = end;
    last = name;
  }
  if (covered !== dataBytes)
    throw new FormatError(`${label}: the tensors end at byte ${covered}, but the file has ${dataBytes} bytes of data`);
  return { metadata: metadata as Record<string, string>, entries };
}

function checkEntry(name: string, entry: unknown, dataBytes: number, label: string): SafetensorsEntry {
  const at = `${label}: tensor "${name}"`;
  if (!isRecord(entry)) throw new FormatError(`${at} is ${describe(entry)} where an object belongs`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(dtypes, dtype))
    throw new FormatError(`${at} has dtype ${describe(dtype)}; supported are ${Object.keys(dtypes).join(', ')}`);
  const whole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(whole))
    throw new FormatError(`${at} has shape ${describe(shape)}; it must hold whole numbers, at least 0`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole))
    throw new FormatError(`${at} has data_offsets ${describe(offsets)}; they must be two whole numbers, at least 0`);
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw new FormatError(`${at} ends at byte ${end}, before it begins at ${begin}`);
  if (end > dataBytes)
    throw new FormatError(`${at} spans bytes ${begin}-${end}, but the file has ${dataBytes} bytes of data; was the download cut short?`);
  // Sizes up to 2^53 in each axis: the product is exact in whole numbers or larger than any file.
  const bytes = shape.includes(0) ? 0 : (shape as number[]).reduce((size, n) => size * n, dtypes[dtype as SafetensorsDtype]);
  if (bytes !== end - begin)
    throw new FormatError(`${at} is ${dtype} ${describe(shape)}, which takes ${bytes} bytes, but spans ${end - begin} (${begin}-${end})`);
  return { dtype: dtype as SafetensorsDtype, shape: shape as number[], begin, end };
}

/** The readers over a checked header. `bytesAt` returns a copy whose buffer begins with it. */
export function opened(
  { metadata, entries }: SafetensorsHeader,
  label: string,
  bytesAt: (begin: number, end: number) => Uint8Array,
): Safetensors {
  const entry = (name: string): SafetensorsEntry => {
    const found = entries.get(name);
    if (!found) throw new FormatError(`${label}: has no tensor "${name}"; it has ${some([...entries.keys()])}`);
    return found;
  };
  const read: Safetensors['read'] = (name) => {
    const { dtype, shape, begin, end } = entry(name);
    return { dtype, shape: [...shape], data: decode(dtype, bytesAt(begin, end), `${label}: tensor "${name}"`) };
  };
  return {
    names: [...entries.keys()],
    metadata,
    has: (name) => entries.has(name),
    entry,
    read,
    floats: (name) => {
      const { data } = read(name);
      return data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number | bigint>, Number);
    },
    integers: (name) => {
      const { data, dtype } = read(name);
      if (data instanceof Int32Array) return data;
      const out = new Int32Array(data.length);
      for (let i = 0; i < data.length; i++) {
        out[i] = Number(data[i]);
        if (out[i] !== Number(data[i]))
          throw new FormatError(`${label}: tensor "${name}" (${dtype}) holds ${data[i]} at ${i}, which is no 32-bit whole number`);
      }
      return out;
    },
  };
}

function decode(dtype: SafetensorsDtype, bytes: Uint8Array, at: string): NumberArray {
  const { buffer, byteOffset } = bytes;
  const length = bytes.length / dtypes[dtype];
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer, byteOffset, length);
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'F16':
      return float16ToFloat32(new Uint16Array(buffer, byteOffset, length));
    case 'BF16':
      return bfloat16ToFloat32(new Uint16Array(buffer, byteOffset, length));
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'I16':
      return new Int16Array(buffer, byteOffset, length);
    case 'I8':
      return new Int8Array(buffer, byteOffset, length);
    case 'U64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'U16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'BOOL': {
      const wrong = bytes.findIndex((byte) => byte > 1);
      if (wrong >= 0) throw new FormatError(`${at} (BOOL) holds ${bytes[wrong]} at ${wrong}; only 0 and 1 are allowed`);
      return bytes;
    }
    case 'U8':
      return bytes;
    default:
      return dtype satisfies never;
  }
}

/** `dtype` is that of the array unless given; float32 numbers may be stored as F16 or BF16, rounded to the nearest, ties to even. */
export type TensorToWrite = { shape: readonly number[]; data: NumberArray; dtype?: SafetensorsDtype };

/**
 * A file as bytes. Tensors are laid out by the size of their numbers, then by name, as the reference implementation does.
 *
 * @throws ShapeError if an array is not as long as its shape says
 * @throws RangeError if a dtype does not go with an array, or a number is too large for F16
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const chunks = [...safetensorsChunks(tensors, metadata)];
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

/** The same file in pieces: the header, then one tensor at a time, converted when its turn comes. All shapes are checked before the first piece. */
export function* safetensorsChunks(
  tensors: Readonly<Record<string, TensorToWrite>>,
  metadata?: Readonly<Record<string, string>>,
): Generator<Uint8Array, void, undefined> {
  const ordered = Object.entries(tensors)
    .map(([name, tensor]) => ({ name, ...tensor, dtype: dtypeOf(name, tensor) }))
    .sort((a, b) => dtypes[b.dtype] - dtypes[a.dtype] || (a.name < b.name ? -1 : 1));
  const header: [string, object][] = metadata ? [['__metadata__', metadata]] : [];
  let at = 0;
  for (const { name, shape, data, dtype } of ordered) {
    if (name === '__metadata__') throw new RangeError('safetensors: "__metadata__" is no name for a tensor');
    const size = shape.reduce((a, b) => a * b, 1);
    if (data.length !== size) throw new ShapeError(`safetensors: "${name}" has ${data.length} numbers; its shape [${shape}] needs ${size}`);
    const end = at + size * dtypes[dtype];
    header.push([name, { dtype, shape, data_offsets: [at, end] }]);
    at = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const start = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(32); // padded with spaces: the numbers begin at a multiple of 8
  new DataView(start.buffer).setBigUint64(0, BigInt(start.length - 8), true);
  start.set(json, 8);
  yield start;
  for (const { name, data, dtype } of ordered) {
    const stored =
      dtype === 'F16' && data instanceof Float32Array
        ? toFloat16(name, data)
        : dtype === 'BF16' && data instanceof Float32Array
          ? float32ToBfloat16(data)
          : data;
    yield new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  }
}

function dtypeOf(name: string, { data, dtype }: TensorToWrite): SafetensorsDtype {
  const own = (Object.keys(arrayTypes) as (keyof typeof arrayTypes)[]).find((key) => data instanceof arrayTypes[key])!;
  if (dtype === undefined || dtype === own) return own;
  const allowed: SafetensorsDtype[] =
    data instanceof Float32Array ? ['F32', 'F16', 'BF16'] : data instanceof Uint8Array ? ['U8', 'BOOL'] : [own];
  if (!allowed.includes(dtype))
    throw new RangeError(
      `safetensors: "${name}" is ${data.constructor.name} and cannot be stored as ${dtype}, only as ${allowed.join(', ')}`,
    );
  return dtype;
}

const arrayTypes = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
} as const;

/** IEEE half precision (1, 5 and 10 bits) to single. */
export function float16ToFloat32(halves: Uint16Array): Float32Array {
  const out = new Float32Array(halves.length);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i];
    const sign = (half & 0x8000) << 16;
    const exponent = (half >>> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) {
      out[i] = fraction * 2 ** -24; // zero and subnormals
      bits[i] |= sign;
    } else bits[i] = sign | (exponent === 31 ? 0x7f800000 : (exponent + 112) << 23) | (fraction << 13);
  }
  return out;
}

/** Single precision to half, to the nearest, ties to even; beyond 65,519 to infinity. */
export function float32ToFloat16(singles: Float32Array): Uint16Array {
  const bits = new Uint32Array(singles.buffer, singles.byteOffset, singles.length);
  const out = new Uint16Array(singles.length);
  for (let i = 0; i < out.length; i++) {
    const sign = (bits[i] >>> 16) & 0x8000;
    const size = bits[i] & 0x7fffffff;
    if (size > 0x7f800000)
      out[i] = sign | 0x7e00; // NaN
    else if (size >= 0x477ff000)
      out[i] = sign | 0x7c00; // 65,520 and above
    else if (size >= 0x38800000) out[i] = sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13);
    else {
      // Subnormal halves are multiples of 2^-24, so that rounding to one is rounding to a whole number.
      const steps = Math.abs(singles[i]) * 2 ** 24;
      const low = Math.floor(steps);
      const rest = steps - low;
      out[i] = sign | (low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0));
    }
  }
  return out;
}

export function bfloat16ToFloat32(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return new Float32Array(bits.buffer);
}

/** Single precision to bfloat16, to the nearest, ties to even. */
export function float32ToBfloat16(singles: Float32Array): Uint16Array {
  const bits = new Uint32Array(singles.buffer, singles.byteOffset, singles.length);
  const out = new Uint16Array(singles.length);
  for (let i = 0; i < out.length; i++)
    out[i] = (bits[i] & 0x7fffffff) > 0x7f800000 ? (bits[i] >>> 16) | 0x40 : (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  return out;
}

function toFloat16(name: string, data: Float32Array): Uint16Array {
  const large = data.findIndex((value) => Math.abs(value) >= 65520 && value !== Infinity && value !== -Infinity);
  if (large >= 0)
    throw new RangeError(
      `safetensors: "${name}" holds ${data[large]} at ${large}, too large for F16 (at most 65,504); store it as BF16 or F32`,
    );
  return float32ToFloat16(data);
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function some(names: string[]): string {
  if (names.length === 0) return 'none';
  return `${names
    .slice(0, 5)
    .map((name) => `"${name}"`)
    .join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
}
