import { tinyDecoder } from '@plumbline/models/testing';
import { describe, it } from 'vitest';
import { policyTrainerContract } from './policyTrainer.js';
import { policySettings, trainPolicyUnderTest } from './trainPolicyUnderTest.js';

for (const [name, settings] of Object.entries({
  ...policySettings,
  'GRPO with prompts apart': { loss: 'grpo', sharePrompts: false },
  'GSPO-token by dapo': { loss: 'dapo', lossOptions: { level: 'sequence_token' } },
}))
  describe(`the invariants of a policy trainer: ${name}`, () => {
    for (const { name: invariant, run } of policyTrainerContract(() => trainPolicyUnderTest(tinyDecoder, settings))) it(invariant, run);
  });
