import { dirname } from 'node:path';
import { type LoggedStep, type MemoryRun, memoryRun, readCopy, rng } from '@plumbline/core';
import { type Batches, type PromptBatch, type PromptRecord, promptBatches, type RewardFunction, type Shaper } from '@plumbline/data';
import { type LocalDecoder, loadDecoder } from '@plumbline/models';
import { plainTokenizer, tinyDecoder } from '@plumbline/models/testing';
import { fixturePath, readFixture } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { PolicyTrainConfig } from './config.js';
import { createCritic } from './critic.js';
import type { RolloutOptions, RolloutSample } from './rollout/generate.js';
import { letters, twoTokens } from './testing/rollouts.js';
import { type PolicyTraining, trainPolicy } from './trainPolicy.js';

type Settings = Parameters<typeof trainPolicy>[0];
const idsOf = (text: unknown) => Array.from(text as string, (c) => c.codePointAt(0)! - 33);
const prompts = Array.from({ length: 12 }, (_, i) => ({ id: `p${i}`, prompt: letters(i, (3 * i + 1) % 23) }));

/** Share of even ids: something that a policy can raise. */
const even: RewardFunction = {
  name: 'even',
  score: async (batch) => {
    const scores = Float32Array.from(batch, ({ completion }) => {
      const ids = idsOf(completion);
      return ids.filter((id) => id % 2 === 0).length / Math.max(1, ids.length);
    });
    return { scores, components: { gold: scores.map((x) => 2 * x) } };
  },
};
const settings: Settings = { steps: 3, promptsPerStep: 4, samplesPerPrompt: 4, maxTokens: 5, learningRate: 2e-3, klCoef: 0.1 };

async function weightsOf(decoder: LocalDecoder): Promise<Record<string, number[]>> {
  const entries = decoder.parameters.trainable().map(async (p) => [p.name, Array.from(await readCopy(p.value))] as const);
  return Object.fromEntries(await Promise.all(entries));
}
const withoutTimes = (history: readonly LoggedStep[]) => history.map(({ tokensPerSecond: _, ...rest }) => rest);

async function train(
  over: Partial<Settings> = {},
  more: Partial<PolicyTraining> & { seed?: number; run?: MemoryRun; records?: PromptRecord[] } = {},
) {
  const config = { ...settings, ...over } as Settings & { promptsPerStep: number };
  const { seed = 5, run = memoryRun({ seed }), policy = tinyDecoder(), records = prompts, ...rest } = more;
  const batches = promptBatches(records, { promptsPerStep: config.promptsPerStep, steps: config.steps, rng: rng(1) });
  const reference = 'reference' in rest ? rest.reference : tinyDecoder();
  const result = await trainPolicy(config, { policy, prompts: batches, reward: even, ...rest, reference, run });
  return { result, history: run.history, policy, weights: await weightsOf(policy), run };
}

