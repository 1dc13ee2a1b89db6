import { initBackend, memoryRun, rng } from '@plumbline/core';
import { type Batches, encodePairs, rewardBatches } from '@plumbline/data';
import { byteTokenizer, stepRewardFunctionContract } from '@plumbline/data/contract';
import { createDecoder, decoderSpec } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { attributeReward, createHeads, type HeadedModel, processReward } from './heads.js';
import { encodeSteps, encodeTargets, stepBatches, targetBatches, withPairLabels } from './items.js';
import { rewardLosses } from './losses/index.js';
import { type RewardTrainConfig, type RewardTraining, trainReward } from './train.js';

beforeAll(async () => {
  await initBackend();
});

const tokenizer = byteTokenizer();
function model(heads: number, seed = 1): HeadedModel {
  const spec = decoderSpec({
    vocabSize: 258,
    width: 24,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headDim: 12,
    mlpWidth: 48,
    contextLength: 96,
    ropeTheta: 10_000,
    rmsNormEps: 1e-5,
    tiedEmbeddings: true,
  });
  const decoder = createDecoder(spec, { tokenizer, rng: rng(seed) });
  const made = createHeads(decoder, { heads, pooling: 'mean', rng: rng(seed).fork('head') });
  decoder.dispose();
  return made;
}
const config = (more: Partial<RewardTrainConfig> = {}): RewardTrainConfig => ({
  steps: 2,
  learningRate: 3e-3,
  schedule: { kind: 'constant' },
  ...more,
});

const moods = ['woe', 'box', 'joy'];
const draw = rng(4);
const said = Array.from({ length: 64 }, (_, i) => {
  const mood = draw.below(3);
  return { id: `r${i}`, prompt: 'a', completion: ` ${moods[mood]} ${'la'.repeat(draw.below(4))}`, mood };
});
const pairsOf = encodePairs(
  tokenizer,
  said.flatMap((one, i) => {
    const other = said[(i * 7 + 3) % said.length];
    return one.mood > other.mood
      ? [{ id: `${one.mood - other.mood}.${i}`, prompt: 'a', chosen: one.completion, rejected: other.completion }]
      : [];
  }),
).pairs;
const targets = encodeTargets(
  tokenizer,
  said.map((one) => ({ ...one, targets: [one.mood, one.completion.length > 6 ? null : 1] })),
).items;
const grades = encodeTargets(
  tokenizer,
  said.map((one) => ({ ...one, targets: one.mood })),
).items;
const binary = encodeTargets(
  tokenizer,
  said.map((one) => ({ ...one, targets: one.mood > 1 ? 1 : 0 })),
).items;
const solutions = encodeSteps(
  tokenizer,
  Array.from({ length: 32 }, (_, i) => {
    const labels = Array.from({ length: 1 + (i % 3) }, () => draw.below(2) === 1);
    return { id: `s${i}`, prompt: 'q\n', completions: labels.map((right) => (right ? 'good' : 'nope')), labels };
  }),
).items;
const order = { steps: 60, rng: rng(5) };
const pairBatchesOf = () => rewardBatches(pairsOf, { groupsPerStep: 8, ...order });

/** One training for each loss: how many heads, what it reads. */
const cases: Record<
  keyof typeof rewardLosses,
  { heads: number; options?: Record<string, unknown>; training: (scorer: HeadedModel) => object }
