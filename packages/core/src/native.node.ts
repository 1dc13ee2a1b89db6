/** The fused kernels over the raw functions of @plumbline/native; called once, after its backend is registered. */
import { type NativeBackend, raw } from '@plumbline/native';
import * as tf from '@tensorflow/tfjs-core';
import { type PackedForm, packedForm, registerPacker, type StoredMatrix } from './frozen.js';
import type { AttentionAttrs } from './kernels/attention.js';
import type { CachedAttentionAttrs } from './kernels/cachedAttention.js';
import type { DecoderStepCall } from './kernels/decoderStep.js';
import type { EmbeddingAttrs } from './kernels/embedding.js';
import type { GroupNormAttrs } from './kernels/groupNorm.js';
import type { LinearAttrs } from './kernels/linear.js';
import type { LowRankLinearAttrs } from './kernels/lowRankLinear.js';
import { type RotaryAttrs, rotaryTables } from './kernels/rotary.js';
import type { SegmentAttrs } from './kernels/rows.js';
import type { SampledTokens, SampleTokensAttrs } from './kernels/sampleTokens.js';
import type { TokenLogpsAttrs } from './kernels/tokenLogps.js';
import type { AdamWStepAttrs, AdamWStepInputs } from './optimizers/adamW.js';
import type { FrozenMatrix } from './types.js';

type Info = tf.TensorInfo;
type Inputs = Record<string, Info>;
type Call<A> = { inputs: Inputs; attrs: A; make: Make; of: (x: Info) => Float32Array };
/** A new float tensor whose contents are still to be written. */
type Make = (shape: number[]) => { info: Info; values: Float32Array };
/** The gradients that are needed, by input name, each made before the kernel runs. */
type Wanted = { info: (name: string) => Info; values: (name: string) => Float32Array | null };

const size = tf.util.sizeFromShape;

/** Registers a kernel, in place of one that the backend copied from cpu. */
function put(config: tf.KernelConfig): void {
  if (tf.getKernel(config.kernelName, config.backendName)) tf.unregisterKernel(config.kernelName, config.backendName);
  tf.registerKernel(config);
}

function register<A>(kernelName: string, kernel: (call: Call<A>) => Info[]): void {
  put({
    kernelName,
    backendName: 'native',
    kernelFunc: ({ inputs, attrs, backend }) => {
      const native = backend as unknown as NativeBackend;
      const of = (x: Info) => native.values(x) as Float32Array;
      const make: Make = (shape) => {
        const info = native.empty(shape, 'float32');
        return { info, values: of(info) };
      };
      return kernel({ inputs: inputs as unknown as Inputs, attrs: attrs as unknown as A, make, of });
    },
  });
}

/** A backward kernel: `shapes` says how each gradient that may be asked for is shaped. */
function registerGrad<A>(
  name: string,
  shapes: (inputs: Inputs, attrs: A) => Record<string, number[]>,
  kernel: (call: Call<A> & { wanted: Wanted }) => void,
): void {
  register<{ attrs: A; needs: string[] }>(`${name}Grad`, ({ inputs, attrs: { attrs, needs }, make, of }) => {
    const all = shapes(inputs, attrs);
    const made = Object.fromEntries(needs.map((key) => [key, make(all[key])]));
    kernel({ inputs, attrs, make, of, wanted: { info: (key) => made[key].info, values: (key) => made[key]?.values ?? null } });
    return needs.map((key) => made[key].info);
  });
}

