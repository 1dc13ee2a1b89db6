import { goldWords } from './gold.js';
import { maths1m } from './maths.js';
import type { Recipe } from './recipe.js';
import { words1m, words1mSeeds, words6m } from './words.js';

export type { Recipe, RecipeOptions, RecipeResult } from './recipe.js';

/** The recipe of each model in packages/zoo, by its name. */
export const recipes: Readonly<Record<string, Recipe>> = Object.fromEntries(
  [words1m, words6m, ...words1mSeeds, goldWords, maths1m].map((recipe) => [recipe.name, recipe]),
);
