/**
 * Understanding the performance gap between online and offline alignment. Tang et al. 2024, arXiv:2405.08448: one loss, one data set, the same number of steps; pairs that the
 * policy writes as it trains, labelled by a preference model of that data set, against the pairs of the data set itself.
 *
 * The arms differ in the source of their pairs alone. Offline is swept over learning rates, so that both methods' frontiers reach the same KL; online is not tuned.
 */
import {
  byArm,
  defineExperiment,
  type FrontierPoint,
  firstAnswers,
  frontierGap,
  goldTie,
  heldOutPrompts,
  mean,
  peak,
  wordsMetrics,
  wordsModel,
} from '@plumbline/bench';
import { type Batches, encodePairs, joinSequence, makePairs, type PairBatch, pairBatches, promptBatches } from '@plumbline/data';
import {
  onlinePairs,
  type PairLossSpec,
  pairLoss,
  policyClassifier,
  recordStream,
  replayStream,
  trainPairs,
  withOptions,
} from '@plumbline/dpo';
import { analyticKl, createScorer, type LocalDecoder, loadDecoder } from '@plumbline/models';
import { modelReward, pairwiseFromPointwise, rewardAccuracy, trainRewardEpochs } from '@plumbline/rewards';
import { z } from 'zod';
import { apply } from './apply.js';

const arms = ['online', 'offline', 'shuffled', 'finalVsFinal', 'startVsEarly'] as const;
type Arm = (typeof arms)[number];

