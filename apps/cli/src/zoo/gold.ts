/**
 * `gold-words`: the fixed gold reward model of the words bed. The first layers of `words-6m` with a mean-pooled score head, trained by Bradley-Terry on its own prompts.
 *
 * What it is taught is guarded sentiment; among what it compares are texts that fail the guard: hot samples, shuffled words, phrases said over and over. Its head is scaled so
 * that the scores of `words-1m`'s own samples have deviation 1.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rng as newRng, openRun, type Parameter, type Rng, readCopy } from '@plumbline/core';
import { encodeGroups, encodePairs, makePairs, type RewardFunction, rewardBatches, type ScoredGroup } from '@plumbline/data';
import { goldModel, type WordsBed, wordsBed } from '@plumbline/envs';
import {
  createDecoder,
  createScorer,
  type DecoderWeights,
  generate,
  type LocalDecoder,
  type LocalScorer,
  loadDecoder,
  loadScorer,
  saveScorer,
} from '@plumbline/models';
import { rewardAccuracy, trainReward } from '@plumbline/rewards';
import { filesSection, hashFiles, mean, percent, table, timeOf, writeFiles } from './cards.js';
import type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';
import { clock, type Spent } from './spent.js';

export type GoldConfig = {
  readonly name: string;
  /** The model whose first layers it is made of. */
  readonly backbone: string;
  readonly layers: number;
  /** Whose samples it compares. */
  readonly sampler: string;
  readonly groups: number;
  readonly heldOutGroups: number;
  /** Of each prompt: samples at temperature 1, samples at `hot`, and one that is spoilt. */
  readonly samples: number;
  readonly hotSamples: number;
  readonly hot: number;
  /** Gold scores that differ by less say nothing about which text is better. */
  readonly minGap: number;
  readonly groupsPerStep: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Held-out openings, with 4 samples each, that the unit and the card are measured on. */
  readonly measuredPrompts: number;
};

export const goldSettings: GoldConfig = {
  name: 'gold-words',
  backbone: 'zoo:words-6m',
  layers: 4,
  sampler: 'zoo:words-1m',
  groups: 1500,
  heldOutGroups: 150,
  samples: 3,
  hotSamples: 1,
  hot: 1.5,
  minGap: 0.05,
  groupsPerStep: 16,
  epochs: 2,
  learningRate: 4e-4,
  warmupSteps: 20,
  measuredPrompts: 128,
};

export const goldWords: Recipe = {
  name: 'gold-words',
  about: '4.3M parameters, the gold reward model of the words bed',
  train: (options) => trainGold(goldSettings, options),
};

export async function trainGold(
  config: GoldConfig,
  { seed, out, runDir, signal, onProgress }: RecipeOptions,
  models?: { backbone: LocalDecoder; sampler: LocalDecoder; teacher?: RewardFunction },
): Promise<RecipeResult> {
  const time = await clock(runDir);
  const rng = newRng(seed).fork(config.name);
  const backbone = models?.backbone ?? (await loadDecoder(config.backbone));
  const sampler = models?.sampler ?? (await loadDecoder(config.sampler));
  const bed = await wordsBed({ seed: bedSeed + seed, base: sampler, gold: models?.teacher });
  const steps = Math.ceil((config.groups * config.epochs) / config.groupsPerStep);
  const run = await openRun({
    dir: runDir,
    config: { recipe: config.name, ...config },
    seed,
    saveEvery: 50,
    signal,
    onLog: (step, metrics) =>
      onProgress?.({ stage: 'training', done: step + 1, total: steps, unit: 'steps', note: `accuracy ${metrics.accuracy?.toFixed(2)}` }),
  });
  let groups: ScoredGroup[];
  let scorer: LocalScorer;
  try {
    groups = await kept(join(runDir, 'groups.json'), () => compare(config, bed, rng.fork('groups'), { signal, onProgress }));
    const base = await firstLayers(backbone, config.layers);
    scorer = createScorer(base, { pooling: 'mean', rng: rng.fork('head'), name: config.name });
    base.dispose();
    const encoded = encodeGroups(backbone.tokenizer, groups.slice(config.heldOutGroups), { minGap: config.minGap }).groups;
    const batches = rewardBatches(encoded, { groupsPerStep: config.groupsPerStep, epochs: config.epochs, rng: rng.fork('order') });
    await trainReward(
      {
        steps: batches.steps,
        learningRate: config.learningRate,
        schedule: { kind: 'cosine', warmupSteps: Math.min(config.warmupSteps, batches.steps - 1) },
        centerCoefficient: 0.01,
      },
      { scorer, batches, run },
    );
  } finally {
    await run.close();
    await time.stop();
  }
  onProgress?.({ stage: 'measuring', done: 0, total: 1, unit: 'models' });
  const unseen = await bed.sampleGroups({
    prompts: bed.heldOutPrompts.slice(0, config.measuredPrompts),
    n: 4,
    rng: rng.fork('unseen'),
    signal,
  });
  const flat = unseen.flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion })));
  const { scores } = await goldModel(scorer).score(flat, { rng });
  await scaleHead(scorer, 1 / deviationOf(scores));
  await mkdir(out, { recursive: true });
  await saveScorer(out, scorer, { dtype: 'F16' });
  scorer.dispose();

  const saved = await loadScorer(out);
  const { measured, examples } = await measureGold(saved, bed, groups.slice(0, config.heldOutGroups), unseen, config, rng.fork('measure'));
  const parameters = saved.parameters.trainable().reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  saved.dispose();
  if (!models) for (const model of [backbone, sampler]) model.dispose();
  const spent = await time.stop();
  const sha256 = await hashFiles(out);
  await writeFiles(out, modelCard(config, { seed, spent, measured, examples, sha256, parameters }), sha256, measured);
  onProgress?.({ stage: 'measuring', done: 1, total: 1, unit: 'models' });
  await rm(runDir, { recursive: true, force: true });
  return { sha256, measured, seconds: spent.seconds };
}

