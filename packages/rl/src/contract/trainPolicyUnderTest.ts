/** `trainPolicy` as the suite runs it, and the settings that it is run with. */
import { memoryRun, readCopy } from '@plumbline/core';
import { promptBatches, type RewardFunction } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import type { policyLosses } from '../losses/index.js';
import type { RolloutSample } from '../rollout/generate.js';
import { trainPolicy } from '../trainPolicy.js';
import type { PolicyTrainerUnderTest } from './policyTrainer.js';

/** Settings of each algorithm that the suite runs over. `bnpo` is not among them: it divides by the tokens of a micro-batch, as TRL's, so that the split matters by definition. */
export const policySettings: Record<string, object> = {
  grpo: { loss: 'grpo' },
  dapo: { loss: 'dapo' },
  dr_grpo: { loss: 'dr_grpo', advantage: { kind: 'group', scale: 'none' } },
  gspo: { loss: 'grpo', lossOptions: { level: 'sequence' } },
  luspo: { loss: 'luspo' },
  cispo: { loss: 'cispo' },
  sapo: { loss: 'sapo' },
  vespo: { loss: 'vespo' },
  gmpo: { loss: 'gmpo' },
  kl_penalty: { loss: 'kl_penalty' },
  rloo: { loss: 'rloo', advantage: 'rloo' },
  reinforce: { loss: 'reinforce', advantage: { kind: 'reinforce++', baseline: 'group' } },
} satisfies Partial<Record<keyof typeof policyLosses | 'gspo', object>>;

/**
 * `trainPolicy` with settings of `PolicyTrainConfig`: updates are of recorded completions, and only whole runs sample.
 *
 * @param make a policy or reference, always with the same weights, on a tokenizer that spells any ids
 */
export function trainPolicyUnderTest(make: () => LocalDecoder, settings: object): PolicyTrainerUnderTest {
  const first = make();
  const { tokenizer } = first;
  first.dispose();
  const weightsOf = async (policy: LocalDecoder): Promise<Float32Array> => {
    const parts = await Promise.all(policy.parameters.trainable().map(({ value }) => readCopy(value)));
    return Float32Array.from(parts.flatMap((part) => Array.from(part)));
  };
  return {
    vocabSize: tokenizer.vocabSize,
    start: () => weightsOf(make()),
    async update({ groups }, { samplesPerMicroBatch, maskTruncated = false, klCoef = 0 } = {}) {
      const policy = make();
      const samples = groups.flatMap(({ completions }, group) => completions.map((one) => ({ ...one, group })));
      const reward: RewardFunction = {
        name: 'recorded',
        score: async (batch) => ({ scores: Float32Array.from(batch, (_, i) => samples[i].reward) }),
      };
      const run = memoryRun({ seed: 0 });
      await trainPolicy(
        {
          steps: 1,
          promptsPerStep: groups.length,
          samplesPerPrompt: groups[0].completions.length,
          maxTokens: 8,
          learningRate: 1e-3,
          klCoef,
          maskTruncated,
          // The longest sample has 8 tokens: so many samples fit, and no more.
          ...(samplesPerMicroBatch && { tokensPerMicroBatch: samplesPerMicroBatch === 1 ? 1 : 8 * samplesPerMicroBatch }),
          ...settings,
        },
        {
          policy,
          reference: make(),
          prompts: {
            steps: 1,
            at: async () => ({
              ids: groups.map((_, i) => `p${i}`),
              prompts: groups.map(({ prompt }) => tokenizer.decode(prompt)),
              indices: new Int32Array(),
            }),
          },
          reward,
          rollout: async ({ prompts }) =>
            samples.map(
              ({ tokens, truncated, group }): RolloutSample => ({
                prompt: prompts[group],
                group,
                tokens,
                text: tokenizer.decode(tokens),
                samplingLogps: new Float32Array(tokens.length),
                finish: truncated ? 'length' : 'stop',
              }),
            ),
          run,
        },
      );
      const { loss, gradNorm, ...values } = run.history[0];
      return {
        loss,
        gradNorm: gradNorm!,
        ratio: values['policy/ratio'],
        clipFraction: values['policy/clipFraction'],
        kl: values['policy/kl'],
        weights: await weightsOf(policy),
      };
    },
    async train({ steps, seed, stopAfter }) {
      const run = memoryRun({ seed, saveEvery: 1 });
      const records = Array.from({ length: 6 }, (_, i) => ({ id: `p${i}`, prompt: tokenizer.decode(Int32Array.of(1 + i, 2 + i)) }));
      const even: RewardFunction = {
        name: 'even',
        score: async (batch) => ({
          scores: Float32Array.from(batch, ({ completion }) => tokenizer.encode(String(completion)).filter((id) => id % 2 === 0).length),
        }),
      };
      const go = async (until: number) => {
        const policy = make();
        await trainPolicy(
          { steps: until, promptsPerStep: 2, samplesPerPrompt: 4, maxTokens: 6, learningRate: 3e-3, ...settings },
          { policy, reference: make(), prompts: promptBatches(records, { promptsPerStep: 2, steps, rng: run.rng }), reward: even, run },
        );
        return weightsOf(policy);
      };
      if (stopAfter !== undefined) await go(stopAfter);
      return go(steps);
    },
  };
}
