import { FormatError } from '@plumbline/core';

export type GgufValue = number | bigint | boolean | string | GgufValue[] | Float32Array | Int32Array;
export type GgufTensor = {
  name: string;
  /** Rows first, as everywhere else here (GGUF itself lists the row length first). */
  shape: number[];
  type: GgmlType;
  /** Bytes from the beginning of the file. */
  offset: number;
  bytes: number;
};
export type Gguf = { version: number; metadata: Record<string, GgufValue>; tensors: GgufTensor[] };

/** Numbers in a block, and bytes that it takes. */
export const ggmlTypes = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
  Q4_1: { id: 3, block: 32, bytes: 20 },
  Q5_0: { id: 6, block: 32, bytes: 22 },
  Q5_1: { id: 7, block: 32, bytes: 24 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  Q4_K: { id: 12, block: 256, bytes: 144 },
  Q5_K: { id: 13, block: 256, bytes: 176 },
  Q6_K: { id: 14, block: 256, bytes: 210 },
  BF16: { id: 30, block: 1, bytes: 2 },
} as const;
export type GgmlType = keyof typeof ggmlTypes;
const typeOfId = new Map(Object.entries(ggmlTypes).map(([name, { id }]) => [id as number, name as GgmlType]));

/**
 * Reads a GGUF header (versions 2 and 3): metadata and where each tensor lies. Every count and length is checked against the bytes there
 * are before anything is allocated for it.
 *
 * @param bytes    the file, or as much of its beginning as holds the header
 * @param fileSize bytes of the whole file
 * @param name     what to call it in errors
 * @throws FormatError saying what is wrong at which byte; HeaderTooShort where `bytes` ends inside the header of a longer file
 */
export function parseGguf(bytes: Uint8Array, fileSize: number, name: string): Gguf {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  let at = 0;
  const bad = (what: string): never => {
    throw new FormatError(`${name}: ${what}`);
  };
  const take = (n: number, what: string): number => {
    if (!(n >= 0) || at + n > fileSize)
      bad(`${what} at byte ${at} needs ${n} bytes, but the file has ${fileSize}; was the download cut short?`);
    if (at + n > bytes.byteLength) throw new HeaderTooShort();
    const begin = at;
    at += n;
    return begin;
  };
  const u32 = (what: string) => view.getUint32(take(4, what), true);
  const count = (what: string): number => {
    const value = view.getBigUint64(take(8, what), true);
    if (value > BigInt(fileSize)) bad(`${what} at byte ${at - 8} is ${value}, more than the file's ${fileSize} bytes can hold`);
    return Number(value);
  };
  const string = (what: string): string => {
    const length = count(`the length of ${what}`);
    const begin = take(length, what);
    return decoder.decode(bytes.subarray(begin, begin + length));
  };
  const value = (type: number, what: string, depth = 0): GgufValue => {
    switch (type) {
      case 0:
        return view.getUint8(take(1, what));
      case 1:
        return view.getInt8(take(1, what));
      case 2:
        return view.getUint16(take(2, what), true);
      case 3:
        return view.getInt16(take(2, what), true);
      case 4:
        return u32(what);
      case 5:
        return view.getInt32(take(4, what), true);
      case 6:
        return view.getFloat32(take(4, what), true);
      case 7:
        return view.getUint8(take(1, what)) !== 0;
      case 8:
        return string(what);
      case 9: {
        if (depth > 2) bad(`${what} nests arrays more than three deep`);
        const inner = u32(what);
        const length = count(`the length of ${what}`);
        const least = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8][inner] ?? bad(`${what} is an array of the unknown type ${inner}`);
        if (length * least > fileSize - at) bad(`${what} claims ${length} entries, more than the ${fileSize - at} bytes left can hold`);
        const items: GgufValue[] = [];
        for (let i = 0; i < length; i++) items.push(value(inner, what, depth + 1));
        return items;
      }
      case 10:
        return view.getBigUint64(take(8, what), true);
      case 11:
        return view.getBigInt64(take(8, what), true);
      case 12:
        return view.getFloat64(take(8, what), true);
      default:
        return bad(`${what} has the unknown type ${type}; metadata types are 0 to 12`);
    }
  };

  const magic = decoder.decode(bytes.subarray(take(4, 'the magic number'), 4));
  if (magic !== 'GGUF') bad(`not a GGUF file: it begins with ${JSON.stringify(magic)}, not "GGUF"`);
  const version = u32('the version');
  if (version !== 2 && version !== 3) bad(`GGUF version ${version}; supported are 2 and 3 (a big-endian file shows a huge number here)`);
  const tensorCount = count('the number of tensors');
  const metadataCount = count('the number of metadata entries');
  if (tensorCount * 24 + metadataCount * 12 > fileSize)
    bad(`it claims ${tensorCount} tensors and ${metadataCount} metadata entries, too many for ${fileSize} bytes`);
  const metadata: Record<string, GgufValue> = {};
  for (let i = 0; i < metadataCount; i++) {
    const key = string(`metadata key ${i}`);
    metadata[key] = value(u32(`the type of "${key}"`), `metadata "${key}"`);
  }
  const tensors: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const tensor = string(`the name of tensor ${i}`);
    const dimensions = u32(`the rank of "${tensor}"`);
    if (dimensions < 1 || dimensions > 4) bad(`tensor "${tensor}" has ${dimensions} dimensions; allowed are 1 to 4`);
    const shape: number[] = [];
    for (let d = 0; d < dimensions; d++) {
      const size = view.getBigUint64(take(8, `the shape of "${tensor}"`), true);
      if (size < 1n || size > 2n ** 40n) bad(`tensor "${tensor}" has a dimension of ${size}`);
      shape.unshift(Number(size));
    }
    const id = u32(`the type of "${tensor}"`);
    const type = typeOfId.get(id);
    if (!type) bad(`tensor "${tensor}" is stored as ggml type ${id}; supported are ${Object.keys(ggmlTypes).join(', ')}`);
    const offset = count(`the offset of "${tensor}"`);
    const { block, bytes: blockBytes } = ggmlTypes[type!];
    const row = shape[shape.length - 1];
    if (row % block !== 0) bad(`tensor "${tensor}" has rows of ${row}, not a multiple of ${type}'s block of ${block}`);
    tensors.push({ name: tensor, shape, type: type!, offset, bytes: (shape.reduce((a, b) => a * b, 1) / block) * blockBytes });
  }
  const alignment = Number(metadata['general.alignment'] ?? 32);
  if (!(Number.isInteger(alignment) && alignment > 0)) bad(`general.alignment is ${alignment}; it must be a whole number above 0`);
  const start = Math.ceil(at / alignment) * alignment;
  for (const tensor of tensors) {
    tensor.offset += start;
    if (!(tensor.offset + tensor.bytes <= fileSize)) {
      bad(
        `tensor "${tensor.name}" spans bytes ${tensor.offset}-${tensor.offset + tensor.bytes}, but the file has ${fileSize}; was the download cut short?`,
      );
    }
  }
  return { version, metadata, tensors };
}

/** More of the file is needed to read its header. */
export class HeaderTooShort extends Error {}