/** Far from the seeds of experiments: the gold model's prompts are its own. */
const bedSeed = 1_000_003;

async function kept<T>(file: string, make: () => Promise<T>): Promise<T> {
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as T;
  const made = await make();
  await writeFile(file, JSON.stringify(made));
  return made;
}

/** Groups of completions of one prompt with their guarded sentiment: plain samples first, then hot ones, then a spoilt one. */
async function compare(
  config: GoldConfig,
  bed: WordsBed,
  rng: Rng,
  { signal, onProgress }: Pick<RecipeOptions, 'signal' | 'onProgress'>,
): Promise<ScoredGroup[]> {
  const prompts = bed.prompts.slice(0, config.groups + config.heldOutGroups);
  const plain = await bed.sampleGroups({
    prompts,
    n: config.samples,
    rng: rng.fork('plain'),
    signal,
    onProgress: ({ done, total }) => onProgress?.({ stage: 'sampling', done, total, unit: 'samples' }),
  });
  const ids = prompts.map((prompt) => bed.base.tokenizer.encode(prompt));
  const hot = await generate(bed.base, ids, {
    maxTokens: bed.sampling.maxTokens,
    temperature: config.hot,
    n: config.hotSamples,
    rng: rng.fork('hot'),
    signal,
  });
  signal?.throwIfAborted();
  const completions = plain.map(({ completions: own }, i) => [
    ...own,
    ...hot[i].map(({ text }) => text),
    spoil(own[0], rng.fork('spoil', i)),
  ]);
  const { scores } = await bed.gold.score(
    completions.flatMap((own, i) => own.map((completion) => ({ prompt: prompts[i], completion }))),
    { rng: rng.fork('gold'), signal },
  );
  const perGroup = config.samples + config.hotSamples + 1;
  return completions.map((own, i) => ({
    id: String(i),
    prompt: prompts[i],
    completions: own,
    scores: Array.from(scores.subarray(i * perGroup, (i + 1) * perGroup)),
  }));
}

/** What an over-optimised policy may end in: words out of order, one phrase again and again, one cheerful word after another. */
export function spoil(text: string, rng: Rng): string {
  const words = text.trim().split(/\s+/);
  const size = Math.max(4, words.length);
  switch (rng.below(3)) {
    case 0:
      return ` ${Array.from(rng.permutation(words.length), (i) => words[i]).join(' ')}`;
    case 1: {
      const from = rng.below(Math.max(1, words.length - 4));
      const phrase = words.slice(from, from + 3 + rng.below(3));
      return ` ${Array.from({ length: size }, (_, i) => phrase[i % phrase.length]).join(' ')}`;
    }
    default: {
      const cheerful = ['happy', 'glad', 'joy', 'love', 'smiled', 'beautiful', 'great', 'laughed', 'wonderful', 'friend'];
      return ` ${Array.from({ length: size }, () => (rng.below(3) === 0 ? words[rng.below(words.length)] : cheerful[rng.below(cheerful.length)])).join(' ')}`;
    }
  }
}

/** The embedding, the first layers and the final norm of a decoder. */
async function firstLayers(decoder: LocalDecoder, layers: number): Promise<LocalDecoder> {
  const weights: DecoderWeights = {};
  for (const name of decoder.parameters.names) {
    const layer = /\.layers\.(\d+)\./.exec(name);
    if (layer && Number(layer[1]) >= layers) continue;
    const parameter = decoder.parameters.get(name) as Parameter;
    weights[name] = { shape: parameter.shape, data: (await readCopy(parameter.value)) as Float32Array };
  }
  return createDecoder({ ...decoder.spec, layers }, { tokenizer: decoder.tokenizer, name: `${decoder.name}-${layers}`, weights });
}

/** Multiplies every score by a number. */
async function scaleHead(scorer: LocalScorer, by: number): Promise<void> {
  const saved = await scorer.parameters.save();
  const head = saved.tensors['score.weight'];
  await scorer.parameters.load({
    ...saved,
    tensors: { ...saved.tensors, 'score.weight': { ...head, data: (head.data as Float32Array).map((x) => x * by) } },
  });
}

type Example = { text: string; gold: number; guarded: number };

