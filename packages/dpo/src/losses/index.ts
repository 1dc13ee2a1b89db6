/** Every pair loss under the name by which configuration calls it: TRL's where TRL has it. */
import { ConfigError } from '@plumbline/core';
import { aot, aotUnpaired } from './aot.js';
import { apoDown, apoZero } from './apo.js';
import { bcoPair } from './bcoPair.js';
import { chiPo } from './chiPo.js';
import { cpo, cpoIpo } from './cpo.js';
import { discopop } from './discopop.js';
import { dno } from './dno.js';
import { dpo } from './dpo.js';
import { dpop } from './dpop.js';
import { exoPair } from './exoPair.js';
import { flex } from './flex.js';
import { gammaDpo } from './gammaDpo.js';
import { hinge } from './hinge.js';
import { ipo } from './ipo.js';
import { irepo } from './irepo.js';
import { nashMd } from './nashMd.js';
import { ncaPair } from './ncaPair.js';
import { odpo } from './odpo.js';
import { orpo } from './orpo.js';
import { rdpo } from './rdpo.js';
import { rebel } from './rebel.js';
import { rewardAware } from './rewardAware.js';
import { robust } from './robust.js';
import { sft } from './sft.js';
import { sigmoidNorm } from './sigmoidNorm.js';
import { alphapo, simpo } from './simpo.js';
import { slic } from './slic.js';
import { sppo, sppoHard } from './sppo.js';
import { tpo } from './tpo.js';
import type { PairLossSpec } from './types.js';
import { xpo } from './xpo.js';

export const pairLosses = {
  dpo,
  sigmoid: dpo, // TRL's name for the same loss
  robust,
  hinge,
  ipo,
  exo_pair: exoPair,
  nca_pair: ncaPair,
  bco_pair: bcoPair,
  sppo,
  sppo_hard: sppoHard,
  aot,
  aot_unpaired: aotUnpaired,
  apo_zero: apoZero,
  apo_down: apoDown,
  discopop,
  sft,
  bo2: sft, // fresh pairs make it best-of-two fine-tuning
  sigmoid_norm: sigmoidNorm,
  cpo,
  cpo_ipo: cpoIpo,
  slic,
  simpo,
  alphapo,
  orpo,
  tpo,
  gamma_dpo: gammaDpo,
  flex,
  dno,
  irepo,
  rebel,
  reward_aware: rewardAware,
  odpo,
  rdpo,
  dpop,
  chi_po: chiPo,
} as const;
export type PairLossName = keyof typeof pairLosses;

/** The loss of that name, for names that come from a file or a flag. @throws ConfigError listing the names there are */
export function pairLoss(name: string): PairLossSpec<unknown> {
  if (!Object.hasOwn(pairLosses, name))
    throw new ConfigError(`there is no pair loss "${name}"; there are ${Object.keys(pairLosses).join(', ')}`);
  return pairLosses[name as PairLossName];
}

/** Losses on pairs that are sampled while training, from `opponentPairs`. */
export const onlinePairLosses = { xpo, nash_md: nashMd } as const;
export type OnlinePairLossName = keyof typeof onlinePairLosses;
