/** Heads with several numbers on a decoder: attributes, classes of a pair, right and wrong of a step. */
import {
  ConfigError,
  createParameters,
  gatherRows,
  linear,
  type Parameter,
  type ParameterTree,
  type Rng,
  readCopy,
  segmentMean,
} from '@plumbline/core';
import {
  type Candidate,
  encodeSequence,
  type PackedBatch,
  packSequences,
  type RewardFunction,
  type Scores,
  type StepRewardFunction,
  type Tokenizer,
} from '@plumbline/data';
import { joinTrees, type LocalDecoder, type LocalScorer } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { encodeSteps } from './items.js';

/** What `trainReward` trains: any backbone with a head. A scorer has one number a segment (`scores`), others several (`outputs`) or some at chosen tokens (`stepOutputs`). */
export type RewardModel = {
  readonly name: string;
  readonly parameters: ParameterTree;
  readonly tokenizer: Tokenizer;
  readonly contextLength: number;
  readonly activationBytes?: number;
  /** [segments] */
  scores?(batch: PackedBatch): tf.Tensor1D;
  /** [segments, heads] */
  outputs?(batch: PackedBatch): tf.Tensor2D;
  /** [rows, heads], at the tokens `rows` of the batch. */
  stepOutputs?(batch: PackedBatch, rows: Int32Array): tf.Tensor2D;
};
export type HeadedModel = Required<Omit<RewardModel, 'scores' | 'activationBytes'>> & {
  readonly activationBytes?: number;
  readonly backbone: LocalDecoder;
  readonly heads: number;
  dispose(): void;
};

/**
 * A copy of a decoder's backbone with a linear head of `heads` numbers, N(0, 1 / sqrt(width + 1)), without bias: `score.weight` [heads, width], as transformers' sequence (and, for steps, token)
 * classifiers have it. Of a segment it reads the last token, or the mean over the completion; of steps the token where each ends.
 */
export function createHeads(
  decoder: LocalDecoder,
  { heads, pooling = 'last', ...source }: { heads: number; pooling?: 'last' | 'mean' } & ({ rng: Rng } | { head: Float32Array }),
): HeadedModel {
  if (!(Number.isInteger(heads) && heads > 0)) throw new ConfigError(`createHeads: heads must be a whole number above 0, got ${heads}`);
  const { width } = decoder;
  const data =
    'head' in source
      ? source.head
      : source.rng
          .fork('head')
          .normal(heads * width)
          .map((z) => z / Math.sqrt(width + 1));
  if (data.length !== heads * width)
    throw new ConfigError(`createHeads: the head has ${data.length} numbers; ${heads} heads of ${width} have ${heads * width}`);
  const backbone = decoder.snapshot();
  const head = createParameters({ 'score.weight': { shape: [heads, width], data } });
  const weight = head.get('score.weight') as Parameter;
  const project = (x: tf.Tensor2D) => linear({ x, weight: weight.value as tf.Tensor2D }, {}).y;
  return {
    name: `${backbone.name}, ${heads} heads`,
    backbone,
    heads,
    parameters: joinTrees([backbone.parameters, head], (name) => name !== 'lm_head.weight'),
    tokenizer: backbone.tokenizer,
    contextLength: backbone.contextLength,
    activationBytes: backbone.activationBytes,
    outputs: (batch) =>
      tf.tidy(() => {
        const hidden = backbone.hidden(batch);
        if (pooling === 'mean')
          return project(segmentMean({ x: hidden }, { cuSeqlens: batch.cuSeqlens, mask: batch.completionMask }).y as tf.Tensor2D);
        return project(gatherRows({ x: hidden }, { rows: batch.cuSeqlens.slice(1).map((end) => end - 1) }).y);
      }),
    stepOutputs: (batch, rows) => tf.tidy(() => project(gatherRows({ x: backbone.hidden(batch) }, { rows }).y)),
    dispose() {
      backbone.dispose();
      head.dispose();
    },
  };
}

/**
 * A scorer read at every step: one number, the log-odds that the step is right, so that a scorer that reads the last token becomes a process reward model, trained or not, and is kept as
 * any scorer. It shares the scorer's parameters, which stays the owner.
 */