export function registerNativeKernels(): void {
  registerPacker('native', packForNative);

  register<{ eps: number }>('RmsNorm', ({ inputs: { x, weight }, attrs, make, of }) => {
    const [y, r] = [make(x.shape), make([...x.shape.slice(0, -1), 1])];
    raw.rmsNorm(of(x), of(weight), attrs.eps, y.values, r.values);
    return [y.info, r.info];
  });
  registerGrad(
    'RmsNorm',
    ({ x, weight }) => ({ x: x.shape, weight: weight.shape }),
    ({ inputs, of, wanted }) =>
      raw.rmsNormGrad(of(inputs['dy:y']), of(inputs.x), of(inputs.weight), of(inputs.r), wanted.values('x'), wanted.values('weight')),
  );

  register<{ eps: number }>('LayerNorm', ({ inputs: { x, weight, bias }, attrs, make, of }) => {
    const rows = [...x.shape.slice(0, -1), 1];
    const [y, mean, r] = [make(x.shape), make(rows), make(rows)];
    raw.layerNorm(of(x), of(weight), of(bias), attrs.eps, y.values, mean.values, r.values);
    return [y.info, mean.info, r.info];
  });
  registerGrad(
    'LayerNorm',
    ({ x, weight }) => ({ x: x.shape, weight: weight.shape, bias: weight.shape }),
    ({ inputs, of, wanted }) =>
      raw.layerNormGrad(
        of(inputs['dy:y']),
        of(inputs.x),
        of(inputs.weight),
        of(inputs.mean),
        of(inputs.r),
        wanted.values('x'),
        wanted.values('weight'),
        wanted.values('bias'),
      ),
  );

  const groupShape = (x: Info, { groups, eps, silu }: GroupNormAttrs) => {
    const [batch, channels] = [x.shape[0], x.shape[x.shape.length - 1]];
    return { batch, positions: size(x.shape.slice(1, -1)), channels, groups, eps, silu };
  };
  register<GroupNormAttrs>('GroupNorm', ({ inputs: { x, weight, bias }, attrs, make, of }) => {
    const each = [x.shape[0], 1, attrs.groups, 1];
    const [y, mean, r] = [make(x.shape), make(each), make(each)];
    raw.groupNorm(of(x), of(weight), of(bias), groupShape(x, attrs), y.values, mean.values, r.values);
    return [y.info, mean.info, r.info];
  });
  registerGrad<GroupNormAttrs>(
    'GroupNorm',
    ({ x, weight }) => ({ x: x.shape, weight: weight.shape, bias: weight.shape }),
    ({ inputs: { x, weight, bias, mean, r, ...dys }, attrs, of, wanted }) =>
      raw.groupNormGrad(
        of(dys['dy:y']),
        of(x),
        of(weight),
        of(bias),
        of(mean),
        of(r),
        groupShape(x, attrs),
        wanted.values('x'),
        wanted.values('weight'),
        wanted.values('bias'),
      ),
  );

  register<RotaryAttrs>('Rotary', ({ inputs: { x }, attrs, make, of }) => {
    const y = make(x.shape);
    turn(of(x), x.shape, attrs, false, y.values);
    return [y.info];
  });
  registerGrad<RotaryAttrs>(
    'Rotary',
    (inputs) => ({ x: inputs['dy:y'].shape }),
    ({ inputs, attrs, of, wanted }) => turn(of(inputs['dy:y']), inputs['dy:y'].shape, attrs, true, wanted.values('x')!),
  );

  register('SwiGlu', ({ inputs: { gate, up }, make, of }) => {
    const y = make(gate.shape);
    raw.swiGlu(of(gate), of(up), y.values);
    return [y.info];
  });
  registerGrad(
    'SwiGlu',
    ({ gate }) => ({ gate: gate.shape, up: gate.shape }),
    ({ inputs, of, wanted }) =>
      raw.swiGluGrad(of(inputs['dy:y']), of(inputs.gate), of(inputs.up), wanted.values('gate'), wanted.values('up')),
  );
  register('GeluTanh', ({ inputs: { x }, make, of }) => {
    const y = make(x.shape);
    raw.geluTanh(of(x), y.values);
    return [y.info];
  });
  registerGrad(
    'GeluTanh',
    ({ x }) => ({ x: x.shape }),
    ({ inputs, of, wanted }) => raw.geluTanhGrad(of(inputs['dy:y']), of(inputs.x), wanted.values('x')!),
  );

  register<AttentionAttrs>('Attention', ({ inputs: { q, k, v }, attrs, make, of }) => {
    const [y, lse] = [make(q.shape), make(q.shape.slice(0, 2))];
    raw.attention(of(q), of(k), of(v), attentionShape(q, k, attrs), y.values, lse.values);
    return [y.info, lse.info];
  });
  registerGrad<AttentionAttrs>(
    'Attention',
    ({ q, k }) => ({ q: q.shape, k: k.shape, v: k.shape }),
    ({ inputs, attrs, of, wanted }) => {
      const { q, k, v, y, lse } = inputs;
      const to = [wanted.values('q'), wanted.values('k'), wanted.values('v')] as const;
      raw.attentionGrad(of(inputs['dy:y']), of(q), of(k), of(v), of(y), of(lse), attentionShape(q, k, attrs), ...to);
    },
  );

  register<CachedAttentionAttrs>(
    'CachedAttention',
    ({ inputs: { q }, attrs: { keys, values, rows, lengths, tables, ...rest }, make, of }) => {
      const [, heads, headDim] = q.shape;
      const y = make(q.shape);
      raw.pagedAttention(of(q), keys, values, rows, lengths, tables, { ...rest, heads, headDim }, y.values);
      return [y.info];
    },
  );
  // By list: a list is never changed, but an optimizer's step may give a tensor other memory.
  const prepared = new WeakMap<object, raw.StepWeights>();
  const preparedUpdates = new WeakMap<object, { arrays: Float32Array[]; ready: raw.StepUpdates }>();
  put({
    kernelName: 'DecoderStep',
    backendName: 'native',
    kernelFunc: ({ attrs, backend }) => {
      const { shape, weights, updates, x, rotary, rows, lengths, tables, slots, wanted, logits } = attrs as unknown as DecoderStepCall;
      const native = backend as unknown as NativeBackend;
      const values = (one: tf.Tensor) => native.values(one) as Float32Array;
      const isTensor = (one: DecoderStepCall['weights'][number]): one is tf.Tensor =>
        one !== null && !(one instanceof Float32Array) && !('storage' in one);
      let ready = prepared.get(weights);
      if (!ready || weights.some((one, i) => isTensor(one) && values(one) !== ready!.arrays[i])) {
        ready = raw.stepWeights(
          weights.map((one) => (isTensor(one) ? values(one) : one === null || one instanceof Float32Array ? one : packed(one))),
        );
        prepared.set(weights, ready);
      }
      let low = updates && preparedUpdates.get(updates);
      if (updates) {
        const arrays = updates.flatMap((one) => (one ? [values(one.a), values(one.b)] : []));
        if (!low || arrays.some((array, i) => array !== low!.arrays[i])) {
          const each = updates.map((one) => one && { a: values(one.a), b: values(one.b), rank: one.a.shape[0], scale: one.scale });
          low = { arrays, ready: raw.stepUpdates(each) };
          preparedUpdates.set(updates, low);
        }
      }
      const o = { ...shape, bf16: shape.products === 'bf16' };
      raw.decoderStep(o, ready, native.values(x) as Float32Array, rotary, { rows, lengths, tables, slots, wanted }, logits, low?.ready);
      return [];
    },
  });

  register<TokenLogpsAttrs>('TokenLogps', ({ inputs, attrs, make, of }) => {
    const n = attrs.targets.length;
    const [logps, logZ] = [make([n]), make([n])];
    const entropy = attrs.entropy ? make([n]) : null;
    const squaredSum = attrs.squaredSum ? make([n]) : null;
    raw.tokenLogps(tokenInputs(inputs, attrs, of), logps.values, logZ.values, entropy?.values ?? null, squaredSum?.values ?? null);
    return [logps, entropy, squaredSum, logZ].flatMap((x) => (x ? [x.info] : []));
  });
  registerGrad<TokenLogpsAttrs>(
    'TokenLogps',
    ({ hidden, weight }, { frozen }) => {
      const [v, d] = (frozen ?? weight).shape;
      return { hidden: hidden.shape, weight: [v, d], bias: [v] };
    },
    ({ inputs, attrs, of, wanted }) => {
      const dy = (name: string) => (inputs[`dy:${name}`] ? of(inputs[`dy:${name}`]) : null);
      raw.tokenLogpsGrad(
        tokenInputs(inputs, attrs, of),
        of(inputs.logZ),
        { logps: dy('logps'), entropy: dy('entropy'), squaredSum: dy('squaredSum') },
        { hidden: wanted.values('hidden'), weight: wanted.values('weight'), bias: wanted.values('bias') },
      );
    },
  );

  register<LinearAttrs>('Linear', ({ inputs: { x, weight, bias }, attrs: { frozen, products }, make, of }) => {
    const [m, k] = x.shape;
    const n = frozen ? frozen.shape[0] : weight.shape[0];
    const y = make([m, n]);
    const o = { bias: bias ? of(bias) : null, bf16: products === 'bf16' };
    if (frozen) raw.packedProduct(of(x), packed(frozen), y.values, { ...o, rows: m });
    else raw.gemm(of(x), of(weight), y.values, { ...o, m, n, k, transB: true });
    return [y.info];
  });
  registerGrad<LinearAttrs>(
    'Linear',
    ({ 'dy:y': { shape }, x, weight }, { frozen }) => {
      const [rows, out] = shape;
      const width = (frozen ?? weight ?? x)?.shape[1]; // not there, and not asked for, where the bias alone is trained
      return { x: [rows, width], weight: [out, width], bias: [out] };
    },
    ({ inputs, attrs: { frozen, products }, of, wanted }) => {
      const [rows, out] = inputs['dy:y'].shape;
      const dy = of(inputs['dy:y']);
      const bf16 = products === 'bf16';
      const [dx, dWeight, dBias] = [wanted.values('x'), wanted.values('weight'), wanted.values('bias')];
      if (dx && frozen) raw.packedProduct(dy, packed(frozen), dx, { rows, backward: true, bf16 });
      else if (dx) raw.gemm(dy, of(inputs.weight), dx, { m: rows, n: inputs.weight.shape[1], k: out, bf16 });
      if (dWeight) raw.gemm(dy, of(inputs.x), dWeight, { m: out, n: inputs.x.shape[1], k: rows, transA: true, bf16 });
      if (dBias) raw.columnSums(dy, out, dBias);
    },
  );

  let spare = new Float32Array(0);
  /** Memory for what a kernel needs while it runs. */
  const scratch = (length: number): Float32Array => {
    if (spare.length < length) spare = new Float32Array(length);
    return spare.subarray(0, length);
  };
  const scaleBy = (x: Float32Array, scale: number): void => {
    for (let i = 0; i < x.length; i++) x[i] *= scale; // [n, r] numbers
  };
  register<LowRankLinearAttrs>('LowRankLinear', ({ inputs: { x, weight, bias, a, b }, attrs: { frozen, products, scale }, make, of }) => {
    const [[m, k], r] = [x.shape as [number, number], a.shape[0]];
    const n = b.shape[0];
    const [y, h] = [make([m, n]), make([m, r])];
    const o = { bias: bias ? of(bias) : null, bf16: products === 'bf16' };
    if (frozen) raw.packedProduct(of(x), packed(frozen), y.values, { ...o, rows: m });
    else raw.gemm(of(x), of(weight), y.values, { ...o, m, n, k, transB: true });
    raw.gemm(of(x), of(a), h.values, { m, n: r, k, transB: true });
    scaleBy(h.values, scale);
    raw.gemm(h.values, of(b), y.values, { m, n, k: r, transB: true, accumulate: true });
    return [y.info, h.info];
  });
  registerGrad<LowRankLinearAttrs>(
    'LowRankLinear',
    ({ 'dy:y': { shape }, x, weight, a, b, h }, { frozen }) => {
      const [rows, out] = shape;
      const width = (frozen ?? weight ?? x ?? a)?.shape[1]; // as in Linear
      const r = a?.shape[0] ?? b?.shape[1] ?? h?.shape[1];
      return { x: [rows, width], weight: [out, width], bias: [out], a: [r, width], b: [out, r] };
    },
    ({ inputs, attrs: { frozen, products, scale }, of, wanted }) => {
      const [m, n] = inputs['dy:y'].shape;
      const dy = of(inputs['dy:y']);
      const bf16 = products === 'bf16';
      const [dx, dWeight, dBias, da, db] = ['x', 'weight', 'bias', 'a', 'b'].map((key) => wanted.values(key));
      if (dx && frozen) raw.packedProduct(dy, packed(frozen), dx, { rows: m, backward: true, bf16 });
      else if (dx) raw.gemm(dy, of(inputs.weight), dx, { m, n: inputs.weight.shape[1], k: n, bf16 });
      if (dWeight) raw.gemm(dy, of(inputs.x), dWeight, { m: n, n: inputs.x.shape[1], k: m, transA: true, bf16 });
      if (dBias) raw.columnSums(dy, n, dBias);
      if (dx || da) {
        const r = inputs.b.shape[1];
        const g = scratch(m * r);
        raw.gemm(dy, of(inputs.b), g, { m, n: r, k: n });
        scaleBy(g, scale);
        if (dx) raw.gemm(g, of(inputs.a), dx, { m, n: inputs.a.shape[1], k: r, accumulate: true });
        if (da) raw.gemm(g, of(inputs.x), da, { m: r, n: inputs.x.shape[1], k: m, transA: true });
      }
      if (db) raw.gemm(dy, of(inputs.h), db, { m: n, n: inputs.h.shape[1], k: m, transA: true });
    },
  );

  register<EmbeddingAttrs>('Embedding', ({ inputs: { weight }, attrs: { ids, frozen }, make, of }) => {
    const width = frozen ? frozen.shape[1] : weight.shape[1];
    const y = make([ids.length, width]);
    if (frozen) raw.packedRows(packed(frozen), ids, y.values);
    else raw.gatherRows(of(weight), ids, width, y.values);
    return [y.info];
  });
  registerGrad<EmbeddingAttrs>(
    'Embedding',
    ({ weight }) => ({ weight: weight.shape }),
    ({ inputs, attrs, of, wanted }) => raw.scatterRows(of(inputs['dy:y']), attrs.ids, inputs.weight.shape[1], wanted.values('weight')!),
  );
  register<{ rows: Int32Array }>('GatherRows', ({ inputs: { x }, attrs: { rows }, make, of }) => {
    const y = make([rows.length, x.shape[1]]);
    raw.gatherRows(of(x), rows, x.shape[1], y.values);
    return [y.info];
  });
  registerGrad<{ rows: Int32Array; count?: number }>(
    'GatherRows',
    (inputs, { count }) => ({ x: [count!, inputs['dy:y'].shape[1]] }),
    ({ inputs, attrs, of, wanted }) => raw.scatterRows(of(inputs['dy:y']), attrs.rows, inputs['dy:y'].shape[1], wanted.values('x')!),
  );
  for (const [name, mean] of [
    ['SegmentMean', true],
    ['SegmentSum', false],
  ] as const) {
    register<SegmentAttrs>(name, ({ inputs: { x }, attrs: { cuSeqlens, mask }, make, of }) => {
      const inner = x.shape.slice(1);
      const y = make([cuSeqlens.length - 1, ...inner]);
      raw.segmentReduce(of(x), cuSeqlens, size(inner), { mean, mask }, y.values);
      return [y.info];
    });
    registerGrad<SegmentAttrs>(
      name,
      (inputs, { cuSeqlens }) => ({ x: [cuSeqlens[cuSeqlens.length - 1], ...inputs['dy:y'].shape.slice(1)] }),
      ({ inputs, attrs: { cuSeqlens, mask }, of, wanted }) =>
        raw.segmentReduceGrad(of(inputs['dy:y']), cuSeqlens, size(inputs['dy:y'].shape.slice(1)), { mean, mask }, wanted.values('x')!),
    );
  }

  register('PlainCopy', ({ inputs: { x }, make, of }) => {
    const y = make(x.shape);
    raw.plainCopy(of(x), y.values);
    return [y.info];
  });

  put({
    kernelName: 'SampleTokens',
    backendName: 'native',
    kernelFunc: (call) => {
      const { logits, uniforms, drawn, ...rule } = call.attrs as unknown as SampleTokensAttrs & { drawn: SampledTokens };
      raw.sampleRows(logits, uniforms, rule, drawn.tokens, drawn.logps);
      return [];
    },
  });
  put({
    kernelName: 'AdamWStep',
    backendName: 'native',
    kernelFunc: (call) => {
      const { values, grads, m, v } = call.inputs as unknown as AdamWStepInputs;
      const { learningRate, gradScale, beta1, beta2, eps, decays, steps } = call.attrs as unknown as AdamWStepAttrs;
      const native = call.backend as unknown as NativeBackend;
      const of = (x: Info) => native.values(x) as Float32Array;
      for (const step of new Set(steps)) {
        const now = [...steps.keys()].filter((i) => steps[i] === step); // one call, unless a parameter came later
        const pick = (xs: Info[]) => now.map((i) => of(xs[i]));
        raw.adamW(pick(values), pick(grads), pick(m), pick(v), {
          learningRate,
          gradScale,
          beta1,
          beta2,
          eps,
          decays: now.map((i) => decays[i]),
          step,
        });
      }
      return [];
    },
  });
}

