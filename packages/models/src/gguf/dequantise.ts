import { type GgmlType, ggmlTypes } from './parse.js';

/**
 * Unpacks `size` weights stored as `type`, as ggml's `dequantize_row_*` does (float32 arithmetic).
 * `bytes` holds exactly the tensor's blocks.
 */
export function dequantise(type: GgmlType, bytes: Uint8Array, size: number): Float32Array {
  const out = new Float32Array(size);
  const { block, bytes: blockBytes } = ggmlTypes[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const unpack = unpackers[type];
  for (let i = 0, at = 0; i < size; i += block, at += blockBytes) unpack(bytes, view, at, out, i);
  return out;
}

/** Writes the block at byte `at` to `out` from `i` on. */
type Unpack = (bytes: Uint8Array, view: DataView, at: number, out: Float32Array, i: number) => void;

const f32 = Math.fround;
const unpackers: Record<GgmlType, Unpack> = {
  F32: (_, view, at, out, i) => {
    out[i] = view.getFloat32(at, true);
  },
  F16: (_, view, at, out, i) => {
    out[i] = half(view.getUint16(at, true));
  },
  BF16: (_, view, at, out, i) => {
    bits[0] = view.getUint16(at, true) << 16;
    out[i] = number[0];
  },
  Q8_0: (_, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    for (let j = 0; j < 32; j++) out[i + j] = d * view.getInt8(at + 2 + j);
  },
  Q4_0: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 2 + j];
      out[i + j] = d * ((q & 15) - 8);
      out[i + j + 16] = d * ((q >> 4) - 8);
    }
  },
  Q4_1: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    const m = half(view.getUint16(at + 2, true));
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 4 + j];
      out[i + j] = f32(d * (q & 15)) + m;
      out[i + j + 16] = f32(d * (q >> 4)) + m;
    }
  },
  Q5_0: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    const high = view.getUint32(at + 2, true);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 6 + j];
      out[i + j] = d * (((q & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[i + j + 16] = d * (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  },
  Q5_1: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    const m = half(view.getUint16(at + 2, true));
    const high = view.getUint32(at + 4, true);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 8 + j];
      out[i + j] = f32(d * ((q & 15) | (((high >>> j) & 1) << 4))) + m;
      out[i + j + 16] = f32(d * ((q >> 4) | (((high >>> (j + 16)) & 1) << 4))) + m;
    }
  },
  Q4_K: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    const min = half(view.getUint16(at + 2, true));
    for (let group = 0; group < 8; group++) {
      const [scale, least] = scaleAndMin(bytes, at + 4, group);
      const a = f32(d * scale);
      const b = f32(min * least);
      const from = at + 16 + (group >> 1) * 32;
      for (let j = 0; j < 32; j++) {
        const q = group & 1 ? bytes[from + j] >> 4 : bytes[from + j] & 15;
        out[i + group * 32 + j] = f32(a * q) - b;
      }
    }
  },
  Q5_K: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at, true));
    const min = half(view.getUint16(at + 2, true));
    for (let group = 0; group < 8; group++) {
      const [scale, least] = scaleAndMin(bytes, at + 4, group);
      const a = f32(d * scale);
      const b = f32(min * least);
      const from = at + 48 + (group >> 1) * 32;
      for (let j = 0; j < 32; j++) {
        const low = group & 1 ? bytes[from + j] >> 4 : bytes[from + j] & 15;
        const q = low + (((bytes[at + 16 + j] >> group) & 1) << 4);
        out[i + group * 32 + j] = f32(a * q) - b;
      }
    }
  },
  Q6_K: (bytes, view, at, out, i) => {
    const d = half(view.getUint16(at + 208, true));
    for (let part = 0; part < 2; part++) {
      const low = at + part * 64;
      const high = at + 128 + part * 32;
      const scales = at + 192 + part * 8;
      for (let j = 0; j < 32; j++) {
        const pick = j >> 4;
        const h = bytes[high + j];
        const q = [
          (bytes[low + j] & 15) | ((h & 3) << 4),
          (bytes[low + j + 32] & 15) | (((h >> 2) & 3) << 4),
          (bytes[low + j] >> 4) | (((h >> 4) & 3) << 4),
          (bytes[low + j + 32] >> 4) | (((h >> 6) & 3) << 4),
        ];
        for (let k = 0; k < 4; k++) out[i + part * 128 + k * 32 + j] = f32(d * view.getInt8(scales + pick + 2 * k)) * (q[k] - 32);
      }
    }
  },
};

/** The six-bit scale and minimum of one of eight groups, packed into twelve bytes. */
function scaleAndMin(bytes: Uint8Array, at: number, group: number): [scale: number, min: number] {
  if (group < 4) return [bytes[at + group] & 63, bytes[at + group + 4] & 63];
  return [
    (bytes[at + group + 4] & 15) | ((bytes[at + group - 4] >> 6) << 4),
    (bytes[at + group + 4] >> 4) | ((bytes[at + group] >> 6) << 4),
  ];
}

const number = new Float32Array(1);
const bits = new Int32Array(number.buffer);

/** A float16 as a number. */
export const half = (h: number): number => halves[h];

const halves = Float32Array.from({ length: 65536 }, (_, h) => {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});
