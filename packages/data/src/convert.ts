/** Records of one kind as records of another, wherever that means something. */
import { ConfigError } from '@plumbline/core';
import type { Completion, Message, Prompt } from './interfaces.js';
import {
  type CompletionRecord,
  isMessages,
  type MultiScoreRecord,
  type PreferenceRecord,
  type PromptRecord,
  type RecordKind,
  type Records,
  type ScoredGroup,
  type StepwiseRecord,
  sameCompletion,
  type TrajectoryRecord,
  textOf,
  type UnpairedRecord,
} from './records.js';

export type ConvertOptions = {
  /** Of `multiscore`: weights of the attributes in the one score; default: 1 each, their mean. */
  weights?: Readonly<Record<string, number>>;
  /** Scores to labels: true above it. Default 0. */
  threshold?: number;
  /** Scores to pairs: only where they differ by more. Default 0. */
  minGap?: number;
  /** Between the steps of one text. Default a line break. */
  separator?: string;
};

/**
 * Both sides of each pair as completions with a label, the chosen one first.
 */
export function preferenceToUnpaired({ id, prompt, chosen, rejected, meta, media, tools }: PreferenceRecord): UnpairedRecord[] {
  const rest = { ...(meta && { meta }), ...(media && { media }), ...(tools && { tools }) };
  return [
    { ...(id && { id: `${id}:chosen` }), prompt, completion: chosen, label: true, ...rest },
    { ...(id && { id: `${id}:rejected` }), prompt, completion: rejected, label: false, ...rest },
  ];
}

/** Every pair of completions whose scores differ by more than `minGap`; completions that are the same make none. */
export function rankedToPreference({ id, prompt, completions, scores, meta, media, tools }: ScoredGroup, minGap = 0): PreferenceRecord[] {
  return completions.flatMap((chosen, i) =>
    completions.flatMap((rejected, j): PreferenceRecord[] => {
      if (!(scores[i] - scores[j] > minGap) || sameCompletion(chosen, rejected)) return [];
      const scored = { chosen_score: scores[i], rejected_score: scores[j] };
      const rest = { ...(meta && { meta }), ...(media && { media }), ...(tools && { tools }) };
      return [{ ...(id && { id: `${id}:${i}>${j}` }), prompt, chosen, rejected, ...scored, ...rest }];
    }),
  );
}

/** One score of the attributes: their weighted mean. @throws ConfigError for a weight of an attribute that the record has not */
export function overallScore({ scores, id }: MultiScoreRecord, weights?: Readonly<Record<string, number>>): number {
  const entries = Object.entries(weights ?? Object.fromEntries(Object.keys(scores).map((name) => [name, 1])));
  let [sum, total] = [0, 0];
  for (const [name, weight] of entries) {
    if (!(name in scores))
      throw new ConfigError(`record ${id ?? ''} has no score for "${name}"; it has ${Object.keys(scores).join(', ') || 'none'}`);
    sum += weight * scores[name];
    total += Math.abs(weight);
  }
  return total === 0 ? 0 : sum / total;
}

/** The prompt, and what the assistant says after the last user message, tool calls and observations included. `undefined` without an answer. */
export function splitMessages(messages: readonly Message[]): { prompt: readonly Message[]; completion: readonly Message[] } | undefined {
  let end = messages.length;
  while (end > 0 && messages[end - 1].role !== 'assistant') end--;
  const start = messages.slice(0, end).findLastIndex(({ role }) => role === 'user') + 1;
  return start > 0 && end > start ? { prompt: messages.slice(0, start), completion: messages.slice(start, end) } : undefined;
}

/** The steps as one completion, right where every step is. */
export function stepwiseToUnpaired({ completions, labels, ...rest }: StepwiseRecord, separator = '\n'): UnpairedRecord {
  const completion = completions.join(separator);
  return {
    ...rest,
    completion: isMessages(rest.prompt) ? [{ role: 'assistant', content: completion }] : completion,
    label: labels.every(Boolean),
  };
}

