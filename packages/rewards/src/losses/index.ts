/** Every reward-model loss under the name by which configuration calls it. */
import { ConfigError } from '@plumbline/core';
import { bradleyTerry } from './bradleyTerry.js';
import { davidson } from './davidson.js';
import { regression } from './multiAttribute.js';
import { odin } from './odin.js';
import { ordinal, pairwiseOrdinal } from './ordinal.js';
import { outcome } from './outcome.js';
import { pairwise } from './pairwise.js';
import { raoKupper } from './raoKupper.js';
import { step } from './step.js';
import type { AnyRewardLoss } from './types.js';

export const rewardLosses = {
  // of pairs
  bradley_terry: bradleyTerry,
  pairwise_ordinal: pairwiseOrdinal,
  rao_kupper: raoKupper,
  davidson,
  odin,
  // of completions with targets
  regression,
  ordinal,
  outcome,
  pairwise,
  // of steps
  step,
} as const;
export type RewardLossName = keyof typeof rewardLosses;

/** The loss of that name, for names that come from a file or a flag. @throws ConfigError listing the names there are */
export function rewardLoss(name: string): AnyRewardLoss {
  if (!Object.hasOwn(rewardLosses, name))
    throw new ConfigError(`there is no reward loss "${name}"; there are ${Object.keys(rewardLosses).join(', ')}`);
  return rewardLosses[name as RewardLossName] as unknown as AnyRewardLoss;
}
