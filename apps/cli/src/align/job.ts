/** The main job on a user's model and preference pairs: a reward model, DPO, and what both changed on pairs that were held out. */
import { ConfigError, rng as newRng, parameterCount } from '@plumbline/core';
import {
  type EncodedPair,
  encodePairs,
  encodePrompt,
  joinSequence,
  type PreferenceRecord,
  type Prompt,
  pairBatches,
  rewardBatches,
  splitRecords,
} from '@plumbline/data';
import { dpo, trainPairs, withOptions } from '@plumbline/dpo';
import {
  addLora,
  completionLogpsOf,
  createScorer,
  generate,
  isAdapted,
  type LocalDecoder,
  type LocalScorer,
  loadAdapter,
  loadDecoder,
  loadScorer,
  mergeAdapter,
  saveAdapter,
  saveDecoder,
  saveScorer,
} from '@plumbline/models';
import { modelReward, rewardAccuracy, trainReward } from '@plumbline/rewards';
import { withProgress } from '../progress.js';
import { stages } from '../runs.js';
import { ofAdapters, refuseUnused } from '../train/unused.js';
import { type AlignConfig, learningRates } from './config.js';

export type AlignOutcome = {
  seconds: number;
  model: { name: string; parameters: number /** Of the policy. */; trained: number; full: boolean };
  data: { read: number; skipped: number; tooLong: number; train: number; heldOut: number };
  /** For each held-out pair: score of the chosen minus that of the rejected answer. */
  reward: { before: number[]; after: number[] };
  /** For each held-out pair: log-probability of the chosen minus that of the rejected answer, in nats. */
  dpo: { before: number[]; after: number[] };
  samples: { prompt: string; before: string; after: string; rewardBefore: number; rewardAfter: number }[];
};
export type AlignJob = {
  config: AlignConfig;
  model: string;
  records: readonly PreferenceRecord[];
  skipped: number;
  seed: number;
  dir: string;
  signal: AbortSignal;
};