> = {
  bradley_terry: { heads: 1, training: (scorer) => ({ scorer, batches: pairBatchesOf(), loss: rewardLosses.bradley_terry }) },
  pairwise_ordinal: {
    heads: 1,
    options: { grades: 5 },
    training: (scorer) => ({
      scorer,
      loss: rewardLosses.pairwise_ordinal,
      batches: withPairLabels(pairBatchesOf(), (id) => 2 + Number(id[0])),
    }),
  },
  rao_kupper: {
    heads: 1,
    training: (scorer) => ({ scorer, loss: rewardLosses.rao_kupper, batches: withPairLabels(pairBatchesOf(), () => 0) }),
  },
  davidson: { heads: 1, training: (scorer) => ({ scorer, loss: rewardLosses.davidson, batches: pairBatchesOf() }) },
  odin: { heads: 2, training: (scorer) => ({ scorer, loss: rewardLosses.odin, batches: pairBatchesOf() }) },
  regression: {
    heads: 2,
    training: (scorer) => ({ scorer, loss: rewardLosses.regression, batches: targetBatches(targets, { itemsPerStep: 8, ...order }) }),
  },
  ordinal: {
    heads: 1,
    options: { grades: 3 },
    training: (scorer) => ({ scorer, loss: rewardLosses.ordinal, batches: targetBatches(grades, { itemsPerStep: 8, ...order }) }),
  },
  outcome: {
    heads: 1,
    training: (scorer) => ({ scorer, loss: rewardLosses.outcome, batches: targetBatches(binary, { itemsPerStep: 8, ...order }) }),
  },
  pairwise: {
    heads: 2,
    training: (scorer) => ({ scorer, loss: rewardLosses.pairwise, batches: targetBatches(binary, { itemsPerStep: 8, ...order }) }),
  },
  step: {
    heads: 2,
    training: (scorer) => ({ scorer, loss: rewardLosses.step, batches: stepBatches(solutions, { itemsPerStep: 8, ...order }) }),
  },
};
async function run(name: keyof typeof cases, more: Partial<RewardTrainConfig> = {}, seed = 1) {
  const { heads, options, training } = cases[name];
  const [scorer, memory] = [model(heads, seed), memoryRun({ seed: 1 })];
  const result = await trainReward(config({ ...(options && { lossOptions: options }), ...more }), {
    ...training(scorer),
    run: memory,
  } as unknown as RewardTraining);
  return { scorer, history: memory.history, result };
}

describe('trainReward under every loss', () => {
  for (const name of Object.keys(cases) as (keyof typeof cases)[]) {
    it(`${name} takes the same steps in micro-batches of 1, 3 and 8`, async () => {
      const whole = await run(name);
      for (const groupsPerMicroBatch of [1, 3]) {
        const split = await run(name, { groupsPerMicroBatch });
        whole.history.forEach((step, i) => {
          for (const metric of ['loss', 'gradNorm', 'accuracy', 'scores/mean'] as const)
            if (step[metric] !== undefined)
              expect(
                Math.abs(split.history[i][metric]! - step[metric]!) / (1 + Math.abs(step[metric]!)),
                `${metric} of step ${i}`,
              ).toBeLessThan(2e-4);
        });
        split.scorer.dispose();
      }
      whole.scorer.dispose();
    });
    it(`${name} learns, and leaves no tensor behind`, async () => {
      const before = tf.memory().numTensors;
      const { history, scorer, result } = await run(name, { steps: 40, learningRate: 1e-2 });
      const loss = (from: number) => history.slice(from, from + 5).reduce((sum, entry) => sum + entry.loss!, 0) / 5;
      expect(loss(35)).toBeLessThan(0.75 * loss(0));
      if (history[0].margin !== undefined) expect(history.at(-1)!.accuracy).toBeGreaterThan(0.8);
      expect(Object.keys(result.lossParameters)).toEqual(/ordinal/.test(name) ? ['thresholds'] : []);
      scorer.dispose();
      expect(tf.memory().numTensors).toBe(before);
    });
  }

  it('goes back to the best weights where the held-out loss no longer falls', async () => {
    const [scorer, memory] = [model(1), memoryRun({ seed: 1 })];
    const losses = [0.5, 0.4, 0.6, 0.7, 0.8];
    const seen: number[] = [];
    let atBest: unknown;
    const result = await trainReward(config({ steps: 20, evaluateEvery: 2, earlyStopping: { patience: 2 } }), {
      scorer,
      batches: pairBatchesOf(),
      loss: rewardLosses.bradley_terry as never,
      run: memory,
      evaluate: async (_, step) => {
        seen.push(step);
        if (step === 4) atBest = (await scorer.parameters.save()).tensors['score.weight'].data.slice();
        return { 'eval/loss': losses[seen.length - 1] };
      },
    });
    expect(seen).toEqual([2, 4, 6, 8]);
    expect(result).toMatchObject({ steps: 8, best: { step: 4, value: 0.4 } });
    expect((await scorer.parameters.save()).tensors['score.weight'].data).toEqual(atBest);
    scorer.dispose();
  });

  it('keeps the parameters of the loss in its checkpoints', async () => {
    const train = async (memory: ReturnType<typeof memoryRun>, seed: number, batches: Batches<never>) => {
      const scorer = model(1, seed);
      const result = await trainReward(config({ steps: 6, lossOptions: { grades: 3 } }), {
        scorer,
        batches,
        loss: rewardLosses.ordinal as never,
        run: memory,
      });
      scorer.dispose();
      return result.lossParameters.thresholds;
    };
    const batches = targetBatches(grades, { itemsPerStep: 8, ...order }) as Batches<never>;
    const whole = await train(memoryRun({ seed: 1 }), 1, batches);
    const controller = new AbortController();
    const half = memoryRun({ seed: 1, saveEvery: 2, signal: controller.signal });
    const stopping = {
      steps: 60,
      at(step: number) {
        if (step === 2) controller.abort();
        return batches.at(step);
      },
    } as Batches<never>;
    await expect(train(half, 1, stopping)).rejects.toThrow(/stopped/);
    expect(await train({ ...half, signal: new AbortController().signal }, 9, batches)).toEqual(whole);
  });

  it('names what does not fit', async () => {
    await expect(run('odin', { lossOptions: { lambda: 1 } })).rejects.toThrow(/lossOptions.*lambda/s);
    await expect(run('regression', { labelSmoothing: 0.1 })).rejects.toThrow('labelSmoothing belong to Bradley-Terry');
    const scorer = model(3);
    const wrong = { ...cases.regression.training(scorer), run: memoryRun({ seed: 1 }) } as unknown as RewardTraining;
    await expect(trainReward(config(), wrong)).rejects.toThrow('gives 3 numbers, but this loss needs 2');
    const unlabelled = {
      scorer: model(1),
      batches: pairBatchesOf(),
      loss: rewardLosses.pairwise_ordinal,
      run: memoryRun({ seed: 1 }),
    } as unknown as RewardTraining;
    await expect(trainReward(config(), unlabelled)).rejects.toThrow('needs a label of each pair');
    scorer.dispose();
  });
});

