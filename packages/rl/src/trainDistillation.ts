import {
  adamW,
  ConfigError,
  clipScale,
  gradientSum,
  gradients,
  learningRateSchedule,
  type Run,
  ScheduleConfig,
  saveIfAborted,
  saveIfDue,
} from '@plumbline/core';
import { type Batches, type CompletionRecord, encodeCompletion, encodePrompt, type PromptBatch } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { divergenceObjective, miniLlmObjective } from './distillationObjectives.js';
import { countOf, microBatches, rollout as ownRollout, packSamples, type Rollout, type RolloutSample } from './rollout/generate.js';
import { teacherMixture } from './rollout/teacherMixture.js';

/** Settings of `trainDistillation`. */
export const DistillationConfig = z.strictObject({
  steps: z.int().positive().describe('Optimizer updates'),
  promptsPerStep: z.int().positive().default(16).describe('Prompts of an update'),
  beta: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('0 is KL(teacher, student), 1 KL(student, teacher), between them a Jensen-Shannon divergence'),
  miniLlm: z
    .strictObject({
      gamma: z.number().min(0).max(1).default(1).describe('Discount of the rewards of later tokens'),
      lengthNormalized: z.boolean().default(true).describe('Rewards to come are divided by the sum of their discounts'),
      klWeight: z.number().min(0).default(1).describe('Weight of the KL over the vocabulary'),
      teacherMix: z
        .number()
        .min(0)
        .lt(1)
        .default(0)
        .describe("The teacher's share in the mixture that samples, whose tokens are weighed accordingly (the paper's is 0.2)"),
    })
    .optional()
    .describe("MiniLLM's objective in place of the divergence; it learns from the student's own samples alone"),
  temperature: z.number().positive().default(0.9).describe('Of sampling, and of both distributions in the loss'),
  onPolicy: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe("Share of the steps that learn from the student's own samples; the others from the records' completions"),
  teacherSamples: z.boolean().default(false).describe("The others learn from samples of the teacher instead of the records' completions"),
  maxTokens: z.int().positive().default(128).describe('Tokens of a completion at most; longer ones of the records are cut'),
  tokensPerMicroBatch: z
    .int()
    .positive()
    .default(2048)
    .describe('Prompt and completion tokens in memory at once, with logits of the whole vocabulary'),
  learningRate: z.number().positive().default(1e-5).describe('Peak rate, after warm-up'),
  schedule: ScheduleConfig.default({ kind: 'constant', warmupSteps: 0 }).describe('Course of the learning rate'),
  maxGradNorm: z.number().positive().default(1).describe('Gradients are scaled down to this global L2 norm'),
  beta1: z.number().min(0).lt(1).default(0.9).describe('AdamW: decay of the mean of the gradients'),
  beta2: z.number().min(0).lt(1).default(0.999).describe('AdamW: decay of the mean of their squares'),
  eps: z.number().positive().default(1e-8).describe('AdamW: added to the root of the second moment'),
  weightDecay: z.number().min(0).default(0).describe('AdamW: decoupled weight decay, on matrices only'),
});
export type DistillationConfig = z.infer<typeof DistillationConfig>;

export type Distillation = {
  /** Its trainable parameters are changed in place. */
  student: LocalDecoder;
  /** Frozen, with the student's vocabulary. */
  teacher: LocalDecoder;
  /** Records need a completion where steps learn from those. */
  prompts: Batches<PromptBatch<Omit<CompletionRecord, 'completion'> & Partial<Pick<CompletionRecord, 'completion'>>>>;
  rollout?: Rollout;
  run: Run;
};

/**
 * Generalized knowledge distillation (Agarwal et al. 2023, arXiv:2306.13649; TRL's GKD trainer): at every token of a completion the generalized
 * Jensen-Shannon divergence between teacher and student over the whole vocabulary, divided by the step's tokens; on the student's own samples in a share of
 * the steps, which the step's random stream picks. No gradient goes through the sampling. With `miniLlm` it is MiniLLM (Gu et al. 2023, arXiv:2306.08543): a policy gradient of the reverse KL of whole completions, with its single-step part summed over the vocabulary; with `teacherMix` on samples of teacher and student together. Goes on from `run`'s last checkpoint if it has one.
 *
 * Logs `loss` (nats a token), `gradNorm`, `learningRate`, `tokens`, `tokensPerSecond`, `completions/length`.
 *
 * @throws ConfigError for a wrong setting, vocabularies that differ (with both sizes), or a record without a completion
 */
