/** Acting as predicting: a causal model over (return to go, state, action) that is told the return that is wanted. */
import {
  createParameters,
  embedding,
  gelu,
  layerNorm,
  linear,
  type Parameter,
  type ParameterEntry,
  type ParameterTree,
  type Rng,
  readCopy,
  ShapeError,
} from '@plumbline/core';
import { type ControlPolicy, checkTrajectories, type Tokenizer, type Trajectory } from '@plumbline/data';
import { createDecoder, type DecoderTrunk, decoderSpec, decoderTrunk, joinTrees } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import type { DecisionWindows } from './windows.js';

export type DecisionOptions = {
  rng: Rng;
  /** Steps that are seen at once; 20 unless given. */
  context?: number;
  /** Episodes are no longer than this, in steps; each place has an embedding of its own. 1,000 unless given. */
  maxEpisode?: number;
  /** Returns are divided by this; 1 unless given. */
  returnScale?: number;
  /** Actions are one-hot, of which one is chosen. */
  discrete?: boolean;
  /** A decoder's layers, pretrained perhaps, from `decoderTrunk`; else new ones of this size: 3 layers of 128 with 1 head unless given. */
  trunk?: DecoderTrunk | { layers?: number; width?: number; heads?: number };
  /** `linear`, as Decision Transformer, or LaMo's residual `mlp`, which has an action head of two layers too. */
  embedding?: 'linear' | 'mlp';
  /** LaMo normalises the embeddings before the time is added, Decision Transformer after. With `mlp` true unless given. */
  normFirst?: boolean;
  /** Actions go through tanh. With `linear` and actions that are not discrete true unless given. */
  tanh?: boolean;
};

export interface DecisionTransformer {
  readonly parameters: ParameterTree;
  readonly trunk: DecoderTrunk;
  readonly context: number;
  readonly stateWidth: number;
  readonly actionWidth: number;
  readonly discrete: boolean;
  /** The action (of a discrete space its logits) at each step, from what stands before it in its window, [steps, actionWidth]. The caller disposes it. */
  forward(windows: DecisionWindows): tf.Tensor2D;
  dispose(): void;
}

/**
 * Tokens R_t, s_t, a_t of each step, embedded, with an embedding of the time, through a causal trunk; the action is read at the state's token. Chen et al. 2021 (Decision Transformer),
 * arXiv:2106.01345; with a language model as its trunk and `mlp` embeddings Shi et al. 2024 (LaMo), arXiv:2310.20587.
 *
 * States are normalised by the mean and deviation (+ 1e-6) of those in `trajectories`, which the model keeps. Windows are packed, not padded, which gives the same numbers as a mask. There is no
 * dropout but an adapter's own.
 *
 * The caller disposes it; a given trunk stays the caller's.
 * @throws RangeError for an option out of range
 */
