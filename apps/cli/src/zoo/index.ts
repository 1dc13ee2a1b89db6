import { maths1m } from './maths.js';
import type { Recipe } from './recipe.js';
import { words1m, words6m } from './words.js';

export type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';

/** The recipe of each model in packages/zoo, by its name. */
export const recipes = { 'words-1m': words1m, 'words-6m': words6m, 'maths-1m': maths1m } satisfies Record<string, Recipe>;