export async function runAlign({ config, model, records, skipped, seed, dir, signal }: AlignJob): Promise<AlignOutcome> {
  const rng = newRng(seed);
  const stage = stages({ dir, seed, config, signal });
  const { base, full } = await loadBase(model, config);
  const { tokenizer } = base;
  const parameters = parameterCount(base.parameters).total;
  const kind = full ? 'whole' : 'adapter';

  const maxTokens = Math.min(config.maxTokens, base.contextLength);
  const shuffled = Array.from(rng.fork('records').permutation(records.length), (i) => records[i]);
  const { pairs: fitting, dropped } = encodePairs(tokenizer, shuffled, { maxTokens });
  if (fitting.length < leastPairs)
    throw new ConfigError(
      `of ${records.length} preference pairs ${fitting.length} fit into ${maxTokens} tokens; at least ${leastPairs} are needed to train on some and measure on others${dropped.length > 0 ? `: raise maxTokens, up to ${base.contextLength}` : ''}`,
    );
  const chosen = new Set(fitting.slice(0, config.pairs).map(({ id }) => id));
  const used = shuffled.filter((record, i) => chosen.has(record.id ?? String(i)));
  const [heldOutRecords, trainRecords] = splitRecords(used, config.heldOut, rng.fork('split'));
  const encode = (some: readonly PreferenceRecord[]) => encodePairs(tokenizer, some, { maxTokens }).pairs;
  const [train, heldOut] = [encode(trainRecords), encode(heldOutRecords)];

  // Nothing is walked back through below the first layer with an adapter: the upper half costs two thirds of all layers.
  const lora = { ...config.lora, layers: config.lora.layers ?? upperHalf(base.spec.layers) };
  // The base is shared by the scorer, the policy and the reference: each adapter is a few million numbers of its own.
  const untrainedScorer = createScorer(base, { pooling: config.reward.pooling, rng: rng.fork('head'), shareBackbone: !full });
  const scoresBefore = await stage.run('reward/before', async () => {
    const { margins } = await rewardAccuracy(untrainedScorer, heldOut, { signal });
    return margins;
  });
  const scorer = await stage.train({
    name: 'reward',
    label: 'Training the reward model',
    steps: config.reward.steps,
    train: async (run) => {
      const made: LocalScorer = full ? untrainedScorer : await addLora(untrainedScorer, lora, { rng: rng.fork('reward adapter') });
      const { steps, pairsPerStep, learningRate = learningRates.reward[kind] } = config.reward;
      const batches = rewardBatches(train, { groupsPerStep: pairsPerStep, steps, rng: rng.fork('reward'), sharePrompts: true });
      await trainReward(
        { steps, tokensPerMicroBatch: config.tokensPerMicroBatch, learningRate, schedule: warmUp(steps) },
        { scorer: made, batches, run },
      );
      return made;
    },
    save: (folder, made) => (isAdapted(made) ? saveAdapter(folder, made, { base: model }) : saveScorer(folder, made)),
    load: (folder): Promise<LocalScorer> => (full ? loadScorer(folder, { tokenizer }) : loadAdapter(untrainedScorer, folder)),
  });
  const scoresAfter = await stage.run('reward/after', async () => (await rewardAccuracy(scorer.model, heldOut, { signal })).margins);

  const logpsBefore = await stage.run('dpo/before', () => logpMargins(base, heldOut, 'Reading the held-out pairs'));
  const policy = await stage.train({
    name: 'dpo',
    label: 'Aligning by DPO',
    steps: config.dpo.steps,
    train: async (run) => {
      const made: LocalDecoder = full ? base.snapshot() : await addLora(base, lora, { rng: rng.fork('policy adapter') });
      const { steps, pairsPerStep, learningRate = learningRates.dpo[kind], beta } = config.dpo;
      const batches = pairBatches(train, { pairsPerStep, steps, rng: rng.fork('dpo'), sharePrompts: true });
      const settings = {
        steps,
        pairsPerStep,
        pairsPerMicroBatch: pairsPerStep,
        tokensPerMicroBatch: config.tokensPerMicroBatch,
        learningRate,
        schedule: warmUp(steps),
      };
      await trainPairs(settings, { policy: made, reference: base, batches, loss: withOptions(dpo, { beta }), run });
      return made;
    },
    save: (folder, made) => (isAdapted(made) ? saveAdapter(folder, made, { base: model }) : saveDecoder(folder, made)),
    load: (folder): Promise<LocalDecoder> => (full ? loadDecoder(folder, { tokenizer }) : loadAdapter(base, folder)),
  });
  const logpsAfter = await stage.run('dpo/after', () => logpMargins(policy.model, heldOut, 'Reading them once more'));

  const samples = await stage.run('samples', async () => {
    const asked = heldOutRecords.slice(0, config.samples.prompts);
    if (asked.length === 0) return [];
    const answer = async (decoder: LocalDecoder, label: string) => {
      const { maxTokens, temperature } = config.samples;
      const prompts = asked.map(({ prompt }) => encodePrompt(tokenizer, prompt));
      const fit = prompts.map((ids) => ids.subarray(0, decoder.contextLength - 1));
      const answers = await withProgress(label, asked.length, 'answers', (bar) =>
        generate(decoder, fit, {
          maxTokens,
          temperature,
          rng: rng.fork('answers'),
          signal,
          onProgress: ({ finished }) => bar.update(finished),
        }),
      );
      return answers.map(([{ text }]) => text);
    };
    const answering = isAdapted(policy.model) ? await mergeAdapter(policy.model, { storage: config.storage }) : policy.model; // faster, to rounding
    const [before, after] = [await answer(base, 'Answers before'), await answer(answering, 'Answers after')];
    if (answering !== policy.model) answering.dispose();
    const judged = (texts: string[]) =>
      modelReward(scorer.model).score(
        asked.map(({ prompt }, i) => ({
          prompt,
          completion: typeof prompt === 'string' ? texts[i] : [{ role: 'assistant', content: texts[i] }],
        })),
        { rng, signal },
      );
    const [scoreBefore, scoreAfter] = [await judged(before), await judged(after)];
    return asked.map(({ prompt }, i) => ({
      prompt: shown(prompt),
      before: before[i],
      after: after[i],
      rewardBefore: scoreBefore.scores[i],
      rewardAfter: scoreAfter.scores[i],
    }));
  });

  const parts = [scoresBefore, scorer, scoresAfter, logpsBefore, policy, logpsAfter, samples];
  return {
    seconds: parts.reduce((sum, part) => sum + part.seconds, 0),
    model: { name: base.name, parameters, trained: parameterCount(policy.model.parameters).trainable, full },
    data: { read: records.length, skipped, tooLong: dropped.length, train: train.length, heldOut: heldOut.length },
    reward: { before: scoresBefore.value, after: scoresAfter.value },
    dpo: { before: logpsBefore.value, after: logpsAfter.value },
    samples: samples.value,
  };

  function logpMargins(decoder: LocalDecoder, pairs: readonly EncodedPair[], label: string): Promise<number[]> {
    return withProgress(label, pairs.length, 'pairs', async (bar) => {
      const margins: number[] = [];
      for (let from = 0; from < pairs.length && !signal.aborted; from += pairsAtOnce) {
        const some = pairs.slice(from, from + pairsAtOnce);
        const sides = some.flatMap(({ prompt, chosen, rejected }) => [joinSequence(prompt, chosen), joinSequence(prompt, rejected)]);
        const sums = (await completionLogpsOf(decoder, sides)).map((logps) => logps.reduce((a, b) => a + b, 0));
        some.forEach((_, i) => void margins.push(sums[2 * i] - sums[2 * i + 1]));
        bar.update(margins.length);
      }
      return margins;
    });
  }
}

/** A prompt as a reader follows it: the turns of a conversation with who speaks. */
const shown = (prompt: Prompt): string =>
  typeof prompt === 'string' ? prompt : prompt.map(({ role, content }) => `${role}: ${content}`).join('\n');

/** Fewer are not to be divided into some to train on and some to measure on. */
const leastPairs = 10;
/** Pairs read between two looks at the progress and the signal. */
const pairsAtOnce = 16;
const warmUp = (steps: number) => ({ kind: 'cosine', warmupSteps: Math.min(4, steps - 1) }) as const;

/** All weights of a small model are trained; a larger one is kept frozen, for adapters. */
async function loadBase(model: string, { full, lora, storage, products }: AlignConfig): Promise<{ base: LocalDecoder; full: boolean }> {
  const base = await loadDecoder(model, full === false ? { storage, products } : { products });
  const whole = full ?? parameterCount(base.parameters).total <= 50e6;
  refuseUnused(ofAdapters({ full: whole, lora, storage }));
  if (whole || full === false) return { base, full: whole };
  base.dispose();
  return { base: await loadDecoder(model, { storage, products }), full: false };
}

const upperHalf = (layers: number): number[] => Array.from({ length: Math.ceil(layers / 2) }, (_, i) => Math.floor(layers / 2) + i);
