/** What the trainer does with a batch before it learns from it: dynamic sampling, penalties, advantages by name, the entropy bonus. */
import { type MemoryRun, memoryRun, readCopy, rng } from '@plumbline/core';
import { type PromptRecord, promptBatches, type RewardFunction } from '@plumbline/data';
import { generate } from '@plumbline/models';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { groupAdvantages } from './advantages/group.js';
import { hardnessScaled } from './advantages/hardness.js';
import { aggregate } from './aggregate.js';
import type { Experience } from './experience.js';
import { a2poLoss } from './losses/a2po.js';
import { optimalValue } from './losses/offline.js';
import { rollout } from './rollout/generate.js';
import { groupReplay } from './rollout/replay.js';
import { letters, twoTokens } from './testing/rollouts.js';
import { valueAndGrad } from './testing/tokens.js';
import { type PolicyTraining, trainPolicy } from './trainPolicy.js';

type Settings = Parameters<typeof trainPolicy>[0];
const prompts: PromptRecord[] = Array.from({ length: 8 }, (_, i) => ({ id: `p${i}`, prompt: letters(i, 2 * i + 1) }));
const idsOf = (text: unknown) => Array.from(text as string, (c) => c.codePointAt(0)! - 33);
const reward = (name: string, f: (ids: number[], prompt: string, i: number) => number): RewardFunction => ({
  name,
  score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion, prompt }, i) => f(idsOf(completion), prompt as string, i)) }),
});
const even = reward('even', (ids) => ids.filter((id) => id % 2 === 0).length);

async function train(over: Partial<Settings> | Record<string, unknown>, more: Partial<PolicyTraining> & { run?: MemoryRun } = {}) {
  const config = { steps: 2, promptsPerStep: 4, samplesPerPrompt: 4, maxTokens: 4, learningRate: 5e-3, klCoef: 0, ...over } as Settings;
  const { run = memoryRun({ seed: 4 }), policy = tinyDecoder(), ...rest } = more;
  const seen: Experience[] = [];
  const batches = promptBatches(prompts, { promptsPerStep: 4, steps: config.steps, rng: rng(1) });
  await trainPolicy(config, { policy, prompts: batches, reward: even, observe: (e) => void seen.push(e), ...rest, run });
  const weights = await Promise.all(policy.parameters.trainable().map(async (p) => Array.from(await readCopy(p.value))));
  return { seen, history: run.history, weights, run };
}

describe('repetitionPenalty', () => {
  it('is of the sampling, the greedy baseline among it, and the trainer knows nothing of it', async () => {
    const { seen, history } = await train({ steps: 1, repetitionPenalty: 1.5 });
    const asked = seen[0].samples.filter((_, i) => i % 4 === 0).map(({ prompt }) => prompt);
    const drawn = (repetitionPenalty: number) =>
      generate(tinyDecoder(), asked, { n: 4, maxTokens: 4, repetitionPenalty, rng: memoryRun({ seed: 4 }).rng.fork('step', 0, 'samples') });
    const tokens = seen[0].samples.map((sample) => sample.tokens);
    expect(tokens).toEqual((await drawn(1.5)).flat().map((sample) => sample.tokens));
    expect(tokens).not.toEqual((await drawn(1)).flat().map((sample) => sample.tokens));
    expect(history[0]['policy/ratio']).toBeCloseTo(1, 6);
    expect(history[0]['policy/samplerGap']!).toBeGreaterThan(0.01);
    const asks: number[][] = [];
    const listening: typeof rollout = (options) => {
      asks.push([options.sampling.temperature!, options.sampling.repetitionPenalty!]);
      return rollout(options);
    };
    const remax = { steps: 1, repetitionPenalty: 1.5, advantage: 'remax', loss: 'reinforce', samplesPerPrompt: 1 };
    await train(remax, { rollout: listening });
    expect(asks).toEqual([
      [1, 1.5],
      [0, 1.5],
    ]);
  });
  it('is in what the sampler correction divides by', async () => {
    const gaps = async (repetitionPenalty: number) => {
      const { seen } = await train({ steps: 1, repetitionPenalty, samplingCorrection: { mode: 'token_truncate' } });
      return seen[0].samples.flatMap(({ samplingLogps }, i) => Array.from(samplingLogps, (logp, t) => seen[0].oldLogps![i][t] - logp));
    };
    for (const gap of await gaps(1)) expect(gap).toBeCloseTo(0, 4);
    expect(Math.max(...(await gaps(1.5)).map(Math.abs))).toBeGreaterThan(0.01);
  });
  it('of 1 changes nothing, and 0 is refused by name', async () => {
    expect((await train({ repetitionPenalty: 1 })).weights).toEqual((await train({})).weights);
    await expect(train({ repetitionPenalty: 0 })).rejects.toThrow('repetitionPenalty');
  });
});

