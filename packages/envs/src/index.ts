/** The test beds: what policies act in and how they are scored. */

// Classic control: small processes with numbers for states and actions
export type { ClassicControl } from './classic/classic.js';
export { classicControl } from './classic/classic.js';
// Maths: problems that a small language model solves in steps
export * from './maths/index.js';
// Multilingual: one world told in five languages
export * from './multilingual/index.js';
// Retrieval: search tools
export type { Embed, Found, Passage, Retriever } from './retrieval/retriever.js';
export { bm25, embeddingRetriever } from './retrieval/retriever.js';
// SQL: queries on real SQLite
export * from './sql/index.js';
// Tabular: finite processes whose optimum is known
export * from './tabular/index.js';
// Words: story openings that a small language model continues
export type { EvaluateOptions, SampledGroup, SampleOptions, WordsBed, WordsEvaluation } from './words/bed.js';
export { completionTokens, distinctPairs, promptTokens, wordsBed } from './words/bed.js';
// Gold rewards of the words bed
export type { GoldModelOptions } from './words/goldModel.js';
export { goldModel, loadGoldModel } from './words/goldModel.js';
export type { Instruction } from './words/instructions.js';
export { follows, instructionReward, instructionText } from './words/instructions.js';
export type { Guard, GuardOptions } from './words/sentiment.js';
export { guardedSentiment, guardOf, heroConsistency, repeatedTrigrams, sentiment, wordsGuard } from './words/sentiment.js';
export { differentStories, storyGenerator } from './words/stories.js';
export { characterNames } from './words/vocabulary.js';