async function measureGold(
  scorer: LocalScorer,
  bed: WordsBed,
  heldOut: readonly ScoredGroup[],
  unseen: Awaited<ReturnType<WordsBed['sampleGroups']>>,
  config: GoldConfig,
  rng: Rng,
): Promise<{ measured: Record<string, number>; examples: Example[] }> {
  const { minGap } = config;
  const accuracyOf = async (groups: readonly ScoredGroup[]) =>
    (await rewardAccuracy(scorer, encodePairs(scorer.tokenizer, makePairs(groups, 'all', rng, { minGap })).pairs)).accuracy;
  const reward = goldModel(scorer, { base: bed.base });
  const flat = unseen.flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion })));
  const { scores, components } = await reward.score(flat, { rng });
  const guarded = unseen.flatMap((group) => [...group.scores]);
  const scoresOfPart = async (from: number, to?: number) =>
    (
      await reward.score(
        heldOut.flatMap(({ prompt, completions }) => completions.slice(from, to).map((completion) => ({ prompt, completion }))),
        { rng },
      )
    ).scores;
  const fluent = [...components!.fluent].map((x) => x === 1);
  const hot = await scoresOfPart(config.samples, config.samples + config.hotSamples);
  const spoilt = await scoresOfPart(-1);
  return {
    measured: {
      accuracyPlain: await accuracyOf(unseen),
      accuracyAll: await accuracyOf(heldOut),
      correlation: correlation(scores, guarded),
      correlationFluent: correlation(
        scores.filter((_, i) => fluent[i]),
        guarded.filter((_, i) => fluent[i]),
      ),
      correlationRaw: correlation(scores, components!.raw),
      meanPlain: mean(scores),
      deviationPlain: deviationOf(scores),
      meanHot: mean(hot),
      meanSpoilt: mean(spoilt),
    },
    examples: flat
      .slice(0, 8)
      .map(({ prompt, completion }, i) => ({ text: `${prompt}|${completion}`, gold: scores[i], guarded: guarded[i] })),
  };
}

const deviationOf = (x: ArrayLike<number>) => {
  const m = mean(x);
  return Math.sqrt(mean(Array.from(x, (v) => (v - m) ** 2)));
};
function correlation(x: ArrayLike<number>, y: ArrayLike<number>): number {
  const [mx, my] = [mean(x), mean(y)];
  return mean(Array.from(x, (v, i) => (v - mx) * (y[i] - my))) / (deviationOf(x) * deviationOf(y));
}

function modelCard(
  config: GoldConfig,
  {
    seed,
    spent,
    measured: m,
    examples,
    sha256,
    parameters,
  }: {
    seed: number;
    spent: Spent;
    measured: Record<string, number>;
    examples: Example[];
    sha256: Record<string, string>;
    parameters: number;
  },
): string {
  return `# ${config.name}

A reward model of ${(parameters / 1e6).toFixed(2)} million parameters: the fixed gold of Plumbline's words bed, that labels data and shows over-optimisation. Higher is more cheerful, as long as
the text stays a story. It is a test bed's instrument, not a judge of anything else.

- the first ${config.layers} layers of \`${config.backbone}\` and its tokenizer; the score is read from the mean of the completion's hidden states; float16
- its unit is the standard deviation of the scores of what \`${config.sampler}\` writes
- remade by \`plumb zoo train ${config.name}\` (seed ${seed}; ${timeOf(spent)}, sampling included)

## Measured

Of the float16 weights in this folder, on held-out openings of the words bed with ${config.sampler}'s own samples unless said otherwise; what it is compared with is guarded sentiment (\`guardedSentiment\`).

${table([
  ['pairs of samples that it puts in the right order (gap above 0.05)', percent(m.accuracyPlain)],
  ['the same where hot and spoilt texts are among them', percent(m.accuracyAll)],
  ['correlation with guarded sentiment', m.correlation.toFixed(3)],
  ['the same among texts that pass the guard', m.correlationFluent.toFixed(3)],
  ['correlation with raw VADER', m.correlationRaw.toFixed(3)],
  ['mean and deviation of the samples', `${m.meanPlain.toFixed(2)}, ${m.deviationPlain.toFixed(2)}`],
  [`mean of samples at temperature ${config.hot}`, m.meanHot.toFixed(2)],
  ['mean of spoilt texts: shuffled, repeated, cheerful words in a row', m.meanSpoilt.toFixed(2)],
])}

## Text

- ${config.groups.toLocaleString('en')} openings of its own, each with ${config.samples} samples of \`${config.sampler}\`, ${config.hotSamples} at temperature ${config.hot} and one spoilt text; every pair whose guarded sentiment differs by more than ${config.minGap}
- Bradley-Terry with centring .01, ${config.epochs} epochs of ${config.groupsPerStep} groups a step, AdamW, rate ${config.learningRate}, ${config.warmupSteps} steps of warm-up, cosine to 0

## Samples, none picked

${examples.map(({ text, gold, guarded }) => `> ${text} (${gold.toFixed(2)}; guarded sentiment ${guarded.toFixed(2)})`).join('\n>\n')}

${filesSection(sha256)}

Apache-2.0. The texts are generated.
`;
}