export async function trainDistillation(
  settings: z.input<typeof DistillationConfig>,
  { student, teacher, prompts, run, rollout = ownRollout }: Distillation,
): Promise<void> {
  const parsed = DistillationConfig.safeParse(settings);
  if (!parsed.success) throw new ConfigError(`trainDistillation: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  if (config.miniLlm && (config.onPolicy !== 1 || settings.beta !== undefined))
    throw new ConfigError(
      "trainDistillation: miniLlm learns from the student's own samples, and has a divergence of its own: set onPolicy to 1 and leave beta out",
    );
  if (config.miniLlm?.teacherMix && rollout !== ownRollout)
    throw new ConfigError('trainDistillation: teacherMix samples from both models by itself; a rollout goes without it');
  if (student.spec.vocabSize !== teacher.spec.vocabSize)
    throw new ConfigError(
      `trainDistillation: the student has ${student.spec.vocabSize} tokens and the teacher ${teacher.spec.vocabSize}; they must share a vocabulary`,
    );
  if (prompts.steps < config.steps)
    throw new ConfigError(`trainDistillation: ${config.steps} steps are asked for, and the prompts are for ${prompts.steps}`);
  const weights = student.parameters.trainable();
  const optimizer = adamW({ ...config, decays: (name) => student.parameters.get(name).shape.length > 1 });
  const schedule = learningRateSchedule({ ...config.schedule, peak: config.learningRate, steps: config.steps });
  const state = { policy: student.parameters, optimizer };
  try {
    for (let step = await run.restore(state); step < config.steps; step++) {
      await saveIfAborted(run, step, state);
      const started = performance.now();
      const batch = await prompts.at(step);
      const samples = await completionsOf(batch.prompts, step, config, { student, teacher, run, rollout });
      if (run.signal.aborted) continue; // saved at the top
      const tokensInStep = samples.reduce((n, sample) => n + countOf(sample), 0);
      if (tokensInStep === 0) throw new ConfigError(`trainDistillation: step ${step} has no token to learn from`);
      const sum = gradientSum(weights);
      const order = samples.map((_, i) => i);
      for (const indices of microBatches(samples, order, { ...config, sharePrompts: true })) {
        const packed = packSamples(samples, indices, true);
        const models = { student, teacher };
        const objective = config.miniLlm
          ? await miniLlmObjective(models, packed, { ...config.miniLlm, temperature: config.temperature })
          : divergenceObjective(models, packed, config);
        sum.add(gradients(() => ({ loss: tf.div(tf.sum(objective.loss()), tokensInStep) as tf.Scalar }), weights));
        objective.dispose();
      }
      const values = await sum.read();
      if (!Number.isFinite(values.loss + values.gradNorm)) await run.fail(step, { rows: batch.ids, values }, state);
      const learningRate = schedule(step);
      optimizer.apply(sum.grads, { scale: clipScale(values.gradNorm, config.maxGradNorm), learningRate });
      sum.dispose();
      const tokens = samples.reduce((n, { prompt, tokens: own }) => n + prompt.length + own.length, 0);
      const tokensPerSecond = tokens / ((performance.now() - started) / 1000);
      run.log(step, { ...values, learningRate, tokens, tokensPerSecond, 'completions/length': tokensInStep / samples.length });
      await saveIfDue(run, step + 1, state, step + 1 === config.steps);
    }
  } finally {
    optimizer.dispose();
  }
}

async function completionsOf(
  records: readonly (Omit<CompletionRecord, 'completion'> & Partial<Pick<CompletionRecord, 'completion'>>)[],
  step: number,
  { onPolicy, teacherSamples, miniLlm, maxTokens, temperature }: DistillationConfig,
  { student, teacher, run, rollout }: Pick<Distillation, 'student' | 'teacher' | 'run'> & { rollout: Rollout },
): Promise<RolloutSample[]> {
  const rng = run.rng.fork('step', step);
  const prompts = records.map(({ prompt }) => encodePrompt(student.tokenizer, prompt));
  if (miniLlm?.teacherMix) {
    const sampling = { share: miniLlm.teacherMix, maxTokens, temperature, rng: rng.fork('samples'), signal: run.signal };
    return teacherMixture({ student, teacher }, prompts, sampling);
  }
  const own = rng.fork('onPolicy').uniform(1)[0] < onPolicy;
  if (own || teacherSamples)
    return rollout({
      policy: own ? student : teacher,
      prompts,
      records,
      n: 1,
      sampling: { maxTokens, temperature },
      rng: rng.fork('samples'),
      version: step,
      signal: run.signal,
    });
  return records.map(({ prompt, completion, id }, group) => {
    if (completion === undefined)
      throw new ConfigError(
        `trainDistillation: record ${id ?? group} of step ${step} has no completion; onPolicy 1 learns from samples alone, teacherSamples from the teacher's`,
      );
    const tokens = encodeCompletion(student.tokenizer, prompt, completion, { appendEos: student.tokenizer.eosId !== undefined }).slice(
      0,
      maxTokens,
    );
    return { prompt: prompts[group], group, tokens, text: '', samplingLogps: new Float32Array(0), finish: 'stop' };
  });
}
