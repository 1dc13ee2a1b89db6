/** The test beds: what policies act in and how they are scored. */

// Maths: problems that a small language model solves in steps
export * from './maths/index.js';
// Tabular: finite processes whose optimum is known
export * from './tabular/index.js';
// Words: story openings that a small language model continues
export type { EvaluateOptions, SampledGroup, SampleOptions, WordsBed, WordsEvaluation } from './words/bed.js';
export { completionTokens, distinctPairs, promptTokens, wordsBed } from './words/bed.js';
// Gold rewards of the words bed
export type { Guard, GuardOptions } from './words/sentiment.js';
export { guardedSentiment, heroConsistency, repeatedTrigrams, sentiment, wordsGuard } from './words/sentiment.js';
export { differentStories, storyGenerator } from './words/stories.js';
export { characterNames } from './words/vocabulary.js';