export async function createDecisionTransformer(
  trajectories: readonly Trajectory[],
  options: DecisionOptions,
): Promise<DecisionTransformer> {
  const { rng, context = 20, maxEpisode = 1000, returnScale = 1, discrete = false, embedding: kind = 'linear' } = options;
  const { normFirst = kind === 'mlp', tanh = kind === 'linear' && !discrete } = options;
  const { stateWidth, actionWidth } = checkTrajectories(trajectories);
  for (const [name, value] of Object.entries({ context, maxEpisode }))
    if (!(Number.isInteger(value) && value > 0))
      throw new RangeError(`createDecisionTransformer: ${name} must be a whole number above 0, got ${value}`);
  if (!(returnScale > 0)) throw new RangeError(`createDecisionTransformer: returnScale must be > 0, got ${returnScale}`);
  const given = options.trunk !== undefined && 'hidden' in options.trunk ? options.trunk : undefined;
  const fresh = given
    ? undefined
    : newTrunk(options.trunk as { layers?: number; width?: number; heads?: number } | undefined, context, rng);
  const trunk = given ?? (await decoderTrunk(fresh!));
  const { width } = trunk;
  const own = createParameters({
    ...stateMoments(trajectories, stateWidth),
    ...denseEntries('embed.return', 1, width, kind, rng),
    ...denseEntries('embed.state', stateWidth, width, kind, rng),
    ...denseEntries('embed.action', actionWidth, width, kind, rng),
    'embed.time': normalEntry([maxEpisode, width], rng.fork('embed.time')),
    'embed.norm.weight': { shape: [width], data: new Float32Array(width).fill(1) },
    'embed.norm.bias': { shape: [width], data: new Float32Array(width) },
    ...(kind === 'mlp' ? dense('head.0', width, width, rng) : {}),
    ...dense('head.1', width, actionWidth, rng),
  });
  const value = <T extends tf.Tensor>(name: string) => (own.get(name) as Parameter).value as T;
  const apply = (name: string, x: tf.Tensor2D) =>
    linear({ x, weight: value<tf.Tensor2D>(`${name}.weight`), bias: value<tf.Tensor1D>(`${name}.bias`) }, {}).y;
  const embed = (name: string, x: tf.Tensor2D): tf.Tensor2D => {
    const h = apply(kind === 'mlp' ? `${name}.0` : name, x);
    return kind === 'mlp' ? (tf.add(apply(`${name}.1`, gelu({ x: h }, {}).y as tf.Tensor2D), h) as tf.Tensor2D) : h;
  };
  const normalise = (x: tf.Tensor2D) =>
    layerNorm({ x, weight: value<tf.Tensor1D>('embed.norm.weight'), bias: value<tf.Tensor1D>('embed.norm.bias') }, { eps: 1e-5 })
      .y as tf.Tensor2D;
  return {
    parameters: joinTrees([own, trunk.decoder.parameters], (name) => given !== undefined || !/\bw[tp]e\.weight$/.test(name)), // a new trunk has no use for tokens
    trunk,
    context,
    stateWidth,
    actionWidth,
    discrete,
    forward(windows) {
      checkWindows(windows, { stateWidth, actionWidth, maxEpisode });
      const steps = windows.timesteps.length;
      return tf.tidy(() => {
        const returns = tf.tensor2d(
          windows.returns.map((value) => value / returnScale),
          [steps, 1],
        );
        const states: tf.Tensor2D = tf.div(
          tf.sub(tf.tensor2d(windows.states, [steps, stateWidth]), value('states.mean')),
          value('states.deviation'),
        );
        const parts = [
          embed('embed.return', returns),
          embed('embed.state', states),
          embed('embed.action', tf.tensor2d(windows.actions, [steps, actionWidth])),
        ];
        const times = embedding({ weight: value<tf.Tensor2D>('embed.time') }, { ids: windows.timesteps }).y;
        const timed = parts.map((part) => (normFirst ? tf.add(normalise(part), times) : normalise(tf.add(part, times) as tf.Tensor2D)));
        const tokens = tf.reshape(tf.stack(timed, 1), [3 * steps, width]) as tf.Tensor2D;
        const hidden = trunk.hidden(
          tokens,
          windows.cuSeqlens.map((at) => 3 * at),
        );
        const atStates = tf.reshape(tf.slice(tf.reshape(hidden, [steps, 3, width]), [0, 1, 0], [steps, 1, width]), [
          steps,
          width,
        ]) as tf.Tensor2D;
        const actions = apply('head.1', kind === 'mlp' ? (gelu({ x: apply('head.0', atStates) }, {}).y as tf.Tensor2D) : atStates);
        return tanh ? tf.tanh(actions) : actions;
      });
    },
    dispose() {
      own.dispose();
      fresh?.dispose();
    },
  };
}

/** A small GPT-2 without tokens or positions. */
function newTrunk(
  { layers = 3, width = 128, heads = 1 }: { layers?: number; width?: number; heads?: number } = {},
  context: number,
  rng: Rng,
) {
  const spec = decoderSpec({
    family: 'gpt2',
    vocabSize: 1,
    width,
    layers,
    heads,
    mlpWidth: 4 * width,
    contextLength: 3 * context,
    ropeTheta: 0,
    attentionBias: 'all',
    mlpBias: true,
  });
  const nothing = (): never => {
    throw new Error('a decision transformer reads no text');
  };
  const tokenizer: Tokenizer = {
    name: 'none',
    vocabSize: 1,
    encode: nothing,
    decode: nothing,
    hasChatTemplate: false,
    renderChat: nothing,
  };
  return createDecoder(spec, { name: 'decision-transformer', tokenizer, rng: rng.fork('trunk') });
}

