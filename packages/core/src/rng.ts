/**
 * Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11).
 * A stream is a 64-bit key; its numbers are the cipher of 0, 1, 2, ... A fork hashes its path into the key, so that a stream depends on
 * seed and path alone: a draw added in one place moves no other, and there is no generator state to save between steps.
 */
import type { Rng } from './types.js';

/** One block: four words from a counter (four words) and a key (two words). Agrees with Random123's known answers. */
export function philox4x32(counter: ArrayLike<number>, key: ArrayLike<number>): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(4);
  block(out, counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
  return out;
}

/**
 * A stream of random numbers. Equal seeds give equal streams on every platform and backend.
 *
 * @param seed a whole number from 0 to 2^53 - 1
 * @throws RangeError for any other seed
 */
export function rng(seed: number): Rng {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`rng: the seed must be a whole number from 0 to 2^53 - 1, got ${seed}`);
  return stream(seed >>> 0, Math.floor(seed / 2 ** 32));
}

// The third and fourth counter words keep the uses of one key apart: draws have 0 there.
const seed32Tag = 1;
const numberTag = 2;
const stringTag = 3;

function stream(key0: number, key1: number): Rng {
  const words = new Uint32Array(4);
  let counter = 0; // blocks drawn, below 2^53
  let used = 4; // words of the current block already given out
  const next = (): number => {
    if (used === 4) {
      block(words, counter >>> 0, Math.floor(counter / 2 ** 32), 0, 0, key0, key1);
      counter++;
      used = 0;
    }
    return words[used++];
  };
  const next53 = () => (next() >>> 5) * 2 ** 26 + (next() >>> 6); // whole numbers below 2^53
  const below = (n: number): number => {
    if (!Number.isSafeInteger(n) || n < 1) throw new RangeError(`rng.below: n must be a whole number from 1 to 2^53 - 1, got ${n}`);
    // Numbers beyond the last whole multiple of n are drawn again: no remainder is likelier than another.
    const range = n <= 2 ** 32 ? 2 ** 32 : 2 ** 53;
    const limit = range - (range % n);
    for (;;) {
      const draw = range === 2 ** 32 ? next() : next53();
      if (draw < limit) return draw % n;
    }
  };
  return {
    fork: (...path) => {
      if (path.length === 0) throw new RangeError('rng.fork: needs a path, such as fork("shuffle", epoch)');
      const [a, b] = path.reduce(extend, [key0, key1] as const);
      return stream(a, b);
    },
    get seed32() {
      return philox4x32([0, 0, 0, seed32Tag], [key0, key1])[0];
    },
    uniform: (n) => Float32Array.from({ length: count('uniform', n) }, () => (next() >>> 8) * 2 ** -24),
    normal: (n) => {
      const out = new Float32Array(count('normal', n));
      for (let i = 0; i < n; i += 2) {
        // Box and Muller 1958. The first number is in (0, 1], so that its logarithm is finite.
        const radius = Math.sqrt(-2 * Math.log((next() + 1) * 2 ** -32));
        const angle = 2 * Math.PI * (next() * 2 ** -32);
        out[i] = radius * Math.cos(angle);
        if (i + 1 < n) out[i + 1] = radius * Math.sin(angle);
      }
      return out;
    },
    below,
    permutation: (n) => {
      const out = Int32Array.from({ length: count('permutation', n) }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = below(i + 1);
        [out[i], out[j]] = [out[j], out[i]];
      }
      return out;
    },
    categorical: (weights) => {
      let total = 0;
      let last = -1; // the last index that may be drawn: where rounding lets the walk below run out
      for (let i = 0; i < weights.length; i++) {
        if (!(weights[i] >= 0 && weights[i] < Infinity))
          throw new RangeError(`rng.categorical: weights must be finite and at least 0; weight ${i} of ${weights.length} is ${weights[i]}`);
        if (weights[i] > 0) last = i;
        total += weights[i];
      }
      if (last < 0) throw new RangeError(`rng.categorical: at least one of the ${weights.length} weights must be above 0`);
      let left = next53() * 2 ** -53 * total;
      for (let i = 0; i < last; i++) {
        left -= weights[i];
        if (left < 0) return i;
      }
      return last;
    },
  };
}

function count(method: string, n: number): number {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`rng.${method}: n must be a whole number, at least 0, got ${n}`);
  return n;
}

type Key = readonly [number, number];

/** The key of a fork by one path element; paths are extended element by element, so fork(a, b) is fork(a).fork(b). */
function extend(key: Key, element: string | number): Key {
  if (typeof element === 'number') {
    if (!Number.isFinite(element)) throw new RangeError(`rng.fork: a path holds strings and finite numbers, got ${element}`);
    const bits = new Uint32Array(Float64Array.of(element + 0 /* -0 becomes 0 */).buffer);
    return mix(key, bits[0], bits[1], 0, numberTag);
  }
  // UTF-16 units, two a word, eight bytes a block; the length goes into the first block, so that no string is a prefix of another.
  let mixed = mix(key, element.length, 0, 0, stringTag);
  for (let i = 0; i < element.length; i += 4) {
    const unit = (j: number) => (i + j < element.length ? element.charCodeAt(i + j) : 0);
    mixed = mix(mixed, unit(0) | (unit(1) << 16), unit(2) | (unit(3) << 16), i + 1, stringTag);
  }
  return mixed;
}

function mix(key: Key, a: number, b: number, c: number, tag: number): Key {
  const words = philox4x32([a, b, c, tag], key);
  return [words[0], words[1]];
}

function block(out: Uint32Array, c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void {
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = mulHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // below 2^33: exact
  return a1 * b1 + Math.floor(middle / 65536) + Math.floor(((middle % 65536) + a0 * b1) / 65536);
}
