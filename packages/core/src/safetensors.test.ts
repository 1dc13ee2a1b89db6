import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FileError, FormatError } from './errors.js';
import { rng } from './rng.js';
import {
  bfloat16ToFloat32,
  encodeSafetensors,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  parseSafetensors,
  type TensorToWrite,
} from './safetensors.js';
import { readSafetensors, writeSafetensors } from './safetensors.node.js';

const fixture = (name: string) => new Uint8Array(readFileSync(new URL(`../test/fixtures/${name}`, import.meta.url)));
const prefix = 'base_model.model.model.layers.1.self_attn.';

/** A file of the given header and bytes of data, whatever they say. */
function file(header: unknown, dataBytes = 0, length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plumbline-safetensors-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('parseSafetensors', () => {
  it('reads a file that PEFT wrote', () => {
    const adapter = parseSafetensors(fixture('adapter.safetensors'));
    expect(adapter.metadata).toEqual({ format: 'pt' });
    expect(adapter.names).toHaveLength(4);
    expect(adapter.entry(`${prefix}q_proj.lora_B.weight`)).toMatchObject({ dtype: 'F32', shape: [48, 2] });
    expect([...adapter.floats(`${prefix}q_proj.lora_B.weight`).slice(0, 2)]).toEqual([-0.05795340612530708, 0.2015455812215805]);
  });

  it('reads F64 as it is or as float32, and I64 as int32', () => {
    const mixed = parseSafetensors(fixture('mixed.safetensors'));
    expect(mixed.read('student').data).toBeInstanceOf(Float64Array);
    expect((mixed.read('student').data as Float64Array)[0]).toBe(-5.269033154758389);
    expect(mixed.floats('student')[0]).toBe(Math.fround(-5.269033154758389));
    expect([...mixed.integers('labels').slice(0, 3)]).toEqual([-100, -100, 18]);
    expect(() => mixed.integers('student')).toThrow(
      'tensor "student" (F64) holds -5.269033154758389 at 0, which is no 32-bit whole number',
    );
  });

  it('gives every reader a copy of its own', () => {
    const bytes = fixture('adapter.safetensors');
    const adapter = parseSafetensors(bytes);
    const name = adapter.names[0];
    const before = adapter.floats(name)[0];
    adapter.floats(name).fill(0);
    expect(adapter.floats(name)[0]).toBe(before);
  });

  it.each<[string, Uint8Array, string]>([
    ['too short', new Uint8Array(5), 'x: has 5 bytes; a safetensors file has at least 8'],
    ['a header past the end', file({}, 0, 1000n), 'x: the header should have 1000 bytes, but the file has 10; was the download cut short?'],
    ['a header of 2^63', file({}, 0, 2n ** 63n), 'x: the header should have 9223372036854775808 bytes'],
    ['a Git LFS pointer', new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\n'), 'this is a Git LFS pointer'],
    ['no JSON', file('{"a":'), 'x: the header of 5 bytes is not JSON'],
    ['no object', file([1]), 'x: the header is [1] where an object belongs'],
    ['bad metadata', file({ __metadata__: { a: 1 } }), '__metadata__ must map names to strings, found {"a":1}'],
    ['an entry that is none', file({ w: 3 }), 'tensor "w" is 3 where an object belongs'],
    [
      'an unknown dtype',
      file({ w: { dtype: 'F8', shape: [1], data_offsets: [0, 1] } }, 1),
      'tensor "w" has dtype "F8"; supported are F64, F32',
    ],
    ['an inherited dtype', file({ w: { dtype: 'toString', shape: [1], data_offsets: [0, 1] } }, 1), 'has dtype "toString"'],
    ['a negative shape', file({ w: { dtype: 'U8', shape: [-1], data_offsets: [0, 1] } }, 1), 'tensor "w" has shape [-1]'],
    ['a missing shape', file({ w: { dtype: 'U8', data_offsets: [0, 1] } }, 1), 'tensor "w" has shape missing'],
    ['a size of 2^53', file({ w: { dtype: 'F32', shape: [2 ** 53], data_offsets: [0, 4] } }, 4), 'tensor "w" has shape [9007199254740992]'],
    [
      'sizes whose product overflows',
      file({ w: { dtype: 'F32', shape: [2 ** 50, 2 ** 50], data_offsets: [0, 4] } }, 4),
      'which takes 5.070602400912918e+30 bytes',
    ],
    ['offsets that are none', file({ w: { dtype: 'U8', shape: [1], data_offsets: [0, 1.5] } }, 1), 'has data_offsets [0,1.5]'],
    ['offsets in reverse', file({ w: { dtype: 'U8', shape: [1], data_offsets: [1, 0] } }, 1), 'ends at byte 0, before it begins at 1'],
    [
      'an end past the file',
      file({ w: { dtype: 'U8', shape: [9], data_offsets: [0, 9] } }, 4),
      'tensor "w" spans bytes 0-9, but the file has 4 bytes of data',
    ],
    [
      'a size that is not the span',
      file({ w: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, 4),
      'is F32 [2], which takes 8 bytes, but spans 4 (0-4)',
    ],
    [
      'an overlap',
      file({ a: { dtype: 'U8', shape: [4], data_offsets: [0, 4] }, b: { dtype: 'U8', shape: [4], data_offsets: [2, 6] } }, 6),
      'tensor "b" begins at byte 2, inside "a", which ends at 4',
    ],
    ['a gap', file({ a: { dtype: 'U8', shape: [1], data_offsets: [1, 2] } }, 2), 'bytes 0-1 belong to no tensor'],
    [
      'bytes left over',
      file({ a: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } }, 2),
      'the tensors end at byte 1, but the file has 2 bytes of data',
    ],
  ])('says what is wrong and where: %s', (_, bytes, message) => {
    expect(() => parseSafetensors(bytes, 'x')).toThrow(FormatError);
    expect(() => parseSafetensors(bytes, 'x')).toThrow(message);
  });

  it('names a tensor that is not there, and a BOOL that is neither 0 nor 1', () => {
    expect(() => parseSafetensors(fixture('mixed.safetensors'), 'x').read('logits')).toThrow(
      'x: has no tensor "logits"; it has "labels", "student", "teacher"',
    );
    const bytes = file({ mask: { dtype: 'BOOL', shape: [2], data_offsets: [0, 2] } }, 2);
    bytes[bytes.length - 1] = 7;
    expect(() => parseSafetensors(bytes, 'x').read('mask')).toThrow('tensor "mask" (BOOL) holds 7 at 1');
  });

  it('takes tensors without numbers, and a file without tensors', () => {
    const empty = parseSafetensors(encodeSafetensors({ none: { shape: [3, 0], data: new Float32Array(0) } }));
    expect(empty.read('none')).toEqual({ dtype: 'F32', shape: [3, 0], data: new Float32Array(0) });
    expect(parseSafetensors(encodeSafetensors({})).names).toEqual([]);
  });

  // 100,000 of each with npm run test:full
  const mutations = process.env.PLUMB_FULL ? 100_000 : 5000;
  it.each(['adapter.safetensors', 'mixed.safetensors'])(`answers ${mutations} mutations of %s by numbers or by a FormatError`, (name) => {
    const original = fixture(name);
    const headerEnd = 8 + new DataView(original.buffer).getUint32(0, true);
    const digits = [...original.keys()].filter((j) => j >= 8 && j < headerEnd && original[j] >= 48 && original[j] <= 57);
    const draw = rng(7).fork(name);
    let refused = 0;
    for (let i = 0; i < mutations; i++) {
      let bytes = original.slice();
      const kind = draw.below(4);
      // Mostly in the header, where it matters: bytes changed, digits changed, a piece cut out or the end cut off, a piece repeated.
      for (let n = 1 + draw.below(4); n > 0; n--) {
        const at = draw.below(draw.below(8) === 0 ? bytes.length : Math.min(headerEnd, bytes.length));
        if (kind === 0) bytes[at] = draw.below(256);
        else if (kind === 1) {
          bytes[digits[draw.below(digits.length)]] = 48 + draw.below(10);
        } else if (kind === 2)
          bytes =
            draw.below(2) === 0 ? bytes.slice(0, at) : Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(at + 1 + draw.below(9))]);
        else bytes = Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(Math.max(0, at - draw.below(20)))]);
        if (bytes.length === 0) break;
      }
      try {
        const parsed = parseSafetensors(bytes, 'mutant');
        for (const tensor of parsed.names) {
          const { shape, data } = parsed.read(tensor);
          expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
        }
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        if (!error.message.startsWith('mutant: ')) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(mutations / 2); // most mutations are seen
  });
});