const normalEntry = (shape: readonly number[], rng: Rng): ParameterEntry => ({
  shape,
  data: rng.normal(shape.reduce((a, b) => a * b, 1)).map((z) => 0.02 * z),
});
const dense = (name: string, inputs: number, outputs: number, rng: Rng): Record<string, ParameterEntry> => ({
  [`${name}.weight`]: {
    shape: [outputs, inputs],
    data: rng
      .fork(name)
      .uniform(outputs * inputs)
      .map((u) => (2 * u - 1) / Math.sqrt(inputs)),
  },
  [`${name}.bias`]: { shape: [outputs], data: new Float32Array(outputs) },
});
const denseEntries = (name: string, inputs: number, width: number, kind: 'linear' | 'mlp', rng: Rng) =>
  kind === 'linear'
    ? dense(name, inputs, width, rng)
    : { ...dense(`${name}.0`, inputs, width, rng), ...dense(`${name}.1`, width, width, rng) };

function stateMoments(trajectories: readonly Trajectory[], width: number): Record<string, ParameterEntry> {
  const rows = trajectories.flatMap(({ observations, length }) =>
    Array.from({ length }, (_, t) => observations.subarray(t * width, (t + 1) * width)),
  );
  const mean = Float32Array.from({ length: width }, (_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
  const deviation = mean.map((m, k) => Math.sqrt(rows.reduce((sum, row) => sum + (row[k] - m) ** 2, 0) / rows.length) + 1e-6);
  return {
    'states.mean': { shape: [width], data: mean, trainable: false },
    'states.deviation': { shape: [width], data: deviation, trainable: false },
  };
}

function checkWindows(
  { cuSeqlens, returns, states, actions, timesteps }: DecisionWindows,
  shape: { stateWidth: number; actionWidth: number; maxEpisode: number },
): void {
  const steps = timesteps.length;
  const late = timesteps.findIndex((t) => t >= shape.maxEpisode);
  if (late >= 0)
    throw new RangeError(
      `decision transformer: step ${late} stands at ${timesteps[late]} of its episode, and maxEpisode is ${shape.maxEpisode}`,
    );
  if (
    steps === 0 ||
    cuSeqlens.at(-1) !== steps ||
    returns.length !== steps ||
    states.length !== steps * shape.stateWidth ||
    actions.length !== steps * shape.actionWidth
  )
    throw new ShapeError(
      `decision transformer: windows up to ${cuSeqlens.at(-1)} with ${steps} times, ${returns.length} returns, ${states.length} numbers of states and ${actions.length} of actions; ` +
        `a step has ${shape.stateWidth} and ${shape.actionWidth}`,
    );
}

/**
 * The model as a policy that is asked for a return: at each step it is told what is still to be earned, `target` less the rewards so far (with `delayed`, always `target`), and its last `context` steps.
 * Same papers. `clip` keeps actions within bounds; a discrete action is the index of the largest logit.
 */
export function decisionPolicy(
  model: DecisionTransformer,
  { target, delayed = false, clip }: { target: number; delayed?: boolean; clip?: { low: readonly number[]; high: readonly number[] } },
): ControlPolicy {
  if (!Number.isFinite(target)) throw new RangeError(`decisionPolicy: target must be finite, got ${target}`);
  const { context, actionWidth, discrete } = model;
  let steps: { wanted: number; state: Float64Array; action: Float32Array }[] = [];
  let [left, time] = [target, 0];
  return {
    reset() {
      steps = [];
      [left, time] = [target, 0];
    },
    earned(reward) {
      if (!delayed) left -= reward;
    },
    async act(observation) {
      steps = [...steps, { wanted: left, state: observation.slice(), action: new Float32Array(actionWidth) }].slice(-context);
      time++;
      const predicted = model.forward({
        cuSeqlens: Int32Array.of(0, steps.length),
        returns: Float32Array.from(steps, ({ wanted }) => wanted),
        states: Float32Array.from(steps.flatMap(({ state }) => [...state])),
        actions: Float32Array.from(steps.flatMap(({ action }) => [...action])),
        timesteps: Int32Array.from(steps, (_, i) => time - steps.length + i),
      });
      const all = await readCopy(predicted);
      predicted.dispose();
      const last = Float32Array.from(all.subarray(all.length - actionWidth));
      const own = steps.at(-1)!;
      if (discrete) {
        const chosen = last.indexOf(Math.max(...last));
        own.action[chosen] = 1;
        return [chosen];
      }
      own.action.set(clip ? last.map((x, k) => Math.min(clip.high[k], Math.max(clip.low[k], x))) : last);
      return own.action;
    },
  };
}
