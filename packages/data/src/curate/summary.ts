/** What a data set looks like, gathered record by record in bounded memory: what `plumb data check` and `plumb data stats` print. */

import { encodeCompletion, encodePrompt } from '../encode.js';
import type { Tokenizer } from '../interfaces.js';
import { type PreferenceRecord, type RecordKind, type StepwiseRecord, sameCompletion, type UnpairedRecord } from '../records.js';
import { exactDeduplicator } from './dedup.js';
import { looksGarbled } from './filters.js';
import { textsOf } from './text.js';
import { hash53, wordsOf } from './words.js';

/** Whole numbers in buckets that grow by a sixteenth: quantiles within 3.2% of the value, in at most 900 numbers. */
export interface LengthHistogram {
  add(value: number): void;
  readonly count: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  quantile(q: number): number;
}

export function lengthHistogram(): LengthHistogram {
  const buckets = new Map<number, number>();
  let [count, sum, min, max] = [0, 0, Infinity, -Infinity];
  const bucketOf = (value: number) => (value < 32 ? value : 32 + Math.floor(Math.log(value / 32) / Math.log1p(1 / 16)));
  const middleOf = (bucket: number) => (bucket < 32 ? bucket : 32 * (1 + 1 / 16) ** (bucket - 32 + 0.5));
  return {
    add(value) {
      count++;
      sum += value;
      if (value < min) min = value;
      if (value > max) max = value;
      const bucket = bucketOf(value);
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
    },
    get count() {
      return count;
    },
    get mean() {
      return count === 0 ? 0 : sum / count;
    },
    get min() {
      return count === 0 ? 0 : min;
    },
    get max() {
      return count === 0 ? 0 : max;
    },
    quantile(q) {
      let left = q * (count - 1);
      for (const bucket of [...buckets.keys()].sort((a, b) => a - b)) {
        left -= buckets.get(bucket)!;
        if (left < 0) return Math.min(max, Math.max(min, Math.round(middleOf(bucket))));
      }
      return count === 0 ? 0 : max;
    },
  };
}

export type LengthSummary = { count: number; mean: number; min: number; p5: number; median: number; p95: number; max: number };
export const summarise = (h: LengthHistogram): LengthSummary => ({
  count: h.count,
  mean: h.mean,
  min: h.min,
  p5: h.quantile(0.05),
  median: h.quantile(0.5),
  p95: h.quantile(0.95),
  max: h.max,
});

/** How many different things were counted, within 1.6%: the 4,096 smallest hashes are kept (Bar-Yossef et al. 2002). */
export function distinctCounter(): { add(text: string): void; readonly count: number } {
  const size = 4096;
  const kept = new Set<number>();
  let limit = Infinity; // no larger hash can be among the smallest
  const prune = () => {
    const sorted = Float64Array.from(kept).sort();
    limit = sorted[size - 1];
    for (const hash of sorted.subarray(size)) kept.delete(hash);
  };
  return {
    add(text) {
      const hash = hash53(text);
      if (hash >= limit) return;
      kept.add(hash);
      if (kept.size >= 2 * size) prune();
    },
    get count() {
      if (kept.size <= size && limit === Infinity) return kept.size;
      prune();
      return Math.round(((size - 1) * 2 ** 53) / limit);
    },
  };
}

export type DataWarning = 'emptyCompletion' | 'identicalPair' | 'duplicate' | 'tooLong' | 'garbled';
export type DataSummary = {
  kind: RecordKind;
  records: number;
  /** Lengths of each part, in characters, or in tokens where there is a tokenizer. */
  unit: 'characters' | 'tokens';
  lengths: Record<string, LengthSummary>;
  /** Different words, about; of tokens, how many of the vocabulary are there. */
  words: number;
  vocabulary?: { used: number; size: number };
  /** True labels, of unpaired records and of steps. */
  labels?: { true: number; false: number };
  /** Chosen against rejected, in the same unit: share of pairs whose chosen side is longer, among those that differ, with a 95% interval. */
  lengthBias?: {
    chosenLonger: number;
    rejectedLonger: number;
    equal: number;
    share: number;
    low: number;
    high: number;
    meanDifference: number;
  };
  turns?: { mean: number; max: number };
  warnings: Record<DataWarning, { count: number; first: string[] }>;
};

export type SummaryOptions = {
  tokenizer?: Tokenizer;
  /** Longer records are warned of, in the summary's unit, prompt and one answer together. Default: none is. */
  maxLength?: number;
  /** Counting words and tokens takes most of the time. Default: yes. */
  words?: boolean;
  /** Places kept of each warning. Default 5. */
  examples?: number;
};

