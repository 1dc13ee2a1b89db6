/**
 * Socratic-PRMBench. Li et al. 2025, arXiv:2505.23474: process reward models judge steps unevenly across six patterns of reasoning. On the maths bed a model
 * of steps that has seen errors of deduction alone stands beside one that has seen as many errors, in the same problems, of all twenty classes.
 */
import { defineExperiment } from '@plumbline/bench';
import { benchmarkRows, readItems, type StepItem, type StepOutcome, socraticPrmBench } from '@plumbline/bench/benchmarks';
import type { Prompt } from '@plumbline/data';
import { patternOf, type SocraticRecord, socraticClasses, socraticRecords, soundSteps, stepSeparator, wrongSteps } from '@plumbline/envs';
import { loadDecoder } from '@plumbline/models';
import { createHeads, encodeSteps, processReward, rewardLosses, stepBatches, trainReward } from '@plumbline/rewards';
import { z } from 'zod';
import { apply } from './apply.js';

const patterns = ['Transformation', 'Decomposition', 'Regather', 'Deduction', 'Verification', 'Integration'] as const;
const arms = { deductionOnly: socraticClasses.filter((name) => patternOf(name) === 'Deduction'), allClasses: socraticClasses };

export default defineExperiment({
  id: 'socratic-prmbench',
  paper: 'arXiv:2505.23474',
  packages: ['bench', 'models', 'rewards', 'envs'],
  config: z.strictObject({
    model: z.string().default('zoo:maths-1m').describe('The decoder that the models of steps start from: zoo:NAME or a folder'),
    records: z.int().positive().default(1200).describe('Training solutions with one error each, in every arm'),
    sound: z.int().positive().default(600).describe('Sound training solutions, the same in every arm'),
    epochs: z.int().positive().default(1).describe('Passes over them'),
    perStep: z.int().positive().default(4).describe('Solutions of an update'),
    learningRate: z.number().positive().default(1.5e-3).describe('Peak rate; 1e-5 for billions of parameters'),
    perClass: z.int().positive().default(20).describe('Test solutions of each class of error, of problems that no training problem equals'),
    soundTests: z.int().positive().default(60).describe('Sound test solutions'),
    threshold: z.number().default(0.5).describe('A step whose probability of being right is above counts as right'),
    official: z.string().optional().describe('Official files, for the scores of constant predictors on them'),
  }),
  quick: { records: 20, sound: 4, perClass: 1, soundTests: 2 },
  arms: ['deductionOnly', 'allClasses'],
  metrics: {
    prmScore: { unit: 'PRM-Score, mean of six patterns', better: 'higher' },
    spread: { unit: 'best pattern minus worst', better: 'lower' },
    deductionLead: { unit: 'deduction minus mean of the other five', better: 'lower' },
    rewardBias: { unit: 'accuracy on right minus on wrong steps', better: 'lower' },
    wrongStepsFound: { unit: 'share', better: 'higher' },
    firstErrorFound: { unit: 'share', better: 'higher' },
    delay: { unit: 'steps', better: 'lower' },
    soundAccuracy: { unit: 'share of the steps of sound solutions', better: 'higher' },
    ...(Object.fromEntries(patterns.map((name) => [name, { unit: 'PRM-Score', better: 'higher' }])) as Record<
      (typeof patterns)[number],
      { unit: string; better: 'higher' }
    >),
  },
  claims: [
    {
      id: 'uneven',
      text: 'A process reward model that has seen errors of deduction alone is uneven: its best and worst pattern lie more than 0.05 apart',
      test: { statistic: 'spread', above: 0.05, smallestEffect: 0.05 },
    },
    {
      id: 'deduction',
      text: 'It is better at deduction than at the other patterns',
      test: { statistic: 'deductionLead', above: 0, smallestEffect: 0.05 },
    },
    {
      id: 'bias',
      text: 'It is biased to reward: right steps are called right more often than wrong steps wrong',
      test: { statistic: 'rewardBias', above: 0, smallestEffect: 0.05 },
    },
    {
      id: 'coverage',
      text: 'As many errors spread over all classes give a better process reward model',
      test: { metric: 'prmScore', better: 'allClasses', than: 'deductionOnly', smallestEffect: 0.05 },
    },
    { id: 'open', text: 'The best open process reward model, of 7 billion parameters, scores 68.0', test: 'full scale only' },
  ],
  apply,
  curves: ['loss', 'accuracy'],
  async run({ config, rng, arm, say, signal }) {
    const base = await loadDecoder(config.model);
    const fits = ({ modified_question, modified_process, original_process }: SocraticRecord) =>
      [modified_process, original_process].every(
        (steps) => base.tokenizer.encode([modified_question, ...steps, ''].join(stepSeparator)).length < base.contextLength,
      );
    const draw = (name: string, split: 'train' | 'test', count: number, classes = socraticClasses) =>
      socraticRecords(rng.fork(name), { split, count, classes }).filter(fits); // one in some hundred does not
    const sound = draw('sound', 'train', config.sound).map(soundSteps);
    const tests = draw('tests', 'test', socraticClasses.length * config.perClass);
    const items = tests.map(officialItem);
    const soundTests = draw('sound tests', 'test', config.soundTests).map(soundSteps);

    const train = async (name: keyof typeof arms) => {
      const wrong = draw('errors', 'train', config.records, arms[name]).map(wrongSteps);
      const encoded = encodeSteps(base.tokenizer, [...wrong, ...sound], { separator: stepSeparator });
      say(`${name}: ${encoded.items.length} solutions, ${encoded.items.reduce((n, { tokens }) => n + tokens.length, 0)} tokens`);
      const batches = stepBatches(encoded.items, { itemsPerStep: config.perStep, epochs: config.epochs, rng: rng.fork('order') });
      const scorer = createHeads(base, { heads: 2, rng: rng.fork('head') });
      await trainReward(
        {
          steps: batches.steps,
          learningRate: config.learningRate,
          schedule: { kind: 'cosine', warmupSteps: Math.ceil(batches.steps / 10) },
        },
        { scorer, batches, loss: rewardLosses.step, run: arm(name) },
      );
      const prm = processReward(scorer, { separator: stepSeparator });
      const judge = async (solutions: readonly { prompt: Prompt; steps: readonly string[] }[]) =>
        (await prm.scoreSteps(solutions as { prompt: Prompt; steps: string[] }[], { rng: rng.fork('judge'), signal })).map((scores) => ({
          scores: Array.from(scores),
        }));
      const outcomes = await judge(items.map(({ prompt, steps }) => ({ prompt: `${prompt}${stepSeparator}`, steps })));
      const passed = (await judge(soundTests.map(({ prompt, completions }) => ({ prompt, steps: completions })))).flatMap(({ scores }) =>
        scores.map((score) => Number(score > config.threshold)),
      );
      scorer.dispose();
      return {
        metrics: { ...summary(items, outcomes, config.threshold), soundAccuracy: passed.reduce((a, b) => a + b, 0) / passed.length },
        outcomes,
      };
    };
    const trained = { deductionOnly: await train('deductionOnly'), allClasses: await train('allClasses') };
    base.dispose();

    const { spread, deductionLead, rewardBias } = trained.deductionOnly.metrics;
    const constant = (of: readonly StepItem[], value: number) =>
      summary(
        of,
        of.map(({ steps }) => ({ scores: steps.map(() => value) })),
      );
    const oracle = items.map(({ steps, errors }) => ({ scores: steps.map((_, t) => Number(!errors.includes(t))) }));
    const official = config.official ? ((await readItems(socraticPrmBench, benchmarkRows([config.official]))) as StepItem[]) : undefined;
    return {
      arms: { deductionOnly: trained.deductionOnly.metrics, allClasses: trained.allClasses.metrics },
      statistics: {
        spread,
        deductionLead,
        rewardBias,
        floorAllRight: constant(items, 1).prmScore,
        floorAllRightSpread: constant(items, 1).spread,
        floorAllWrong: constant(items, 0).prmScore,
        ceilingOracle: summary(items, oracle).prmScore,
        ...(official && { officialAllRight: constant(official, 1).prmScore, officialAllWrong: constant(official, 0).prmScore }),
      },
      samples: items.slice(0, socraticClasses.length).map(({ prompt, steps, errors, subset }, i) => ({
        prompt: `${subset}: ${prompt as string}\n${steps.map((step, t) => `${errors.includes(t) ? '✗' : ' '} ${step}`).join('\n')}`,
        texts: {
          deductionOnly: trained.deductionOnly.outcomes[i].scores.map((score) => score.toFixed(2)).join('  '),
          allClasses: trained.allClasses.outcomes[i].scores.map((score) => score.toFixed(2)).join('  '),
        },
      })),
    };
  },
});

/** A generated record read as the official files are. */
const officialItem = (record: SocraticRecord, line: number): StepItem =>
  socraticPrmBench.read(record, { path: 'generated', file: 'generated', line: line + 1 })!;

/** What the benchmark's report says, by the names of the metrics here. */
function summary(items: readonly StepItem[], outcomes: readonly StepOutcome[], threshold?: number) {
  const numbers = socraticPrmBench.report(items, outcomes, { threshold });
  const value = (name: string) => numbers.find((one) => one.name === name)!.value;
  const scores = patterns.map(value);
  const others = patterns.filter((name) => name !== 'Deduction').map(value);
  const delay = value('steps until an error is noticed');
  return {
    prmScore: value('PRM-Score'),
    spread: Math.max(...scores) - Math.min(...scores),
    deductionLead: value('Deduction') - others.reduce((a, b) => a + b, 0) / others.length,
    rewardBias: value('reward bias (the first minus the second)'),
    wrongStepsFound: value('wrong steps called wrong'),
    firstErrorFound: value('first error called wrong'),
    delay: Number.isFinite(delay) ? delay : 0,
    ...(Object.fromEntries(patterns.map((name, i) => [name, scores[i]])) as Record<(typeof patterns)[number], number>),
  };
}
