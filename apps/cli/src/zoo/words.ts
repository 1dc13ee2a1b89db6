/**
 * `words-1m` and `words-6m`: decoders pretrained on simple generated stories and on public-domain prose.
 *
 * Three batches in four are stories, each a sequence of its own that starts where the story starts, as the words bed's prompts do; the fourth
 * is windows of prose. Everything is a function of the seed: an interrupted run goes on where it stopped and ends in the same weights.
 */
import { rng as newRng, type Rng } from '@plumbline/core';
import type { Batches } from '@plumbline/data';
import { differentStories } from '@plumbline/envs';
import {
  blockBatches,
  createDecoder,
  decoderSpec,
  type LocalTokenizer,
  type SftBatch,
  sftBatches,
  tokenizerFromJson,
  trainByteBpe,
} from '@plumbline/models';
import { writeCard } from './card.js';
import { englishWords, publicDomainProse } from './corpora.js';
import { pretrain } from './pretrain.js';
import { windowsOf } from './quality.js';
import type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';
import { clock } from './spent.js';
import { endOfText, type WordsConfig, words1mSeedSettings, words1mSettings, words6mSettings } from './wordsConfig.js';

export const words1m: Recipe = {
  name: 'words-1m',
  about: '1.07M parameters, simple stories and public-domain prose, vocabulary 2,048',
  train: (options) => trainWords(words1mSettings, options),
};
export const words6m: Recipe = {
  name: 'words-6m',
  about: '5.9M parameters, simple stories and public-domain prose, vocabulary 4,096',
  train: (options) => trainWords(words6mSettings, options),
};
/** Pretrained apart from `words-1m` and from each other, for ensembles whose members should differ. */
export const words1mSeeds: Recipe[] = [1, 2, 3, 4].map((seed) => ({
  name: `words-1m-seed${seed}`,
  about: `words-1m from other weights and batches (seed ${seed}), in half the steps`,
  seed,
  train: (options) => trainWords(words1mSeedSettings(seed), options),
}));

/** What comes from a registry. */
export type Sources = { prose: readonly string[]; dictionary: ReadonlySet<string> };
const fetchSources = async (): Promise<Sources> => ({ prose: await publicDomainProse(), dictionary: await englishWords() });

/**
 * Text, tokenizer, training, float16 files, and the model card with what was measured of those files. Stopped by `signal`, it throws an
 * InterruptedError once it has saved; called again with the same `runDir`, it goes on.
 */
export async function trainWords(
  config: WordsConfig,
  options: RecipeOptions,
  sources: () => Promise<Sources> = fetchSources,
): Promise<RecipeResult> {
  const { seed, out, runDir, onProgress } = options;
  const time = await clock(runDir);
  const { shape } = config;
  const rng = newRng(seed);
  onProgress?.({ stage: 'text', done: 0, total: 1, unit: 'corpora' });
  const { prose, dictionary } = await sources();
  const { tokenizer, tokens } = prepareText(config, prose);
  onProgress?.({ stage: 'text', done: 1, total: 1, unit: 'corpora' });

  const decoder = createDecoder(decoderSpec(shape), { tokenizer, name: config.name, rng: rng.fork('weights') });
  return pretrain(config, options, {
    time,
    decoder,
    batches: mixed(config, tokens, rng.fork('batches')),
    measure: (spent) => writeCard(config, { out, seed, tokens, dictionary, spent, rng: rng.fork('card') }),
  });
}

/** The tokenizer and all text in its ids. The same for every seed: seeds differ in weights and batches. */
export function prepareText(config: WordsConfig, prose: readonly string[]): { tokenizer: LocalTokenizer; tokens: Tokens } {
  const text = corpora(config, prose, newRng(0));
  const tokenizer = bpe(config, text);
  return { tokenizer, tokens: encodeAll(config, text, tokenizer) };
}

type Corpora = { stories: string[]; heldOutStories: string[]; prose: string[]; heldOutProse: string[] };
/** `stories` each close with the end token; `prose` is one long text, `heldOutProse` windows of the context's length. */
export type Tokens = { stories: Int32Array[]; heldOutStories: Int32Array[]; prose: Int32Array; heldOutProse: Int32Array[] };

function corpora(config: WordsConfig, documents: readonly string[], rng: Rng): Corpora {
  const stories = differentStories(rng.fork('stories'), config.stories);
  const order = rng.fork('documents').permutation(documents.length);
  const heldOut = Math.ceil(documents.length * config.heldOutDocuments);
  return {
    stories: stories.slice(config.heldOutStories),
    heldOutStories: stories.slice(0, config.heldOutStories),
    prose: upTo(
      config.proseBytes,
      Array.from(order.subarray(heldOut), (i) => documents[i]),
    ),
    heldOutProse: Array.from(order.subarray(0, heldOut), (i) => documents[i]),
  };
}

/** Documents from the first on, until there are about so many bytes. */
function upTo(bytes: number, documents: readonly string[]): string[] {
  let left = bytes;
  return documents.filter(({ length }) => {
    left -= length;
    return left + length > 0;
  });
}

function bpe({ name, shape }: WordsConfig, text: Corpora): LocalTokenizer {
  const json = trainByteBpe([...text.stories, ...text.prose], { vocabSize: shape.vocabSize, specialTokens: [endOfText] });
  return tokenizerFromJson(json, { name, eos_token: endOfText, model_max_length: shape.contextLength });
}

function encodeAll({ shape }: WordsConfig, text: Corpora, tokenizer: LocalTokenizer): Tokens {
  const closed = (document: string) => Int32Array.of(...tokenizer.encode(document), tokenizer.eosId!);
  const prose = text.prose.map((document) => tokenizer.encode(`${document}${endOfText}`));
  const joined = new Int32Array(prose.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const ids of prose) {
    joined.set(ids, at);
    at += ids.length;
  }
  return {
    stories: text.stories.map(closed),
    heldOutStories: text.heldOutStories.map(closed),
    prose: joined,
    heldOutProse: text.heldOutProse.flatMap((document) => windowsOf(tokenizer.encode(document), shape.contextLength)),
  };
}

function mixed(config: WordsConfig, tokens: Tokens, rng: Rng): Batches<SftBatch> {
  const { steps, shape, proseEvery } = config;
  const sequences = tokens.stories.map((ids) => ({ tokens: ids, completionStart: 0 }));
  const stories = sftBatches(sequences, { sequencesPerStep: config.storiesPerStep, steps, rng: rng.fork('stories') });
  const prose = blockBatches(tokens.prose, {
    blockTokens: shape.contextLength,
    blocksPerStep: config.proseWindowsPerStep,
    steps,
    rng: rng.fork('prose'),
  });
  const isProse = (step: number) => step % proseEvery === 0;
  return { steps, at: (step) => (isProse(step) ? prose.at(step) : stories.at(step - Math.ceil(step / proseEvery))) };
}
