/** Offline and online IPO on a user's own pairs: the pairs themselves, and pairs that the policy writes as it trains, labelled by a reward model of theirs. */
import { applyOnlineSettings, applyRewardSettings, applySettings, defineApply } from '@plumbline/bench';
import { type Batches, encodePairs, type PairBatch, pairBatches, promptBatches } from '@plumbline/data';
import { onlinePairs, type PairLossSpec, pairLoss, trainPairs, withOptions } from '@plumbline/dpo';
import type { LocalDecoder } from '@plumbline/models';
import { modelReward, pairwiseFromPointwise } from '@plumbline/rewards';
import { z } from 'zod';

export const apply = defineApply({
  config: z.strictObject({
    ...applySettings,
    ...applyOnlineSettings,
    ...applyRewardSettings,
    beta: z.number().positive().default(0.1).describe('Of IPO in its form of sums, as in the paper'),
  }),
  needs: 'preference pairs, from which the preference model and the prompts come',
  leaves: [
    { path: 'preference/model', what: 'the reward model of the pairs, which labels the online ones' },
    { path: 'offline/model', what: 'the baseline: IPO on the pairs as they are' },
    { path: 'online/model', what: 'the method: IPO on pairs that the policy wrote as it trained' },
  ],
  work: ({ steps, pairsPerStep, rewardSteps }) => ({
    trainedPairs: (rewardSteps + 2 * steps) * pairsPerStep,
    writtenAnswers: 2 * steps * pairsPerStep,
  }),
  laptopParameters: 500e6,
  async run({ config, base, train, prompts, rng, signal, say, run, policy: begin, rewardModel }) {
    const { steps, pairsPerStep, pairsPerMicroBatch, learningRate, beta, answerTokens, maxTokens } = config;
    const scorer = await rewardModel('preference');
    const preference = pairwiseFromPointwise(modelReward(scorer));
    const align = async (name: string, source: (policy: LocalDecoder) => Batches<PairBatch>) => {
      say(`${name}: ${steps} steps`);
      const policy = await begin(name);
      const schedule = { kind: 'constant' as const, warmupSteps: Math.ceil(steps / 10) };
      const loss = withOptions(pairLoss('ipo') as PairLossSpec<object>, { beta, lengthNormalize: false });
      const settings = { steps, pairsPerStep, pairsPerMicroBatch, learningRate, schedule };
      await trainPairs(settings, { policy, reference: base, batches: source(policy), loss, run: await run(name) });
      return { policy };
    };
    const { pairs } = encodePairs(base.tokenizer, train, { maxTokens });
    const offline = await align('offline', () => pairBatches(pairs, { pairsPerStep, steps, rng: rng.fork('batches') }));
    const online = await align('online', (policy) =>
      onlinePairs({
        policy,
        prompts: promptBatches(
          prompts.map((prompt, i) => ({ id: `prompt ${i}`, prompt })),
          { promptsPerStep: pairsPerStep, steps, rng: rng.fork('prompts') },
        ),
        preference,
        maxTokens: answerTokens,
        rng: rng.fork('online'),
        signal,
      }),
    );
    scorer.dispose();
    return { offline, online };
  },
});
