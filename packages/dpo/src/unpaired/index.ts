/** Every unpaired loss under the name by which configuration calls it: TRL's. */
import { ConfigError } from '@plumbline/core';
import { bco } from './bco.js';
import { apoZeroUnpaired, kto } from './kto.js';
import type { UnpairedLossSpec } from './types.js';

export const unpairedLosses = { kto, apo_zero_unpaired: apoZeroUnpaired, bco } as const;
export type UnpairedLossName = keyof typeof unpairedLosses;

/** The loss of that name, for names that come from a file or a flag. @throws ConfigError listing the names there are */
export function unpairedLoss(name: string): UnpairedLossSpec<unknown> {
  if (!Object.hasOwn(unpairedLosses, name))
    throw new ConfigError(`there is no unpaired loss "${name}"; there are ${Object.keys(unpairedLosses).join(', ')}`);
  return unpairedLosses[name as UnpairedLossName];
}
