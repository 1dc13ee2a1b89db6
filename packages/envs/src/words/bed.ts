import { rng as newRng, type Rng } from '@plumbline/core';
import { type Candidate, joinSequence, type RewardFunction } from '@plumbline/data';
import { generate, type LocalDecoder, loadDecoder, type TokenSample } from '@plumbline/models';
import { loadGoldModel } from './goldModel.js';
import { completionLogpSums } from './likelihood.js';
import { guardedSentiment, wordsOf } from './sentiment.js';
import { storyGenerator } from './stories.js';
import { characterNames } from './vocabulary.js';

/** Tokens of a story that a policy is shown, and tokens that it adds. */
export const promptTokens = 16;
export const completionTokens = 32;
const trainingPrompts = 3000;
const heldOut = 256;

/** All samples of one prompt, with their gold scores. `components` are those of the gold: raw, nll, repetition, fluent. */
export type SampledGroup = {
  prompt: string;
  completions: string[];
  samples: TokenSample[];
  scores: Float32Array;
  components: Record<string, Float32Array>;
};

export type SampleOptions = {
  prompts: readonly string[];
  /** Samples of each prompt. */
  n: number;
  rng: Rng;
  /** Who continues the prompts; the base unless said otherwise. */
  policy?: LocalDecoder;
  /** What the policy is shown instead of the prompt, such as a goal before it. Gold, guard and base see the prompt itself. */
  ask?: (prompt: string) => string;
  signal?: AbortSignal;
  /** Called between batches with the number of samples that are drawn and scored. */
  onProgress?: (progress: { done: number; total: number }) => void;
};

/** Arrays are means over the samples of each prompt, [prompts], so that two policies can be compared prompt by prompt. */
export type WordsEvaluation = {
  prompts: readonly string[];
  /** The bed's gold: guarded VADER, in [-1, 1], unless another was asked for. */
  goldReward: Float64Array;
  /** VADER whatever the guard says. */
  rawSentiment: Float64Array;
  /** What the reward that was passed in answers; absent where none was. */
  learnedReward?: Float64Array;
  /** `log π − log π_base` of the sampled tokens, summed over the sequence, in nats: an unbiased estimate of the KL divergence per sequence. */
  kl: Float64Array;
  /** Share that passes the guard. */
  fluent: Float64Array;
  /** Share of repeated word 3-grams. */
  repetition: Float64Array;
  /** Tokens. */
  length: Float64Array;
  /** Nats per token under the base. */
  nll: Float64Array;
  /** Different word pairs over all word pairs of all samples together: one number for the policy. */
  distinct2: number;
  samples: { prompt: string; completions: string[] }[];
};

export type EvaluateOptions = {
  prompts?: readonly string[];
  samplesPerPrompt?: number;
  rng: Rng;
  /** A learned reward to report beside the gold. */
  reward?: RewardFunction;
  ask?: SampleOptions['ask'];
  signal?: AbortSignal;
  onProgress?: SampleOptions['onProgress'];
};

export interface WordsBed {
  readonly base: LocalDecoder;
  /** A copy of the base to train; the caller disposes it. */
  policy(): LocalDecoder;
  /** Openings to train on: the first 16 tokens of stories from another stream of the generator than the base's own text. */
  readonly prompts: readonly string[];
  /** Openings to evaluate on; none is among `prompts`. */
  readonly heldOutPrompts: readonly string[];
  readonly gold: RewardFunction;
  /** What the policies are asked for: 32 tokens at temperature 1. */
  readonly sampling: { readonly maxTokens: number; readonly temperature: number };
  sampleGroups(options: SampleOptions): Promise<SampledGroup[]>;
  /** Samples from `policy` and measures it. 96 held-out prompts with 4 samples each give an interval of about ±0.08 in gold reward. */
  evaluate(policy: LocalDecoder, options: EvaluateOptions): Promise<WordsEvaluation>;
  /** Measures samples that were drawn and perhaps selected elsewhere, such as best-of-n. `policy` gives the KL; without it `kl` is NaN. */
  measure(
    groups: readonly SampledGroup[],
    options: { rng: Rng; policy?: LocalDecoder; ask?: SampleOptions['ask']; reward?: RewardFunction; signal?: AbortSignal },
  ): Promise<WordsEvaluation>;
  /** Frees the gold model, where the bed loaded one. The base stays the caller's. */
  dispose(): void;
}

/**
 * The words bed: story openings that a small language model continues, with guarded sentiment as the gold reward. It never trains.
 *
 * `seed` decides the openings. `base` is the pretrained model, `zoo:words-1m` unless said otherwise; the caller disposes it. `gold` is guarded sentiment, or `'model'` for the fixed
 * larger reward model `zoo:gold-words`, which labels data and shows over-optimisation without a lexicon, or a reward of yours. It reads the text of a completion and tokenizes it
 * anew, so it does not matter how a policy spelled it.
 */
