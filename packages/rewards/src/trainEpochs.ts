import type { Rng, Run } from '@plumbline/core';
import { type EncodedGroup, type EncodedPair, rewardBatches } from '@plumbline/data';
import type { LocalScorer } from '@plumbline/models';
import { type RewardResult, type RewardTrainConfig, trainReward } from './train.js';

/** Settings of `trainReward`, with passes over the groups in place of steps. */
export type RewardEpochsConfig = Omit<RewardTrainConfig, 'steps' | 'schedule'> & { epochs: number; groupsPerStep: number };

/**
 * Bradley-Terry training in passes over groups or pairs: a cosine schedule after a tenth of warm-up, as many groups a step as there are where those are fewer.
 *
 * @param rng the order of the groups
 */
export async function trainRewardEpochs(
  { epochs, groupsPerStep, ...settings }: RewardEpochsConfig,
  { scorer, groups, rng, run }: { scorer: LocalScorer; groups: readonly (EncodedGroup | EncodedPair)[]; rng: Rng; run: Run },
): Promise<RewardResult> {
  const batches = rewardBatches(groups, { groupsPerStep: Math.min(groupsPerStep, groups.length), epochs, rng });
  const schedule = { kind: 'cosine' as const, warmupSteps: Math.ceil(batches.steps / 10) };
  return trainReward({ ...settings, steps: batches.steps, schedule }, { scorer, batches, run });
}
