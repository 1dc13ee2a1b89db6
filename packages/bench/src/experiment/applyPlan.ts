/** What a run of `apply` would take: rows that serve, tokens, memory, hours, and whether this machine is enough. */
import { backendInfo, ConfigError, rng as newRng, parameterCount, readCopy } from '@plumbline/core';
import { encodePairs, encodePrompt, type PreferenceRecord, type Prompt, packSequences, splitRecords, textOf } from '@plumbline/data';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import type { StepItem } from '../benchmarks/index.js';
import { mean } from '../metrics/index.js';
import { parseConfig } from './define.js';
import type { ApplySpec, Experiment } from './types.js';

export type ApplyData = {
  model: string;
  /** Preference pairs. */
  records?: readonly PreferenceRecord[];
  /** Solutions in steps, where the experiment names a benchmark of them. */
  solutions?: readonly StepItem[];
  /** Rows of the file that are no preference pairs. */
  unreadable?: number;
  config?: Record<string, unknown>;
  seed?: number;
};

export type ApplyPlan = {
  model: string;
  parameters: number;
  trained: 'all weights' | 'adapters';
  /** What a row is. */
  unit: 'pairs' | 'solutions';
  backend: string;
  rows: { read: number; unreadable: number; unusable: { reason: string; rows: number }[]; tooLong: number; train: number; heldOut: number };
  tokens: { trained: number; written: number };
  /** Of the weights, their optimizer and one micro-batch: about what the process takes. */
  memoryGigabytes: number;
  /** From one forward pass of this model on this machine. */
  hours: number;
  leaves: readonly { path: string; what: string }[];
  /** Why a real run is not for this machine; empty where it is. */
  refusal: string;
};

export type ApplyConfig = {
  maxTokens: number;
  /** Absent where no policy is trained. */
  steps?: number;
  pairsPerStep: number;
  pairsPerMicroBatch: number;
  answers: number;
  answerTokens: number;
  products: 'f32' | 'bf16';
} & Record<string, unknown>;

export type Prepared = {
  base: LocalDecoder;
  /** All weights are trained, not adapters. */
  full: boolean;
  train: PreferenceRecord[];
  heldOut: PreferenceRecord[];
  solutions: StepItem[];
  heldOutSolutions: StepItem[];
  plan: ApplyPlan;
  config: ApplyConfig;
};

/** Share of the rows, by prompt, that is kept for measuring. */
const heldOutShare = 0.2;
/** Floating-point operations of a token and parameter: forward 2; backward 4, of frozen weights 2. */
const work = { forward: 2, trainedAll: 6, trainedAdapters: 4 };
const longestHours = 24;
const fewestRows = 10;

