import { ConfigError, clipScale, gradientSum, gradients, type Run, saveIfAborted, saveIfDue } from '@plumbline/core';
import type { ControlPolicy, Transitions } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { type Bounds, createActor, stateMoments, unitActions } from './networks.js';
import { learnerOf } from './objectives.js';

/** Which algorithm, with its own options; their defaults are the papers'. */
export const OfflineAlgorithm = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('bc') }),
  z.strictObject({
    kind: z.literal('td3bc'),
    alpha: z.number().positive().default(2.5).describe('Weight of the value beside cloning, over mean |Q|'),
    noise: z.number().min(0).default(0.2).describe("Of the target's action, as a share of half its range"),
    noiseClip: z.number().min(0).default(0.5).describe('Bound of that noise'),
    policyEvery: z.int().positive().default(2).describe('Updates of the critics for one of the policy and of the targets'),
  }),
  z.strictObject({
    kind: z.literal('iql'),
    expectile: z.number().gt(0).lt(1).default(0.7).describe('Of the values: nearer to 1 is nearer to the best action'),
    beta: z.number().min(0).default(3).describe('Inverse temperature of the weights exp(beta · advantage); 0 is cloning'),
    maxWeight: z.number().positive().default(100).describe('Bound of a weight'),
  }),
  z.strictObject({
    kind: z.literal('cql'),
    alpha: z.number().min(0).default(5).describe('Weight of the penalty on actions that were not recorded'),
    samples: z
      .int()
      .positive()
      .default(10)
      .describe('Actions a state: so many uniform ones, of the policy there, and of the policy in the next state'),
  }),
]);
export type OfflineAlgorithm = z.infer<typeof OfflineAlgorithm>;

export const OfflineConfig = z.strictObject({
  algorithm: OfflineAlgorithm.describe('bc, td3bc, iql or cql'),
  steps: z.int().positive().describe('Updates'),
  batchSize: z.int().positive().default(256).describe('Transitions of an update'),
  hidden: z
    .array(z.int().positive())
    .min(1)
    .default([256, 256])
    .describe('Widths of the hidden layers of every network; ReLU between them'),
  learningRate: z.number().positive().default(3e-4).describe("Adam's, of the critics and values, and of the policy unless said"),
  policyLearningRate: z.number().positive().optional().describe("The policy's"),
  gamma: z.number().min(0).max(1).default(0.99).describe('Discount of a step'),
  tau: z.number().gt(0).max(1).default(0.005).describe('Share of the way that targets follow at each update'),
  maxGradNorm: z.number().positive().default(Infinity).describe('Gradients are scaled down to this global L2 norm'),
  evaluateEvery: z.int().positive().optional().describe('Updates between evaluations; at the end alone by default'),
});
export type OfflineConfig = z.infer<typeof OfflineConfig>;

/**
 * Learns to act from recorded transitions alone: behaviour cloning, TD3+BC (arXiv:2106.06860), implicit Q-learning (arXiv:2110.06169) or conservative Q-learning (arXiv:2006.04779). Continuous
 * actions. States are normalised by the mean and deviation of `transitions`, actions are learned in [−1, 1]. Goes on from `run`'s last checkpoint if it has one.
 *
 * Logs `loss` of the policy (where the step has one), `gradNorm` of the policy, `learningRate`, and `eval/reward` where `evaluate` answers.
 *
 * @param bounds of the actions, finite
 * @param evaluate a number to log for the policy so far, such as the mean return of some episodes
 * @returns the policy, which acts without noise; the caller disposes it
 * @throws ConfigError for a wrong setting; RangeError for bounds that do not fit the recorded actions
 */
export async function trainOffline(
  settings: z.input<typeof OfflineConfig>,
  {
    transitions,
    bounds,
    run,
    evaluate,
  }: { transitions: Transitions; bounds: Bounds; run: Run; evaluate?: (policy: ControlPolicy, step: number) => Promise<number> },
): Promise<ControlPolicy & { dispose(): void }> {
  const parsed = OfflineConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainOffline: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  if (transitions.count < 1) throw new ConfigError('trainOffline: there are no transitions');
  const actions = unitActions(transitions, bounds);
  const rng = run.rng.fork('weights');
  const actor = createActor(transitions, { hidden: config.hidden, bounds, gaussian: config.algorithm.kind === 'cql', rng });
  const learner = learnerOf({ actor, transitions, config, rng });
  const state = { actor: actor.parameters, ...learner.parts };
  const batchOf = batches(transitions, actions, config.batchSize);
  try {
    for (let step = await run.restore(state); step < config.steps; step++) {
      await saveIfAborted(run, step, state);
      const stream = run.rng.fork('step', step);
      const batch = batchOf(Int32Array.from({ length: config.batchSize }, () => stream.below(transitions.count)));
      const logged: { loss?: number; gradNorm?: number } = {};
      for (const { name, weights, optimizer, loss } of learner.objectives(batch, stream.fork('draws'), step)) {
        const sum = gradientSum(weights);
        sum.add(gradients(() => ({ loss: loss() }), weights));
        const values = await sum.read();
        if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: [name], values }, state);
        const learningRate = name === 'policy' ? (config.policyLearningRate ?? config.learningRate) : config.learningRate;
        optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
        sum.dispose();
        if (name === 'policy') Object.assign(logged, values);
      }
      tf.dispose(batch);
      learner.follow(step);
      const last = step + 1 === config.steps;
      const due = evaluate && (last || (config.evaluateEvery !== undefined && (step + 1) % config.evaluateEvery === 0));
      run.log(step, {
        ...logged,
        learningRate: config.learningRate,
        ...(due && { 'eval/reward': await evaluate(actor.policy(), step + 1) }),
      });
      await saveIfDue(run, step + 1, state, last);
    }
    return { ...actor.policy(), dispose: () => actor.parameters.dispose() };
  } catch (error) {
    actor.parameters.dispose();
    throw error;
  } finally {
    for (const part of Object.values(learner.parts)) part.dispose();
  }
}

/** Batches of rows with normalised states, as tensors that the caller disposes. */
function batches(transitions: Transitions, actions: Float32Array, rows: number) {
  const { stateWidth: S, actionWidth: A, states, nextStates, rewards, done } = transitions;
  const { mean, deviation } = stateMoments(transitions);
  return (picked: Int32Array) => {
    const at = (values: Float32Array, width: number, change: (x: number, k: number) => number = (x) => x) =>
      Float32Array.from({ length: rows * width }, (_, i) => change(values[picked[Math.floor(i / width)] * width + (i % width)], i % width));
    const normal = (x: number, k: number) => (x - mean[k]) / deviation[k];
    return {
      states: tf.tensor2d(at(states, S, normal), [rows, S]),
      actions: tf.tensor2d(at(actions, A), [rows, A]),
      rewards: tf.tensor1d(at(rewards, 1)),
      nextStates: tf.tensor2d(at(nextStates, S, normal), [rows, S]),
      done: tf.tensor1d(Float32Array.from(picked, (row) => done[row])),
    };
  };
}
