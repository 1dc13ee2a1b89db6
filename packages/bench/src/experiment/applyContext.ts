/** What an experiment is given to apply its method with: models to train, answers, a folder that remembers. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError, openRun, type Rng, type Run, writeFileAtomic } from '@plumbline/core';
import { type Completion, encodePairs, encodePrompt, type Prompt, type RewardFunction, rewardBatches, writeRecords } from '@plumbline/data';
import { addLora, createScorer, generate, isAdapted, type LocalDecoder, mergeAdapter, saveAdapter, saveScorer } from '@plumbline/models';
import { trainReward } from '@plumbline/rewards';
import type { Section } from '../report/index.js';
import { type ApplyConfig, type Prepared, promptsOf } from './applyPlan.js';
import type { ApplyContext } from './types.js';

export type OpenContext = {
  ctx: ApplyContext;
  /** What the experiment has shown so far. */
  sections: Section[];
  close(): Promise<void>;
};

export function applyContext(
  { base, full, train, heldOut, solutions, config }: Prepared,
  options: {
    id: string;
    model: string;
    dir: string;
    seed: number;
    rng: Rng;
    rewards: readonly RewardFunction[];
    judge?: RewardFunction;
    signal: AbortSignal;
    say(message: string): void;
  },
): OpenContext {
  const { id, model, dir, seed, rng, signal, say } = options;
  const open: Awaited<ReturnType<typeof openRun>>[] = [];
  const sections: Section[] = [];
  const ends: (() => void)[] = [];
  const once = remembering(join(dir, 'kept'));
  const adapters = (name: string) => ({ rng: rng.fork('adapter', name) });
  const layers = upperHalf(base.spec.layers);
  const ctx: ApplyContext = {
    config,
    base,
    train,
    solutions,
    prompts: promptsOf(train),
    heldOutPrompts: heldOut.slice(0, config.answers).map(({ prompt }) => prompt),
    rewards: options.rewards,
    judge: options.judge,
    rng,
    signal,
    say,
    once,
    run: async (name): Promise<Run> => {
      const settings = { dir: join(dir, name), config: { ...config, experiment: id, run: name }, seed, saveEvery: 20, signal };
      const run = await openRun(settings);
      open.push(run);
      return run;
    },
    policy: async (name) => (full ? base.snapshot() : addLora(base, { layers }, adapters(name))),
    scorer: async (name, { pooling = 'mean' } = {}) => {
      const scorer = createScorer(base, { pooling, name, rng: rng.fork('head', name), shareBackbone: !full });
      return full ? scorer : addLora(scorer, { layers }, adapters(name));
    },
    async rewardModel(name, { records = train } = {}) {
      const { rewardSteps: steps, rewardLearningRate: learningRate, pairsPerStep, pairsPerMicroBatch, maxTokens } = config as Rewarding;
      const { pairs } = encodePairs(base.tokenizer, records, { maxTokens });
      say(`${name}: ${steps} steps on ${pairs.length} pairs`);
      const groupsPerStep = Math.min(pairsPerStep, pairs.length);
      const batches = rewardBatches(pairs, { groupsPerStep, steps, rng: rng.fork('order', name) });
      const scorer = await ctx.scorer(name);
      const schedule = { kind: 'cosine' as const, warmupSteps: Math.ceil(steps / 10) };
      const settings = { steps, groupsPerMicroBatch: Math.min(pairsPerMicroBatch, groupsPerStep), learningRate, schedule };
      await trainReward(settings, { scorer, batches, run: await ctx.run(name) });
      await ctx.keep(name, scorer);
      return scorer;
    },
    write: (name, prompts, { n, temperature = 1 }) =>
      once(name, async () => {
        say(`${n === 1 ? 'one answer' : `${n} answers`} to each of ${prompts.length} prompts`);
        const texts = await answersOf(base, prompts, { ...config, n, temperature }, rng.fork('write', name), signal);
        return texts.map((own, i) => own.map((text) => completionOf(prompts[i], text)));
      }),
    keep: async (name, scorer) =>
      isAdapted(scorer) ? saveAdapter(join(dir, name, 'model'), scorer, { base: model }) : saveScorer(join(dir, name, 'model'), scorer),
    leave: async (name, records) => void (await writeRecords(join(dir, name), records)),
    show: (section) => void sections.push(section),
    onEnd: (free) => void ends.push(free),
  };
  return {
    ctx,
    sections,
    async close() {
      for (const run of open) await run.close();
      for (const free of ends) free();
    },
  };
}

type Rewarding = ApplyConfig & { rewardSteps: number; rewardLearningRate: number };

/** Answers as texts, [prompts][n]; nothing of a batch that was cut short. */
export async function answersOf(
  policy: LocalDecoder,
  prompts: readonly Prompt[],
  { answerTokens, n, temperature }: { answerTokens: number; n: number; temperature: number },
  rng: Rng,
  signal: AbortSignal,
): Promise<string[][]> {
  if (prompts.length === 0) return [];
  const answering = isAdapted(policy) ? await mergeAdapter(policy, { storage: 'bf16' }) : policy; // faster, to rounding
  try {
    const ids = prompts.map((prompt) => encodePrompt(policy.tokenizer, prompt).subarray(0, policy.contextLength - answerTokens));
    const sampled = await generate(answering, ids, { n, maxTokens: answerTokens, temperature, rng, signal });
    signal.throwIfAborted();
    return sampled.map((own) => own.map(({ text }) => text));
  } finally {
    if (answering !== policy) answering.dispose();
  }
}

/** A text in the form of the prompt's own kind. */
export const completionOf = (prompt: Prompt, text: string): Completion =>
  typeof prompt === 'string' ? text : [{ role: 'assistant' as const, content: text }];

/** Keeps what was made as `NAME.json` in a folder. */
function remembering(dir: string): ApplyContext['once'] {
  return async <T>(name: string, make: () => Promise<T>): Promise<T> => {
    const file = join(dir, `${name}.json`);
    if (existsSync(file)) {
      try {
        return JSON.parse(readFileSync(file, 'utf8')) as T;
      } catch (error) {
        throw new FormatError(`${file} is damaged (${(error as Error).message}); remove it, and the next start makes it again`);
      }
    }
    const made = await make();
    await writeFileAtomic(file, JSON.stringify(made));
    return JSON.parse(JSON.stringify(made)) as T; // the same whether it was made now or before
  };
}

/** Nothing is walked back through below the first layer with an adapter: the upper half costs two thirds of all layers. */
const upperHalf = (layers: number): number[] => Array.from({ length: Math.ceil(layers / 2) }, (_, i) => Math.floor(layers / 2) + i);
