/** The multilingual words bed: one world, told and asked about in parallel in five languages. */
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
