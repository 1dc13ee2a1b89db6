/** What a distilling student learns from a micro-batch of completions. */
import { gatherRows, readCopy } from '@plumbline/core';
import type { PackedBatch } from '@plumbline/data';
import { type LocalDecoder, predictingRows } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { generalizedJsd, miniLlmAdvantages, miniLlmLoss } from './losses/distillation.js';

export type Models = { student: LocalDecoder; teacher: LocalDecoder };
/** `loss` builds the losses of the tokens, [tokens], inside of `gradients`. */
export type Objective = { loss(): tf.Tensor1D; dispose(): void };

/** The divergence between both distributions at each token (`generalizedJsd`). */
export function divergenceObjective(
  { student, teacher }: Models,
  packed: PackedBatch,
  options: { beta: number; temperature: number },
): Objective {
  return {
    loss: () => generalizedJsd(logitsOf(student, packed), logitsOf(teacher, packed), options), // the teacher's parameters are not asked for
    dispose: () => {},
  };
}

/**
 * MiniLLM's on the student's own samples: the clipped policy loss, whose advantages are the rewards `log T − log S` of the tokens to come, and the exact KL(S ‖ T) of each token over the vocabulary
 * (`miniLlmLoss`). The ratio is 1, since each sample is learned from once, so that the first term's gradient is `−A·log S`. Of samples of the mixture of both (`teacherMixture`) every token has the weight
 * `S / (teacherMix·T + (1 − teacherMix)·S)`, the paper's approximation of the weight of all tokens up to it.
 */
export async function miniLlmObjective(
  { student, teacher }: Models,
  packed: PackedBatch,
  {
    gamma,
    lengthNormalized,
    klWeight,
    teacherMix = 0,
    temperature,
  }: { gamma: number; lengthNormalized: boolean; klWeight: number; teacherMix?: number; temperature: number },
): Promise<Objective> {
  const { targets, cuSeqlens } = predictingRows(packed);
  const [studentLogps, teacherLogps] = [await sampledLogps(student, packed, temperature), await sampledLogps(teacher, packed, temperature)];
  const advantages = new Float32Array(targets.length);
  const seqIds = new Int32Array(targets.length);
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const [from, to] = [cuSeqlens[s], cuSeqlens[s + 1]];
    advantages.set(miniLlmAdvantages(teacherLogps.subarray(from, to), studentLogps.subarray(from, to), { gamma, lengthNormalized }), from);
    seqIds.fill(s, from, to);
  }
  const constants = {
    oldLogps: tf.tensor1d(studentLogps),
    advantages: tf.tensor1d(advantages),
    completionMask: tf.ones([targets.length]) as tf.Tensor1D,
    seqIds: tf.tensor1d(seqIds, 'int32'),
  };
  const weights = teacherMix > 0 ? tf.tensor1d(mixtureWeights(teacherLogps, studentLogps, teacherMix)) : undefined;
  return {
    loss: () =>
      tf.tidy(() => {
        const [own, given] = [student, teacher].map((model) => tf.div(logitsOf(model, packed), temperature) as tf.Tensor2D);
        const chosen = tf.oneHot(tf.tensor1d(targets, 'int32'), own.shape[1]);
        const logps = tf.sum(tf.mul(tf.logSoftmax(own), chosen), 1) as tf.Tensor1D;
        const { loss } = miniLlmLoss({ logps, ...constants, sequences: cuSeqlens.length - 1 }, own, given, { klWeight });
        return weights ? tf.mul(loss, weights) : loss;
      }),
    dispose: () => tf.dispose([...Object.values(constants), ...(weights ? [weights] : [])]),
  };
}

/** `S / (mix·T + (1 − mix)·S)` of each token, between 0 and `1 / (1 − mix)`. */
function mixtureWeights(teacher: Float32Array, student: Float32Array, mix: number): Float32Array {
  return student.map((logp, t) => 1 / (mix * Math.exp(teacher[t] - logp) + 1 - mix));
}

/** log-probabilities of the tokens that count, [tokens]. */
async function sampledLogps(model: LocalDecoder, packed: PackedBatch, temperature: number): Promise<Float32Array> {
  const { tokens, ...others } = model.completionLogps(packed, { temperature });
  tf.dispose(others);
  const values = (await readCopy(tokens)) as Float32Array;
  tokens.dispose();
  return values;
}

/** Logits at the states before each token that counts, [tokens, vocabulary]. */
function logitsOf(decoder: LocalDecoder, packed: PackedBatch): tf.Tensor2D {
  return tf.tidy(() => decoder.logits(gatherRows({ x: decoder.hidden(packed) }, { rows: predictingRows(packed).rows }).y));
}
