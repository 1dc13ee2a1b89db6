import type { Recipe } from './recipe.js';
import { words1m } from './words.js';

export type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';

/** The recipe of each model in packages/zoo, by its name. */
export const recipes = { 'words-1m': words1m } satisfies Record<string, Recipe>;