describe('encodeSafetensors', () => {
  const tensors: Record<string, TensorToWrite> = {
    f64: { shape: [2], data: Float64Array.of(Math.PI, -1e300) },
    f32: { shape: [1, 3], data: Float32Array.of(1 / 3, -0, Number.NaN) },
    i64: { shape: [2], data: BigInt64Array.of(-(2n ** 63n), 5n) },
    i32: { shape: [], data: Int32Array.of(-7) },
    i16: { shape: [1], data: Int16Array.of(-300) },
    i8: { shape: [3], data: Int8Array.of(-128, 0, 127) },
    u64: { shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) },
    u32: { shape: [1], data: Uint32Array.of(2 ** 32 - 1) },
    u16: { shape: [1], data: Uint16Array.of(65535) },
    u8: { shape: [1], data: Uint8Array.of(255) },
    bool: { shape: [2], data: Uint8Array.of(0, 1), dtype: 'BOOL' },
  };

  it('brings every type back bit for bit', () => {
    const parsed = parseSafetensors(encodeSafetensors(tensors, { format: 'pt', note: 'ü "quoted"' }));
    expect(parsed.metadata).toEqual({ format: 'pt', note: 'ü "quoted"' });
    for (const [name, { shape, data, dtype }] of Object.entries(tensors)) {
      expect(parsed.read(name)).toEqual({ dtype: dtype ?? name.toUpperCase(), shape, data });
    }
  });

  it('writes the bytes that the reference implementation writes', () => {
    for (const name of ['adapter.safetensors', 'mixed.safetensors']) {
      const original = fixture(name);
      const parsed = parseSafetensors(original);
      const again = encodeSafetensors(
        Object.fromEntries([...parsed.names].reverse().map((tensor) => [tensor, parsed.read(tensor)])),
        parsed.metadata,
      );
      expect(Buffer.from(again).equals(Buffer.from(original))).toBe(true);
    }
  });

  it('brings any names and numbers back', () =>
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((name) => name !== '__metadata__'),
          fc.float32Array({ maxLength: 9 }),
        ),
        (arrays) => {
          const parsed = parseSafetensors(
            encodeSafetensors(Object.fromEntries(Object.entries(arrays).map(([name, data]) => [name, { shape: [data.length], data }]))),
          );
          expect([...parsed.names].sort()).toEqual(Object.keys(arrays).sort());
          for (const [name, data] of Object.entries(arrays)) expect(parsed.read(name).data).toEqual(data);
        },
      ),
    ));

  it('refuses shapes and types that do not go with the array, before it writes', () => {
    expect(() => encodeSafetensors({ w: { shape: [2], data: new Float32Array(3) } })).toThrow('"w" has 3 numbers; its shape [2] needs 2');
    expect(() => encodeSafetensors({ w: { shape: [1], data: new Int32Array(1), dtype: 'F16' } })).toThrow(
      '"w" is Int32Array and cannot be stored as F16, only as I32',
    );
    expect(() => encodeSafetensors({ w: { shape: [1], data: Float32Array.of(70000), dtype: 'F16' } })).toThrow(
      '"w" holds 70000 at 0, too large for F16',
    );
  });
});

