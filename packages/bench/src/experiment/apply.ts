/** A paper's method on a user's own model and preference pairs: what it would take, baseline and method side by side, and what stays behind. */
import { join } from 'node:path';
import {
  backendInfo,
  ConfigError,
  makeFolder,
  rng as newRng,
  openRun,
  parameterCount,
  type Run,
  readCopy,
  writeFileAtomic,
} from '@plumbline/core';
import {
  encodePairs,
  encodePrompt,
  type PreferenceRecord,
  type Prompt,
  packSequences,
  type RewardFunction,
  splitRecords,
  textOf,
  writeRecords,
} from '@plumbline/data';
import { policyClassifier } from '@plumbline/dpo';
import {
  addLora,
  createScorer,
  generate,
  isAdapted,
  type LocalDecoder,
  loadDecoder,
  mergeAdapter,
  saveAdapter,
  saveDecoder,
  saveScorer,
} from '@plumbline/models';
import { type Estimate, mean, pairedDifference, tInterval, wilsonInterval } from '../metrics/index.js';
import { parseConfig } from './define.js';
import type { AppliedPolicy, Experiment } from './types.js';

export type ApplyOptions = {
  model: string;
  records: readonly PreferenceRecord[];
  /** Rows of the file that are no preference pairs. */
  unreadable?: number;
  config?: Record<string, unknown>;
  /** Scores the answers of both policies to held-out prompts, in place of a bed's gold. */
  judge?: RewardFunction;
  seed?: number;
  signal?: AbortSignal;
  onProgress?: (line: string) => void;
};