describe('dynamic sampling', () => {
  const rare = reward('rare', (ids) => Number(ids[0] === 2)); // most groups of four have none
  it('draws groups again whose rewards are all equal, counts them, and leaves out those that stay so', async () => {
    const { seen, history } = await train({ steps: 1, dynamicSampling: { maxRounds: 3 } }, { reward: rare });
    const plain = await train({ steps: 1 }, { reward: rare });
    expect(plain.history[0]['groups/withoutDeviation']!).toBeGreaterThan(0);
    const groups = seen[0].samples.length / 4;
    expect(history[0]['groups/sampledAgain']!).toBeGreaterThan(0);
    expect(history[0]['groups/sampledAgain']!).toBeLessThanOrEqual(2); // two more rounds of at most four groups
    expect(history[0]['groups/dropped']).toBeCloseTo((4 - groups) / 4, 6);
    expect(history[0]['groups/withoutDeviation']).toBe(0);
    for (let g = 0; g < groups; g++) expect(new Set(seen[0].scores.subarray(4 * g, 4 * g + 4)).size).toBeGreaterThan(1);
  });
  it('draws from further prompts where there are some', async () => {
    const others = prompts.map(({ prompt, id }) => ({ prompt, id: `more-${id}` }));
    const morePrompts = promptBatches(others, { promptsPerStep: 4, steps: 5, rng: rng(9) });
    const { seen } = await train({ steps: 1, dynamicSampling: { maxRounds: 4 } }, { reward: rare, morePrompts });
    expect(seen[0].ids.some((id) => id.startsWith('more-'))).toBe(true);
  });
  it('keeps the batch where nothing ever differs, and changes nothing where all groups do', async () => {
    const same = await train({ steps: 1, dynamicSampling: {} }, { reward: reward('same', () => 1) });
    expect(same.seen[0].samples.length).toBe(16);
    expect(same.history[0].gradNorm).toBe(0);
    const ranked = reward('ranked', (_ids, _prompt, i) => i);
    const [a, b] = [await train({ dynamicSampling: {} }, { reward: ranked }), await train({}, { reward: ranked })];
    expect(a.weights).toEqual(b.weights);
  });
  it('is refused where there is one sample a prompt', async () => {
    await expect(train({ dynamicSampling: {}, samplesPerPrompt: 1, advantage: 'reinforce' })).rejects.toThrow(
      'one sample has no deviation',
    );
  });
});

