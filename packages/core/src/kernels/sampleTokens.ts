import * as tf from '@tensorflow/tfjs-core';

export type SampleTokensAttrs = {
  /** [rows, vocabulary], on the host. */
  logits: Float32Array;
  /** One number from [0, 1) a row. */
  uniforms: Float32Array;
  /** 0 takes the likeliest token. */
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
};
/** `logps` are under the distribution that was drawn from; at temperature 0, under the one at temperature 1. */
export type SampledTokens = { tokens: Int32Array; logps: Float32Array };

/** What a backend registers under `SampleTokens`; it fills `drawn`. */
export type SampleTokensKernel = (call: { attrs: SampleTokensAttrs & { drawn: SampledTokens } }) => void;

/**
 * One token a row, by inverting each row's distribution in the order of ids: temperature, then top-k, top-p and min-p, each on what
 * the one before left. A row does not depend on the others. A row whose largest logit is not finite gets token -1.
 *
 * @returns null where the backend has no such kernel, and the caller draws by itself
 */
export function sampleTokens(attrs: SampleTokensAttrs): SampledTokens | null {
  const kernel = tf.getKernel('SampleTokens', tf.getBackend());
  if (!kernel) return null;
  const rows = attrs.uniforms.length;
  const drawn = { tokens: new Int32Array(rows), logps: new Float32Array(rows) };
  (kernel.kernelFunc as unknown as SampleTokensKernel)({ attrs: { ...attrs, drawn } });
  return drawn;
}
