/** A gate that weighs attributes by the prompt, as ArmoRM has it (Wang et al. 2024, arXiv:2406.12845): a small network, its loss, its training, and the reward that comes of it. */
import {
  adamW,
  ConfigError,
  clipScale,
  createParameters,
  gradientSum,
  gradients,
  learningRateSchedule,
  linear,
  logSigmoid,
  type Parameter,
  type ParameterTree,
  type Rng,
  type Run,
  readCopy,
  ShapeError,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { encodePrompt, type Prompt, packSequences, type RewardFunction, type Scores } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { withoutVerbosity } from './diagnostics/attributes.js';
import { type HeadedModel, scoreOutputs } from './heads.js';

export type Gate = {
  readonly parameters: ParameterTree;
  readonly width: number;
  readonly attributes: number;
  /** Weights of the attributes, `logitScale · softmax(MLP(state) / temperature)`, [prompts, attributes]. With `dropout` hidden numbers are dropped by its draws. */
  weights(states: tf.Tensor2D, dropout?: Rng): tf.Tensor2D;
  dispose(): void;
};

/**
 * A network from a prompt's last hidden state to weights of attributes: hidden layers with ReLU (three of 1,024), a softmax at temperature 10, times a trained scale that starts at 1.
 * He-normal weights, biases of 0.
 */
export function createGate({
  width,
  attributes,
  hidden = [1024, 1024, 1024],
  temperature = 10,
  dropout = 0.2,
  rng,
}: {
  width: number;
  attributes: number;
  hidden?: readonly number[];
  temperature?: number;
  dropout?: number;
  rng: Rng;
}): Gate {
  const sizes = [width, ...hidden, attributes];
  if (sizes.some((size) => !(Number.isInteger(size) && size > 0)))
    throw new ConfigError(`createGate: width, hidden layers and attributes are whole numbers above 0, got ${sizes.join(', ')}`);
  if (!(temperature > 0)) throw new ConfigError(`createGate: temperature must be > 0, got ${temperature}`);
  if (!(dropout >= 0 && dropout < 1)) throw new ConfigError(`createGate: dropout must be in [0, 1), got ${dropout}`);
  const layers = sizes.slice(1).map((out, i) => ({ in: sizes[i], out, name: `layers.${i}` }));
  const parameters = createParameters({
    ...Object.fromEntries(
      layers.flatMap((layer) => [
        [
          `${layer.name}.weight`,
          {
            shape: [layer.out, layer.in],
            data: rng
              .fork(layer.name)
              .normal(layer.out * layer.in)
              .map((x) => x * Math.sqrt(2 / layer.in)),
          },
        ],
        [`${layer.name}.bias`, { shape: [layer.out], data: new Float32Array(layer.out) }],
      ]),
    ),
    logitScale: { shape: [1], data: Float32Array.of(1) },
  });
  const value = <T extends tf.Tensor>(name: string) => (parameters.get(name) as Parameter).value as T;
  return {
    parameters,
    width,
    attributes,
    weights: (states, draws) =>
      tf.tidy(() => {
        let x = states;
        layers.forEach(({ name }, i) => {
          x = linear({ x, weight: value<tf.Tensor2D>(`${name}.weight`), bias: value<tf.Tensor1D>(`${name}.bias`) }, {}).y as tf.Tensor2D;
          if (i === layers.length - 1) return;
          x = tf.relu(x);
          if (draws && dropout > 0) {
            const kept = draws
              .fork(name)
              .uniform(x.size)
              .map((u) => (u < dropout ? 0 : 1 / (1 - dropout)));
            x = tf.mul(x, tf.tensor2d(kept, x.shape));
          }
        });
        return tf.mul(value<tf.Tensor1D>('logitScale'), tf.softmax(tf.div(x, temperature))) as tf.Tensor2D;
      }),
    dispose: () => parameters.dispose(),
  };
}

/**
 * Bradley-Terry on gated scores: `−log σ(Σ_k g_k·(r_k(chosen) − r_k(rejected)))`, both sides under the weights of their prompt.
 *
 * @param weights of the prompts; gradients flow through these, [pairs, attributes]
 * @param chosen, rejected attributes of the two sides, constants, [pairs, attributes]
 * @returns nats, [pairs]; the caller disposes it
 * @throws ShapeError with the shapes where they differ
 */
export function gatedPairLoss(weights: tf.Tensor2D, { chosen, rejected }: { chosen: tf.Tensor2D; rejected: tf.Tensor2D }): tf.Tensor1D {
  const shapes = [weights, chosen, rejected].map(({ shape }) => `[${shape}]`);
  if (new Set(shapes).size > 1)
    throw new ShapeError(`gatedPairLoss: weights are ${shapes[0]}, chosen ${shapes[1]} and rejected ${shapes[2]}; they must agree`);
  return tf.tidy(() => tf.neg(logSigmoid(tf.sum(tf.mul(weights, tf.sub(chosen, rejected)), 1))) as tf.Tensor1D);
}

/** Pairs with everything that stays fixed: the prompts' states, and the attributes of both sides. */
export type GatePairs = {
  states: readonly ArrayLike<number>[];
  chosen: readonly ArrayLike<number>[];
  rejected: readonly ArrayLike<number>[];
};

/** Settings of `trainGate`. */
export const GateTrainConfig = z.strictObject({
  steps: z.int().positive().default(2000).describe('Optimizer updates'),
  pairsPerStep: z.int().positive().default(1024).describe('Pairs of an update; all of them where there are fewer'),
  learningRate: z.number().positive().default(1e-3).describe('Peak rate of AdamW, which falls as a cosine'),
  weightDecay: z.number().min(0).default(0).describe('Decoupled decay a step, of matrices alone'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  verbosity: z
    .strictObject({
      attribute: z.int().min(0).describe('Which attribute is verbosity'),
      penalties: z.array(z.number()).describe('Of each attribute, as verbosityPenalties gives them'),
      inTraining: z
        .boolean()
        .default(true)
        .describe("Take it off while the gate is trained too; ArmoRM's own script does so at inference alone"),
    })
    .optional()
    .describe('Verbosity that is taken off each attribute'),
});
export type GateTrainConfig = z.input<typeof GateTrainConfig>;

/**
 * Trains a gate on pairs by `gatedPairLoss`; backbone and attribute heads stay as they are. Goes on from `run`'s last checkpoint if it has one. Logs `loss` (nats per pair), `accuracy` (a
 * tie counts as wrong), `margin`, `gradNorm` and `learningRate`.
 *
 * @throws ConfigError for settings or pairs that do not fit; NonFiniteError naming the step
 */
export async function trainGate(config: GateTrainConfig, { gate, pairs, run }: { gate: Gate; pairs: GatePairs; run: Run }): Promise<void> {
  const parsed = GateTrainConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`trainGate: ${z.prettifyError(parsed.error)}`);
  const { steps, learningRate: peak, weightDecay, maxGradNorm, verbosity } = parsed.data;
  const { states, chosen, rejected } = checkPairs(gate, pairs, verbosity);
  const size = Math.min(parsed.data.pairsPerStep, states.length);
  const weights = gate.parameters.trainable();
  const optimizer = adamW({ weightDecay, decays: (name) => name.endsWith('.weight') });
  const rate = learningRateSchedule({ kind: 'cosine', warmupSteps: 0, peak, steps });
  const state = { gate: gate.parameters, optimizer };
  try {
    for (let step = await run.restore(state); step < steps; step++) {
      await saveIfAborted(run, step, state);
      const rows = run.rng.fork('pairs', step).permutation(states.length).subarray(0, size);
      const matrix = (from: readonly ArrayLike<number>[]) =>
        tf.tensor2d(Float32Array.from(Array.from(rows).flatMap((i) => Array.from(from[i]))), [size, from[0].length]);
      const sum = gradientSum(weights);
      sum.add(
        gradients(() => {
          const sides = { chosen: matrix(chosen), rejected: matrix(rejected) };
          const g = gate.weights(matrix(states), run.rng.fork('dropout', step));
          const margins = tf.sum(tf.mul(g, tf.sub(sides.chosen, sides.rejected)), 1);
          return {
            loss: tf.mean(gatedPairLoss(g, sides)) as tf.Scalar,
            metrics: { accuracy: tf.mean(tf.cast(tf.greater(margins, 0), 'float32')), margin: tf.mean(margins) },
          };
        }, weights),
      );
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: Array.from(rows, String), values }, state);
      const learningRate = rate(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, maxGradNorm), learningRate });
      sum.dispose();
      run.log(step, { ...values, learningRate });
      await saveIfDue(run, step + 1, state, step + 1 === steps);
    }
  } finally {
    optimizer.dispose();
  }
}

