import { memoryRun, readCopy } from '@plumbline/core';
import type { RewardFunction } from '@plumbline/data';
import { describe, it } from 'vitest';
import type { RolloutSample } from '../rollout/generate.js';
import { tinyDecoder } from '../testing/decoders.js';
import { trainPolicy } from '../trainPolicy.js';
import { type PolicyTrainerUnderTest, policyTrainerContract, type RecordedBatch } from './policyTrainer.js';

const letters = (ids: ArrayLike<number>) => Array.from(ids, (id) => String.fromCodePoint(id + 33)).join('');

/** `trainPolicy` on recorded completions. */
function ours(settings: object): PolicyTrainerUnderTest {
  const weightsOf = async (policy: ReturnType<typeof tinyDecoder>) => {
    const parts = await Promise.all(policy.parameters.trainable().map((p) => readCopy(p.value)));
    return Float32Array.from(parts.flatMap((part) => Array.from(part)));
  };
  return {
    vocabSize: 23,
    start: () => weightsOf(tinyDecoder()),
    async update({ groups }: RecordedBatch, { samplesPerMicroBatch, maskTruncated = false, klCoef = 0 } = {}) {
      const policy = tinyDecoder();
      const rewards = groups.flatMap(({ completions }) => completions.map(({ reward }) => reward));
      const reward: RewardFunction = {
        name: 'recorded',
        score: async (batch) => ({ scores: Float32Array.from(batch, (_, i) => rewards[i]) }),
      };
      const run = memoryRun({ seed: 0 });
      const samples = groups.flatMap(({ completions }, group) => completions.map((one) => ({ ...one, group })));
      await trainPolicy(
        {
          steps: 1,
          promptsPerStep: groups.length,
          samplesPerPrompt: groups[0].completions.length,
          maxTokens: 8,
          learningRate: 1e-3,
          klCoef,
          maskTruncated,
          // the longest sample has 8 tokens: so many samples fit, and no more
          ...(samplesPerMicroBatch && { tokensPerMicroBatch: samplesPerMicroBatch === 1 ? 1 : 8 * samplesPerMicroBatch }),
          ...settings,
        },
        {
          policy,
          reference: tinyDecoder(),
          prompts: {
            steps: 1,
            at: async () => ({
              ids: groups.map((_, i) => `p${i}`),
              prompts: groups.map(({ prompt }) => letters(prompt)),
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
                text: letters(tokens),
                samplingLogps: new Float32Array(tokens.length),
                finish: truncated ? 'length' : 'stop',
              }),
            ),
          run,
        },
      );
      const { loss, gradNorm, ...values } = run.history[0];
      const [ratio, clipFraction, kl] = [values['policy/ratio'], values['policy/clipFraction'], values['policy/kl']];
      return { loss, gradNorm: gradNorm!, ratio, clipFraction, kl, weights: await weightsOf(policy) };
    },
  };
}

for (const [name, settings] of Object.entries({
  grpo: { loss: 'grpo' },
  'GRPO with prompts apart': { loss: 'grpo', sharePrompts: false },
  dr_grpo: { loss: 'dr_grpo', advantage: { kind: 'group', scale: 'none' } },
  'GSPO-token by dapo': { loss: 'dapo', lossOptions: { level: 'sequence_token' } },
  cispo: { loss: 'cispo' },
  sapo: { loss: 'sapo' },
  vespo: { loss: 'vespo' },
  gmpo: { loss: 'gmpo' },
  luspo: { loss: 'luspo' },
  kl_penalty: { loss: 'kl_penalty' },
  rloo: { loss: 'rloo', advantage: 'rloo' },
  'reinforce++ with a baseline': { loss: 'reinforce', advantage: { kind: 'reinforce++', baseline: 'group' } },
}))
  describe(`the invariants of a policy trainer: ${name}`, () => {
    for (const { name: invariant, run } of policyTrainerContract(() => ours(settings))) it(invariant, run);
  });
