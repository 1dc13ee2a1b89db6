/** The multilingual words bed: one world, told and asked about in parallel in nine languages. */
export type { BedLanguageOptions } from './identify.js';
export { bedLanguageOf, bedLanguageReward, bedLanguageShare } from './identify.js';
export type { BedLanguage } from './render.js';
export {
  answerIn,
  answerOf,
  drawLanguage,
  languageShares,
  languageTexts,
  multilingualPrompt,
  multilingualReward,
  renderDate,
  renderFact,
  renderQuestion,
  renderTrace,
  verifyMultilingual,
} from './render.js';
export type { Fact, LanguageTexts, Month, Question, Span } from './types.js';
export type { World, WorldOptions } from './world.js';
export { drawQuestion, makeWorld, splitOfQuestion, subjectOf } from './world.js';
