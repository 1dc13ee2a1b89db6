import { describe, expect, it } from 'vitest';
import { ownFixture, readJson } from '../testing/fixtures.node.js';
import { dequantise, half } from './dequantise.js';
import type { GgmlType } from './parse.js';

describe('dequantise', () => {
  const { types } = readJson<{ types: Record<string, { bytes: string; values: number[] }> }>(ownFixture('ggml.json'));

  it.each(Object.keys(types))('unpacks %s as gguf 0.19.0 does', (type) => {
    const { bytes, values } = types[type];
    const packed = Uint8Array.from(bytes.match(/../g)!, (byte) => Number.parseInt(byte, 16));
    expect(dequantise(type as GgmlType, packed, values.length)).toEqual(Float32Array.from(values));
  });

  it('reads float16 numbers, the smallest and the infinite too', () => {
    expect([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x8000].map(half)).toEqual([1, -2, 2 ** -24, 65504, Infinity, -0]);
  });
});