/** Each assistant message with a label other than 0 as a completion after all that was said before it. */
export function trajectoryToUnpaired(
  { id, messages, step_labels = {}, reward, ...rest }: TrajectoryRecord,
  threshold = 0,
): UnpairedRecord[] {
  const labelled = Object.entries(step_labels).filter(([at, label]) => label !== 0 && Number(at) > 0);
  if (labelled.length > 0)
    return labelled.map(([at, label]) => ({
      ...rest,
      ...(id && { id: `${id}:${at}` }),
      prompt: messages.slice(0, Number(at)),
      completion: messages.slice(Number(at), Number(at) + 1),
      label: label > threshold,
    }));
  const first = messages.findIndex(({ role }) => role === 'assistant');
  if (reward === undefined || reward === 0 || first < 1) return [];
  return [{ ...rest, ...(id && { id }), prompt: messages.slice(0, first), completion: messages.slice(first), label: reward > threshold }];
}

/** The prompt alone. */
const promptOf = ({ id, prompt, meta, media, tools }: PromptRecord): PromptRecord[] => [
  { ...(id && { id }), prompt, ...(meta && { meta }), ...(media && { media }), ...(tools && { tools }) },
];

const steps: { [K in RecordKind]?: { [T in RecordKind]?: (record: Records[K], options: ConvertOptions) => Records[T][] } } = {
  preference: {
    prompt: promptOf,
    unpaired: (record) => preferenceToUnpaired(record),
    completion: ({ chosen, rejected: _, chosen_score: _c, rejected_score: _r, margin: _m, preference: _p, weight: _w, ...rest }) => [
      { ...rest, completion: chosen },
    ],
    ranked: ({ chosen, rejected, chosen_score, rejected_score, margin: _m, preference: _p, weight: _w, ...rest }) => [
      { ...rest, completions: [chosen, rejected], scores: [chosen_score ?? 1, rejected_score ?? 0] },
    ],
  },
  unpaired: { prompt: promptOf, completion: ({ label, ...rest }) => (label ? [rest] : []) },
  completion: {
    prompt: ({ completion, ...rest }): PromptRecord[] => [{ ...rest, meta: { ...rest.meta, completion } }],
    messages: ({ prompt, completion, ...rest }) => [
      { ...rest, messages: [...asMessages(prompt, 'user'), ...asMessages(completion, 'assistant')] },
    ],
    text: ({ prompt, completion, ...rest }) => [
      { ...rest, text: `${textOf(prompt)}${isMessages(prompt) ? '\n\n' : ''}${textOf(completion)}` },
    ],
  },
  stepwise: {
    prompt: promptOf,
    unpaired: (record, { separator }) => [stepwiseToUnpaired(record, separator)],
    completion: ({ labels, ...record }, { separator }) => {
      const { label, ...rest } = stepwiseToUnpaired({ ...record, labels }, separator);
      return label ? [rest] : [];
    },
  },
  multiscore: {
    prompt: promptOf,
    unpaired: ({ scores, ...rest }, { weights, threshold = 0 }) => [
      { ...rest, label: overallScore({ scores, ...rest }, weights) > threshold },
    ],
    completion: ({ scores: _, ...rest }): CompletionRecord[] => [rest],
    ranked: ({ scores, completion, ...rest }, { weights }) => [
      { ...rest, completions: [completion], scores: [overallScore({ scores, completion, ...rest }, weights)] },
    ],
  },
  ranked: {
    prompt: promptOf,
    preference: (record, { minGap }) => rankedToPreference(record, minGap),
    unpaired: ({ completions, scores, ...rest }, { threshold = 0 }) =>
      completions.map((completion, i) => ({ ...rest, completion, label: scores[i] > threshold })),
    completion: ({ completions, scores, ...rest }) => {
      const best = completions.reduce((top, _, i) => (scores[i] > scores[top] ? i : top), 0);
      return [{ ...rest, completion: completions[best] }];
    },
  },
  messages: {
    completion: ({ messages, ...rest }) => {
      const parts = splitMessages(messages);
      return parts ? [{ ...rest, ...parts }] : [];
    },
    text: ({ messages, ...rest }) => [{ ...rest, text: textOf(messages) }],
  },
  trajectory: {
    messages: ({ step_labels: _, reward: _r, ...rest }) => [rest],
    unpaired: (record, { threshold }) => trajectoryToUnpaired(record, threshold),
  },
  text: { prompt: ({ text, ...rest }) => [{ ...rest, prompt: text }] },
};

