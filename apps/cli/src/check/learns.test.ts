/** Online training raises the verified accuracy of a small model that solves half of the problems, in well under a minute. */
import { initBackend, memoryRun, rng } from '@plumbline/core';
import { promptBatches } from '@plumbline/data';
import { pairedDifference } from '@plumbline/data/statistics';
import { mathsBed } from '@plumbline/envs';
import { trainPolicy } from '@plumbline/rl';
import { beforeAll, describe, expect, it } from 'vitest';

beforeAll(async () => {
  await initBackend();
});

type Settings = Parameters<typeof trainPolicy>[0];
const common = { steps: 12, promptsPerStep: 16, samplesPerPrompt: 8, klCoef: 0, learningRate: 2e-4 };
describe('zoo:maths-1m', () => {
  it.skipIf(!process.env.PLUMB_FULL)(
    `answers more held-out problems rightly after ${common.steps} steps of GRPO, by more than chance (a minute: in the full suite)`,
    { timeout: 180_000 },
    async () => {
      const bed = await mathsBed({ seed: 1, count: 400, heldOut: 150 });
      const policy = bed.policy();
      const evaluation = { rng: rng(7), problems: bed.heldOutProblems, samplesPerProblem: 4 };
      const before = await bed.evaluate(bed.base, evaluation);
      const run = memoryRun({ seed: 2 });
      await trainPolicy({ ...common, advantage: 'group', loss: 'grpo', maxTokens: bed.sampling.maxTokens } as Settings, {
        policy,
        prompts: promptBatches(bed.prompts, { promptsPerStep: common.promptsPerStep, steps: common.steps, rng: rng(3) }),
        reward: bed.gold,
        run,
      });
      const after = await bed.evaluate(policy, evaluation);
      const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;
      const { mean: gain, low } = pairedDifference(after.accuracy, before.accuracy);
      console.log(
        `${mean(before.accuracy).toFixed(3)} before, ${mean(after.accuracy).toFixed(3)} after, gain ${gain.toFixed(3)}, at least ${low.toFixed(3)}`,
      );
      expect(low).toBeGreaterThan(0);
      policy.dispose();
      bed.base.dispose();
    },
  );
});
