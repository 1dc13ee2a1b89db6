/** What reward-model losses take and give. Records of tensors are `type`s, since only a `type` is accepted by `tf.tidy` and `tf.dispose`. */
import type * as tf from '@tensorflow/tfjs-core';
import type { z } from 'zod';

/** Unreduced: `loss` [items] sums to the step's loss over `size`; `penalty` [items] is averaged over items, or a scalar where it is one of the whole batch. */
export type RewardLoss = { loss: tf.Tensor1D; penalty?: tf.Tensor1D | tf.Scalar };

/** Pairs. `outputs` [pairs, heads] are the numbers of each side's segment, of which `chosen` and `rejected` are the (summed) scores, [pairs]. */
export type PairItems = {
  chosen: tf.Tensor1D;
  rejected: tf.Tensor1D;
  margin?: tf.Tensor1D;
  weight?: tf.Tensor1D;
  /** Both sides' outputs, where the head has more than one. */
  outputs?: { chosen: tf.Tensor2D; rejected: tf.Tensor2D };
  /** Of each pair, on the host: its grade (`pairwiseOrdinal`), or 1 where it is a tie (`raoKupper`, `davidson`). */
  labels?: Int32Array;
  /** Tokens of each completion, [pairs]. */
  lengths?: { chosen: Int32Array; rejected: Int32Array };
  /** The head's weights, [heads, width]. */
  head?: tf.Tensor2D;
};
/** Completions with what is known of each, [items, targets] row by row on the host; NaN is absent. `outputs` [items, heads]. */
export type TargetItems = { outputs: tf.Tensor2D; targets: Float32Array; columns: number; weights?: Float32Array };
/** Step ends with a label each: in [0, 1] (a rate or a class), NaN is ignored. `outputs` [steps, 1 or 2]. */
export type StepItems = { outputs: tf.Tensor2D; labels: Float32Array };

type Spec<I, O> = {
  /** Numbers that the head must give for each segment or step; `'targets'`: one for each column of targets. */
  heads: number | 'targets' | ((options: O) => number);
  /** `'batch'` where the value is not a sum over items: the trainer then takes its gradient over the whole step at once. */
  scope: 'item' | 'batch';
  options: z.ZodType<O>;
  /** Parameters of the loss itself, trained with the model and kept in its checkpoint. */
  parameters?(options: O): Record<string, { shape: number[]; data: Float32Array }>;
  apply(items: I, options: O, parameters: Record<string, tf.Tensor>): RewardLoss;
};
export type PairRewardLoss<O> = Spec<PairItems, O> & { kind: 'pairs'; needs?: readonly ('labels' | 'lengths' | 'outputs' | 'head')[] };
export type TargetRewardLoss<O> = Spec<TargetItems, O> & {
  kind: 'targets';
  /** What the step's losses are divided by, from the host's side of the items. */
  size(items: Omit<TargetItems, 'outputs'>, options: O): number;
};
export type StepRewardLoss<O> = Spec<StepItems, O> & { kind: 'steps' };
export type AnyRewardLoss = PairRewardLoss<never> | TargetRewardLoss<never> | StepRewardLoss<never>;
