/** Every policy loss under the name by which configuration calls it: TRL's where TRL has it. */
import { ConfigError } from '@plumbline/core';
import { a2po } from './a2po.js';
import { cispo } from './cispo.js';
import { bnpo, dapo, drGrpo, grpo, luspo, rloo } from './clipped.js';
import { clipCov, klCov } from './covariance.js';
import { gmpo } from './gmpo.js';
import { reinforce } from './reinforce.js';
import { sapo } from './sapo.js';
import type { PolicyLossSpec } from './types.js';
import { klPenalty } from './value.js';
import { vespo } from './vespo.js';

export const policyLosses = {
  grpo,
  bnpo,
  dr_grpo: drGrpo,
  dapo,
  luspo,
  cispo,
  sapo,
  vespo,
  gmpo,
  reinforce,
  rloo,
  kl_cov: klCov,
  clip_cov: clipCov,
  kl_penalty: klPenalty,
  a2po,
} as const;
export type PolicyLossName = keyof typeof policyLosses;

/** The loss of that name, for names that come from a file or a flag. @throws ConfigError listing the names there are */
export function policyLoss(name: string): PolicyLossSpec<unknown> {
  if (!Object.hasOwn(policyLosses, name))
    throw new ConfigError(`there is no policy loss "${name}"; there are ${Object.keys(policyLosses).join(', ')}`);
  return policyLosses[name as PolicyLossName];
}
