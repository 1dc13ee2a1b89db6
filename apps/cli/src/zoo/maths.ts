/**
 * `maths-1m`: a decoder of about a million parameters that solves story problems in compact steps, pretrained on problems drawn anew for every step.
 *
 * Only the solutions count in the loss. Training stops while half of the answers at level 4 are wrong: the model is there to be improved by others.
 */
import { rng as newRng, type Rng } from '@plumbline/core';
import { type Batches, joinSequence, packSequences } from '@plumbline/data';
import { expressionMark, type MathsMix, mathsExample, pretrainingMix } from '@plumbline/envs';
import {
  createDecoder,
  decoderSpec,
  type LocalTokenizer,
  type SftBatch,
  sftBatch,
  tokenizerFromJson,
  trainByteBpe,
} from '@plumbline/models';
import { writeMathsCard } from './mathsCard.js';
import { type PretrainingConfig, pretrain } from './pretrain.js';
import type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';
import { clock } from './spent.js';

export type MathsConfig = PretrainingConfig & {
  readonly shape: { vocabSize: number; width: number; layers: number; heads: number; mlpWidth: number; contextLength: number };
  readonly mix: MathsMix;
  /** Texts that the tokenizer is trained on. */
  readonly tokenizerExamples: number;
  readonly problemsPerStep: number;
  /** Problems of each level that the card solves. */
  readonly measured: { problems: number; levels: readonly (0 | 1 | 2 | 3 | 4 | 5)[] };
};

export const maths1mSettings: MathsConfig = {
  name: 'maths-1m',
  shape: { vocabSize: 1024, width: 128, layers: 4, heads: 4, mlpWidth: 384, contextLength: 256 },
  mix: pretrainingMix,
  tokenizerExamples: 6000,
  steps: 3500,
  problemsPerStep: 24,
  learningRate: 3e-3,
  warmupSteps: 100,
  flatShare: 0.5,
  beta1: 0.9,
  beta2: 0.98,
  weightDecay: 0.05,
  measured: { problems: 400, levels: [1, 2, 3, 4, 5, 0] },
};

export const endOfText = '<|endoftext|>';
/** Where a step ends, for models that score steps; the generator itself ends them by line. */
const endOfStep = '<s>';

export const maths1m: Recipe = {
  name: 'maths-1m',
  about: '1M parameters, multi-step arithmetic and countdown in steps',
  train: (options) => trainMaths(maths1mSettings, options),
};

/**
 * Tokenizer, training, float16 files, and the model card with what was measured of those files. Stopped by `signal`, it throws an
 * InterruptedError once it has saved; called again with the same `runDir`, it goes on.
 */
export async function trainMaths(config: MathsConfig, options: RecipeOptions): Promise<RecipeResult> {
  const { seed, out } = options;
  const time = await clock(options.runDir);
  const rng = newRng(seed);
  const tokenizer = mathsTokenizer(config, newRng(0));
  const shape = { ...config.shape, vocabSize: tokenizer.vocabSize };
  const decoder = createDecoder(decoderSpec(shape), { tokenizer, name: config.name, rng: rng.fork('weights') });
  return pretrain(config, options, {
    time,
    decoder,
    batches: problemBatches(config, tokenizer, rng.fork('batches')),
    measure: (spent) => writeMathsCard(config, { out, seed, spent, rng: newRng(seed).fork('card') }),
  });
}

/** Byte-level BPE in which every digit is a token of its own; the first one of a number holds the space before it. */
export function mathsTokenizer({ name, shape, mix, tokenizerExamples }: MathsConfig, rng: Rng): LocalTokenizer {
  const texts = Array.from({ length: tokenizerExamples }, (_, i) => {
    const { record } = mathsExample(rng.fork('tokenizer', i), mix);
    return `${record.prompt}${record.completion}`.replace(/(\d)\d+/g, '$1').replaceAll(expressionMark, ' ');
  });
  const json = trainByteBpe(texts, { vocabSize: shape.vocabSize, specialTokens: [endOfText, expressionMark, endOfStep] });
  const kept = json.added_tokens.map((token) => ({ ...token, special: token.content === endOfText })); // the marks belong to the text
  return tokenizerFromJson({ ...json, added_tokens: kept }, { name, eos_token: endOfText, model_max_length: shape.contextLength });
}

/** Problems drawn anew for every step. */
export function problemBatches(config: MathsConfig, tokenizer: LocalTokenizer, rng: Rng): Batches<SftBatch> {
  const { steps, problemsPerStep, mix, shape } = config;
  return {
    steps,
    async at(step) {
      const examples = Array.from({ length: problemsPerStep }, (_, i) => mathsExample(rng.fork(step, i), mix));
      const sequences = examples.map(({ record }, row) => ({
        ...joinSequence(
          tokenizer.encode(record.prompt as string),
          Int32Array.of(...tokenizer.encode(record.completion as string), tokenizer.eosId!),
        ),
        row,
      }));
      const fitting = sequences.filter(({ tokens }) => tokens.length <= shape.contextLength);
      return sftBatch(
        fitting.map(({ row }) => examples[row].problem.id),
        packSequences(fitting),
      );
    },
  };
}