/** Gathers a summary from records that are shown with the places where they stand. */
export function dataSummary(
  kind: RecordKind,
  { tokenizer, maxLength = Infinity, words = true, examples = 5 }: SummaryOptions = {},
): { add(record: object, place: string): void; read(): DataSummary } {
  const histograms = new Map<string, LengthHistogram>();
  const histogram = (name: string) => {
    if (!histograms.has(name)) histograms.set(name, lengthHistogram());
    return histograms.get(name)!;
  };
  const distinct = distinctCounter();
  const used = tokenizer && new Uint8Array(tokenizer.vocabSize);
  const duplicates = exactDeduplicator<object>();
  const labels = { true: 0, false: 0 };
  const bias = { chosenLonger: 0, rejectedLonger: 0, equal: 0, sum: 0 };
  const turns = lengthHistogram();
  const warnings = Object.fromEntries(
    (['emptyCompletion', 'identicalPair', 'duplicate', 'tooLong', 'garbled'] as const).map((name) => [
      name,
      { count: 0, first: [] as string[] },
    ]),
  ) as DataSummary['warnings'];
  let records = 0;
  const warn = (name: DataWarning, place: string) => {
    warnings[name].count++;
    if (warnings[name].first.length < examples) warnings[name].first.push(place);
  };
  const lengthOf = (part: string, text: string, record: { prompt?: PreferenceRecord['prompt'] }, index: number): number => {
    if (!tokenizer) return text.length;
    const { prompt } = record;
    const value = (record as Record<string, unknown>)[part];
    const one = part === 'completions' ? (value as PreferenceRecord['chosen'][])[index] : (value as PreferenceRecord['chosen']);
    const ids =
      part === 'prompt'
        ? encodePrompt(tokenizer, prompt!)
        : prompt === undefined || kind === 'stepwise'
          ? tokenizer.encode(text)
          : encodeCompletion(tokenizer, prompt, one);
    for (const id of ids) used![id] = 1;
    return ids.length;
  };
  return {
    add(record, place) {
      records++;
      const lengths: { part: string; length: number }[] = [];
      let [garbled, empty] = [false, false];
      const counts: Record<string, number> = {};
      for (const { part, text } of textsOf(record)) {
        const index = counts[part] ?? 0;
        counts[part] = index + 1;
        const length = lengthOf(part, text, record as { prompt?: PreferenceRecord['prompt'] }, index);
        lengths.push({ part, length });
        histogram(part).add(length);
        if (part !== 'prompt' && text.trim() === '' && !JSON.stringify((record as Record<string, unknown>)[part]).includes('"tool_calls"'))
          empty = true;
        garbled ||= looksGarbled(text);
        if (words) for (const word of wordsOf(text)) distinct.add(word);
      }
      const prompt = lengths.find(({ part }) => part === 'prompt')?.length ?? 0;
      const longest = lengths.reduce((most, { part, length }) => (part === 'prompt' ? most : Math.max(most, length)), 0);
      const steps =
        kind === 'stepwise' ? lengths.reduce((sum, { part, length }) => sum + (part === 'completions' ? length : 0), 0) : longest;
      if (prompt + steps > maxLength) warn('tooLong', place);
      if (empty) warn('emptyCompletion', place);
      if (garbled) warn('garbled', place);
      if (duplicates.seen(record) >= 0) warn('duplicate', place);
      const { prompt: asked, messages } = record as { prompt?: unknown; messages?: unknown[] };
      if (messages || Array.isArray(asked)) turns.add((messages ?? (asked as unknown[])).length);
      if (kind === 'unpaired') labels[(record as UnpairedRecord).label ? 'true' : 'false']++;
      if (kind === 'stepwise') for (const label of (record as StepwiseRecord).labels) labels[label ? 'true' : 'false']++;
      if (kind === 'preference') {
        const { chosen, rejected } = record as PreferenceRecord;
        if (sameCompletion(chosen, rejected)) warn('identicalPair', place);
        const of = (name: string) => lengths.find(({ part }) => part === name)!.length;
        const difference = of('chosen') - of('rejected');
        bias.sum += difference;
        bias[difference > 0 ? 'chosenLonger' : difference < 0 ? 'rejectedLonger' : 'equal']++;
      }
    },
    read() {
      const differing = bias.chosenLonger + bias.rejectedLonger;
      return {
        kind,
        records,
        unit: tokenizer ? 'tokens' : 'characters',
        lengths: Object.fromEntries([...histograms].map(([name, of]) => [name, summarise(of)])),
        words: words ? distinct.count : 0,
        ...(used && { vocabulary: { used: used.reduce((sum, one) => sum + one, 0), size: used.length } }),
        ...((kind === 'unpaired' || kind === 'stepwise') && { labels: { ...labels } }),
        ...(kind === 'preference' && {
          lengthBias: {
            chosenLonger: bias.chosenLonger,
            rejectedLonger: bias.rejectedLonger,
            equal: bias.equal,
            ...wilson(bias.chosenLonger, differing),
            meanDifference: records === 0 ? 0 : bias.sum / records,
          },
        }),
        ...(turns.count > 0 && { turns: { mean: turns.mean, max: turns.max } }),
        warnings: structuredClone(warnings),
      };
    },
  };
}

/** A share with its 95% interval (Wilson 1927). */
function wilson(hits: number, n: number): { share: number; low: number; high: number } {
  if (n === 0) return { share: 0.5, low: 0, high: 1 };
  const [z, p] = [1.959964, hits / n];
  const middle = (p + z ** 2 / (2 * n)) / (1 + z ** 2 / n);
  const half = (z / (1 + z ** 2 / n)) * Math.sqrt((p * (1 - p)) / n + z ** 2 / (4 * n ** 2));
  return { share: p, low: middle - half, high: middle + half };
}
