/**
 * A reward model of a user's pairs is a proxy; the model is trained on it at a price on how far it moves: by the KL divergence (the baseline) or by the root of the chi-squared divergence.
 * One answer is one action, so that occupancy and policy are the same and the ratio is known without a discriminator.
 */
import { applyOnlineSettings, applyRewardSettings, applySettings, defineApply } from '@plumbline/bench';
import { promptBatches, type RewardFunction } from '@plumbline/data';
import type { LocalDecoder } from '@plumbline/models';
import { implicitReward, modelReward, scoreMoments } from '@plumbline/rewards';
import { occupancyReward, trainPolicy } from '@plumbline/rl';
import { z } from 'zod';

/** Prompts whose answers measure the proxy's deviation under the model as it is. */
const measured = 32;

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    ...applyOnlineSettings,
    ...applyRewardSettings,
    samplesPerPrompt: z.int().min(2).default(4).describe('Answers to a prompt of an update; pairsPerStep is their number in all'),
    klWeight: z.number().positive().default(0.1).describe("Price of a nat, in the proxy's deviations under the model as it is"),
    chi2Weight: z
      .number()
      .positive()
      .default(0.5)
      .describe('Price of the root of the chi-squared divergence, likewise; in theory sqrt(1 − ρ²) of the correlation'),
  }),
  needs: 'preference pairs, from which the proxy and the prompts come',
  leaves: [
    { path: 'proxy/model', what: 'the reward model of the pairs' },
    { path: 'kl/model', what: 'the baseline: the policy that pays by KL' },
    { path: 'chi2/model', what: 'the method: the policy that pays by chi-squared' },
  ],
  work: ({ steps, pairsPerStep, rewardSteps }) => ({
    trainedPairs: (rewardSteps + steps) * pairsPerStep,
    writtenAnswers: 2 * steps * pairsPerStep + 2 * measured,
  }),
  laptopParameters: 500e6,
  async run({ config, base, prompts, rng, signal, say, run, once, write, policy: begin, rewardModel }) {
    const { steps, pairsPerStep, samplesPerPrompt, learningRate, answerTokens } = config;
    const promptsPerStep = Math.max(1, Math.floor(pairsPerStep / samplesPerPrompt));
    const scorer = await rewardModel('proxy');
    const proxy = modelReward(scorer);
    const some = prompts.slice(0, measured);
    const written = await write('own answers', some, { n: 2 });
    const { sd } = await once('deviation', async () => {
      const { scores } = await proxy.score(
        some.flatMap((prompt, i) => written[i].map((completion) => ({ prompt, completion }))),
        { rng: rng.fork('scores'), signal },
      );
      return scoreMoments(scores);
    });
    /** The proxy in its deviations, less the price of each answer. */
    const priced = (policy: LocalDecoder, kind: 'kl' | 'sqrtChi2', weight: number): RewardFunction => ({
      name: `proxy less ${kind}`,
      async score(batch, ctx) {
        const { scores, abstained } = await proxy.score(batch, ctx);
        const ratios = await implicitReward(policy, base, 1).score(batch, ctx); // log π − log π_base of the whole answer
        const price = occupancyReward(ratios.scores, kind, { clip: 10 });
        return {
          scores: scores.map((score, i) => score / sd + weight * price[i]),
          components: { proxy: scores },
          ...(abstained && { abstained }),
        };
      },
    });
    const align = async (name: string, kind: 'kl' | 'sqrtChi2', weight: number) => {
      say(`${name}: ${steps} steps`);
      const policy = await begin(name);
      await trainPolicy(
        {
          steps,
          promptsPerStep,
          samplesPerPrompt,
          advantage: { kind: 'rloo' },
          loss: 'reinforce',
          klCoef: 0, // the price is in the reward
          learningRate,
          schedule: { kind: 'constant', warmupSteps: Math.ceil(steps / 10) },
          maxTokens: answerTokens,
          temperature: 1,
        },
        {
          policy,
          reference: base,
          prompts: promptBatches(
            prompts.map((prompt, i) => ({ id: `prompt ${i}`, prompt })),
            { promptsPerStep, steps, rng: rng.fork('prompts') },
          ),
          reward: priced(policy, kind, weight),
          run: await run(name),
        },
      );
      return { policy };
    };
    const trained = { kl: await align('kl', 'kl', config.klWeight), chi2: await align('chi2', 'sqrtChi2', config.chi2Weight) };
    scorer.dispose();
    return trained;
  },
});