/** Loads the model, sorts the rows, and counts. The caller disposes the base. @throws ConfigError as `planApply` */
export async function prepareApply(experiment: Experiment, { model, config: given = {}, seed = 0, ...data }: ApplyData): Promise<Prepared> {
  const { apply, id } = experiment;
  if (!apply) throw new ConfigError(`"${id}" cannot be applied to a model and data of your own: it says nothing of what that would leave`);
  const config = parseConfig(id, apply.config, given) as ApplyConfig;
  const { base, full } = await loadBase(model, config);
  try {
    const maxTokens = Math.min(config.maxTokens, base.contextLength - (apply.addedTokens ?? 0));
    const rng = newRng(seed).fork('split');
    const rows = apply.benchmark
      ? solutionRows(data.solutions ?? [], { base, maxTokens, rng })
      : pairRows(apply, data.records ?? [], { base, maxTokens, rng });
    const { unreadable = 0 } = data;
    const usable = rows.lengths.length;
    if (usable < fewestRows)
      throw new ConfigError(
        `${usable} ${rows.unit} are left of ${rows.read + unreadable} rows; at least ${fewestRows} are needed. ${id} needs ${apply.needs}.${rows.unusable.map(({ reason, rows: count }) => ` ${count}: ${reason}.`).join('')}${rows.tooLong > 0 ? ` ${rows.tooLong} have more than ${maxTokens} tokens.` : ''}`,
      );
    const { train, heldOut, solutions, heldOutSolutions } = rows;
    const parameters = parameterCount(base.parameters).total;
    const tokensOfRow = mean(rows.lengths);
    const { trainedPairs, writtenAnswers } = apply.work(config);
    const measured = heldOut.length + heldOutSolutions.length;
    const tokens = {
      trained: Math.round(trainedPairs * tokensOfRow),
      written: (writtenAnswers + 2 * Math.min(config.answers, heldOut.length)) * config.answerTokens,
    };
    const secondsPerToken = await forwardSeconds(base, rows.first);
    const factor = ((full ? work.trainedAll : work.trainedAdapters) + work.forward) / work.forward; // and the reference's forward pass
    // two arms, each beside the base
    const hours = (secondsPerToken * (tokens.trained * factor + 4 * measured * tokensOfRow + 4 * tokens.written)) / 3600;
    const plan: ApplyPlan = {
      model: base.name,
      parameters,
      trained: full ? 'all weights' : 'adapters',
      unit: rows.unit,
      backend: backendInfo().name,
      rows: {
        read: rows.read,
        unreadable,
        unusable: rows.unusable,
        tooLong: rows.tooLong,
        train: train.length + solutions.length,
        heldOut: measured,
      },
      tokens,
      memoryGigabytes: gigabytes(base, full, config.pairsPerMicroBatch * Math.max(...rows.lengths)),
      hours,
      leaves: apply.leaves,
      refusal: refusalOf(id, apply, { base, parameters, hours, tokens: tokens.trained, config }),
    };
    return { base, full, train, heldOut, solutions, heldOutSolutions, plan, config: { ...config, maxTokens } };
  } catch (error) {
    base.dispose();
    throw error;
  }
}

type Rows = {
  unit: 'pairs' | 'solutions';
  read: number;
  unusable: { reason: string; rows: number }[];
  tooLong: number;
  train: PreferenceRecord[];
  heldOut: PreferenceRecord[];
  solutions: StepItem[];
  heldOutSolutions: StepItem[];
  /** Tokens of each row that serves. */
  lengths: number[];
  /** Some tokens of a row, to measure with. */
  first: Int32Array;
};
type Sorting = { base: LocalDecoder; maxTokens: number; rng: ReturnType<typeof newRng> };

function pairRows(apply: ApplySpec, records: readonly PreferenceRecord[], { base, maxTokens, rng }: Sorting): Rows {
  const reasons = new Map<string, number>();
  const usable = records.filter((record) => {
    const reason = apply.unusable?.(record);
    if (reason) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    return !reason;
  });
  const named = usable.map((record, i) => ({ ...record, id: record.id ?? `row ${i + 1}` }));
  const { pairs, dropped } = encodePairs(base.tokenizer, named, { maxTokens });
  const fits = new Set(pairs.map((pair) => pair.id));
  const [heldOut, train] = splitRecords(
    named.filter((record) => fits.has(record.id)),
    heldOutShare,
    rng,
  );
  return {
    unit: 'pairs',
    read: records.length,
    unusable: [...reasons].map(([reason, rows]) => ({ reason, rows })),
    tooLong: dropped.length,
    train,
    heldOut,
    solutions: [],
    heldOutSolutions: [],
    lengths: pairs.map(({ prompt, chosen, rejected }) => 2 * prompt.length + chosen.length + rejected.length),
    first: pairs[0]?.prompt ?? new Int32Array(1),
  };
}