export async function wordsBed({
  seed,
  base: given = 'zoo:words-1m',
  gold: otherGold,
}: {
  seed: number;
  base?: LocalDecoder | string;
  gold?: RewardFunction | 'model';
}): Promise<WordsBed> {
  const base = typeof given === 'string' ? await loadDecoder(given) : given;
  const { tokenizer } = base;
  const loaded = otherGold === 'model' ? await loadGoldModel('zoo:gold-words', { base }) : undefined;
  const gold = loaded?.reward ?? (otherGold as RewardFunction | undefined) ?? guardedSentiment({ base });
  const sampling = { maxTokens: completionTokens, temperature: 1 };
  const all = openings(base, newRng(seed).fork('words bed'), trainingPrompts + heldOut);

  const bed: WordsBed = {
    base,
    policy: () => base.snapshot(),
    heldOutPrompts: all.slice(0, heldOut), // first, so that their number does not depend on the size of the pool
    prompts: all.slice(heldOut),
    gold,
    sampling,

    async sampleGroups({ prompts, n, rng, policy = base, ask = (prompt) => prompt, signal, onProgress }) {
      const groups: SampledGroup[] = [];
      const perBatch = Math.max(1, Math.floor(samplesPerBatch / n));
      for (let from = 0; from < prompts.length; from += perBatch) {
        signal?.throwIfAborted();
        const some = prompts.slice(from, from + perBatch);
        const ids = some.map((prompt) => tokenizer.encode(ask(prompt)));
        const sampled = await generate(policy, ids, { ...sampling, n, rng: rng.fork('samples', from), signal });
        signal?.throwIfAborted(); // a batch that was cut short is not a sample of the policy
        const scored = await gold.score(
          some.flatMap((prompt, i) => sampled[i].map(({ text }): Candidate => ({ prompt, completion: text }))),
          { rng: rng.fork('gold', from), signal },
        );
        some.forEach((prompt, i) => {
          const own = (values: Float32Array) => values.slice(i * n, (i + 1) * n);
          const components = Object.fromEntries(Object.entries(scored.components ?? {}).map(([name, values]) => [name, own(values)]));
          groups.push({
            prompt,
            completions: sampled[i].map(({ text }) => text),
            samples: sampled[i],
            scores: own(scored.scores),
            components,
          });
        });
        onProgress?.({ done: groups.length * n, total: prompts.length * n });
      }
      return groups;
    },

    async evaluate(policy, { prompts = bed.heldOutPrompts.slice(0, 96), samplesPerPrompt = 4, rng, ask, reward, signal, onProgress }) {
      const groups = await bed.sampleGroups({ prompts, n: samplesPerPrompt, rng, policy, ask, signal, onProgress });
      return bed.measure(groups, { rng: rng.fork('measure'), policy, ask, reward, signal });
    },

    async measure(groups, { rng, policy, ask, reward, signal }) {
      const flat = groups.flatMap(({ prompt, samples }) => samples.map((sample) => ({ prompt, sample })));
      const kl = new Float64Array(flat.length);
      if (policy === undefined) kl.fill(Number.NaN);
      else if (policy !== base || ask) {
        const after = (shown = (prompt: string) => prompt) =>
          flat.map(({ prompt, sample }) => joinSequence(tokenizer.encode(shown(prompt)), sample.tokens));
        const ours = await completionLogpSums(policy, after(ask), { signal });
        const theirs = await completionLogpSums(base, after(), { signal });
        kl.forEach((_, i) => {
          kl[i] = ours[i] - theirs[i];
        });
      }
      const learned =
        reward &&
        (
          await reward.score(
            flat.map(({ prompt, sample }) => ({ prompt, completion: sample.text })),
            { rng, signal },
          )
        ).scores;
      const of = (name: string) =>
        groups.map(({ components, scores }) => components[name] ?? new Float32Array(scores.length).fill(Number.NaN));
      const completions = groups.map((group) => group.completions);
      return {
        prompts: groups.map(({ prompt }) => prompt),
        goldReward: means(groups.map(({ scores }) => scores)),
        rawSentiment: means(of('raw')),
        ...(learned && { learnedReward: means(regroup(learned, groups)) }),
        kl: means(regroup(kl, groups)),
        fluent: means(of('fluent')),
        repetition: means(of('repetition')),
        length: means(groups.map(({ samples }) => samples.map(({ tokens }) => tokens.length))),
        nll: means(of('nll')),
        distinct2: distinctPairs(completions.flat()),
        samples: groups.map(({ prompt }, i) => ({ prompt, completions: completions[i] })),
      };
    },

    dispose: () => loaded?.dispose(),
  };
  return bed;
}

/** Samples drawn and scored between two calls of `onProgress`. */
const samplesPerBatch = 256;

/**
 * Different story openings of exactly 16 tokens. Each ends between two words and names who it is about, and its text is tokenized as the
 * story's own start, so that a policy sees what the base saw in training.
 */
export function openings({ tokenizer }: Pick<LocalDecoder, 'tokenizer'>, rng: Rng, count: number): string[] {
  const story = storyGenerator(rng);
  const found = new Set<string>();
  for (let index = 0; found.size < count; index++) {
    if (index > 100 * count + 1000)
      throw new RangeError(`openings: ${count} different openings were asked for, but the tokenizer leaves only ${found.size}`);
    const text = story(index);
    const ids = tokenizer.encode(text);
    const opening = tokenizer.decode(ids.subarray(0, promptTokens));
    const next = text[opening.length];
    const again = tokenizer.encode(opening);
    const same = again.length === promptTokens && again.every((id, i) => id === ids[i]);
    if (text.startsWith(opening) && next !== undefined && !/\p{L}/u.test(next) && same && names.test(opening)) found.add(opening);
  }
  return [...found];
}

const names = new RegExp(`\\b(${characterNames.join('|')})\\b`);

/** Different word pairs over all word pairs, of all texts together. */
export function distinctPairs(texts: readonly string[]): number {
  const seen = new Set<string>();
  let total = 0;
  for (const text of texts) {
    const words = wordsOf(text);
    for (let i = 1; i < words.length; i++, total++) seen.add(`${words[i - 1]} ${words[i]}`);
  }
  return total === 0 ? 0 : seen.size / total;
}

function regroup(values: Float32Array | Float64Array, groups: readonly SampledGroup[]) {
  let to = 0;
  return groups.map(({ samples }) => {
    to += samples.length;
    return values.slice(to - samples.length, to);
  });
}

const means = (rows: readonly ArrayLike<number>[]) =>
  Float64Array.from(rows, (row) => Array.from(row).reduce((a, b) => a + b, 0) / row.length);