export function stepScorer(scorer: LocalScorer): HeadedModel {
  const weight = scorer.parameters.get('score.weight') as Parameter;
  return {
    name: scorer.name,
    backbone: scorer.backbone,
    heads: 1,
    parameters: scorer.parameters,
    tokenizer: scorer.tokenizer,
    contextLength: scorer.contextLength,
    outputs: (batch) => tf.tidy(() => tf.reshape(scorer.scores(batch), [-1, 1]) as tf.Tensor2D),
    stepOutputs: (batch, rows) =>
      tf.tidy(() => linear({ x: gatherRows({ x: scorer.backbone.hidden(batch) }, { rows }).y, weight: weight.value as tf.Tensor2D }, {}).y),
    dispose: () => scorer.dispose(),
  };
}

/** Each completion's outputs, [candidates][heads]; undefined where it is empty or too long. */
export async function scoreOutputs(
  model: Pick<RewardModel, 'outputs' | 'tokenizer' | 'contextLength'>,
  batch: readonly Candidate[],
  signal?: AbortSignal,
): Promise<(Float32Array | undefined)[]> {
  if (!model.outputs) throw new ConfigError('scoreOutputs: this model has one score and no outputs; use modelReward');
  const out: (Float32Array | undefined)[] = [];
  for (const { prompt, completion } of batch) {
    signal?.throwIfAborted();
    const sequence = encodeSequence(model.tokenizer, prompt, completion, { maxTokens: model.contextLength });
    if (!sequence) {
      out.push(undefined);
      continue;
    }
    const outputs = model.outputs(packSequences([{ ...sequence, row: 0 }]));
    out.push((await readCopy(outputs)) as Float32Array);
    outputs.dispose();
  }
  return out;
}

/**
 * Several attributes as a reward: `Σ weight · attribute`, each attribute a component under its name. Abstains on what is empty or too long.
 *
 * @throws ConfigError where names or weights do not fit the model's heads
 */
export function attributeReward(
  model: HeadedModel,
  attributes: readonly string[],
  weights: readonly number[] = attributes.map(() => 1 / attributes.length),
): RewardFunction {
  if (attributes.length !== model.heads || weights.length !== model.heads)
    throw new ConfigError(`attributeReward: ${attributes.length} names and ${weights.length} weights for ${model.heads} heads`);
  return {
    name: model.name,
    async score(batch, { signal }): Promise<Scores> {
      const outputs = await scoreOutputs(model, batch, signal);
      const column = (k: number) => Float32Array.from(outputs, (own) => own?.[k] ?? 0);
      const abstained = Uint8Array.from(outputs, (own) => (own ? 0 : 1));
      return {
        scores: Float32Array.from(outputs, (own) => (own ? weights.reduce((sum, weight, k) => sum + weight * own[k], 0) : 0)),
        components: Object.fromEntries(attributes.map((name, k) => [name, column(k)])),
        ...(abstained.includes(1) && { abstained }),
      };
    },
  };
}

/** A process reward model: P(each step is right), read where the step ends, from one forward pass of the solution. @throws RangeError naming the solution that is too long */
export function processReward(model: HeadedModel, { separator = '\n' }: { separator?: string } = {}): StepRewardFunction {
  if (model.heads > 2)
    throw new ConfigError(`processReward: the head has ${model.heads} numbers; a step has 2 (wrong, right) or their difference`);
  return {
    name: model.name,
    async scoreSteps(batch, { signal }) {
      const answers: Float32Array[] = [];
      for (const [i, { prompt, steps }] of batch.entries()) {
        signal?.throwIfAborted();
        const [item] = encodeSteps(model.tokenizer, [{ prompt, completions: steps, labels: steps.map(() => true) }], { separator }).items;
        if (!item || item.tokens.length > model.contextLength)
          throw new RangeError(
            `${model.name}: solution ${i} has ${item?.tokens.length ?? 0} tokens; the model takes 1 to ${model.contextLength}`,
          );
        const outputs = model.stepOutputs(packSequences([{ tokens: item.tokens, completionStart: 1, row: 0 }]), item.ends);
        const z = await readCopy(outputs);
        outputs.dispose();
        answers.push(Float32Array.from(steps, (_, s) => 1 / (1 + Math.exp(model.heads === 2 ? z[2 * s] - z[2 * s + 1] : -z[s]))));
      }
      return answers;
    },
  };
}
