/** The test beds by name, made when an experiment asks for one. */
import { mathsBed, wordsBed } from '@plumbline/envs';
import type { BedMakers } from './types.js';

const base = (model?: string) => (model === undefined ? {} : { base: model });

export const bedMakers: BedMakers = {
  words: ({ seed, model }) => wordsBed({ seed, ...base(model) }),
  goldWords: ({ seed, model }) => wordsBed({ seed, gold: 'model', ...base(model) }),
  maths: ({ seed, model }) => mathsBed({ seed, ...base(model) }),
};
