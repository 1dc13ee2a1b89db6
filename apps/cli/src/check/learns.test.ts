/** Online training raises the verified accuracy of a small model that solves half of the problems, in a minute or two. */
import { initBackend, memoryRun, rng } from '@plumbline/core';
import { promptBatches } from '@plumbline/data';
import { pairedDifference } from '@plumbline/data/statistics';
import { mathsBed } from '@plumbline/envs';
import { createCritic, trainPolicy } from '@plumbline/rl';
import { beforeAll, describe, expect, it } from 'vitest';

beforeAll(async () => {
  await initBackend();
});

type Settings = Parameters<typeof trainPolicy>[0] & { steps: number; promptsPerStep: number };
/** With the settings of packages/rl/README.md. */
const algorithms: Record<string, Settings> = {
  GRPO: { steps: 12, promptsPerStep: 16, samplesPerPrompt: 8, learningRate: 2e-4, klCoef: 0, advantage: 'group', loss: 'grpo' },
  PPO: {
    ...{ steps: 30, promptsPerStep: 128, samplesPerPrompt: 1, klCoef: 0, loss: 'dapo' },
    ...{ learningRate: 3e-4, schedule: { kind: 'linear', warmupSteps: 0 } },
    ...{ advantage: { kind: 'gae', lambda: 1 }, criticLearningRate: 1e-3, criticWarmupSteps: 3, clipRangeValue: 10 },
  },
};
describe('zoo:maths-1m', () => {
  for (const [name, settings] of Object.entries(algorithms))
    it.skipIf(!process.env.PLUMB_FULL)(
      `answers more held-out problems rightly after ${settings.steps} steps of ${name}, by more than chance (a minute or two: in the full suite)`,
      async () => {
        const bed = await mathsBed({ seed: 1, count: 400, heldOut: 300 });
        const policy = bed.policy();
        const critic = name === 'PPO' ? createCritic(policy) : undefined;
        const evaluation = { rng: rng(7), problems: bed.heldOutProblems, samplesPerProblem: 4 };
        const before = await bed.evaluate(bed.base, evaluation);
        await trainPolicy(
          { ...settings, maxTokens: bed.sampling.maxTokens },
          {
            policy,
            ...(critic && { critic }),
            prompts: promptBatches(bed.prompts, { promptsPerStep: settings.promptsPerStep, steps: settings.steps, rng: rng(3) }),
            reward: bed.gold,
            run: memoryRun({ seed: 2 }),
          },
        );
        const after = await bed.evaluate(policy, evaluation);
        const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;
        const { mean: gain, low } = pairedDifference(after.accuracy, before.accuracy);
        console.log(
          `${name}: ${mean(before.accuracy).toFixed(3)} before, ${mean(after.accuracy).toFixed(3)} after, gain ${gain.toFixed(3)}, at least ${low.toFixed(3)}`,
        );
        expect(low).toBeGreaterThan(0);
        critic?.dispose();
        policy.dispose();
        bed.base.dispose();
      },
    );
});
