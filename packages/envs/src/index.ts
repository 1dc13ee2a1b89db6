/** The test beds: what policies act in and how they are scored. */

// Words: story openings that a small language model continues
export type { EvaluateOptions, SampledGroup, SampleOptions, WordsBed, WordsEvaluation } from './words/bed.js';
export { completionTokens, distinctPairs, promptTokens, wordsBed } from './words/bed.js';
// Gold rewards of the words bed
export type { Guard, GuardOptions } from './words/sentiment.js';
export { guardedSentiment, heroConsistency, repeatedTrigrams, sentiment, wordsGuard } from './words/sentiment.js';
export { differentStories, storyGenerator } from './words/stories.js';
export { characterNames } from './words/vocabulary.js';