/** Lists of the sizes that the gate has, with verbosity taken off where that was asked for. */
function checkPairs(
  gate: Gate,
  { states, chosen, rejected }: GatePairs,
  verbosity: z.infer<typeof GateTrainConfig>['verbosity'],
): GatePairs {
  if (states.length === 0) throw new ConfigError('trainGate: there are no pairs');
  if (states.length !== chosen.length || states.length !== rejected.length)
    throw new ConfigError(`trainGate: ${states.length} states, ${chosen.length} chosen and ${rejected.length} rejected`);
  for (const [name, rows, width] of [
    ['state', states, gate.width],
    ['chosen side', chosen, gate.attributes],
    ['rejected side', rejected, gate.attributes],
  ] as const)
    rows.forEach((row, i) => {
      if (row.length !== width)
        throw new ConfigError(`trainGate: the ${name} of pair ${i} has ${row.length} numbers; the gate takes ${width}`);
    });
  if (!verbosity?.inTraining) return { states, chosen, rejected };
  const off = (row: ArrayLike<number>) => withoutVerbosity(row, verbosity.penalties, verbosity.attribute);
  return { states, chosen: chosen.map(off), rejected: rejected.map(off) };
}

/** The backbone's hidden state at the last token of each prompt, [prompts][width]: what a gate reads. @throws RangeError for an empty or too long prompt */
export async function promptStates(
  { backbone, tokenizer, contextLength }: Pick<HeadedModel, 'backbone' | 'tokenizer' | 'contextLength'>,
  prompts: readonly Prompt[],
): Promise<Float32Array[]> {
  const states: Float32Array[] = [];
  for (const [row, prompt] of prompts.entries()) {
    const tokens = encodePrompt(tokenizer, prompt);
    if (tokens.length === 0 || tokens.length > contextLength)
      throw new RangeError(`promptStates: prompt ${row} has ${tokens.length} tokens; the model takes 1 to ${contextLength}`);
    const last = tf.tidy(() => {
      const hidden = backbone.hidden(packSequences([{ tokens, completionStart: tokens.length, row: 0 }]));
      return tf.slice(hidden, [tokens.length - 1, 0], [1, backbone.width]);
    });
    states.push((await readCopy(last)) as Float32Array);
    last.dispose();
  }
  return states;
}