describe('replay of groups', () => {
  const rare = reward('rare', (ids) => Number(ids[0] === 2));
  const over = { steps: 6, replay: { capacity: 8 } };
  it('gives the place of groups that say nothing to kept ones, with the log-probabilities of the policy that wrote them', async () => {
    const { seen, history } = await train(over, { reward: rare });
    const replayed = history.findIndex((row) => row['groups/replayed']! > 0);
    expect(replayed).toBeGreaterThan(0);
    const old = seen[replayed].samples.map(({ text }) => text);
    const earlier = new Set(seen.slice(0, replayed).flatMap(({ samples }) => samples.map(({ text }) => text)));
    expect(old.some((text) => earlier.has(text))).toBe(true);
    expect(history[replayed]['policy/ratio']).not.toBe(1);
    expect(history[0]['policy/ratio']).toBeCloseTo(1, 5);
    const firstUse = seen[replayed];
    firstUse.oldLogps!.forEach((own, i) => void expect(own.length).toBe(firstUse.samples[i].tokens.length));
  });
  it('goes on from a checkpoint with what it had kept', async () => {
    const whole = await train(over, { reward: rare });
    const stopped = new AbortController();
    const run = memoryRun({ seed: 4, saveEvery: 1, signal: stopped.signal });
    const observe: PolicyTraining['observe'] = (_, step) => {
      if (step === 2) stopped.abort();
    };
    await expect(train(over, { run, observe, reward: rare })).rejects.toThrow('stopped after step');
    const again = memoryRun({ seed: 4 });
    for (const [step, saved] of run.checkpoints) again.checkpoints.set(step, saved);
    expect((await train(over, { run: again, policy: tinyDecoder({ seed: 99 }), reward: rare })).weights).toEqual(whole.weights);
  });
  it('keeps the groups with most to say, draws in proportion, and is refused beside dynamic sampling', async () => {
    const buffer = groupReplay({ capacity: 2 });
    const kept = (score: number) => ({ group: { id: String(score) } as never, oldLogps: [], score });
    expect(buffer.draw(3, rng(1))).toEqual([]);
    buffer.add([kept(1), kept(0), kept(3), kept(2)]);
    expect(buffer.size).toBe(2);
    const counts = buffer.draw(4000, rng(1)).filter(({ score }) => score === 3).length / 4000;
    expect(Math.abs(counts - 3 / 5)).toBeLessThan(4 * Math.sqrt(0.24 / 4000));
    await expect(train({ replay: {}, dynamicSampling: {} })).rejects.toThrow('goes without dynamicSampling');
  });
});

describe('penalties and bounds', () => {
  it('take from long completions what DAPO takes: nothing up to maxTokens - cache, all at maxTokens', async () => {
    const policy = () => tinyDecoder({}, plainTokenizer(23, { eosId: 4 }));
    const { seen } = await train(
      { steps: 1, maxTokens: 10, softOverlong: { cache: 5 } },
      { policy: policy(), reward: reward('one', () => 1) },
    );
    const [{ samples, rewards }] = seen;
    samples.forEach(({ tokens }, i) => void expect(rewards[i]).toBeCloseTo(1 + Math.min(0, (5 - tokens.length) / 5), 6));
    expect(new Set(rewards).size).toBeGreaterThan(1);
  });
  it('clip scores before the penalty', async () => {
    const { seen } = await train({ steps: 1, rewardClip: [0.5, 1.5], missingEosPenalty: 1 });
    expect(Math.max(...seen[0].rewards)).toBeLessThanOrEqual(0.5);
    expect(Math.min(...seen[0].rewards)).toBe(-0.5);
    await expect(train({ rewardClip: [1, 0] })).rejects.toThrow('lower bound');
  });
});

