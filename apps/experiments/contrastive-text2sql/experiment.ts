/**
 * Contrastive rewards for text to SQL in several languages. Kattamuri et al. 2025, arXiv:2510.13827: GRPO on whether a query runs, and on how near it comes in meaning to its question
 * under an encoder trained contrastively on questions and queries. From an abstract: the formulas are our reconstruction.
 *
 * On real SQLite: whether an answer is right is known by running it, and neither reward sees that.
 */
import { byArm, defineExperiment, mean } from '@plumbline/bench';
import { rng as newRng, parameterCount } from '@plumbline/core';
import { promptBatches, type RewardFunction } from '@plumbline/data';
import { judgeSql, mixedTasks, normalizeSql, readsTable, type SqlTask, sqlBed, sqlReward } from '@plumbline/envs';
import { generate, type LocalDecoder, type LocalEncoder } from '@plumbline/models';
import { contrastiveSqlReward } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import { z } from 'zod';
import { apply } from './apply.js';
import { newEncoder, queryOf, trainSqlEncoder, trainStart } from './models.js';

const arms = ['execution', 'contrastive', 'easyNegatives', 'result'] as const;
type Arm = (typeof arms)[number];
const queryTokens = 64;

export default defineExperiment({
  id: 'contrastive-text2sql',
  paper: 'arXiv:2510.13827',
  packages: ['models', 'rewards', 'rl', 'envs'],
  config: z.strictObject({
    startDatabases: z.int().positive().default(400).describe('Databases of questions that the start learns from, 28 of each'),
    startOthers: z
      .number()
      .min(0)
      .max(1)
      .default(0.12)
      .describe('Share of its questions in other languages that the start sees; it sees all in English'),
    startSteps: z.int().positive().default(900).describe('Updates of the start, of 16 questions each'),
    startLearningRate: z.number().positive().default(3e-3).describe('Of the start'),
    width: z.int().positive().default(128).describe('Of the decoder, which has 4 layers'),
    vocabulary: z.int().min(257).default(640).describe('Tokens of decoder and encoder'),
    trainDraws: z
      .int()
      .positive()
      .default(3)
      .describe('Databases of each of the 8 themes that encoder and policies are trained on, with 70 questions each'),
    questions: z.int().positive().default(70).describe('Of each of these: 70 are every kind in every language'),
    encoderSteps: z.int().positive().default(200).describe('Updates of the encoder, of 32 pairs each'),
    encoderLearningRate: z.number().positive().default(1e-3).describe('Of the encoder'),
    negatives: z.int().min(0).default(3).describe('Wrong queries beside each pair: they run, and answer otherwise'),
    temperature: z.number().positive().default(0.07).describe('Of the contrastive loss'),
    steps: z.int().positive().default(60).describe('Updates of every policy'),
    promptsPerStep: z.int().positive().default(16).describe('Questions of an update'),
    samplesPerPrompt: z.int().min(2).default(8).describe('Queries for each: the group'),
    learningRate: z.number().positive().default(4e-4).describe('Of the policies'),
    similarityWeight: z.number().positive().default(3).describe('Of the contrastive reward, beside 1 for running'),
    klCoef: z.number().min(0).default(0.04).describe('Weight of the KL to the start'),
    testDraws: z.int().positive().default(1).describe('Further databases of every theme, to measure on'),
    testQuestions: z.int().positive().default(560).describe('Questions about them, at most; half as many about the 4 other themes'),
  }),
  quick: {
    startDatabases: 4,
    startSteps: 2,
    width: 16,
    vocabulary: 300,
    trainDraws: 1,
    questions: 4,
    encoderSteps: 2,
    steps: 2,
    promptsPerStep: 2,
    samplesPerPrompt: 2,
    testDraws: 1,
    testQuestions: 5,
  },
  // rates fall as the width grows
  scales: { '6m': { width: 352, startLearningRate: 1.5e-3, learningRate: 2e-4 } },
  arms,
  metrics: {
    right: { unit: 'share whose result is that of the right query, at temperature 1', better: 'higher' },
    runs: { unit: 'share', better: 'higher' },
    rightEnglish: { unit: 'share', better: 'higher' },
    rightOthers: { unit: 'share', better: 'higher' },
    rightOtherThemes: { unit: 'share, on themes that nobody trained on', better: 'higher' },
    rightGreedy: { unit: 'share, likeliest tokens', better: 'higher' },
    runsGreedy: { unit: 'share, likeliest tokens', better: 'higher' },
    similarity: { unit: 'share of 1', better: 'higher' },
    withoutTable: { unit: 'share of what runs', better: 'lower' },
    length: { unit: 'tokens', better: 'lower' },
  },
  units: 'questions',
  claims: [
    {
      id: 'right',
      text: 'GRPO on execution and the contrastive reward gives more right results than GRPO on execution alone, at equal steps',
      test: { metric: 'right', better: 'contrastive', than: 'execution', smallestEffect: 0.03 },
    },
    {
      id: 'others',
      text: 'So it does in the languages other than English',
      test: { metric: 'rightOthers', better: 'contrastive', than: 'execution', smallestEffect: 0.03 },
    },
    {
      id: 'runs',
      text: 'It does not cost queries that run',
      test: { metric: 'runs', better: 'contrastive', than: 'execution', margin: 0.05 },
    },
    {
      id: 'execution',
      text: 'GRPO on execution alone makes more queries run than the start does',
      test: { statistic: 'runsGain', above: 0, smallestEffect: 0.05 },
    },
    {
      id: 'scale',
      text: 'On MultiSpider the contrastive reward adds 6.85 points of right results to the 52.29% of GRPO on execution, with 3,000 examples and 3 billion parameters',
      test: 'full scale only',
    },
  ],
  curves: ['reward/mean', 'reward/std', 'policy/klSequence', 'completions/length'],
  apply,
  async run({ config, rng, arm, shared, say, signal }) {
    const { trainDraws, testDraws } = config;
    const bed = await sqlBed(rng.fork('bed'), { trainDraws, testDraws, questions: config.questions });
    const test = everyNth(bed.test, config.testQuestions);
    const others = everyNth(bed.otherThemes, Math.ceil(config.testQuestions / 2));

    const first = newRng(0).fork('start'); // the same in every seed, as a pretrained model is
    const all = await mixedTasks(first.fork('questions'), { databases: config.startDatabases });
    const seen = first.fork('languages').uniform(all.length);
    const questions = all.filter(({ language }, i) => language === 'en' || seen[i] < config.startOthers);
    say(`the start: ${config.startSteps} steps on ${questions.length} questions of ${config.startDatabases} databases`);
    const start = await trainStart(questions, config, { rng: first, run: await shared('start') });
    say(`encoders: ${config.encoderSteps} steps on ${bed.train.length} questions and their queries`);
    const wrong = new Map(bed.train.map((task) => [task.id, bed.negatives(task)]));
    /** With as many wrong queries beside each pair, or with the other queries of its batch alone. */
    const trainNamed = async (name: string, negatives: number) => {
      const encoder = newEncoder(start.tokenizer, rng.fork('encoder', 'weights'));
      const tasks = bed.train.map((task) => ({ ...task, negatives: wrong.get(task.id)! }));
      const { encoderSteps: steps, encoderLearningRate: learningRate, temperature } = config;
      const settings = { steps, learningRate, temperature, negatives };
      await trainSqlEncoder(encoder, tasks, { ...settings, rng: rng.fork('encoder'), run: await shared(name) });
      const found = await findsRight(encoder, everyNth(test, 140), bed.negatives);
      say(`${name}: the right query is nearer than all wrong ones for ${percent(found)} of held-out questions`);
      return { encoder, found: mean(found) };
    };
    const hard = await trainNamed('encoder', config.negatives);
    const easy = await trainNamed('encoder, easy negatives', 0);

    const executes = sqlReward(bed.databases, 'executes');
    const weights = { similarity: config.similarityWeight };
    const rewards: Record<Arm, RewardFunction> = {
      execution: executes,
      contrastive: contrastiveSqlReward(hard.encoder, { executes, answer: queryOf, weights }),
      easyNegatives: contrastiveSqlReward(easy.encoder, { executes, answer: queryOf, weights }),
      result: sqlReward(bed.databases, 'right'),
    };
    const measure = async (policy: LocalDecoder) => {
      const answer = async (tasks: readonly SqlTask[], temperature: number) => {
        const ids = tasks.map(({ prompt }) => policy.tokenizer.encode(prompt));
        const written = await generate(policy, ids, { maxTokens: queryTokens, temperature, rng: rng.fork('evaluate'), signal });
        signal.throwIfAborted();
        const texts = written.map(([{ text }]) => text);
        return { written, texts, verdicts: tasks.map(({ db_id, query }, i) => judgeSql(bed.databases.get(db_id)!, query, texts[i])) };
      };
      const sampled = await answer(test, 1);
      const elsewhere = await answer(others, 1);
      const greedy = await answer(test, 0);
      const right = share(sampled.verdicts, 'right');
      const near = await rewards.contrastive.score(
        test.map((task, i) => ({ prompt: task.prompt, completion: sampled.texts[i], meta: task })),
        { rng, signal },
      );
      const running = sampled.texts.filter((_, i) => sampled.verdicts[i].runs);
      return {
        metrics: {
          right,
          runs: share(sampled.verdicts, 'runs'),
          rightEnglish: right.filter((_, i) => test[i].language === 'en'),
          rightOthers: right.filter((_, i) => test[i].language !== 'en'),
          rightOtherThemes: share(elsewhere.verdicts, 'right'),
          rightGreedy: share(greedy.verdicts, 'right'),
          runsGreedy: share(greedy.verdicts, 'runs'),
          similarity: Float64Array.from(near.components!.similarity),
          withoutTable: running.length > 0 ? mean(running.map((text) => Number(!readsTable(text)))) : 0,
          length: Float64Array.from(sampled.written, ([{ tokens }]) => tokens.length),
        },
        texts: greedy.texts,
      };
    };
    const before = await measure(start);
    say(`the start: ${summary(before.metrics)}`);

    const { steps, promptsPerStep, samplesPerPrompt, learningRate, klCoef } = config;
    const records = bed.train.map((task) => ({ id: task.id, prompt: task.prompt, meta: task }));
    const train = async (name: Arm) => {
      const policy = start.snapshot();
      await trainPolicy(
        {
          steps,
          promptsPerStep,
          samplesPerPrompt,
          learningRate,
          klCoef,
          maxTokens: queryTokens,
          lossOptions: { epsilon: 0.2 },
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
        },
        {
          policy,
          reference: start,
          prompts: promptBatches(records, { promptsPerStep, steps, rng: rng.fork('prompts') }),
          reward: rewards[name],
          run: arm(name),
        },
      );
      const measured = await measure(policy);
      policy.dispose();
      say(`${name}: ${summary(measured.metrics)}`);
      return measured;
    };
    const trained = {
      execution: await train('execution'),
      contrastive: await train('contrastive'),
      easyNegatives: await train('easyNegatives'),
      result: await train('result'),
    };
    const parameters = parameterCount(start.parameters).total;
    for (const model of [hard.encoder, easy.encoder, start]) model.dispose();
    bed.close();
    const { right, runs, rightEnglish, rightOthers } = before.metrics;
    return {
      parameters,
      arms: byArm(arms, (name) => trained[name].metrics),
      statistics: {
        startRight: mean(right),
        startRuns: mean(runs),
        startRightEnglish: mean(rightEnglish),
        startRightOthers: mean(rightOthers),
        startRightOtherThemes: mean(before.metrics.rightOtherThemes),
        startRightGreedy: mean(before.metrics.rightGreedy),
        runsGain: mean(trained.execution.metrics.runs) - mean(runs),
        encoderAccuracy: hard.found,
        easyEncoderAccuracy: easy.found,
      },
      samples: everyNth(
        test.map((task, i) => ({ task, i })),
        4,
      ).map(({ task, i }) => ({
        prompt: task.prompt,
        texts: byArm(arms, (name) => trained[name].texts[i]),
      })),
    };
  },
});

