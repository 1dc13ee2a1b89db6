import {
  adamW,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type MetricName,
  type Rng,
  type Run,
  ScheduleConfig,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { type Batches, promptBatches } from '@plumbline/data';
import { type LocalEncoder, packTexts } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { infoNce } from './infoNce.js';

/** Two texts that belong together, and others that look like `right` and do not belong to `left`. */
export type TextPair = { id?: string; left: string; right: string; negatives?: readonly string[] };

/** Pairs of one update. `alike` [pairs · pairs] is 1 where two pairs share their right text: what belongs to one is no negative of the other. */
export type ContrastBatch = { ids: string[]; left: string[]; right: string[]; negatives: string[]; alike: Uint8Array };

/**
 * Batches of pairs in a new order each epoch, with `negativesPerPair` of each pair's negatives drawn anew each time. A negative that is the right text of some pair of its batch
 * is left out there, since all negatives stand against all rows.
 */
export function contrastBatches(
  pairs: readonly TextPair[],
  {
    pairsPerStep,
    negativesPerPair = 0,
    rng,
    ...duration
  }: { pairsPerStep: number; negativesPerPair?: number; rng: Rng } & (
    | { steps: number; epochs?: undefined }
    | { epochs: number; steps?: undefined }
  ),
): Batches<ContrastBatch> {
  const order = promptBatches(pairs, { promptsPerStep: pairsPerStep, rng: rng.fork('order'), ...duration });
  return {
    steps: order.steps,
    async at(step) {
      const { ids, prompts: chosen } = await order.at(step);
      const right = chosen.map((pair) => pair.right);
      const positive = new Set(right);
      const drawn = chosen.flatMap(({ negatives = [] }, i) =>
        Array.from(rng.fork('negatives', step, i).permutation(negatives.length).subarray(0, negativesPerPair), (n) => negatives[n]),
      );
      return {
        ids,
        left: chosen.map((pair) => pair.left),
        right,
        negatives: [...new Set(drawn)].filter((text) => !positive.has(text)),
        alike: Uint8Array.from({ length: right.length ** 2 }, (_, at) =>
          Number(right[Math.floor(at / right.length)] === right[at % right.length]),
        ),
      };
    },
  };
}

/** Settings of `trainEncoder`. */
export const EncoderTrainConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  temperature: z.number().positive().default(0.07).describe('Similarities are divided by it'),
  learningRate: z
    .number()
    .positive()
    .default(2e-5)
    .describe('Peak rate, after warm-up; 1e-3 for a new encoder of a few hundred thousand parameters'),
  schedule: ScheduleConfig.prefault({ kind: 'cosine', warmupSteps: 0 }).describe('Warm-up and decay of the rate'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('Decay of the mean of gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('Decay of the mean of squared gradients'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  evaluateEvery: z.int().positive().optional().describe('Steps between evaluations; at the end alone by default'),
});
export type EncoderTrainConfig = z.input<typeof EncoderTrainConfig>;

export type EncoderTraining = {
  encoder: LocalEncoder;
  batches: Batches<ContrastBatch>;
  run: Run;
  /** Metrics on held-out pairs, such as `eval/accuracy`; logged with the step after which they hold. */
  evaluate?: (encoder: LocalEncoder, step: number) => Promise<Partial<Record<MetricName, number>>>;
};

/**
 * Trains a text encoder so that texts of a pair come near each other and others go away (`infoNce`, both directions); goes on from `run`'s last checkpoint if it has one.
 *
 * The loss is the mean over the pairs of a step. Every text of a step stands against every other, so that a step is one piece and cannot be split. Logs `loss` (nats a pair), `gradNorm`
 * (before clipping), `learningRate`, `tokens`, `tokensPerSecond`, and `accuracy`: the share of left texts to which their own right text is nearest, hard negatives included.
 *
 * @throws ConfigError naming the option that is wrong, or for an encoder whose vectors are not of unit length; InterruptedError, after saving, where the run's signal is aborted;
 *   NonFiniteError naming the step and the pairs, once the state before that step is saved
 */
export async function trainEncoder(config: EncoderTrainConfig, { encoder, batches, run, evaluate }: EncoderTraining): Promise<void> {
  const parsed = EncoderTrainConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainEncoder: ${z.prettifyError(parsed.error)}`);
  const { steps, temperature, learningRate: peak, schedule, maxGradNorm, evaluateEvery = steps, ...adam } = parsed.data;
  if (batches.steps < steps) throw new ConfigError(`trainEncoder: ${steps} steps, but the batches end after ${batches.steps}`);
  if (!encoder.sentences.normalize)
    throw new ConfigError(`trainEncoder: the vectors of ${encoder.name} are not scaled to length 1; set sentences.normalize`);
  const rate = learningRateSchedule({ ...schedule, peak, steps });
  const { parameters } = encoder;
  const weights = parameters.trainable();
  const optimizer = adamW({ ...adam, decays: (name) => !/norm|bias/i.test(name) && parameters.get(name).shape.length > 1 });
  const state = { encoder: parameters, optimizer };
  try {
    for (let step = await run.restore(state); step < steps; step++) {
      await saveIfAborted(run, step, state);
      const start = performance.now();
      const { ids, left, right, negatives, alike } = await batches.at(step);
      const packed = packTexts([...left, ...right, ...negatives].map((text) => encoder.encode(text)));
      const sum = gradientSum(weights);
      sum.add(
        gradients(() => {
          const vectors = encoder.sentenceEmbeddings(packed);
          const rows = (from: number, count: number) => tf.slice(vectors, [from, 0], [count, encoder.width]);
          const n = left.length;
          const contrasted = {
            left: rows(0, n),
            right: rows(n, n),
            ...(negatives.length > 0 && { negatives: rows(2 * n, negatives.length) }),
          };
          const loss = tf.mean(infoNce(contrasted, { temperature, alike })) as tf.Scalar;
          return { loss, metrics: { accuracy: nearestShare(contrasted.left, rows(n, n + negatives.length), alike) } };
        }, weights),
      );
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: ids, values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, maxGradNorm), learningRate });
      sum.dispose();
      const tokens = packed.tokens.length;
      const tokensPerSecond = (tokens * 1000) / (performance.now() - start);
      const last = step + 1 === steps;
      const evaluated = evaluate && (last || (step + 1) % evaluateEvery === 0) ? await evaluate(encoder, step + 1) : {};
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond, ...evaluated });
      await saveIfDue(run, step + 1, state, last);
    }
  } finally {
    optimizer.dispose();
  }
}

/** Share of rows of `left` to which, of all `others`, row i of them is nearest; those that mean the same do not count against it. */
function nearestShare(left: tf.Tensor2D, others: tf.Tensor2D, alike: Uint8Array): tf.Scalar {
  const [n, all] = [left.shape[0], others.shape[0]];
  const out = Float32Array.from({ length: n * all }, (_, at) => {
    const [i, j] = [Math.floor(at / all), at % all];
    return j < n && i !== j && alike[i * n + j] ? -10 : 0;
  });
  const nearest = tf.argMax(tf.add(tf.matMul(left, others, false, true), tf.tensor2d(out, [n, all])), 1);
  return tf.mean(tf.cast(tf.equal(nearest, tf.range(0, n, 1, 'int32')), 'float32')) as tf.Scalar;
}