describe('float16', () => {
  it('knows its landmarks', () => {
    const halves = Uint16Array.of(0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x7c00, 0xfc00, 0x3555);
    expect([...float16ToFloat32(halves)]).toEqual([0, -0, 1, -2, 65504, 2 ** -14, 2 ** -24, Infinity, -Infinity, 0.333251953125]);
  });

  it('comes back from float32 for each of its values', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const finite = all.filter((half) => (half & 0x7fff) <= 0x7c00);
    expect(float32ToFloat16(float16ToFloat32(finite))).toEqual(finite);
    expect(float16ToFloat32(Uint16Array.of(0x7e00, 0xfd00)).every(Number.isNaN)).toBe(true);
    expect(float32ToFloat16(Float32Array.of(Number.NaN))[0] & 0x7fff).toBeGreaterThan(0x7c00);
  });

  it('rounds to the nearest, ties to even, in the normal and the subnormal range', () => {
    const between = Float32Array.of(
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      1 + 2 ** -11 + 2 ** -20,
      65519.99,
      65520,
      1.5 * 2 ** -24,
      2 ** -25,
      2.5 * 2 ** -24,
      2 ** -14 - 2 ** -25,
    );
    expect([...float16ToFloat32(float32ToFloat16(between))]).toEqual([
      1,
      1 + 2 ** -9,
      1 + 2 ** -10,
      65504,
      Infinity,
      2 ** -23,
      0,
      2 ** -23,
      2 ** -14,
    ]);
    for (const value of rng(9).normal(2000)) {
      const [half] = float32ToFloat16(Float32Array.of(value));
      const [down, kept, up] = float16ToFloat32(Uint16Array.of(half - 1, half, half + 1));
      expect(Math.abs(kept - value)).toBeLessThanOrEqual(Math.min(Math.abs(down - value), Math.abs(up - value)));
    }
  });
});

