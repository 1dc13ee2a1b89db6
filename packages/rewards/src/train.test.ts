import { InterruptedError, initBackend, memoryRun, NonFiniteError, rng } from '@plumbline/core';
import { type Batches, encodeGroups, encodePairs, type RewardBatch, rewardBatch, rewardBatches } from '@plumbline/data';
import { byteTokenizer, scorerContract } from '@plumbline/data/contract';
import { createDecoder, createScorer, decoderSpec, type LocalScorer, type Pooling } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { rewardAccuracy } from './model.js';
import { type RewardTrainConfig, trainReward } from './train.js';

beforeAll(async () => {
  await initBackend(); // native, or wasm where it is not built
});

const tokenizer = byteTokenizer();
const scorer = (seed = 1, pooling: Pooling = 'mean'): LocalScorer => {
  const spec = decoderSpec({
    vocabSize: 258,
    width: 24,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headDim: 12,
    mlpWidth: 48,
    contextLength: 64,
    ropeTheta: 10_000,
    rmsNormEps: 1e-5,
    tiedEmbeddings: true,
  });
  const decoder = createDecoder(spec, { tokenizer, rng: rng(seed) });
  const made = createScorer(decoder, { pooling, rng: rng(seed).fork('head') });
  decoder.dispose();
  return made;
};

/** Groups of four continuations whose score is the number of glad words minus the number of sad ones. */
const words = { glad: ['joy', 'sun', 'hug', 'yes'], sad: ['woe', 'ash', 'cry', 'no'], plain: ['box', 'tree', 'cup', 'road', 'map'] };
function groupsOf(n: number, seed: number) {
  const draw = rng(seed);
  const word = (kind: keyof typeof words) => words[kind][draw.below(words[kind].length)];
  return Array.from({ length: n }, (_, g) => {
    const texts = Array.from({ length: 4 }, () => {
      const moods = Array.from({ length: 3 }, () => (['glad', 'sad', 'plain', 'plain'] as const)[draw.below(4)]);
      return {
        text: ` ${moods.map(word).join(' ')}`,
        score: moods.reduce((sum, mood) => sum + (mood === 'glad' ? 1 : mood === 'sad' ? -1 : 0), 0),
      };
    });
    return {
      id: `group ${g}`,
      prompt: `${word('plain')} and`,
      completions: texts.map(({ text }) => text),
      scores: texts.map(({ score }) => score),
    };
  });
}
const { groups } = encodeGroups(tokenizer, groupsOf(48, 1));
const batches = (steps: number, groupsPerStep = 4, seed = 5) => rewardBatches(groups, { groupsPerStep, steps, rng: rng(seed) });
const config = (more: Partial<RewardTrainConfig> = {}): RewardTrainConfig => ({
  steps: 8,
  learningRate: 3e-3,
  schedule: { kind: 'constant' },
  ...more,
});
const weightsOf = async ({ parameters }: LocalScorer) => (await parameters.save()).tensors;
/** What was logged, without the time it took. */
const untimed = (history: readonly object[]) => history.map((entry) => ({ ...entry, tokensPerSecond: 0 }));

describe('scorers of models', () => {
  for (const pooling of ['mean', 'last'] as const) {
    const suite = scorerContract(() => scorer(1, pooling), { snapshotOf: (of) => (of as LocalScorer).snapshot() });
    for (const { name, run } of suite) it(`with ${pooling} pooling: ${name}`, run);
  }
});

