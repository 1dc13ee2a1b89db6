/**
 * Helping or herding? Eisenstein et al. 2023, arXiv:2312.09244: averaging reward models reduces over-optimisation, more so where members differ by their pretraining seed than by
 * their fine-tuning seed alone; errors that all members share stay.
 *
 * By best-of-n: one set of samples of the start serves every arm, so that the arms differ in nothing but in who chooses.
 */
import { defineExperiment, goldTie, heldOutPrompts, mean, pretrainDecoder, wordsModel } from '@plumbline/bench';
import { bestOfNCurve } from '@plumbline/bench/metrics';
import { encodePairs, flipLabels, makePairs } from '@plumbline/data';
import { differentStories } from '@plumbline/envs';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import {
  aggregateEnsemble,
  bestOfN,
  crossEvaluation,
  diagonalGap,
  memberRankCorrelation,
  modelReward,
  trainEnsemble,
} from '@plumbline/rewards';
import { z } from 'zod';
import { apply } from './apply.js';

export default defineExperiment({
  id: 'reward-ensembles',
  paper: 'arXiv:2312.09244',
  packages: ['models', 'rewards', 'envs'],
  config: z.strictObject({
    model: wordsModel('The decoder whose samples are chosen among'),
    pretrained: z
      .array(z.string())
      .default([])
      .describe('Decoders that members start from, such as zoo:words-1m-seed1; without any, small ones are pretrained in the run'),
    members: z.int().min(2).default(4).describe('Members of an ensemble; the paper has 5'),
    width: z.int().positive().default(64).describe('Of the decoders pretrained in the run, which have 4 layers'),
    pretrainSteps: z.int().positive().default(250).describe('Their updates, of 20 stories each'),
    pairs: z.int().positive().default(800).describe('Pairs that every member learns from'),
    flipped: z.number().min(0).lt(0.5).default(0.25).describe('Share of them whose labels are swapped'),
    epochs: z.int().positive().default(2).describe('Passes over the pairs'),
    learningRate: z.number().positive().default(1e-3).describe('Of the members'),
    centering: z.number().min(0).default(0.01).describe("Weight of the squared sum of a pair's scores, which puts members on one scale"),
    evaluationPrompts: heldOutPrompts(128),
    candidates: z.int().min(2).default(32).describe('Samples of each; the paper has 64'),
  }),
  quick: { members: 2, width: 16, pretrainSteps: 2, pairs: 8, epochs: 1, evaluationPrompts: 3, candidates: 4 },
  arms: ['finetuneSingle', 'finetuneMean', 'finetuneMin', 'pretrainSingle', 'pretrainMean', 'pretrainMin'],
  metrics: {
    goldBest: { unit: 'points, −1 to 1, best of 16', better: 'higher' },
    goldBestOf4: { unit: 'points', better: 'higher' },
    goldBestOfAll: { unit: 'points', better: 'higher' },
    learnedReward: { unit: 'logits, best of 16', better: 'higher' },
    goldCorrelation: { unit: 'Spearman', better: 'higher' },
  },
  units: 'prompts',
  claims: [
    {
      id: 'finetune',
      text: 'The mean of members that differ by fine-tuning seed chooses better than one of them',
      test: { metric: 'goldBest', better: 'finetuneMean', than: 'finetuneSingle', smallestEffect: 0.02 },
    },
    {
      id: 'pretrain',
      text: 'The mean of members that differ by pretraining seed chooses better than one of them',
      test: { metric: 'goldBest', better: 'pretrainMean', than: 'pretrainSingle', smallestEffect: 0.02 },
    },
    {
      id: 'better',
      text: 'Members that differ by pretraining seed choose better together than members that differ by fine-tuning seed',
      test: { metric: 'goldBest', better: 'pretrainMean', than: 'finetuneMean', smallestEffect: 0.02 },
    },
    {
      id: 'gain',
      text: 'They gain more by being put together',
      test: { statistic: 'gainGap', above: 0, smallestEffect: 0.02 },
    },
    {
      id: 'diversity',
      text: 'Members of one pretrained model rank the samples more alike than members pretrained apart',
      test: { statistic: 'correlationGap', above: 0, smallestEffect: 0.05 },
    },
    {
      id: 'flattery',
      text: 'Members pretrained apart agree less with what another chose: own score minus others’ score of the chosen is larger',
      test: { statistic: 'flatteryGap', above: 0, smallestEffect: 0.05 },
    },
    {
      id: 'tldr',
      text: 'At best-of-64 on TL;DR the pretraining ensemble wins 90.0% over the start, the fine-tuning ensemble 87.3%, one model 85.3%',
      test: 'full scale only',
    },
  ],
  apply,
  async run({ config, rng, shared, bed, say, signal }) {
    const words = await bed('words');
    const { tokenizer, spec } = words.base;
    const prompts = words.prompts.slice(0, config.pairs);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);

    say(`${config.candidates} samples for each of ${heldOut.length} held-out prompts, ${config.pairs} pairs to learn from`);
    const sampled = await words.sampleGroups({ prompts: heldOut, n: config.candidates, rng: rng.fork('candidates'), signal });
    const answers = await words.sampleGroups({ prompts, n: 2, rng: rng.fork('answers'), signal });
    const clean = makePairs(answers, 'all', rng.fork('pairs'), { minGap: goldTie });
    const groups = encodePairs(tokenizer, flipLabels(clean, config.flipped, rng.fork('swaps'))).pairs;

    const stories = differentStories(rng.fork('stories'), 20 * config.pretrainSteps).map((story) => ({
      tokens: Int32Array.of(...tokenizer.encode(story), tokenizer.eosId!),
      completionStart: 0,
    }));
    /** The same text in another order from other weights. */
    const pretrain = async (index: number): Promise<LocalDecoder> => {
      if (config.pretrained.length > 0) return loadDecoder(config.pretrained[index % config.pretrained.length]);
      say(`pretraining ${index + 1} of ${config.members}`);
      const name = `pretrained-${index + 1}`;
      return pretrainDecoder(
        { vocabSize: spec.vocabSize, width: config.width, contextLength: 128 },
        {
          tokenizer,
          name,
          sequences: stories,
          sequencesPerStep: 20,
          steps: config.pretrainSteps,
          learningRate: 5e-3,
          rng: rng.fork('pretraining', index),
          run: await shared(name),
        },
      );
    };
    const bases: LocalDecoder[] = [];
    for (let index = 0; index < config.members; index++) bases.push(await pretrain(index));

    // the first member belongs to both ensembles
    const seeds = bases.map((pretrained, i) => ({ name: `pretrain-${i + 1}`, pretrained, rng: rng.fork('finetuning', i) }));
    const again = seeds
      .slice(1)
      .map(({ rng: other }, i) => ({ name: `finetune-${i + 2}`, pretrained: bases[0], rng: other.fork('again') }));
    say(`reward models: ${seeds.length + again.length}`);
    const scorers = await trainEnsemble(
      {
        epochs: config.epochs,
        groupsPerStep: 16,
        learningRate: config.learningRate,
        centerCoefficient: config.centering,
      },
      { members: [...seeds, ...again], groups, run: shared },
    );

    const asked = sampled.flatMap(({ prompt, completions }) => completions.map((completion) => ({ prompt, completion })));
    const byPrompt = (scores: Float32Array) => sampled.map((_, p) => scores.subarray(p * config.candidates, (p + 1) * config.candidates));
    const scores: Float32Array[] = [];
    for (const scorer of scorers) scores.push((await modelReward(scorer).score(asked, { rng, signal })).scores);
    for (const model of [...scorers, ...bases]) model.dispose();

    const pretrained = scores.slice(0, config.members);
    const finetuned = [scores[0], ...scores.slice(config.members)];
    const gold = sampled.map((group) => group.scores);
    const measure = (chooser: Float32Array) => {
      const proxy = byPrompt(chooser);
      const best = (n: number) => proxy.map((row, p) => bestOfNCurve([row], [gold[p]], [Math.min(n, config.candidates)])[0]);
      const goldOf = (n: number) => Float64Array.from(best(n), (point) => point.gold);
      return {
        goldBest: goldOf(16),
        goldBestOf4: goldOf(4),
        goldBestOfAll: goldOf(config.candidates),
        learnedReward: Float64Array.from(best(16), (point) => point.proxy),
        goldCorrelation: memberRankCorrelation([proxy, gold]),
      };
    };
    /** One member, on average. */
    const single = (members: readonly Float32Array[]): ReturnType<typeof measure> => {
      const each = members.map(measure);
      const averaged = (of: (one: (typeof each)[number]) => Float64Array) =>
        Float64Array.from(heldOut, (_, p) => mean(each.map((one) => of(one)[p])));
      return {
        goldBest: averaged((one) => one.goldBest),
        goldBestOf4: averaged((one) => one.goldBestOf4),
        goldBestOfAll: averaged((one) => one.goldBestOfAll),
        learnedReward: averaged((one) => one.learnedReward),
        goldCorrelation: mean(each.map((one) => one.goldCorrelation)),
      };
    };
    const choosers = {
      finetuneMean: aggregateEnsemble(finetuned, 'mean'),
      finetuneMin: aggregateEnsemble(finetuned, 'min'),
      pretrainMean: aggregateEnsemble(pretrained, 'mean'),
      pretrainMin: aggregateEnsemble(pretrained, 'min'),
    };
    const arms = {
      finetuneSingle: single(finetuned),
      finetuneMean: measure(choosers.finetuneMean),
      finetuneMin: measure(choosers.finetuneMin),
      pretrainSingle: single(pretrained),
      pretrainMean: measure(choosers.pretrainMean),
      pretrainMin: measure(choosers.pretrainMin),
    };
    const gain = (whole: 'finetuneMean' | 'pretrainMean', one: 'finetuneSingle' | 'pretrainSingle') =>
      mean(arms[whole].goldBest) - mean(arms[one].goldBest);
    const correlation = (members: readonly Float32Array[]) => memberRankCorrelation(members.map(byPrompt));
    const flattery = (members: readonly Float32Array[]) => diagonalGap(crossEvaluation(members.map(byPrompt), config.candidates));
    const [finetuneCorrelation, pretrainCorrelation] = [finetuned, pretrained].map(correlation);
    const [finetuneFlattery, pretrainFlattery] = [finetuned, pretrained].map(flattery);
    const chosen = { finetuneSingle: scores[0], pretrainSingle: scores[1], ...choosers };
    return {
      arms,
      statistics: {
        gainGap: gain('pretrainMean', 'pretrainSingle') - gain('finetuneMean', 'finetuneSingle'),
        finetuneCorrelation,
        pretrainCorrelation,
        correlationGap: finetuneCorrelation - pretrainCorrelation,
        finetuneFlattery,
        pretrainFlattery,
        flatteryGap: pretrainFlattery - finetuneFlattery,
        goldMean: mean(gold.map((row) => mean(Array.from(row)))),
        goldHighest: mean(gold.map((row) => Math.max(...row))),
      },
      samples: sampled.slice(0, 4).map(({ prompt, completions }, p) => ({
        prompt,
        texts: Object.fromEntries(Object.entries(chosen).map(([arm, all]) => [arm, bestOfN(completions, byPrompt(all)[p]).item])),
      })),
    };
  },
});
