/** From a batch and a loss to the numbers of a step: what `trainReward` differentiates, for pairs, targets and steps alike. */
import { ConfigError, createParameters, gatherRows, gradients, type Parameter, type ParameterTree, readCopy } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { RewardModel } from './heads.js';
import type { LabelledRewardBatch, StepBatch, TargetBatch } from './items.js';
import { isLabelled } from './losses/step.js';
import type { PairItems, PairRewardLoss, RewardLoss, StepRewardLoss, TargetRewardLoss } from './losses/types.js';

export type AnyBatch = LabelledRewardBatch | TargetBatch | StepBatch;
type Metrics = Record<string, tf.Scalar>;
/** How one loss reads a batch of its kind. `outputs` are the model's numbers, of segments or of step ends. */
export type Objective<B extends AnyBatch> = {
  /** What the sum of losses is divided by. */
  divisor(batch: B): number;
  /** What penalties of single items are averaged over. */
  items(batch: B): number;
  outputs(batch: B): tf.Tensor2D;
  apply(batch: B, outputs: tf.Tensor2D): RewardLoss;
  metrics(batch: B, outputs: tf.Tensor2D, whole: B): Metrics;
};

const mean = (x: tf.Tensor, n: number) => tf.div(tf.sum(x), n) as tf.Scalar;
const column = (x: tf.Tensor2D, k: number) => tf.reshape(tf.slice(x, [0, k], [x.shape[0], 1]), [-1]) as tf.Tensor1D;

export function pairObjective<O>(
  model: RewardModel,
  loss: PairRewardLoss<O>,
  options: O,
  own: () => Record<string, tf.Tensor>,
): Objective<LabelledRewardBatch> {
  const heads = headsOf(loss, options, 1);
  const side = (outputs: tf.Tensor2D, rows: Int32Array) => gatherRows({ x: outputs }, { rows }).y;
  const total = (x: tf.Tensor2D) => (x.shape[1] === 1 ? (tf.reshape(x, [-1]) as tf.Tensor1D) : (tf.sum(x, 1) as tf.Tensor1D));
  return {
    divisor: ({ pairs, weights }) => (weights ? weights.reduce((a, b) => a + b, 0) : pairs),
    items: ({ pairs }) => pairs,
    outputs: ({ packed }) => segmentOutputs(model, packed, heads),
    apply(batch, outputs) {
      if (loss.needs?.includes('labels') && !batch.labels)
        throw new ConfigError('this loss needs a label of each pair: see withPairLabels');
      const [chosen, rejected] = [side(outputs, batch.chosen), side(outputs, batch.rejected)];
      const counts = loss.needs?.includes('lengths') ? completionTokens(batch) : undefined;
      const items: PairItems = {
        chosen: total(chosen),
        rejected: total(rejected),
        ...(heads > 1 && { outputs: { chosen, rejected } }),
        ...(batch.margins && { margin: tf.tensor1d(batch.margins) }),
        ...(batch.weights && { weight: tf.tensor1d(batch.weights) }),
        ...(batch.labels && { labels: batch.labels }),
        ...(counts && { lengths: { chosen: batch.chosen.map((s) => counts[s]), rejected: batch.rejected.map((s) => counts[s]) } }),
        ...(loss.needs?.includes('head') && { head: (model.parameters.get('score.weight') as Parameter).value as tf.Tensor2D }),
      };
      return loss.apply(items, options, own());
    },
    metrics(batch, outputs, { pairs }) {
      const score = heads > 1 ? column(outputs, 0) : total(outputs); // of several heads the first is the reward
      const one = tf.reshape(score, [-1, 1]) as tf.Tensor2D;
      const [chosen, rejected] = [total(side(one, batch.chosen)), total(side(one, batch.rejected))];
      return {
        accuracy: mean(tf.cast(tf.greater(chosen, rejected), 'float32'), pairs),
        margin: mean(tf.sub(chosen, rejected), pairs),
        'scores/chosen': mean(chosen, pairs),
        'scores/rejected': mean(rejected, pairs),
        'scores/mean': mean(tf.mul(0.5, tf.add(chosen, rejected)), pairs),
      };
    },
  };
}

export function targetObjective<O>(
  model: RewardModel,
  loss: TargetRewardLoss<O>,
  options: O,
  own: () => Record<string, tf.Tensor>,
): Objective<TargetBatch> {
  return {
    divisor: (batch) => loss.size(batch, options),
    items: ({ items }) => items,
    outputs: ({ packed, columns }) => segmentOutputs(model, packed, headsOf(loss, options, columns)),
    apply: ({ targets, columns, weights }, outputs) =>
      loss.apply({ outputs, targets, columns, ...(weights && { weights }) }, options, own()),
    metrics: (_, outputs, { items }) => ({ 'scores/mean': mean(tf.mean(outputs, 1), items) }),
  };
}

