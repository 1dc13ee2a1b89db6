import { describe, expect, it } from 'vitest';
import { buildNative, raw, setThreads } from './index.js';

const available = await buildNative();
if (!available.ok) console.warn(`native kernels are not tested: ${available.why}`);

const wave = (n: number, s: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 * s + s) * 2);

describe.runIf(available.ok)('sampling', () => {
  const [rows, n] = [37, 203];
  const logits = wave(rows * n, 0.37);
  const uniforms = Float32Array.from({ length: rows }, (_, i) => (i * 0.618) % 1);
  const draw = (rule: raw.SamplingRule, x = logits, u = uniforms) => {
    const [tokens, logps] = [new Int32Array(u.length), new Float32Array(u.length)];
    raw.sampleRows(x, u, rule, tokens, logps);
    return { tokens, logps };
  };
  /** In double precision, with the whole distribution sorted. */
  function reference(row: number, { temperature, topK = 0, topP = 1, minP = 0 }: raw.SamplingRule) {
    const x = [...logits.subarray(row * n, (row + 1) * n)];
    const weights = x.map((v) => Math.exp((v - Math.max(...x)) / (temperature || 1)));
    let order = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a] || a - b);
    if (topK) order = order.slice(0, topK);
    const total = order.reduce((s, i) => s + weights[i], 0);
    let mass = 0;
    order = order.filter((i) => {
      const kept = mass < topP * total;
      mass += weights[i];
      return kept;
    });
    order = order.filter((i, rank) => rank === 0 || weights[i] >= minP);
    const left = order.reduce((s, i) => s + weights[i], 0);
    if (temperature === 0) return { tokens: [order[0]], logp: -Math.log(weights.reduce((s, w) => s + w, 0)) };
    // Every token whose stretch of the cumulative sum lies within rounding of the target.
    let sum = 0;
    const near: number[] = [];
    for (const i of order.toSorted((a, b) => a - b)) {
      const from = sum;
      sum += weights[i];
      if (uniforms[row] * left >= from - 1e-4 && uniforms[row] * left <= sum + 1e-4) near.push(i);
    }
    return { tokens: near, logpOf: (i: number) => Math.log(weights[i] / left) };
  }
  for (const rule of [
    { temperature: 1 },
    { temperature: 0.7 },
    { temperature: 0 },
    { temperature: 1, topK: 5 },
    { temperature: 1.3, topP: 0.8 },
    { temperature: 1, minP: 0.3 },
    { temperature: 0.9, topK: 20, topP: 0.7, minP: 0.1 },
  ])
    it(`follows ${JSON.stringify(rule)}`, () => {
      const { tokens, logps } = draw(rule);
      for (let r = 0; r < rows; r++) {
        const expected = reference(r, rule);
        expect(expected.tokens).toContain(tokens[r]);
        expect(logps[r]).toBeCloseTo(expected.logp ?? expected.logpOf!(tokens[r]), 4);
      }
    });
  it('draws the same whatever the other rows and the threads', () => {
    setThreads(1);
    const whole = draw({ temperature: 1 });
    setThreads(3);
    expect(draw({ temperature: 1 })).toEqual(whole);
    for (const r of [0, 17, 36]) {
      const one = draw({ temperature: 1 }, logits.slice(r * n, (r + 1) * n), uniforms.slice(r, r + 1));
      expect([one.tokens[0], one.logps[0]]).toEqual([whole.tokens[r], whole.logps[r]]);
    }
    setThreads(2);
  });
  it('never draws a masked token, whatever the number', () => {
    const x = Float32Array.from({ length: 3 * 5 }, (_, i) => (i % 5 === 2 ? 1 : Number.NEGATIVE_INFINITY));
    expect([...draw({ temperature: 1 }, x, Float32Array.of(0, 0.5, 0.99999994)).tokens]).toEqual([2, 2, 2]);
  });
  it('marks rows that are all masked or not finite', () => {
    const x = Float32Array.of(Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, Number.NaN, 1, Number.POSITIVE_INFINITY);
    expect([...draw({ temperature: 1 }, x, new Float32Array(3)).tokens]).toEqual([-1, -1, -1]);
  });
});

describe.runIf(available.ok)('arguments', () => {
  it('are checked by name', () => {
    expect(() => raw.rmsNorm(new Float32Array(6), new Float32Array(3), 1e-6, new Float32Array(5), new Float32Array(2))).toThrow(
      'rmsNorm: y has 5 entries, not 6',
    );
    const heads = { heads: 2, kvHeads: 1, headDim: 2, causal: true, scale: 1 };
    const f = (k: number) => new Float32Array(k);
    expect(() => raw.attention(f(8), f(4), f(4), { ...heads, cuSeqlens: Int32Array.of(0, 3) }, f(8), f(4))).toThrow(
      'cuSeqlens ends at 3, but there are 2 tokens',
    );
    expect(() => raw.attention(f(8), f(4), f(4), { ...heads, kvHeads: 3, cuSeqlens: Int32Array.of(0, 2) }, f(8), f(4))).toThrow(
      '3 key heads do not divide 2 query heads',
    );
    expect(() => raw.tokenLogps({ hidden: f(4), weight: f(6), targets: Int32Array.of(0, 3), d: 2 }, f(2), f(2))).toThrow(
      'target 3 is outside [0, 3)',
    );
    expect(() => raw.packMatrix(f(4), { out: 2, in: 3, storage: 'f32' })).toThrow('packMatrix: values has 4 entries, not 6');
    const packed = raw.packMatrix(new Uint16Array(6), { out: 2, in: 3, storage: 'bf16' });
    expect(() => raw.packedProduct(f(4), packed, f(2), { rows: 1 })).toThrow('packedProduct: x has 4 entries, not 3');
    expect(() => raw.packedRows(packed, Int32Array.of(2), f(3))).toThrow('packedRows: row 2 is outside [0, 2)');
    expect(() => raw.packMatrix(f(6), { out: 2, in: 3, storage: 'bf16' })).toThrow('argument 0 is not an array of its storage');
    expect(() => raw.packedProduct(f(3), { ...packed, out: 64 }, f(64), { rows: 1 })).toThrow('is not long enough');
    expect(() => raw.gatherRows(f(4), Int32Array.of(2), 2, f(2))).toThrow('the index value 2 is not in [0, 1]');
  });
});

describe.runIf(available.ok)('sumSquares', () => {
  it('adds up the squares of all arrays', () => {
    const [a, b] = [wave(30_001, 0.1), wave(7, 0.3)];
    const expected = [...a, ...b].reduce((s, x) => s + x * x, 0);
    expect(raw.sumSquares([a, b]) / expected).toBeCloseTo(1, 6);
  });
});