describe('advantages by name', () => {
  it('chosen: the best of each group is learned, the others are not', async () => {
    const { seen } = await train({ steps: 1, advantage: 'chosen', loss: 'reinforce' });
    for (let g = 0; g < 4; g++) {
      const own = Array.from(seen[0].advantages.subarray(4 * g, 4 * g + 4));
      expect(own.filter((a) => a === 1).length).toBe(1);
      expect(own.filter((a) => a === 0).length).toBe(3);
    }
  });
  it('brpo: takes verdicts as they are and leaves out groups that lean to one side', async () => {
    const verdict = reward('verdict', (_ids, _prompt, i) => (i < 4 ? 1 : [1, -1, 0, -1][i % 4]));
    const { seen, history } = await train({ steps: 1, advantage: 'brpo' }, { reward: verdict });
    expect(Array.from(seen[0].advantages)).toEqual([0, 0, 0, 0, ...[1, -1, 0, -1], ...[1, -1, 0, -1], ...[1, -1, 0, -1]]);
    expect(Array.from(seen[0].excluded.subarray(0, 5))).toEqual([1, 1, 1, 1, 0]);
    expect(history[0]['groups/dropped']).toBe(0.25);
    await expect(train({ steps: 1, advantage: 'brpo' })).rejects.toThrow('takes verdicts');
  });
  it('reinforce++: whitened over the tokens of the batch', async () => {
    const { seen } = await train({ steps: 1, advantage: 'reinforce++', loss: 'dapo' });
    const all = seen[0].perToken!.advantages.flatMap((own) => Array.from(own));
    const mean = all.reduce((a, b) => a + b, 0) / all.length;
    expect(mean).toBeCloseTo(0, 6);
    expect(all.reduce((sum, a) => sum + (a - mean) ** 2, 0) / (all.length - 1)).toBeCloseTo(1, 4);
  });
  it('otb: an advantage a token, whose weighted mean over the group is 0 at every position', async () => {
    const { seen } = await train({ steps: 1, advantage: 'otb', loss: 'reinforce' });
    const own = seen[0].perToken!.advantages.slice(0, 4);
    for (let t = 0; t < 4; t++) {
      const column = own.map((tokens) => tokens[t]);
      expect(Math.min(...column)).toBeLessThanOrEqual(0);
      expect(Math.max(...column)).toBeGreaterThanOrEqual(0);
    }
  });
  it('one of the user: GRPO-S scales by hardness, and with scales of 1 it is GRPO bit for bit', async () => {
    const scaled =
      (alpha: number): PolicyTraining['advantage'] =>
      ({ rewards, groups }) =>
        hardnessScaled(groupAdvantages(rewards, groups), new Float64Array(rewards.length).fill(alpha));
    const [plain, ones, twos] = [await train({}), await train({}, { advantage: scaled(1) }), await train({}, { advantage: scaled(2) })];
    expect(ones.weights).toEqual(plain.weights);
    twos.seen[0].advantages.forEach((a, i) => void expect(a).toBeCloseTo(2 * plain.seen[0].advantages[i], 9));
    await expect(train({}, { advantage: () => [1] })).rejects.toThrow('answered 1 numbers for 16 samples');
  });
});

describe('losses that look at the whole batch', () => {
  for (const loss of ['kl_cov', 'clip_cov', 'kl_penalty'])
    it(`${loss} trains, and takes the same steps again from the same seed`, async () => {
      const over = { loss, epochs: 2, lossOptions: loss === 'clip_cov' ? { share: 0.2, low: 0 } : {} };
      const [a, b] = [await train(over), await train(over)];
      expect(a.weights).toEqual(b.weights);
      expect(Number.isFinite(a.history[1].loss!)).toBe(true);
    });
});

it('vespo takes the correction for the sampler into its ratio, which others are multiplied by', async () => {
  const shifted: PolicyTraining['rollout'] = async (options) =>
    (await rollout(options)).map((sample) => ({ ...sample, samplingLogps: sample.samplingLogps.map((logp) => logp - 0.1) }));
  const of = async (loss: string, correct: boolean) =>
    (await train({ steps: 1, loss, ...(correct && { samplingCorrection: { mode: 'sequence_truncate' } }) }, { rollout: shifted }))
      .history[0].gradNorm!;
  const w = Math.exp(0.4); // four tokens of 0.1 nats
  expect((await of('dapo', true)) / (await of('dapo', false))).toBeCloseTo(w, 4);
  const phi = (k: number, lambda: number) => Math.exp(lambda + k * Math.log(w) - lambda * w);
  const ratio = (await of('vespo', true)) / (await of('vespo', false));
  expect(ratio).toBeGreaterThan(Math.min(phi(2, 3), phi(3, 2)));
  expect(ratio).toBeLessThan(Math.max(phi(2, 3), phi(3, 2)));
});