describe('trainReward', () => {
  it('learns to order held-out pairs of words it has seen', async () => {
    const held = encodePairs(
      tokenizer,
      groupsOf(60, 2).flatMap(({ prompt, completions, scores }) =>
        scores.flatMap((a, i) => scores.flatMap((b, j) => (a > b ? [{ prompt, chosen: completions[i], rejected: completions[j] }] : []))),
      ),
    ).pairs;
    const seen = encodeGroups(tokenizer, groupsOf(120, 3)).groups;
    const trained = scorer();
    const before = await rewardAccuracy(trained, held);
    const run = memoryRun({ seed: 1 });
    await trainReward(config({ steps: 60, learningRate: 6e-3, schedule: { kind: 'cosine', warmupSteps: 4 } }), {
      scorer: trained,
      batches: rewardBatches(seen, { groupsPerStep: 8, steps: 60, rng: rng(5) }),
      run,
    });
    const after = await rewardAccuracy(trained, held);
    console.log(`accuracy on ${held.length} held-out pairs: ${before.accuracy.toFixed(3)} before, ${after.accuracy.toFixed(3)} after`);
    expect(before.accuracy).toBeLessThan(0.75);
    expect(after.accuracy).toBeGreaterThan(0.9);
    expect(run.history.at(-1)!.accuracy).toBeGreaterThan(0.9);
    expect(run.history.at(-1)!.loss).toBeLessThan(0.3);
    trained.dispose();
  });

  it('begins at ln 2 where the head is 0, and at the margin beyond', async () => {
    const zeroed = scorer();
    const saved = await zeroed.parameters.save();
    (saved.tensors['score.weight'].data as Float32Array).fill(0);
    await zeroed.parameters.load(saved);
    const run = memoryRun({ seed: 1 });
    await trainReward(config({ steps: 1 }), { scorer: zeroed, batches: batches(1), run });
    expect(run.history[0]).toMatchObject({
      loss: expect.closeTo(Math.LN2, 6),
      accuracy: 0,
      margin: 0,
      'scores/mean': 0,
      learningRate: 3e-3,
    });
    await zeroed.parameters.load(saved);
    const margins: Batches<RewardBatch> = {
      steps: 1,
      at: async () =>
        rewardBatch(groups.slice(0, 4).map((group) => ({ ...group, pairs: group.pairs.map((pair) => ({ ...pair, margin: 1 })) }))),
    };
    await trainReward(config({ steps: 1 }), { scorer: zeroed, batches: margins, run });
    expect(run.history[1].loss).toBeCloseTo(Math.log(1 + Math.E), 6);
    zeroed.dispose();
  });

  it('loses the same where the candidates of a group compute their prompt once', async () => {
    const run = async (sharePrompts: boolean, groupsPerMicroBatch: number) => {
      const [model, made] = [scorer(), memoryRun({ seed: 1 })];
      const shared = rewardBatches(groups, { groupsPerStep: 4, steps: 3, rng: rng(5), sharePrompts });
      await trainReward(config({ steps: 3, groupsPerMicroBatch }), { scorer: model, batches: shared, run: made });
      model.dispose();
      return made.history;
    };
    const apart = await run(false, 4);
    for (const shared of [await run(true, 4), await run(true, 1)])
      apart.forEach((step, i) => {
        for (const m of ['loss', 'gradNorm', 'margin'] as const) expect(shared[i][m]!).toBeCloseTo(step[m]!, 3);
        expect(shared[i].tokens!).toBeLessThan(step.tokens!);
      });
  });

  it('loses the same whatever the micro-batches, with weights and penalties', async () => {
    const weighted = groups.map((group, g) => ({
      ...group,
      pairs: group.pairs.map((pair, p) => ({ ...pair, weight: 1 + ((g + p) % 3) })),
    }));
    const histories = await Promise.all(
      [...[1, 2, 3, 8].map((groupsPerMicroBatch) => ({ groupsPerMicroBatch })), { tokensPerMicroBatch: 60 }].map(async (micro) => {
        const [trained, run] = [scorer(), memoryRun({ seed: 1 })];
        await trainReward(config({ steps: 5, ...micro, centerCoefficient: 0.05, labelSmoothing: 0.1 }), {
          scorer: trained,
          batches: rewardBatches(weighted, { groupsPerStep: 8, steps: 5, rng: rng(5) }),
          run,
        });
        trained.dispose();
        return run.history;
      }),
    );
    for (const name of ['loss', 'gradNorm', 'accuracy', 'margin', 'scores/chosen'] as const) {
      for (const history of histories) {
        const differences = history.map((entry, step) => entry[name]! - histories[3][step][name]!);
        expect(Math.max(...differences.map(Math.abs))).toBeLessThan(1e-3);
        expect(Math.abs(differences.reduce((a, b) => a + b, 0) / differences.length)).toBeLessThan(3e-4);
      }
    }
  });

  it('goes on after an interruption as if there had been none, bit for bit; another seed differs', async () => {
    const [whole, halves, other] = [scorer(), scorer(), scorer()];
    const [one, another] = [memoryRun({ seed: 1 }), memoryRun({ seed: 1 })];
    await trainReward(config(), { scorer: whole, batches: batches(8), run: one });
    await trainReward(config(), { scorer: other, batches: batches(8, 4, 6), run: another });
    const controller = new AbortController();
    const run = memoryRun({ seed: 1, saveEvery: 3, signal: controller.signal });
    const stopping: Batches<RewardBatch> = {
      steps: 8,
      at: (step) => {
        if (step === 4) controller.abort();
        return batches(8).at(step);
      },
    };
    await expect(trainReward(config(), { scorer: halves, batches: stopping, run })).rejects.toThrow(InterruptedError);
    expect([...run.checkpoints.keys()].at(-1)).toBe(5);
    const fresh = scorer(9); // everything comes from the checkpoint
    await trainReward(config(), { scorer: fresh, batches: batches(8), run: { ...run, signal: new AbortController().signal } });
    expect(await weightsOf(fresh)).toEqual(await weightsOf(whole));
    expect(untimed(run.history)).toEqual(untimed(one.history));
    expect(await weightsOf(other)).not.toEqual(await weightsOf(whole));
    for (const made of [whole, halves, other, fresh]) made.dispose();
  });

  it('logs an evaluation with the step after which it holds', async () => {
    const [trained, run] = [scorer(), memoryRun({ seed: 1 })];
    const asked: number[] = [];
    const evaluate = async (_: unknown, step: number) => ({ 'eval/accuracy': asked.push(step) / 10 });
    await trainReward(config({ steps: 5, evaluateEvery: 2 }), { scorer: trained, batches: batches(5), run, evaluate });
    expect(asked).toEqual([2, 4, 5]);
    expect(run.history.map((entry) => entry['eval/accuracy'])).toEqual([undefined, 0.1, undefined, 0.2, 0.3]);
    trained.dispose();
  });

  it('stops at the first number that is not finite, naming step and groups, with the state before it saved', async () => {
    const [trained, run] = [scorer(), memoryRun({ seed: 1, saveEvery: 100 })];
    const saved = await trained.parameters.save();
    (saved.tensors['score.weight'].data as Float32Array)[0] = NaN;
    await trained.parameters.load(saved);
    const error = await trainReward(config(), { scorer: trained, batches: batches(8), run }).catch((e) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(error.message).toMatch(/step 0: loss is NaN.*rows: group \d+/);
    expect([...run.checkpoints.keys()]).toEqual([0]);
    trained.dispose();
  });

  it('names the option that is wrong', async () => {
    const made = scorer();
    const train = (more: object) =>
      trainReward({ ...config(), ...more } as RewardTrainConfig, { scorer: made, batches: batches(8), run: memoryRun({ seed: 1 }) });
    await expect(train({ learningRat: 1 })).rejects.toThrow(/learningRat/);
    await expect(train({ labelSmoothing: 0.7 })).rejects.toThrow(/labelSmoothing/);
    await expect(train({ steps: 9 })).rejects.toThrow(/9 steps, but the batches end after 8/);
    made.dispose();
  });

  it('leaves no tensor behind', async () => {
    const trained = scorer();
    await trainReward(config({ steps: 1 }), { scorer: trained, batches: batches(1), run: memoryRun({ seed: 1 }) });
    const before = tf.memory().numTensors;
    await trainReward(config({ steps: 3, groupsPerMicroBatch: 2 }), { scorer: trained, batches: batches(3), run: memoryRun({ seed: 1 }) });
    expect(tf.memory().numTensors).toBe(before);
    trained.dispose();
  });
});