export function stepObjective<O>(
  model: RewardModel,
  loss: StepRewardLoss<O>,
  options: O,
  own: () => Record<string, tf.Tensor>,
): Objective<StepBatch> {
  const labelled = ({ labels }: StepBatch) => labels.reduce((n, label) => n + (isLabelled(label) ? 1 : 0), 0);
  const heads = headsOf(loss, options, 1);
  return {
    divisor: labelled,
    items: labelled,
    outputs(batch) {
      if (!model.stepOutputs) throw new ConfigError(`${model.name} gives no numbers at the ends of steps; use createHeads`);
      return expectHeads(model, model.stepOutputs(batch.packed, batch.rows), heads);
    },
    apply: ({ labels }, outputs) => loss.apply({ outputs, labels }, options, own()),
    metrics({ labels }, outputs, whole) {
      const right = outputs.shape[1] === 2 ? tf.greater(column(outputs, 1), column(outputs, 0)) : tf.greater(column(outputs, 0), 0);
      const known = tf.tensor1d(Float32Array.from(labels, (label) => (isLabelled(label) ? 1 : 0)));
      const truth = tf.tensor1d(Float32Array.from(labels, (label) => (isLabelled(label) && label >= 0.5 ? 1 : 0)));
      const hit = tf.sub(1, tf.abs(tf.sub(tf.cast(right, 'float32'), truth)));
      return { accuracy: mean(tf.mul(known, hit), labelled(whole)) };
    },
  };
}

/**
 * Loss and metrics of one micro-batch, as its part of the step: parts add up to the step's whatever the split. For losses of a whole batch `slopes` are what `batchSlopes` gave.
 */
export function microLoss<B extends AnyBatch>(
  objective: Objective<B>,
  micro: B,
  whole: B,
  slopes?: BatchSlopes,
): { loss: tf.Scalar; metrics: Metrics } {
  const outputs = objective.outputs(micro);
  const metrics = objective.metrics(micro, outputs, whole);
  if (slopes) return { loss: slopes.part(outputs), metrics };
  const { loss, penalty } = objective.apply(micro, outputs);
  const sum = tf.div(tf.sum(loss), objective.divisor(whole));
  return { loss: (penalty ? tf.add(sum, tf.div(tf.sum(penalty), objective.items(whole))) : sum) as tf.Scalar, metrics };
}

/** dL/doutputs of a whole step. `part` takes the micro-batches' outputs in their order. */
export type BatchSlopes = { part(outputs: tf.Tensor2D): tf.Scalar; dispose(): void };

/**
 * For a loss that is no sum over items: the outputs of the whole step without gradients, the loss's gradient by them, and then for each micro-batch `Σ slope · outputs`, whose gradient is that of the
 * whole. The first part also holds the loss itself, so that the logged value is right and parameters that it reads directly (the head, in ODIN) get their gradient.
 */
export async function batchSlopes<B extends AnyBatch>(objective: Objective<B>, whole: B, micros: readonly B[]): Promise<BatchSlopes> {
  const parts: Float32Array[] = [];
  let heads = 1;
  for (const micro of micros) {
    const outputs = objective.outputs(micro);
    heads = outputs.shape[1];
    parts.push((await readCopy(outputs)) as Float32Array);
    outputs.dispose();
  }
  const all = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
  let filled = 0;
  for (const part of parts) {
    all.set(part, filled);
    filled += part.length;
  }
  const shape = [all.length / heads, heads];
  const tree: ParameterTree = createParameters({ outputs: { shape, data: all } });
  const parameter = tree.get('outputs') as Parameter;
  const value = (outputs: tf.Tensor2D): tf.Scalar => {
    const { loss, penalty } = objective.apply(whole, outputs);
    const sum = tf.div(tf.sum(loss), objective.divisor(whole));
    if (!penalty) return sum as tf.Scalar;
    return tf.add(sum, penalty.rank === 0 ? penalty : tf.div(tf.sum(penalty), objective.items(whole))) as tf.Scalar;
  };
  const { loss, grads } = gradients(() => ({ loss: value(parameter.value as tf.Tensor2D) }), [parameter]);
  loss.dispose();
  tree.dispose();
  const slope = grads.get(parameter) ?? tf.zeros(shape);
  const slopes = (await readCopy(slope)) as Float32Array;
  slope.dispose();
  let at = 0;
  return {
    part(outputs) {
      const size = outputs.size;
      const constant = (values: Float32Array) => tf.tensor2d(values.slice(at, at + size), outputs.shape);
      const moved = tf.sum(tf.mul(constant(slopes), tf.sub(outputs, constant(all)))); // 0 in value
      const first = at === 0 ? value(tf.tensor2d(all.slice(), shape as [number, number])) : tf.scalar(0);
      at += size;
      return tf.add(moved, first) as tf.Scalar;
    },
    dispose() {},
  };
}

/** Tokens of each segment's completion. */
function completionTokens({ packed: { completionMask, cuSeqlens } }: LabelledRewardBatch): Int32Array {
  return Int32Array.from({ length: cuSeqlens.length - 1 }, (_, s) =>
    completionMask.subarray(cuSeqlens[s], cuSeqlens[s + 1]).reduce((n, x) => n + x, 0),
  );
}

function segmentOutputs(model: RewardModel, packed: LabelledRewardBatch['packed'], heads: number): tf.Tensor2D {
  if (model.outputs) return expectHeads(model, model.outputs(packed), heads);
  if (!model.scores) throw new ConfigError(`${model.name} has neither scores nor outputs`);
  if (heads !== 1) throw new ConfigError(`${model.name} has one score, but this loss needs ${heads} numbers; use createHeads`);
  return tf.reshape(model.scores(packed), [-1, 1]) as tf.Tensor2D;
}

function expectHeads(model: RewardModel, outputs: tf.Tensor2D, heads: number): tf.Tensor2D {
  if (outputs.shape[1] !== heads) throw new ConfigError(`${model.name} gives ${outputs.shape[1]} numbers, but this loss needs ${heads}`);
  return outputs;
}

function headsOf<O>({ heads }: { heads: number | 'targets' | ((options: O) => number) }, options: O, columns: number): number {
  return heads === 'targets' ? columns : typeof heads === 'function' ? heads(options) : heads;
}
