/** On-policy distillation: losses against a teacher on the student's own samples. */
import { logSumExp } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { type ClippedOptions, clippedPolicyLoss } from './clipped.js';
import type { PolicyLoss, TokenLosses } from './types.js';

/**
 * Generalized Jensen-Shannon divergence per token: `β·KL(T ‖ M) + (1−β)·KL(S ‖ M)`, `M = (1−β)·S + β·T`; student S, teacher T.
 *
 * Agarwal et al. 2023 (GKD), arXiv:2306.13649, eq. 1; TRL's GKD trainer. At β 0 it is `KL(T ‖ S)` and at β 1 `KL(S ‖ T)`, as special cases: the
 * formula itself tends to 0 there. Both logits are divided by `temperature`. Summed over the vocabulary, not over tokens.
 *
 * @param studentLogits, teacherLogits [tokens, vocabulary]; the teacher's are constants
 * @returns nats, [tokens]; the caller disposes it
 * @throws RangeError for beta outside [0, 1] or different vocabularies
 */
export function generalizedJsd(studentLogits: tf.Tensor2D, teacherLogits: tf.Tensor2D, { beta = 0.5, temperature = 1 } = {}): tf.Tensor1D {
  if (!(beta >= 0 && beta <= 1)) throw new RangeError(`generalizedJsd: beta must be in [0, 1], got ${beta}`);
  if (!(temperature > 0)) throw new RangeError(`generalizedJsd: temperature must be > 0, got ${temperature}`);
  if (studentLogits.shape[1] !== teacherLogits.shape[1])
    throw new RangeError(
      `generalizedJsd: the student has ${studentLogits.shape[1]} tokens and the teacher ${teacherLogits.shape[1]}; they must share a vocabulary`,
    );
  return tf.tidy(() => {
    const [s, t] = [studentLogits, teacherLogits].map((logits) => tf.logSoftmax(tf.div(logits, temperature) as tf.Tensor2D));
    const kl = (p: tf.Tensor2D, q: tf.Tensor2D): tf.Tensor1D => tf.sum(tf.mul(tf.exp(p), tf.sub(p, q)), 1);
    if (beta === 0) return kl(t, s);
    if (beta === 1) return kl(s, t);
    const m = logSumExp<tf.Tensor2D>(tf.stack([tf.add(s, Math.log(1 - beta)), tf.add(t, Math.log(beta))]), 0);
    return tf.add(tf.mul(beta, kl(t, m)), tf.mul(1 - beta, kl(s, m))) as tf.Tensor1D;
  });
}

/**
 * MiniLLM's advantages: reward-to-go of `log T − log S` of the sampled tokens, discounted by γ; with length normalization divided by the sum of
 * the discounts. Gu et al. 2023, arXiv:2306.08543. Numbers, without gradient: TRL lets one through, and multiplies by another γ^t.
 *
 * @param teacher, student log-probabilities of one completion's tokens, [tokens]
 */
export function miniLlmAdvantages(
  teacher: ArrayLike<number>,
  student: ArrayLike<number>,
  { gamma = 0, lengthNormalized = true } = {},
): Float64Array {
  if (!(gamma >= 0 && gamma <= 1)) throw new RangeError(`miniLlmAdvantages: gamma must be in [0, 1], got ${gamma}`);
  const advantages = new Float64Array(teacher.length);
  let [sum, norm] = [0, 0];
  for (let t = teacher.length - 1; t >= 0; t--) {
    sum = teacher[t] - student[t] + gamma * sum;
    norm = 1 + gamma * norm;
    advantages[t] = lengthNormalized ? sum / norm : sum;
  }
  return advantages;
}

/**
 * MiniLLM's loss per token: the clipped policy loss under `miniLlmAdvantages`, plus the reverse KL of the next token over the whole vocabulary, `KL(S ‖ T)`.
 *
 * Gu et al. 2023, arXiv:2306.08543: the single-step part of the gradient is summed exactly, since its reward is known for each token. `klWeight` 0 leaves it out.
 *
 * @param t tokens of the student's own samples, with MiniLLM's advantages; gradients flow through `logps`
 * @param studentLogits, teacherLogits [tokens, vocabulary] at the same tokens; the teacher's are constants
 * @returns [tokens] each, 0 where masked; the caller disposes them
 */
export function miniLlmLoss(
  t: TokenLosses,
  studentLogits: tf.Tensor2D,
  teacherLogits: tf.Tensor2D,
  { klWeight = 1, ...clip }: { klWeight?: number } & Pick<ClippedOptions, 'epsilon' | 'epsilonHigh'> = {},
): PolicyLoss {
  if (!(klWeight >= 0)) throw new RangeError(`miniLlmLoss: klWeight must be >= 0, got ${klWeight}`);
  return tf.tidy(() => {
    const policy = clippedPolicyLoss(t, clip);
    if (klWeight === 0) return policy;
    const kl = generalizedJsd(studentLogits, teacherLogits, { beta: 1 });
    return { ...policy, loss: tf.add(policy.loss, tf.mul(t.completionMask, tf.mul(klWeight, kl))) as tf.Tensor1D };
  });
}

/**
 * Importance-weighted on-policy distillation: advantages `a = log T − log S` at sampling time, with weights that fall along the completion,
 * `1 + γ·(1 − Σ_{j<t}|a_j| / Σ|a|)`. The loss is the mean of `−w·a·log S`. TRL's `iw_opd`.
 *
 * @returns weights w, [tokens]
 */
export function distillationWeights(advantages: ArrayLike<number>, { gamma = 0.5 } = {}): Float64Array {
  const total = Array.from(advantages).reduce((sum, a) => sum + Math.abs(a), 0) + 1e-8;
  let before = 0;
  return Float64Array.from(advantages, (a) => {
    const weight = 1 + gamma * (1 - before / total);
    before += Math.abs(a);
    return weight;
  });
}