/** The way from one kind to another, the shortest; `undefined` where there is none. */
export function conversionPath(from: RecordKind, to: RecordKind): RecordKind[] | undefined {
  const seen = new Map<RecordKind, RecordKind[]>([[from, [from]]]);
  for (const [kind, path] of seen) {
    if (kind === to) return path;
    for (const next of Object.keys(steps[kind] ?? {}) as RecordKind[]) if (!seen.has(next)) seen.set(next, [...path, next]);
  }
  return undefined;
}

/**
 * A record as records of another kind: none where it has nothing of it (a wrong answer has no completion to imitate), several where it holds several.
 * What must look at many records at once is apart: `groupByPrompt` makes ranked groups, and through them pairs, of records that share a prompt.
 *
 * @throws ConfigError where there is no way between these kinds, saying which there are
 */
export function convertRecord<F extends RecordKind, T extends RecordKind>(
  record: Records[F],
  from: F,
  to: T,
  options: ConvertOptions = {},
): Records[T][] {
  const path = conversionPath(from, to);
  if (!path) {
    const reachable = Object.keys({ ...steps[from], ...Object.fromEntries(allFrom(from).map((kind) => [kind, 1])) });
    throw new ConfigError(`${from} records cannot become ${to} records; they can become ${reachable.join(', ') || 'nothing else'}`);
  }
  let records: unknown[] = [record];
  for (let i = 0; i + 1 < path.length; i++) {
    const step = (steps[path[i]] as Record<string, (record: unknown, options: ConvertOptions) => unknown[]>)[path[i + 1]];
    records = records.flatMap((one) => step(one, options));
  }
  return records as Records[T][];
}

const allFrom = (from: RecordKind): RecordKind[] =>
  (Object.keys(steps) as RecordKind[]).concat('prompt').filter((kind) => kind !== from && conversionPath(from, kind));

/**
 * Scored completions of the same prompt as one ranked group, in the order in which the prompts appear; a prompt's groups are joined. Holds all records.
 */
export function groupByPrompt(
  records: Iterable<MultiScoreRecord | ScoredGroup | UnpairedRecord>,
  { weights }: Pick<ConvertOptions, 'weights'> = {},
): ScoredGroup[] {
  const groups = new Map<string, { prompt: Prompt; completions: Completion[]; scores: number[]; id?: string; rest: object }>();
  for (const record of records) {
    const key = JSON.stringify(record.prompt);
    const { media, tools } = record;
    const group = groups.get(key) ?? {
      prompt: record.prompt,
      completions: [],
      scores: [],
      id: record.id,
      rest: { ...(media && { media }), ...(tools && { tools }) },
    };
    groups.set(key, group);
    if ('completions' in record) {
      group.completions.push(...record.completions);
      group.scores.push(...Array.from(record.scores));
    } else {
      group.completions.push(record.completion);
      group.scores.push('label' in record ? Number(record.label) : overallScore(record, weights));
    }
  }
  return [...groups.values()].map(({ id, rest, ...group }) => ({ ...(id && { id }), ...group, ...rest }));
}

function asMessages(x: Prompt | Completion, role: string): readonly Message[] {
  return isMessages(x) ? x : [{ role, content: x }];
}