describe('trainPolicy', () => {
  it('on the first on-policy step has ratio 1, nothing clipped, KL 0, and a sampler that agrees', async () => {
    const { history } = await train();
    expect(history[0]['policy/ratio']).toBeCloseTo(1, 6);
    expect(history[0]['policy/clipFraction']).toBe(0);
    expect(history[0]['policy/kl']!).toBeLessThan(1e-6);
    expect(Math.abs(history[0]['policy/klSequence']!)).toBeLessThan(1e-5);
    expect(history[0]['policy/samplerGap']!).toBeLessThan(1e-4);
    expect(history[0]['reward/gold']).toBeCloseTo(2 * history[0]['reward/mean']!, 5);
    expect(history[0]['advantages/mean']).toBeCloseTo(0, 6);
  });

  it('learns: GRPO raises the reward, and the KL to the reference with it', async () => {
    const { history } = await train({ steps: 40, learningRate: 5e-3, klCoef: 0.01 });
    const mean = (rows: LoggedStep[]) => rows.reduce((sum, row) => sum + row['reward/mean']!, 0) / rows.length;
    expect(mean(history.slice(-5))).toBeGreaterThan(mean(history.slice(0, 5)) + 0.25);
    expect(history.at(-1)!['policy/klSequence']!).toBeGreaterThan(0.1);
  });

  it('stops where the held-out reward no longer rises, goes back to the best weights, and does so after an interruption too', async () => {
    const rewards = [0.1, 0.5, 0.4, 0.45, 0.9, 0.9];
    const over = { steps: 6, evaluateEvery: 1, earlyStopping: { patience: 2, minDelta: 0 } };
    const go = async (stopAt?: number) => {
      const controller = new AbortController();
      const first = memoryRun({ seed: 5, saveEvery: 100, signal: controller.signal });
      const seen: Record<number, Record<string, number[]>> = {};
      const evaluate = async (policy: LocalDecoder, step: number) => {
        seen[step] = await weightsOf(policy);
        if (step === stopAt) controller.abort();
        return { 'eval/reward': rewards[step - 1] };
      };
      if (stopAt === undefined) return { ...(await train(over, { evaluate, run: first })), seen };
      await expect(train(over, { evaluate, run: first })).rejects.toThrow(/stopped after step/);
      const again = memoryRun({ seed: 5, saveEvery: 100 });
      for (const [step, parts] of first.checkpoints) again.checkpoints.set(step, parts);
      return { ...(await train(over, { evaluate, run: again })), seen };
    };
    const whole = await go();
    expect(whole.result).toEqual({ steps: 4, best: { step: 2, value: 0.5 } });
    expect(whole.weights).toEqual(whole.seen[2]);
    const interrupted = await go(3);
    expect(interrupted.result).toEqual(whole.result);
    expect(interrupted.weights).toEqual(whole.weights);
    await expect(train({ earlyStopping: { patience: 1, minDelta: 0 } })).rejects.toThrow(/earlyStopping.*evaluateEvery/);
  });

  describe('on a bandit of 23 arms whose best arm is known', () => {
    const values = Array.from({ length: 23 }, (_, arm) => ((arm * 7) % 23) / 22); // the best pays 1, the mean one half
    const bandit: RewardFunction = {
      name: 'bandit',
      score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => values[idsOf(completion)[0]]) }),
    };
    for (const advantage of ['group', 'rloo', 'remax', 'reinforce'] as const)
      it(`${advantage} reaches nine tenths of the optimum`, async () => {
        const { history } = await train(
          {
            steps: 60,
            samplesPerPrompt: 8,
            maxTokens: 1,
            learningRate: 1e-2,
            klCoef: 0,
            advantage,
            loss: advantage === 'group' ? 'grpo' : 'reinforce',
          } as Partial<Settings>,
          { reward: bandit, reference: undefined },
        );
        const last = history.slice(-5).map((row) => row['reward/mean']!);
        expect(last.reduce((a, b) => a + b, 0) / 5).toBeGreaterThan(0.9);
      });
  });

  describe('with a value model (PPO)', () => {
    const ppo = {
      advantage: { kind: 'gae' },
      epochs: 2,
      miniBatches: 2,
      samplesPerPrompt: 2,
      klIn: 'reward',
      klCoef: 0.05,
      criticLearningRate: 1e-2,
    } as Partial<Settings>;
    it('reaches nine tenths of the optimum of the bandit', async () => {
      const values = Array.from({ length: 23 }, (_, arm) => ((arm * 7) % 23) / 22);
      const bandit: RewardFunction = {
        name: 'bandit',
        score: async (batch) => ({ scores: Float32Array.from(batch, ({ completion }) => values[idsOf(completion)[0]]) }),
      };
      const over = { ...ppo, steps: 50, samplesPerPrompt: 8, maxTokens: 1, learningRate: 5e-3, klCoef: 0 } as Partial<Settings>;
      const { history } = await train(over, { reward: bandit, reference: undefined, critic: createCritic(tinyDecoder()) });
      const last = history.slice(-5).map((row) => row['reward/mean']!);
      expect(last.reduce((a, b) => a + b, 0) / 5).toBeGreaterThan(0.9);
    });
    it('starts from values of 0 and learns them', async () => {
      const constant: RewardFunction = { name: 'constant', score: async (batch) => ({ scores: new Float32Array(batch.length).fill(0.5) }) };
      const { history } = await train(
        { ...ppo, steps: 15, klCoef: 0, clipRangeValue: 10 },
        { reward: constant, critic: createCritic(tinyDecoder()) },
      );
      expect(history[0]['value/loss']!).toBeGreaterThan(0.05);
      expect(history.at(-1)!['value/loss']!).toBeLessThan(0.02); // ½·0.5² = 0.125 at first
    });
    it('takes the same steps whatever fits into a micro-batch, and resumes bit for bit', async () => {
      const whole = await train({ ...ppo, steps: 4 }, { critic: createCritic(tinyDecoder()) });
      const split = await train({ ...ppo, steps: 4, tokensPerMicroBatch: 20 }, { critic: createCritic(tinyDecoder()) });
      whole.history.forEach((step, i) => {
        for (const name of ['loss', 'gradNorm', 'value/loss'] as const)
          expect(Math.abs(split.history[i][name]! - step[name]!) / (1 + Math.abs(step[name]!))).toBeLessThan(1e-3);
      });
      const first = memoryRun({ seed: 5, saveEvery: 2 });
      const failing: RewardFunction = {
        name: 'even',
        score: (batch, ctx) => (ctx.step === 3 ? Promise.reject(new Error('power cut')) : even.score(batch, ctx)),
      };
      await expect(train({ ...ppo, steps: 4 }, { critic: createCritic(tinyDecoder()), run: first, reward: failing })).rejects.toThrow(
        'power cut',
      );
      const again = memoryRun({ seed: 5, saveEvery: 2 });
      for (const [step, saved] of first.checkpoints) again.checkpoints.set(step, saved);
      again.history.push(...first.history);
      const resumed = await train(
        { ...ppo, steps: 4 },
        { critic: createCritic(tinyDecoder({ seed: 3 })), policy: tinyDecoder({ seed: 4 }), run: again },
      );
      expect(withoutTimes(resumed.history)).toEqual(withoutTimes(whole.history));
      expect(resumed.weights).toEqual(whole.weights);
    });
    it('leaves the policy alone while the critic warms up, and refuses a critic that nothing uses', async () => {
      const before = await weightsOf(tinyDecoder());
      expect((await train({ ...ppo, steps: 2, criticWarmupSteps: 2 }, { critic: createCritic(tinyDecoder()) })).weights).toEqual(before);
      await expect(train({}, { critic: createCritic(tinyDecoder()) })).rejects.toThrow('a critic is for advantage gae, not group');
      await expect(train(ppo)).rejects.toThrow('advantage gae needs a critic');
    });
  });

  it('takes the same steps whatever fits into a micro-batch', async () => {
    for (const over of [
      {},
      { loss: 'dapo', epochs: 2 },
      { loss: 'dr_grpo', klIn: 'reward' },
      { loss: 'gmpo', miniBatches: 2 },
      { advantage: 'remax', loss: 'reinforce' },
      { topEntropyQuantile: 0.4, entropyCoef: 0.01 },
    ] as Partial<Settings>[]) {
      const whole = await train({ steps: 2, ...over });
      for (const tokensPerMicroBatch of [1, 20, 60]) {
        const split = await train({ steps: 2, ...over, tokensPerMicroBatch });
        whole.history.forEach((step, i) => {
          for (const name of ['loss', 'gradNorm', 'reward/mean', 'policy/entropy', 'policy/klSequence'] as const)
            expect(
              Math.abs(split.history[i][name]! - step[name]!) / (1 + Math.abs(step[name]!)),
              `${name} with ${JSON.stringify(over)}`,
            ).toBeLessThan(1e-4);
        });
      }
    }
  });

  it('goes on after an interruption as if there had been none, bit for bit, and another seed differs', async () => {
    const over = {
      steps: 6,
      epochs: 2,
      advantage: { kind: 'reinforce', baseline: 'ema' },
      klTarget: 0.1,
      klHorizon: 50,
    } as Partial<Settings>;
    const whole = await train(over);
    for (const at of ['batch', 'rollout'] as const) {
      const stopped = new AbortController();
      const run = memoryRun({ seed: 5, saveEvery: 2, signal: stopped.signal });
      const batches = promptBatches(prompts, { promptsPerStep: 4, steps: 6, rng: rng(1) });
      const stopping: Batches<PromptBatch<PromptRecord>> = {
        steps: 6,
        at: (step) => {
          if (at === 'batch' && step === 2) stopped.abort();
          return batches.at(step);
        },
      };
      const onProgress = () => {
        if (at === 'rollout' && run.history.length === 3) stopped.abort();
      };
      await expect(train(over, { run, prompts: stopping, onProgress })).rejects.toThrow('stopped after step');
      const again = memoryRun({ seed: 5, saveEvery: 2 });
      for (const [step, saved] of run.checkpoints) again.checkpoints.set(step, saved);
      again.history.push(...run.history);
      const resumed = await train(over, { run: again, policy: tinyDecoder({ seed: 99 }) });
      expect(withoutTimes(resumed.history)).toEqual(withoutTimes(whole.history));
      expect(resumed.weights).toEqual(whole.weights);
    }
    expect((await train(over, { seed: 6 })).weights).not.toEqual(whole.weights);
  });

  it('shapes samples and greedy completions alike for ReMax, with the references of their prompts', async () => {
    const seen: { rewards: number[]; references?: number[][] }[] = [];
    const shaper: Shaper = {
      name: 'above reference',
      apply: ({ rewards, references, lengths }) => {
        seen.push({ rewards: Array.from(rewards), references: references?.map((x) => Array.from(x)) });
        expect(lengths!.length).toBe(rewards.length);
        return rewards.map((r, i) => r - references![i][0]);
      },
      save: async () => ({ tensors: {}, json: null }),
      load: async () => undefined,
    };
    const records = prompts.map((p, i) => ({ ...p, meta: { reference_rewards: [i / 10, 9] } }));
    const { history } = await train({ steps: 1, advantage: 'remax', loss: 'reinforce' } as Partial<Settings>, { shaper, records });
    expect(seen).toHaveLength(1);
    expect(seen[0].rewards).toHaveLength(4 * 4 + 4);
    expect(seen[0].references!.slice(0, 4).map((x) => x[0])).toEqual(Array(4).fill(seen[0].references![16][0])); // the group's samples, and its greedy one
    const shaped = seen[0].rewards.slice(0, 16).reduce((sum, r, i) => sum + r - seen[0].references![i][0], 0) / 16;
    expect(history[0]['reward/shaped']).toBeCloseTo(shaped, 5);
  });

  it('says how many groups are without deviation where there are groups', async () => {
    const alone = await train({ steps: 1, advantage: 'remax', loss: 'reinforce', samplesPerPrompt: 1 } as Partial<Settings>);
    expect(alone.history[0]).not.toHaveProperty('groups/withoutDeviation'); // one completion a prompt could not deviate
    const { history } = await train({ steps: 1 });
    expect(history[0]['groups/withoutDeviation']).toBeGreaterThanOrEqual(0);
  });

  it('adds several rewards with weights; where one abstains the other carries the sample', async () => {
    const ones: RewardFunction = {
      name: 'ones',
      score: async (batch) => ({ scores: new Float32Array(batch.length).fill(1), abstained: Uint8Array.from(batch, (_, i) => i % 2) }),
    };
    const never: RewardFunction = {
      name: 'never',
      score: async (batch) => ({ scores: new Float32Array(batch.length), abstained: new Uint8Array(batch.length).fill(1) }),
    };
    const means: number[] = [];
    const observe: PolicyTraining['observe'] = ({ scores }) => void means.push(...scores);
    await train({ steps: 1 }, { reward: [{ reward: ones, weight: 3 }, { reward: never }], observe });
    expect(means.map((x, i) => (i % 2 === 0 ? x : Number(Number.isNaN(x))))).toEqual(means.map((_, i) => (i % 2 === 0 ? 3 : 1)));
    const { history } = await train({ steps: 1 }, { reward: never });
    expect(history[0]['reward/abstained']).toBe(1);
    expect(history[0].gradNorm!).toBeLessThan(1e-5);
  });

  it('normalizes several rewards apart when asked, so that a large one does not drown a small one', async () => {
    const loud: RewardFunction = { name: 'loud', score: async (batch) => ({ scores: Float32Array.from(batch, (_, i) => 1000 * (i % 4)) }) };
    const soft: RewardFunction = {
      name: 'soft',
      score: async (batch) => ({ scores: Float32Array.from(batch, (_, i) => [0, 3, 1, 2][i % 4]) }),
    };
    const seen: number[] = [];
    const observe: PolicyTraining['observe'] = ({ advantages }) => void seen.push(...advantages);
    const reward = [{ reward: loud }, { reward: soft }];
    await train({ steps: 1, rewardAggregation: 'normalizeThenSum' }, { reward, observe });
    expect(seen[1]).toBeGreaterThan(seen[2]); // ranks 1 + 3 against 2 + 1
    seen.length = 0;
    await train({ steps: 1 }, { reward, observe });
    expect(seen[1]).toBeLessThan(seen[2]);
    await expect(train({ rewardAggregation: 'normalizeThenSum', advantage: 'rloo' } as Partial<Settings>)).rejects.toThrow(
      'goes with advantage group',
    );
  });

  it('drops bad samples that the policy has moved away from, when asked', async () => {
    const over = { steps: 1, epochs: 3, learningRate: 2e-2, klCoef: 0 };
    const plain = await train(over);
    const masked = await train({ ...over, offPolicyMaskThreshold: 0.01 });
    expect(masked.weights).not.toEqual(plain.weights);
    expect((await train({ ...over, offPolicyMaskThreshold: 1e9 })).weights).toEqual(plain.weights);
  });

  it('takes group rewards, which see all samples of a prompt', async () => {
    const sizes: number[] = [];
    await train(
      { steps: 1 },
      {
        reward: {
          name: 'rank',
          scoreGroup: async (group) => {
            sizes.push(group.length);
            return { scores: Float32Array.from(group, (_, i) => i) };
          },
        },
      },
    );
    expect(sizes).toEqual([4, 4, 4, 4]);
  });

  it('names the reward, the prompt and the sample of a score that is not finite, and saves first', async () => {
    const run = memoryRun({ seed: 5, saveEvery: 100 });
    const broken: RewardFunction = {
      name: 'broken',
      score: async (batch) => ({ scores: Float32Array.from(batch, (_, i) => (i === 6 ? Number.NaN : 0)) }),
    };
    await expect(train({}, { reward: broken, run })).rejects.toThrow(/reward "broken" gave NaN for prompt p\d+, sample 2/);
    expect([...run.checkpoints.keys()]).toEqual([0]);
  });

  it('without deviation in any group there is no gradient but that of the KL', async () => {
    const constant: RewardFunction = { name: 'constant', score: async (batch) => ({ scores: new Float32Array(batch.length).fill(0.3) }) };
    const { history } = await train({ steps: 1, klCoef: 0 }, { reward: constant });
    expect(history[0]['groups/withoutDeviation']).toBe(1);
    expect(history[0].gradNorm!).toBe(0);
  });

  it('scores empty completions and learns nothing from them, with a value model or without, and says so where all are empty', async () => {
    const seen: unknown[] = [];
    const reward: RewardFunction = {
      name: 'written',
      score: async (batch) => {
        seen.push(...batch.map(({ completion }) => completion));
        return { scores: Float32Array.from(batch, ({ completion }, i) => (completion === '' ? -1 : i % 3)) };
      },
    };
    for (const more of [{}, { advantage: { kind: 'gae' }, klIn: 'reward' }] as Partial<Settings>[]) {
      const critic = 'advantage' in more ? createCritic(tinyDecoder()) : undefined;
      const { history } = await train({ ...more, steps: 2 }, { rollout: twoTokens((j) => j === 0), reward, critic });
      for (const { loss, gradNorm } of history) expect(Number.isFinite(loss! + gradNorm!) && gradNorm! > 0).toBe(true);
      expect(history[0]['completions/length']).toBe(1.5);
      await expect(train({ ...more, steps: 1 }, { rollout: twoTokens(() => true), reward, critic })).rejects.toThrow(
        'no completion of the update counts: all were cut short (maskTruncated) or empty',
      );
    }
    expect(seen).toContain('');
  });

  it('leaves truncated completions out when asked, and says where none is left', async () => {
    await expect(train({ steps: 1, maskTruncated: true })).rejects.toThrow('no completion of the update counts');
    const { history } = await train(
      { steps: 1, maskTruncated: true, maxTokens: 12 },
      { policy: tinyDecoder({}, plainTokenizer(23, { eosId: 4 })), reference: tinyDecoder({}, plainTokenizer(23, { eosId: 4 })) },
    );
    expect(history[0]['completions/finished']!).toBeGreaterThan(0);
    expect(Number.isFinite(history[0].loss!)).toBe(true);
  });

  it('names the setting that is wrong', async () => {
    await expect(train({ klCoeff: 0.1 } as never)).rejects.toThrow('klCoeff');
    await expect(train({ samplesPerPrompt: 1 })).rejects.toThrow('must be at least 2');
    await expect(train({}, { reference: undefined })).rejects.toThrow('there is no reference');
    await expect(train({ lossOptions: { epsilon: 2 } })).rejects.toThrow('epsilon');
    await expect(train({ loss: 'luspo', lossOptions: { level: 'token' } })).rejects.toThrow('level');
    await expect(train({ loss: 'gpro' as never })).rejects.toThrow(/loss/);
    await expect(train({ miniBatches: 3 })).rejects.toThrow('must divide');
    const short = promptBatches(prompts, { promptsPerStep: 4, steps: 2, rng: rng(1) });
    await expect(train({}, { prompts: short })).rejects.toThrow('3 steps are asked for');
  });

  it('leaves no tensor behind but what it trained', async () => {
    const policy = tinyDecoder();
    const reference = tinyDecoder();
    await train({ steps: 1 }, { policy, reference }); // whatever is made once
    const before = tf.memory().numTensors;
    await train({ steps: 2, epochs: 2 }, { policy, reference });
    await train({ steps: 1, advantage: 'remax', loss: 'reinforce', tokensPerMicroBatch: 16 } as Partial<Settings>, { policy, reference });
    expect(tf.memory().numTensors).toBe(before);
  });
});

