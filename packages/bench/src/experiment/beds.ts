/** The test beds by name, made when an experiment asks for one. */
import { wordsBed } from '@plumbline/envs';
import type { BedMakers } from './types.js';

export const bedMakers: BedMakers = {
  words: ({ seed, model }) => wordsBed({ seed, ...(model !== undefined && { base: model }) }),
};