/**
 * Attributes weighed by the gate: `Σ_k g_k(prompt)·r_k(prompt, completion)`, each attribute a component under its name. Abstains on what is empty or too long.
 *
 * @throws ConfigError where names, heads and the gate's attributes do not agree
 */
export function gatedAttributeReward(
  model: HeadedModel,
  gate: Gate,
  attributes: readonly string[],
  { verbosity }: { verbosity?: { attribute: number; penalties: readonly number[] } } = {},
): RewardFunction {
  if (attributes.length !== model.heads || gate.attributes !== model.heads || gate.width !== model.backbone.width)
    throw new ConfigError(
      `gatedAttributeReward: ${attributes.length} names and a gate of ${gate.attributes} attributes and width ${gate.width}, for ${model.heads} heads of width ${model.backbone.width}`,
    );
  return {
    name: `${model.name}, gated`,
    async score(batch, { signal }): Promise<Scores> {
      const outputs = await scoreOutputs(model, batch, signal);
      const known = outputs.map((own, i) => (own ? i : -1)).filter((i) => i >= 0);
      const abstained = Uint8Array.from(outputs, (own) => (own ? 0 : 1));
      const scores = new Float32Array(batch.length);
      if (known.length > 0) {
        const states = await promptStates(
          model,
          known.map((i) => batch[i].prompt),
        );
        const g = tf.tidy(() =>
          gate.weights(
            tf.tensor2d(
              states.flatMap((row) => Array.from(row)),
              [known.length, gate.width],
            ),
          ),
        );
        const flat = await readCopy(g);
        g.dispose();
        known.forEach((i, row) => {
          const own = verbosity ? withoutVerbosity(outputs[i]!, verbosity.penalties, verbosity.attribute) : outputs[i]!;
          scores[i] = Array.from(own).reduce((sum, r, k) => sum + flat[row * gate.attributes + k] * r, 0);
        });
      }
      return {
        scores,
        components: Object.fromEntries(attributes.map((name, k) => [name, Float32Array.from(outputs, (own) => own?.[k] ?? 0)])),
        ...(abstained.includes(1) && { abstained }),
      };
    },
  };
}