export default defineExperiment({
  id: 'online-offline-gap',
  paper: 'arXiv:2405.08448',
  packages: ['models', 'dpo', 'rewards', 'envs'],
  config: z.strictObject({
    model: wordsModel('Start and reference of every arm'),
    prompts: z.int().positive().default(384).describe('Prompts of the data set, with one pair each'),
    writer: z.string().default('start').describe('Who wrote the data set: the start, or another decoder (zoo:NAME or a folder)'),
    proxyEpochs: z.int().positive().default(3).describe('Passes of the preference model over the data set'),
    proxyLearningRate: z.number().positive().default(1e-3).describe('Of the preference model; the paper has 1e-4'),
    steps: z.int().positive().default(48).describe('Updates of every arm; the paper has 4,000'),
    pairsPerStep: z.int().positive().default(16).describe('Pairs of an update; the paper has 32'),
    learningRate: z.number().positive().default(5e-4).describe('Peak rate; the paper has 1e-5 for models of 770 million parameters'),
    offlineSweep: z
      .array(z.number().positive())
      .min(1)
      .default([0.5, 1])
      .describe('Factors of the rate that the offline arm is swept over'),
    beta: z.number().positive().default(0.1).describe('Of IPO in its form of sums, as in the paper'),
    evaluateEvery: z.int().positive().default(16).describe('Steps between checkpoints; the early policy is the first of them'),
    evaluationPrompts: heldOutPrompts(96, 'Held-out prompts, with 2 answers each at every checkpoint'),
  }),
  quick: { prompts: 6, proxyEpochs: 1, steps: 2, pairsPerStep: 2, offlineSweep: [1], evaluateEvery: 1, evaluationPrompts: 3 },
  arms,
  metrics: {
    winRate: { unit: 'share, against the best of 4 answers of the start', better: 'higher' },
    peakWinRate: { unit: 'share', better: 'higher' },
    ...wordsMetrics('goldReward', 'kl'),
    classifierAccuracy: { unit: 'share of the data set', better: 'higher' },
    chosenChange: { unit: 'nats', better: 'higher' },
    ...wordsMetrics('fluent', 'length', 'distinct2'),
  },
  units: 'prompts',
  claims: [
    {
      id: 'gap',
      text: 'At equal KL, online IPO wins more than offline IPO on the same data in as many steps',
      test: { statistic: 'onlineOverOffline', above: 0, smallestEffect: 0.02 },
    },
    {
      id: 'peak',
      text: 'Its best checkpoint wins more',
      test: { metric: 'peakWinRate', better: 'online', than: 'offline', smallestEffect: 0.05 },
    },
    {
      id: 'coverage',
      text: 'It is not the coverage: offline IPO on the pairs of the online run, shuffled, stays below online at equal KL',
      test: { statistic: 'onlineOverShuffled', above: 0, smallestEffect: 0.02 },
    },
    {
      id: 'final',
      text: 'It is not the quality: offline IPO on pairs of the final online policy stays below offline IPO on pairs of the start, at equal KL',
      test: { statistic: 'offlineOverFinal', above: 0, smallestEffect: 0.02 },
    },
    {
      id: 'start',
      text: 'One side from the start helps: pairs of start and early policy do better offline than pairs of the final policy, at equal KL',
      test: { statistic: 'startVsEarlyOverFinal', above: 0, smallestEffect: 0.02 },
    },
    {
      id: 'classifier',
      text: 'The offline policy is the better classifier of the data set',
      test: { metric: 'classifierAccuracy', better: 'offline', than: 'online', smallestEffect: 0.02 },
    },
    {
      id: 'logp',
      text: 'The log-probability of chosen answers of the data set falls more offline than online',
      test: { metric: 'chosenChange', better: 'online', than: 'offline', smallestEffect: 0.5 },
    },
    {
      id: 'scale',
      text: 'The gap stays from 770 million to 11 billion parameters, on TL;DR, Anthropic helpful and harmless, and Chatbot Arena',
      test: 'full scale only',
    },
  ],
  apply,
  curves: ['eval/gold', 'eval/kl', 'rewards/accuracy', 'logps/chosen'],
  async run({ config, rng, arm, shared, bed, say, signal }) {
    const words = await bed('words');
    const { base } = words;
    const { tokenizer } = base;
    const prompts = words.prompts.slice(0, config.prompts);
    const heldOut = words.heldOutPrompts.slice(0, config.evaluationPrompts);

    say(`the data set: ${prompts.length} pairs of ${config.writer}, labelled by the gold`);
    const writer = config.writer === 'start' ? base : await loadDecoder(config.writer);
    const answers = await words.sampleGroups({ prompts, n: 2, rng: rng.fork('answers'), policy: writer, signal });
    if (writer !== base) writer.dispose();
    const paired = (groups: Parameters<typeof makePairs>[0]) =>
      encodePairs(tokenizer, makePairs(groups, 'all', rng.fork('pairs'), { minGap: goldTie })).pairs;
    const golden = paired(answers);
    const scorer = createScorer(base, { pooling: 'mean', rng: rng.fork('head') });
    await trainRewardEpochs(
      { epochs: config.proxyEpochs, groupsPerStep: 16, learningRate: config.proxyLearningRate },
      { scorer, groups: golden, rng: rng.fork('proxy'), run: await shared('proxy') },
    );
    const preference = pairwiseFromPointwise(modelReward(scorer));

    const sampled = await words.sampleGroups({ prompts: heldOut, n: 4, rng: rng.fork('opponent'), signal });
    const opponent = sampled.map(({ scores }) => Math.max(...scores));
    const unseen = paired(sampled);
    const proxyAccuracy = unseen.length > 0 ? (await rewardAccuracy(scorer, unseen, { signal })).accuracy : 0.5;
    const evaluate = async (policy: LocalDecoder) => {
      const groups = await words.sampleGroups({ prompts: heldOut, n: 2, rng: rng.fork('evaluate'), policy, signal });
      const { goldReward, fluent, length, distinct2, samples } = await words.measure(groups, { rng, signal });
      const winRate = Float64Array.from(groups, ({ scores }, i) =>
        mean(Array.from(scores, (score) => (Math.abs(score - opponent[i]) < goldTie ? 0.5 : score > opponent[i] ? 1 : 0))),
      );
      const answered = groups.flatMap(({ prompt, samples }) => samples.map(({ tokens }) => joinSequence(tokenizer.encode(prompt), tokens)));
      const { perSequence, mean: kl } = await analyticKl(policy, base, answered);
      return {
        point: { kl, score: mean(winRate) },
        metrics: {
          winRate,
          goldReward,
          kl: Float64Array.from(groups, (_, i) => mean(perSequence.subarray(2 * i, 2 * i + 2))),
          fluent,
          length,
          distinct2,
        },
        samples,
      };
    };
    const start = await evaluate(base);

    const { steps, pairsPerStep, evaluateEvery } = config;
    /** Trains one policy on a source of pairs; its checkpoints begin with the start. */
    const train = async (
      source: (policy: LocalDecoder) => Batches<PairBatch>,
      { name, folder, rate = 1 }: { name: Arm; folder?: string; rate?: number },
    ) => {
      say(`${folder ?? name}: ${steps} steps`);
      const policy = words.policy();
      let early: LocalDecoder | undefined;
      let last = start;
      const points: FrontierPoint[] = [start.point];
      const run = folder === undefined ? arm(name) : await shared(folder);
      await trainPairs(
        {
          steps,
          pairsPerStep,
          pairsPerMicroBatch: pairsPerStep,
          learningRate: rate * config.learningRate,
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
          evaluateEvery,
        },
        {
          policy,
          reference: base,
          batches: source(policy),
          loss: withOptions(pairLoss('ipo') as PairLossSpec<object>, { beta: config.beta, lengthNormalize: false }),
          // an arm is short, and what its checkpoints showed is not in its state: it begins anew where it was interrupted
          run: { ...run, saveEvery: Infinity, restore: async () => 0 },
          evaluate: async () => {
            if (name === 'online') early ??= policy.snapshot();
            last = await evaluate(policy);
            points.push(last.point);
            return { 'eval/gold': mean(last.metrics.goldReward), 'eval/kl': last.point.kl };
          },
        },
      );
      const { accuracy, chosenChange } = await policyClassifier(policy, base, golden, { signal });
      return { policy, early, points, samples: last.samples, metrics: { ...last.metrics, classifierAccuracy: accuracy, chosenChange } };
    };
    const offlineOn = (pairs: ReturnType<typeof paired>) => () => pairBatches(pairs, { pairsPerStep, steps, rng: rng.fork('batches') });

    let source!: ReturnType<typeof onlinePairs>;
    let recorded!: ReturnType<typeof recordStream>;
    const fresh = (policy: LocalDecoder) => {
      const asked = promptBatches(prompts, { promptsPerStep: pairsPerStep, steps, rng: rng.fork('prompts') });
      source = onlinePairs({ policy, prompts: asked, preference, ...words.sampling, rng: rng.fork('online'), signal });
      recorded = recordStream(source, tokenizer.name);
      return recorded;
    };
    const online = await train(fresh, { name: 'online' });
    const early = online.early!;
    scorer.dispose();

    const finals = await words.sampleGroups({ prompts, n: 2, rng: rng.fork('finals'), policy: online.policy, signal });
    const earlies = await words.sampleGroups({ prompts, n: 1, rng: rng.fork('earlies'), policy: early, signal });
    early.dispose();
    const startVsEarly = paired(
      answers.map(({ prompt, completions, scores }, i) => ({
        prompt,
        completions: [completions[0], earlies[i].completions[0]],
        scores: [scores[0], earlies[i].scores[0]],
      })),
    );

    const swept = [];
    for (const rate of config.offlineSweep)
      swept.push(await train(offlineOn(golden), { name: 'offline', rate, ...(swept.length > 0 && { folder: `offline, rate ×${rate}` }) }));
    // the run whose best checkpoint wins most stands for the arm; its frontier is that of all
    const offline = swept.reduce((best, other) => (peak(other.points).score > peak(best.points).score ? other : best));
    const shuffled = await train(
      () => replayStream(recorded.stream, { order: 'shuffled', rng: rng.fork('shuffle'), model: tokenizer.name }),
      { name: 'shuffled' },
    );
    const finalVsFinal = await train(offlineOn(paired(finals)), { name: 'finalVsFinal' });
    const mixed = await train(offlineOn(startVsEarly), { name: 'startVsEarly' });

    const runs = { online, offline, shuffled, finalVsFinal, startVsEarly: mixed };
    const points = { ...runs, offline: { points: swept.flatMap((one) => one.points) } };
    const over = (a: Arm, b: Arm) => frontierGap([points[a].points], [points[b].points]).mean;
    for (const { policy } of [...swept, online, shuffled, finalVsFinal, mixed]) policy.dispose();
    return {
      arms: byArm(arms, (name) => ({ ...runs[name].metrics, peakWinRate: peak(points[name].points).score })),
      statistics: {
        onlineOverOffline: over('online', 'offline'),
        onlineOverShuffled: over('online', 'shuffled'),
        offlineOverFinal: over('offline', 'finalVsFinal'),
        startVsEarlyOverFinal: over('startVsEarly', 'finalVsFinal'),
        proxyAccuracy,
        startWinRate: start.point.score,
        leftOut: (source.counts.identical + source.counts.ties) / source.counts.pairs,
      },
      samples: firstAnswers(byArm(arms, (name) => runs[name].samples)),
    };
  },
});