describe('the entropy bonus', () => {
  it('follows the entropy where asked, and goes on from a checkpoint as if nothing had happened', async () => {
    const over = { steps: 4, entropyCoef: 0.01, adaptiveEntropy: { target: 5, delta: 0.02 } };
    const straight = await train(over);
    const fixed = await train({ steps: 4, entropyCoef: 0.01 });
    expect(straight.weights).not.toEqual(fixed.weights);
    const stopped = new AbortController();
    const run = memoryRun({ seed: 4, saveEvery: 2, signal: stopped.signal });
    const observe: PolicyTraining['observe'] = (_, step) => {
      if (step === 1) stopped.abort();
    };
    await expect(train(over, { run, observe })).rejects.toThrow('stopped after step');
    const again = memoryRun({ seed: 4, saveEvery: 2 });
    for (const [step, saved] of run.checkpoints) again.checkpoints.set(step, saved);
    expect((await train(over, { run: again, policy: tinyDecoder({ seed: 99 }) })).weights).toEqual(straight.weights);
  });
});

describe('shared prompts', () => {
  it('take the steps that prompts apart take', async () => {
    const [shared, apart] = [await train({ steps: 3 }), await train({ steps: 3, sharePrompts: false })];
    shared.history.forEach((row, i) => {
      expect(Math.abs(row.loss! - apart.history[i].loss!)).toBeLessThan(1e-4);
      expect(Math.abs(row.gradNorm! - apart.history[i].gradNorm!) / apart.history[i].gradNorm!).toBeLessThan(1e-3);
    });
  });
});

it('counts sequences without tokens in a mean where TRL does', async () => {
  const reward = { name: 'rank', score: async (batch: readonly unknown[]) => ({ scores: Float32Array.from(batch, (_, i) => i % 4) }) };
  const of = async (countEmptySequences: boolean) =>
    (await train({ steps: 1, countEmptySequences }, { rollout: twoTokens((j) => j === 0), reward })).history[0].gradNorm!;
  expect((await of(true)) / (await of(false))).toBeCloseTo(3 / 4, 4);
});

describe('A*PO', () => {
  it('has the loss and the gradient of its formula', async () => {
    // two sequences with log-ratios 0.3 and -0.2, rewards 1 and 0, V* 0.611284
    const rewards = [1, 0, 0, 1, 1, 0, 0, 0];
    const best = optimalValue(rewards, 0.5);
    const advantages = tf.tensor1d([1 - best, 1 - best, -best]);
    const rest = { advantages, completionMask: tf.tensor1d([1, 1, 1]), seqIds: tf.tensor1d([0, 0, 1], 'int32'), sequences: 2 };
    const { value, grad } = await valueAndGrad(
      (logps) => {
        const t = { ...rest, logps, oldLogps: tf.tensor1d([-1, -1, -1]), refLogps: tf.tensor1d([-1, -1, -1]) };
        return aggregate(a2poLoss(t, { beta2: 1 }).loss, rest.completionMask, rest.seqIds, 'seq-mean-token-sum', {
          tokensInStep: 3,
          sequencesInStep: 2,
          sequences: 2,
        });
      },
      [-0.9, -0.8, -1.2],
    );
    expect(value).toBeCloseTo(0.088512, 5);
    [-0.088716, -0.088716, 0.411284].forEach((g, i) => void expect(grad[i]).toBeCloseTo(g, 5));
  });
  it('raises the reward, and needs a reference to draw from', async () => {
    const over = {
      steps: 40,
      advantage: { kind: 'a2po', referenceSamples: 4 },
      loss: 'a2po',
      lossOptions: { beta2: 0.1 },
      learningRate: 1e-2,
    };
    const { history } = await train(over, { reference: tinyDecoder() });
    const mean = (rows: typeof history) => rows.reduce((sum, row) => sum + row['reward/mean']!, 0) / rows.length;
    expect(mean(history.slice(-5))).toBeGreaterThan(mean(history.slice(0, 5)) + 0.4); // of 4
    await expect(train(over)).rejects.toThrow('draws samples from the reference');
  });
});
