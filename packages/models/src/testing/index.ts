/** For tests, and for checking trainers: a decoder so small that a step takes milliseconds, and a tokenizer whose ids are characters. */
export { plainTokenizer } from './plainTokenizer.js';
export { type TinyShape, tinyDecoder } from './tinyDecoder.js';
