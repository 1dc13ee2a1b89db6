/// <reference path="../vader-sentiment.d.ts" />
import { type Candidate, type Decoder, encodeCompletion, encodePrompt, joinSequence, type RewardFunction, textOf } from '@plumbline/data';
import vader from 'vader-sentiment';
import { completionLogpSums } from './likelihood.js';
import { characterNames } from './vocabulary.js';

/** What a completion must stay within for its content to count. */
export type Guard = {
  /** Mean negative log-likelihood of its tokens under the base at temperature 1, in nats. */
  maxNll: number;
  /** Share of its word 3-grams that occurred in it before. */
  maxRepetition: number;
};

/** For `words-1m` and completions of 32 tokens: about 5% of the model's own samples fail. The model card has the measured share. */
export const wordsGuard: Guard = { maxNll: 1.47, maxRepetition: 0.15 };

/** Where the guard stands for a base: a model of lower loss writes texts of lower loss, and its guard is tighter. That of `words-1m` for others. */
export const guardOf = (base: Pick<Decoder, 'name'>): Guard => guards[base.name] ?? wordsGuard;
const guards: Record<string, Guard> = { 'words-1m': wordsGuard, 'words-6m': { maxNll: 1.34, maxRepetition: 0.15 } };

export type GuardOptions = Partial<Guard> & {
  /** The model whose idea of fluent text is asked. */
  base: Decoder;
  /** Tokens in one forward pass. */
  batchTokens?: number;
};

/**
 * The words bed's gold: VADER's compound sentiment of the completion, in [-1, 1], where the base finds the completion fluent and it does
 * not loop; -1 where not.
 *
 * Hutto & Gilbert 2014, "VADER: a parsimonious rule-based model for sentiment analysis of social media text". Components: `raw` (the
 * compound whatever the guard says), `nll` (nats per token), `repetition` (see `repeatedTrigrams`), `fluent` (1 where the guard is
 * passed). An empty completion is not fluent; its `nll` is 0.
 */
export function guardedSentiment(options: GuardOptions): RewardFunction {
  return {
    name: 'guardedSentiment',
    async score(batch, { signal }) {
      const { fluent, ...guard } = await checkFluency(options, batch, signal);
      const raw = Float32Array.from(batch, ({ completion }) => sentiment(textOf(completion)));
      return { scores: raw.map((score, i) => (fluent[i] ? score : -1)), components: { raw, fluent, ...guard } };
    },
  };
}

/**
 * A second gold without a lexicon: of the character names in the completion, the share that the prompt had named; 0 where the completion
 * names nobody. With a `base`, also 0 where the guard fails. Components: `raw`, and with a base those of the guard.
 */
export function heroConsistency(options: Partial<GuardOptions> = {}): RewardFunction {
  const { base } = options;
  return {
    name: 'heroConsistency',
    async score(batch, { signal }) {
      const raw = Float32Array.from(batch, ({ prompt, completion }) => sharedNames(textOf(prompt), textOf(completion)));
      if (!base) return { scores: raw.slice(), components: { raw } };
      const { fluent, ...guard } = await checkFluency({ ...options, base }, batch, signal);
      return { scores: raw.map((score, i) => (fluent[i] ? score : 0)), components: { raw, fluent, ...guard } };
    },
  };
}

/** VADER's compound score of a text, in [-1, 1]; 0 for a text without any word of its lexicon. */
export function sentiment(text: string): number {
  return text.trim() === '' ? 0 : vader.SentimentIntensityAnalyzer.polarity_scores(text).compound;
}

/** Share of the word 3-grams of a text that occurred in it before, in [0, 1); case and punctuation do not count. */
export function repeatedTrigrams(text: string): number {
  const words = wordsOf(text);
  const total = words.length - 2;
  if (total < 1) return 0;
  return 1 - new Set(Array.from({ length: total }, (_, i) => words.slice(i, i + 3).join(' '))).size / total;
}

/** The words of a text in lower case, without punctuation. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
}

async function checkFluency(
  { base, maxNll = guardOf(base).maxNll, maxRepetition = guardOf(base).maxRepetition, batchTokens }: GuardOptions,
  batch: readonly Candidate[],
  signal?: AbortSignal,
) {
  const { tokenizer } = base;
  const sequences = batch.map(({ prompt, completion }) =>
    joinSequence(encodePrompt(tokenizer, prompt), encodeCompletion(tokenizer, prompt, completion)),
  );
  const sums = await completionLogpSums(base, sequences, { batchTokens, signal });
  const nll = Float32Array.from(sequences, ({ tokens, completionStart }, i) => -sums[i] / Math.max(1, tokens.length - completionStart));
  const repetition = Float32Array.from(batch, ({ completion }) => repeatedTrigrams(textOf(completion)));
  const fluent = Float32Array.from(sequences, ({ tokens, completionStart }, i) => {
    const empty = tokens.length === completionStart;
    return !empty && nll[i] < maxNll && repetition[i] < maxRepetition ? 1 : 0;
  });
  return { nll, repetition, fluent };
}

const names = new Set(characterNames);
const namesIn = (text: string) => new Set((text.match(/\p{L}+/gu) ?? []).filter((word) => names.has(word)));

function sharedNames(prompt: string, completion: string): number {
  const known = namesIn(prompt);
  const named = [...namesIn(completion)];
  return named.length === 0 ? 0 : named.filter((name) => known.has(name)).length / named.length;
}