describe('bfloat16', () => {
  it('keeps the upper half of a float32, rounded to the nearest, ties to even', () => {
    const from = Float32Array.of(1, -2, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.39e38, Infinity, 0, -0, 1e-40);
    expect([...bfloat16ToFloat32(float32ToBfloat16(from))]).toEqual([
      1,
      -2,
      1,
      1 + 2 ** -6,
      1 + 2 ** -7,
      3.3895313892515355e38,
      Infinity,
      0,
      -0,
      2 ** -133,
    ]);
    expect(bfloat16ToFloat32(float32ToBfloat16(Float32Array.of(Number.NaN)))[0]).toBeNaN();
  });

  it('is stored as BF16 and read as float32', () => {
    const parsed = parseSafetensors(
      encodeSafetensors({
        w: { shape: [2], data: Float32Array.of(0.5, 1 / 3), dtype: 'BF16' },
        h: { shape: [1], data: Float32Array.of(1 / 3), dtype: 'F16' },
      }),
    );
    expect(parsed.read('w')).toEqual({ dtype: 'BF16', shape: [2], data: Float32Array.of(0.5, 0.333984375) });
    expect(parsed.read('h')).toEqual({ dtype: 'F16', shape: [1], data: Float32Array.of(0.333251953125) });
  });
});

describe('readSafetensors and writeSafetensors', () => {
  it('write and read one file, and leave nothing else', async () => {
    const path = join(folder, 'model.safetensors');
    await writeSafetensors(path, { w: { shape: [2], data: Float32Array.of(1, 2) } });
    await writeSafetensors(path, { w: { shape: [2], data: Float32Array.of(3, 4) } });
    const read = await readSafetensors(path);
    expect(read.metadata).toEqual({ format: 'pt' });
    expect([...read.floats('w')]).toEqual([3, 4]);
    expect([...(await readSafetensors(folder)).floats('w')]).toEqual([3, 4]);
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
  });

  it('leave the old file where the new one cannot be made', async () => {
    const path = join(folder, 'model.safetensors');
    await expect(
      writeSafetensors(path, { a: { shape: [1], data: Float32Array.of(9) }, b: { shape: [1], data: Float32Array.of(1e6), dtype: 'F16' } }),
    ).rejects.toThrow('too large for F16');
    expect([...(await readSafetensors(path)).floats('w')]).toEqual([3, 4]);
    expect(readdirSync(folder)).toEqual(['model.safetensors']);
    await expect(writeSafetensors(join(folder, 'no', 'such.safetensors'), {})).rejects.toThrow(FileError);
    await expect(writeSafetensors(join(path, 'w.safetensors'), {})).rejects.toThrow('a part of the path is a file, not a folder (ENOTDIR)');
  });

  it('read an index over several files', async () => {
    const sharded = join(folder, 'sharded');
    mkdirSync(sharded);
    await writeSafetensors(join(sharded, 'model-00001-of-00002.safetensors'), { a: { shape: [1], data: Float32Array.of(1) } });
    await writeSafetensors(join(sharded, 'model-00002-of-00002.safetensors'), { b: { shape: [1], data: Float32Array.of(2) } });
    const index = join(sharded, 'model.safetensors.index.json');
    const write = (weight_map: unknown) => writeFileSync(index, JSON.stringify({ metadata: { total_size: 8 }, weight_map }));
    write({ a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' });
    const model = await readSafetensors(sharded);
    expect(model.names).toEqual(['a', 'b']);
    expect([model.floats('a')[0], model.floats('b')[0]]).toEqual([1, 2]);
    write({ a: 'model-00002-of-00002.safetensors' });
    await expect(readSafetensors(index)).rejects.toThrow('"a" is said to be in model-00002-of-00002.safetensors, which does not have it');
    write({ a: '../model.safetensors' });
    await expect(readSafetensors(index)).rejects.toThrow('which is not beside the index');
    write({ a: 'model-00003-of-00002.safetensors' });
    await expect(readSafetensors(index)).rejects.toThrow('there is no such file or folder (ENOENT)');
    write(['a']);
    await expect(readSafetensors(index)).rejects.toThrow('needs a weight_map');
  });

  it('say what is wrong with a file that is cut short, missing or no model', async () => {
    const path = join(folder, 'cut.safetensors');
    writeFileSync(path, fixture('adapter.safetensors').slice(0, 3000));
    await expect(readSafetensors(path)).rejects.toThrow('was the download cut short?');
    await expect(readSafetensors(join(folder, 'none.safetensors'))).rejects.toThrow('there is no such file or folder (ENOENT)');
    mkdirSync(join(folder, 'empty'));
    await expect(readSafetensors(join(folder, 'empty'))).rejects.toThrow(
      'holds neither model.safetensors nor model.safetensors.index.json',
    );
  });

  it('notice a file that was replaced after it was opened', async () => {
    const path = join(folder, 'changing.safetensors');
    await writeSafetensors(path, { w: { shape: [2], data: Float32Array.of(1, 2) } });
    const read = await readSafetensors(path);
    await writeSafetensors(path, { w: { shape: [4], data: new Float32Array(4) } });
    expect(() => read.floats('w')).toThrow('bytes when it was opened');
  });
});