function turn(x: Float32Array, [tokens, heads, headDim]: number[], attrs: RotaryAttrs, inverse: boolean, y: Float32Array): void {
  const { cos, sin } = rotaryTables(attrs);
  raw.rotary(x, cos, sin, { tokens, heads, headDim, inverse }, y);
}

function attentionShape(q: Info, k: Info, { cuSeqlens, prefixOf, causal, scale, window, softcap }: AttentionAttrs): raw.AttentionShape {
  return { cuSeqlens, prefixOf, heads: q.shape[1], kvHeads: k.shape[1], headDim: q.shape[2], causal, scale, window, softcap };
}

function tokenInputs(
  { hidden, weight, bias }: Inputs,
  { targets, temperature, softcap, frozen, products }: TokenLogpsAttrs,
  of: (x: Info) => Float32Array,
): raw.TokenLogpsInputs {
  return {
    hidden: of(hidden),
    weight: frozen ? packed(frozen) : of(weight),
    bias: bias ? of(bias) : null,
    targets,
    d: hidden.shape[1],
    temperature,
    softcap,
    bf16: products === 'bf16',
  };
}

type NativeForm = PackedForm & { readonly matrix: raw.PackedMatrix };

function packForNative(stored: StoredMatrix): NativeForm {
  const { data, storage } = stored;
  const [out, width] = stored.shape;
  const matrix = raw.packMatrix(data, { out, in: width, storage, ...(storage === 'int8' && { scales: stored.scales }) });
  return {
    matrix,
    bytes: matrix.bytes.byteLength,
    rows: (ids) => {
      const y = new Float32Array(ids.length * width);
      raw.packedRows(matrix, ids, y);
      return y;
    },
  };
}

const packed = (frozen: FrozenMatrix): raw.PackedMatrix => (packedForm(frozen, 'native') as NativeForm).matrix;