describe('items', () => {
  it('put a step label on the last token of its separator, and cut labels with their tokens', () => {
    const record = { prompt: 'p', completions: ['ab', 'c'], labels: [true, false] };
    const [item] = encodeSteps(tokenizer, [record], { separator: '\n\n' }).items;
    const start = item.tokens.length - 7; // ab, two line ends, c, two line ends
    expect([...item.ends]).toEqual([start + 3, start + 6]);
    expect([...item.labels]).toEqual([1, 0]);
    expect([...encodeSteps(tokenizer, [record], { lastStepOnly: true }).items[0].labels]).toEqual([NaN, 0]);
    const cut = encodeSteps(tokenizer, [record], { separator: '\n\n', maxTokens: item.tokens.length - 1 });
    expect([...cut.items[0].labels]).toEqual([1]);
    expect(encodeSteps(tokenizer, [record], { maxTokens: 2 })).toMatchObject({
      items: [],
      dropped: [{ reason: 'no label within the limit' }],
    });
    expect(() => encodeSteps(tokenizer, [{ ...record, labels: [true] }])).toThrow('has 2 steps and 1 labels');
  });
  it('drop what has no target, and refuse rows of unlike width', () => {
    expect(encodeTargets(tokenizer, [{ prompt: 'a', completion: 'b', targets: [null, undefined] }]).dropped).toEqual([
      { id: '0', reason: 'no target' },
    ]);
    expect(() =>
      encodeTargets(tokenizer, [
        { prompt: 'a', completion: 'b', targets: 1 },
        { prompt: 'a', completion: 'b', targets: [1, 2] },
      ]),
    ).toThrow('has 2 targets and the first record 1');
  });
});

describe('models with several heads as rewards', () => {
  it('weigh attributes, each a component', async () => {
    const two = model(2);
    const reward = attributeReward(two, ['helpful', 'brief'], [2, -1]);
    const { scores, components, abstained } = await reward.score(
      [
        { prompt: 'a', completion: ' joy' },
        { prompt: 'a', completion: '' },
      ],
      { rng: rng(1) },
    );
    expect(scores[0]).toBeCloseTo(2 * components!.helpful[0] - components!.brief[0], 5);
    expect([...abstained!]).toEqual([0, 1]);
    expect(() => attributeReward(two, ['one'])).toThrow('1 names and 1 weights for 2 heads');
    two.dispose();
  });
  const suite = stepRewardFunctionContract(() => processReward(model(2)), {
    solutions: [
      { prompt: 'q\n', steps: ['good', 'nope'] },
      { prompt: 'r\n', steps: ['nope'] },
    ],
  });
  for (const { name, run } of suite) it(`a process reward model ${name}`, run);
});