/** Solutions of one problem stay on one side of the split. */
function solutionRows(solutions: readonly StepItem[], { base, maxTokens, rng }: Sorting): Rows {
  const tokens = solutions.map(({ prompt, steps }) => encodePrompt(base.tokenizer, [textOf(prompt), ...steps, ''].join('\n')));
  const fitting = solutions.filter((_, i) => tokens[i].length <= maxTokens);
  const problems = [...new Set(fitting.map(({ prompt }) => textOf(prompt)))];
  const order = rng.permutation(problems.length);
  const kept = new Set(Array.from(order.subarray(0, Math.round(heldOutShare * problems.length)), (at) => problems[at]));
  return {
    unit: 'solutions',
    read: solutions.length,
    unusable: [],
    tooLong: solutions.length - fitting.length,
    train: [],
    heldOut: [],
    solutions: fitting.filter(({ prompt }) => !kept.has(textOf(prompt))),
    heldOutSolutions: fitting.filter(({ prompt }) => kept.has(textOf(prompt))),
    lengths: tokens.map(({ length }) => length).filter((length) => length <= maxTokens),
    first: tokens[0] ?? new Int32Array(1),
  };
}

/** Up to 50 million parameters all weights are trained; above, adapters on a frozen base of bfloat16. */
async function loadBase(model: string, { products }: ApplyConfig): Promise<{ base: LocalDecoder; full: boolean }> {
  const base = await loadDecoder(model, { products });
  if (parameterCount(base.parameters).total <= 50e6) return { base, full: true };
  base.dispose();
  return { base: await loadDecoder(model, { storage: 'bf16', products }), full: false };
}

/** Seconds of a token in a forward pass over 256 of them, the second of two. */
async function forwardSeconds(base: LocalDecoder, some: Int32Array): Promise<number> {
  const length = Math.min(256, base.contextLength);
  const tokens = Int32Array.from({ length }, (_, i) => some[i % some.length]);
  let seconds = 0;
  for (let turn = 0; turn < 2; turn++) {
    const started = performance.now();
    const hidden = base.hidden(packSequences([{ tokens, completionStart: 0, row: 0 }]));
    await readCopy(hidden);
    hidden.dispose();
    seconds = (performance.now() - started) / 1000;
  }
  return seconds / length;
}

/** Weights, gradients and moments, and float32 activations that the backward pass keeps of each token and layer, with one micro-batch's logits in passing. */
function gigabytes(base: LocalDecoder, full: boolean, tokens: number): number {
  const { layers, width, mlpWidth, vocabSize } = base.spec;
  const activations = tokens * 4 * (layers * (10 * width + 3 * mlpWidth) + 0.1 * vocabSize);
  return (parameterCount(base.parameters).total * (full ? 4 * 5 : 2) + activations) / 1e9;
}

function refusalOf(
  id: string,
  { laptopParameters }: ApplySpec,
  {
    base,
    parameters,
    hours,
    tokens,
    config,
  }: { base: LocalDecoder; parameters: number; hours: number; tokens: number; config: ApplyConfig },
): string {
  const { name, device } = backendInfo();
  const onCard = device !== undefined && /cuda|gpu|nvidia|radeon/i.test(`${name} ${device}`);
  if (onCard || (parameters <= laptopParameters && hours <= longestHours)) return '';
  const millions = (n: number) => (n / 1e6).toFixed(0);
  return parameters > laptopParameters
    ? `${id} on ${base.name}: ${millions(parameters)} million parameters, and a real run of this method takes one GPU above ${millions(laptopParameters)} million; \`plumb gpu setup\`, or a smaller model`
    : `${id} on ${base.name} would take ${hours.toFixed(0)} hours on this machine (${(tokens / 1e6).toFixed(1)} million tokens); lower --set ${config.steps === undefined ? `rewardSteps=${config.rewardSteps}` : `steps=${config.steps}`} or pairsPerStep=${config.pairsPerStep}, or \`plumb gpu setup\``;
}

/** The different prompts of pairs, in their order. */
export const promptsOf = (records: readonly PreferenceRecord[]): Prompt[] => [
  ...new Map(records.map(({ prompt }) => [textOf(prompt), prompt])).values(),
];