export type ApplyPlan = {
  model: string;
  parameters: number;
  trained: 'all weights' | 'adapters';
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

export type AppliedArm = {
  /** Share of held-out pairs whose chosen side gained more log-probability than the rejected. */
  heldOutAccuracy: number;
  heldOutInterval: Estimate;
  /** The judge's mean score of the answers to held-out prompts. */
  judged?: Estimate;
  answers: string[];
};
export type ApplyResult = {
  id: string;
  plan: ApplyPlan;
  config: Record<string, unknown>;
  arms: Record<string, AppliedArm>;
  prompts: string[];
  /** Method minus baseline by the judge, paired over prompts. */
  judgedDifference?: Estimate;
  seconds: number;
};

type Prepared = {
  base: LocalDecoder;
  full: boolean;
  train: PreferenceRecord[];
  heldOut: PreferenceRecord[];
  plan: ApplyPlan;
  config: ApplyConfig;
};
type ApplyConfig = {
  maxTokens: number;
  steps: number;
  pairsPerStep: number;
  pairsPerMicroBatch: number;
  answers: number;
  answerTokens: number;
} & Record<string, unknown>;

/** Share of the pairs, by prompt, that is kept for measuring. */
const heldOutShare = 0.2;
/** Floating-point operations of a token and parameter: forward 2; backward 4, of frozen weights 2. */
const work = { forward: 2, trainedAll: 6, trainedAdapters: 4 };
const longestHours = 24;

/**
 * What `applyExperiment` would do, without training: rows that do not serve and why, tokens, memory and hours.
 * @throws ConfigError where the experiment cannot be applied, or fewer than 10 pairs are left
 */
export async function planApply(experiment: Experiment, options: ApplyOptions): Promise<ApplyPlan> {
  const { base, plan } = await prepare(experiment, options);
  base.dispose();
  return plan;
}

/**
 * Trains baseline and method on the user's pairs, measures both on pairs that were held out, and leaves in `dir` what the experiment promises, with `result.json`.
 *
 * @throws ConfigError as `planApply`, and with the plan's reason where this machine is not enough; InterruptedError once stopped and saved
 */
export async function applyExperiment(experiment: Experiment, options: ApplyOptions & { dir: string }): Promise<ApplyResult> {
  const started = performance.now();
  const { dir, judge, seed = 0, signal = new AbortController().signal, onProgress = () => {} } = options;
  const { base, full, train, heldOut, plan, config } = await prepare(experiment, options);
  const open: Awaited<ReturnType<typeof openRun>>[] = [];
  const policies: Record<string, AppliedPolicy> = {};
  try {
    if (plan.refusal) throw new ConfigError(plan.refusal);
    const rng = newRng(seed).fork('apply', experiment.id);
    await makeFolder(dir);
    const made = await experiment.apply!.run({
      config,
      base,
      train,
      rng,
      signal,
      say: onProgress,
      run: async (name): Promise<Run> => {
        const run = await openRun({
          dir: join(dir, name),
          config: { ...config, experiment: experiment.id, run: name },
          seed,
          saveEvery: 20,
          signal,
        });
        open.push(run);
        return run;
      },
      policy: async (name) =>
        full ? base.snapshot() : addLora(base, { layers: upperHalf(base.spec.layers) }, { rng: rng.fork('adapter', name) }),
      scorer: async (name) => {
        const scorer = createScorer(base, { pooling: 'mean', rng: rng.fork('head', name), shareBackbone: !full });
        return full ? scorer : addLora(scorer, { layers: upperHalf(base.spec.layers) }, { rng: rng.fork('adapter', name) });
      },
      keep: async (name, scorer) =>
        isAdapted(scorer)
          ? saveAdapter(join(dir, name, 'model'), scorer, { base: options.model })
          : saveScorer(join(dir, name, 'model'), scorer),
      leave: async (name, records) => void (await writeRecords(join(dir, name), records)),
    });
    Object.assign(policies, made);
    const asked = heldOut.slice(0, config.answers).map(({ prompt }) => prompt);
    const arms: Record<string, AppliedArm> = {};
    const scores: Record<string, Float32Array> = {};
    for (const [name, { policy, ask = (prompt: Prompt) => prompt }] of Object.entries(made)) {
      onProgress(`${name}: ${heldOut.length} held-out pairs`);
      const pairs = encodePairs(
        base.tokenizer,
        heldOut.map((record) => ({ ...record, prompt: ask(record.prompt) })),
        { maxTokens: config.maxTokens + 64 },
      ).pairs;
      const { accuracy } = await policyClassifier(policy, base, pairs, { pairsPerBatch: config.pairsPerMicroBatch, signal });
      await (isAdapted(policy)
        ? saveAdapter(join(dir, name, 'model'), policy, { base: options.model })
        : saveDecoder(join(dir, name, 'model'), policy));
      const answers = await answersOf(policy, asked.map(ask), config, rng.fork('answers'), signal);
      onProgress(`${name}: right on ${(100 * accuracy).toFixed(1)}% of the held-out pairs`);
      if (judge && asked.length > 0) {
        const answered = asked.map((prompt, i) => ({
          prompt,
          completion: typeof prompt === 'string' ? answers[i] : [{ role: 'assistant' as const, content: answers[i] }],
        }));
        const { scores: given, abstained } = await judge.score(answered, { rng: rng.fork('judge'), signal });
        const gone = abstained?.indexOf(1) ?? -1;
        if (gone >= 0) throw new ConfigError(`${judge.name} has no score for the answer to held-out prompt ${gone}`);
        scores[name] = given;
      }
      arms[name] = {
        heldOutAccuracy: accuracy,
        heldOutInterval: wilsonInterval(Math.round(accuracy * pairs.length), pairs.length),
        ...(scores[name] && { judged: tInterval(scores[name]) }),
        answers,
      };
    }
    const [first, second] = Object.keys(arms);
    const result: ApplyResult = {
      id: experiment.id,
      plan,
      config,
      arms,
      prompts: asked.map(textOf),
      ...(scores[first] && scores[second] && { judgedDifference: pairedDifference(scores[second], scores[first]) }),
      seconds: (performance.now() - started) / 1000,
    };
    await writeFileAtomic(join(dir, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } finally {
    for (const run of open) await run.close();
    for (const { policy } of Object.values(policies)) policy.dispose();
    base.dispose();
  }
}

async function prepare(
  experiment: Experiment,
  { model, records, unreadable = 0, config: given = {}, seed = 0 }: ApplyOptions,
): Promise<Prepared> {
  const { apply, id } = experiment;
  if (!apply) throw new ConfigError(`"${id}" cannot be applied to a model and data of your own: it says nothing of what that would leave`);
  const config = parseConfig(id, apply.config, given) as ApplyConfig;
  const reasons = new Map<string, number>();
  const usable = records.filter((record) => {
    const reason = apply.unusable?.(record);
    if (reason) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    return !reason;
  });
  const { base, full } = await loadBase(model);
  try {
    const named = usable.map((record, i) => ({ ...record, id: record.id ?? `row ${i + 1}` }));
    const maxTokens = Math.min(config.maxTokens, base.contextLength);
    const { pairs, dropped } = encodePairs(base.tokenizer, named, { maxTokens });
    const fits = new Set(pairs.map((pair) => pair.id));
    const fitting = named.filter((record) => fits.has(record.id));
    const rejected = [...reasons].map(([reason, rows]) => ({ reason, rows }));
    if (fitting.length < 10)
      throw new ConfigError(
        `${fitting.length} pairs are left of ${records.length + unreadable} rows; at least 10 are needed. ${id} needs ${apply.needs}.${rejected.map(({ reason, rows }) => ` ${rows}: ${reason}.`).join('')}${dropped.length > 0 ? ` ${dropped.length} have more than ${maxTokens} tokens.` : ''}`,
      );
    const [heldOut, train] = splitRecords(fitting, heldOutShare, newRng(seed).fork('split'));
    const parameters = parameterCount(base.parameters).total;
    const tokensOfPair = mean(pairs.map(({ prompt, chosen, rejected: other }) => 2 * prompt.length + chosen.length + other.length));
    const { trainedPairs, writtenAnswers } = apply.work(config);
    const tokens = {
      trained: Math.round(trainedPairs * tokensOfPair),
      written: (writtenAnswers + 2 * Math.min(config.answers, heldOut.length)) * config.answerTokens,
    };
    const longest = Math.max(...pairs.map(({ prompt, chosen, rejected: other }) => 2 * prompt.length + chosen.length + other.length));
    const secondsPerToken = await forwardSeconds(base, pairs[0].prompt);
    const factor = ((full ? work.trainedAll : work.trainedAdapters) + work.forward) / work.forward; // and the reference's forward pass
    const measured = 4 * heldOut.length * tokensOfPair; // two policies, each beside the base
    const hours = (secondsPerToken * (tokens.trained * factor + measured + 4 * tokens.written)) / 3600;
    const { layers, width, mlpWidth, vocabSize } = base.spec;
    // float32 activations that the backward pass keeps of each token and layer, and one micro-batch's logits in passing
    const activations = config.pairsPerMicroBatch * longest * 4 * (layers * (10 * width + 3 * mlpWidth) + 0.1 * vocabSize);
    const memoryGigabytes = (parameters * (full ? 4 * 5 : 2) + activations) / 1e9;
    const backend = backendInfo();
    const onCard = backend.device !== undefined && /cuda|gpu|nvidia|radeon/i.test(`${backend.name} ${backend.device}`);
    const refusal =
      onCard || (parameters <= apply.laptopParameters && hours <= longestHours)
        ? ''
        : parameters > apply.laptopParameters
          ? `${id} on ${base.name}: ${(parameters / 1e6).toFixed(0)} million parameters, and a real run of this method takes one GPU above ${(apply.laptopParameters / 1e6).toFixed(0)} million; \`plumb gpu setup\`, or a smaller model`
          : `${id} on ${base.name} would take ${hours.toFixed(0)} hours on this machine (${(tokens.trained / 1e6).toFixed(1)} million tokens); lower --set steps=${config.steps} or pairsPerStep=${config.pairsPerStep}, or \`plumb gpu setup\``;
    const plan: ApplyPlan = {
      model: base.name,
      parameters,
      trained: full ? 'all weights' : 'adapters',
      rows: { read: records.length, unreadable, unusable: rejected, tooLong: dropped.length, train: train.length, heldOut: heldOut.length },
      tokens,
      memoryGigabytes,
      hours,
      leaves: apply.leaves,
      refusal,
    };
    return { base, full, train, heldOut, plan, config: { ...config, maxTokens } };
  } catch (error) {
    base.dispose();
    throw error;
  }
}

/** Up to 50 million parameters all weights are trained; above, adapters on a frozen base of bfloat16. */
async function loadBase(model: string): Promise<{ base: LocalDecoder; full: boolean }> {
  const base = await loadDecoder(model);
  if (parameterCount(base.parameters).total <= 50e6) return { base, full: true };
  base.dispose();
  return { base: await loadDecoder(model, { storage: 'bf16' }), full: false };
}

/** Seconds of a token in a forward pass over 256 of them, the second of two. */
async function forwardSeconds(base: LocalDecoder, prompt: Int32Array): Promise<number> {
  const length = Math.min(256, base.contextLength);
  const tokens = Int32Array.from({ length }, (_, i) => prompt[i % prompt.length]);
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

async function answersOf(
  policy: LocalDecoder,
  prompts: readonly Prompt[],
  { answerTokens }: ApplyConfig,
  rng: ReturnType<typeof newRng>,
  signal: AbortSignal,
): Promise<string[]> {
  if (prompts.length === 0) return [];
  const answering = isAdapted(policy) ? await mergeAdapter(policy, { storage: 'bf16' }) : policy; // faster, to rounding
  try {
    const ids = prompts.map((prompt) => encodePrompt(policy.tokenizer, prompt).subarray(0, policy.contextLength - answerTokens));
    const sampled = await generate(answering, ids, { maxTokens: answerTokens, temperature: 0.7, rng, signal });
    signal.throwIfAborted();
    return sampled.map(([{ text }]) => text);
  } finally {
    if (answering !== policy) answering.dispose();
  }
}

/** Nothing is walked back through below the first layer with an adapter: the upper half costs two thirds of all layers. */
const upperHalf = (layers: number): number[] => Array.from({ length: Math.ceil(layers / 2) }, (_, i) => Math.floor(layers / 2) + i);
