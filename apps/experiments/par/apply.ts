/** PAR on a user's own pairs: their reward model, references of the model itself, and the two policies. */
import { applyOnlineSettings, applyRewardSettings, applySettings, defineApply } from '@plumbline/bench';
import { promptBatches, type Shaper } from '@plumbline/data';
import { identity, modelReward, scoreReferences, sigmoidPreference } from '@plumbline/rewards';
import { trainPolicy } from '@plumbline/rl';
import { z } from 'zod';

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    ...applyOnlineSettings,
    ...applyRewardSettings,
    references: z.int().positive().default(4).describe('Answers of the start to each prompt, which PAR compares with; the paper has 10'),
    prompts: z.int().positive().default(200).describe('Prompts of the pairs that the policies are trained on, at most'),
    klCoef: z.number().min(0).default(0.005).describe("Weight of the KL to the start in each token's reward, as in the paper"),
  }),
  needs: 'preference pairs, from which the reward model and the prompts come',
  leaves: [
    { path: 'reward/model', what: 'the reward model of the pairs' },
    { path: 'vanilla/model', what: 'the baseline: the policy trained on its reward' },
    { path: 'par/model', what: 'the method: the policy trained on the preference over the start that this reward implies' },
  ],
  work: ({ steps, pairsPerStep, rewardSteps, references, prompts }) => ({
    trainedPairs: (rewardSteps + steps) * pairsPerStep, // two policies, one answer a prompt
    writtenAnswers: references * prompts + 4 * steps * pairsPerStep, // and one greedy answer beside each
  }),
  laptopParameters: 500e6,
  async run({ config, base, prompts: all, rng, signal, say, run, write, policy: begin, rewardModel }) {
    const { steps, pairsPerStep: promptsPerStep, learningRate, klCoef, answerTokens, references } = config;
    const scorer = await rewardModel('reward');
    const reward = modelReward(scorer);
    const prompts = all.slice(0, config.prompts);
    const written = await write('references', prompts, { n: references });
    const { referenceRewards } = await scoreReferences(reward, async () => written, prompts, {
      perPrompt: references,
      rng: rng.fork('scores'),
      signal,
    });
    const records = prompts.map((prompt, i) => ({
      id: `prompt ${i}`,
      prompt,
      meta: { reference_rewards: Array.from(referenceRewards[i]) },
    }));
    const align = async (name: string, shaper: Shaper) => {
      say(`${name}: ${steps} steps`);
      const policy = await begin(name);
      await trainPolicy(
        {
          steps,
          promptsPerStep,
          samplesPerPrompt: 1,
          advantage: { kind: 'remax' },
          loss: 'reinforce',
          klCoef,
          klIn: 'reward',
          learningRate,
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
          maxTokens: answerTokens,
          temperature: 1,
        },
        {
          policy,
          reference: base,
          prompts: promptBatches(records, { promptsPerStep, steps, rng: rng.fork('prompts') }),
          reward,
          shaper,
          run: await run(name),
        },
      );
      return { policy };
    };
    const trained = {
      vanilla: await align('vanilla', identity()),
      par: await align('par', sigmoidPreference({ maxReferences: references })),
    };
    scorer.dispose();
    return trained;
  },
});