/** Of each question 1 where the right query is nearer to it than every wrong one. */
async function findsRight(encoder: LocalEncoder, tasks: readonly SqlTask[], negatives: (task: SqlTask) => string[]): Promise<Float64Array> {
  const right = new Float64Array(tasks.length);
  for (const [i, task] of tasks.entries()) {
    const [question, ...queries] = await encoder.embed([task.question, ...[task.query, ...negatives(task)].map(normalizeSql)]);
    const near = queries.map((query) => query.reduce((sum, x, d) => sum + x * question[d], 0));
    right[i] = Number(near.slice(1).every((other) => other < near[0]));
  }
  return right;
}

/** `count` of them, evenly over the whole. */
const everyNth = <T>(items: readonly T[], count: number): T[] =>
  items.length <= count ? [...items] : Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]);
const percent = (values: Float64Array) => `${(100 * mean(values)).toFixed(1)}%`;
const summary = ({
  right,
  runs,
  rightEnglish,
  rightOtherThemes,
}: Record<'right' | 'runs' | 'rightEnglish' | 'rightOtherThemes', Float64Array>) =>
  `${percent(right)} right (${percent(rightEnglish)} in English, ${percent(rightOtherThemes)} on other themes), ${percent(runs)} run`;
const share = (verdicts: readonly { right: boolean; runs: boolean }[], what: 'right' | 'runs') =>
  Float64Array.from(verdicts, (verdict) => Number(verdict[what]));