type Recorded = {
  config: {
    learning_rate: number;
    warmup_steps: number;
    weight_decay: number;
    beta: number;
    num_generations: number;
    num_iterations: number;
    loss_type?: PolicyTrainConfig['loss'];
    scale_rewards?: 'group' | 'none';
    epsilon: number;
    epsilon_high: number | null;
    max_completion_length: number;
    importance_sampling_level?: 'token' | 'sequence';
    use_bias_correction_kl?: boolean;
    per_device_train_batch_size: number;
    gradient_accumulation_steps: number;
  };
  steps: Record<string, number>[];
  micro_batches: {
    step: number;
    inputs: {
      prompt_ids: number[][];
      prompt_mask: number[][];
      completion_ids: number[][];
      completion_mask: number[][];
      advantages: number[];
    };
  }[];
  parameter_norms_after: Record<string, number>;
};
/** The recordings' own reward: share of even word numbers, plus a tenth of the number of words. */
const evenWords: RewardFunction = {
  name: 'even words',
  score: async (batch) => ({
    scores: Float32Array.from(batch, ({ completion }) => {
      const words = idsOf(completion).filter((id) => id > 2);
      return words.filter((id) => id % 2 === 0).length / Math.max(1, words.length) + 0.1 * words.length;
    }),
  }),
};
const llamaPath = fixturePath('models/llama/config.json');
const llama = () => loadDecoder(dirname(llamaPath!), { tokenizer: plainTokenizer(256) });
describe.skipIf(!llamaPath)(
  `ten updates of TRL on recorded completions${llamaPath ? '' : ' (skipped: the reference runs are not in this checkout)'}`,
  () => {
    for (const name of ['grpo_dapo', 'grpo_dr_sequence', 'grpo_kl_uncorrected', 'grpo_kl_two_iterations', 'rloo'])
      it(name, async () => {
        const { config, steps, micro_batches, parameter_norms_after } = readFixture<Recorded>(fixturePath(`training/${name}.json`)!);
        const epochs = config.num_iterations;
        const n = config.num_generations;
        // rows of each generation, brought back into groups
        const generations = Array.from({ length: 10 / epochs }, (_, g) => {
          const rows = micro_batches
            .filter(({ step }) => step === g * epochs)
            .flatMap(({ inputs }) =>
              inputs.prompt_ids.map((ids, i) => ({
                prompt: ids.filter((_, t) => inputs.prompt_mask[i][t]),
                completion: inputs.completion_ids[i].filter((_, t) => inputs.completion_mask[i][t]),
                advantage: inputs.advantages[i],
              })),
            );
          const groups = new Map<string, typeof rows>();
          for (const row of rows) groups.set(row.prompt.join(), [...(groups.get(row.prompt.join()) ?? []), row]);
          for (const group of groups.values()) expect(group.length).toBe(n);
          return [...groups.values()];
        });
        const batches: Batches<PromptBatch<string>> = {
          steps: 10 / epochs,
          at: async (step) => ({
            ids: generations[step].map((_, i) => String(i)),
            prompts: generations[step].map(([row]) => letters(...row.prompt)),
            indices: new Int32Array(),
          }),
        };
        let step = 0;
        const rollout = async ({ prompts: ids }: RolloutOptions): Promise<RolloutSample[]> => {
          const samples = generations[step++].flatMap((group, g) =>
            group.map(({ completion }) => ({
              prompt: ids[g],
              group: g,
              tokens: Int32Array.from(completion),
              text: letters(...completion),
              samplingLogps: new Float32Array(completion.length),
              finish: 'stop' as const,
            })),
          );
          return samples;
        };
        const errors: number[] = [];
        const observe: PolicyTraining['observe'] = ({ advantages }, at) => {
          generations[at].flat().forEach((row, i) => void errors.push(Math.abs(advantages[i] - row.advantage)));
        };
        const policy = await llama();
        const run = memoryRun({ seed: 0 });
        const isRloo = name === 'rloo';
        await trainPolicy(
          {
            steps: 10 / epochs,
            promptsPerStep: (config.per_device_train_batch_size * config.gradient_accumulation_steps) / n,
            samplesPerPrompt: n,
            epochs,
            maxTokens: config.max_completion_length,
            tokensPerMicroBatch: 64,
            advantage: isRloo ? 'rloo' : { kind: 'group', scale: config.scale_rewards! },
            loss: isRloo ? 'rloo' : config.loss_type!,
            lossOptions: {
              epsilon: config.epsilon,
              ...(config.epsilon_high !== null && { epsilonHigh: config.epsilon_high }),
              ...(!isRloo && { level: config.importance_sampling_level }),
            },
            klCoef: config.beta,
            klIn: isRloo ? 'reward' : 'loss',
            biasCorrectedKl: config.use_bias_correction_kl ?? false,
            learningRate: config.learning_rate,
            schedule: { kind: 'cosine', warmupSteps: config.warmup_steps },
            weightDecay: config.weight_decay,
          },
          { policy, reference: await llama(), prompts: batches, reward: evenWords, rollout, observe, run },
        );
        expect(Math.max(...errors.slice(0, 8))).toBeLessThan(1e-4);
        expect(Math.max(...errors)).toBeLessThan(2e-3);
        run.history.forEach((ours, i) => {
          const theirs = steps.slice(i * epochs, (i + 1) * epochs);
          const mean = (key: string) => theirs.reduce((sum, row) => sum + row[key], 0) / epochs;
          const relative = (i + 1) * epochs <= 3 ? 1e-5 : 1e-3;
          expect(Math.abs(ours.learningRate! - mean('learning_rate'))).toBeLessThan(1e-9);
          expect(Math.abs(ours.loss! - mean('loss')) / (1 + Math.abs(mean('loss'))), `loss of step ${i}`).toBeLessThan(relative);
          expect(Math.abs(ours.gradNorm! - mean('grad_norm')) / (1 + mean('grad_norm')), `grad norm of step ${i}`).toBeLessThan(relative);
          // with accumulation TRL's is a mean of micro-batch means
          if (config.gradient_accumulation_steps === 1)
            expect(Math.abs(ours['policy/entropy']! - mean('entropy')) / 5, `entropy of step ${i}`).toBeLessThan(1e-3);
          if ('kl' in theirs[0] && !isRloo && !config.use_bias_correction_kl)
            expect(Math.abs(ours['policy/kl']! - mean('kl'))).toBeLessThan(1e-3);
        });
        for (const [parameter, values] of Object.entries(await weightsOf(policy))) {
          const norm = Math.hypot(...values);
          expect(Math.abs(norm - parameter_norms_after[parameter]) / (1 + norm), parameter).toBeLessThan(1e-4);
        }
      });
  },
);
