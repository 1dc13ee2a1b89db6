/** IFEval's 25 verifiable instructions. Zhou et al. 2023, arXiv:2311.07911. */
import { referenceLanguage } from './language.js';
import { isLower, isUpper, occurrences, related, sentences, tokens, words } from './text.js';

export type Arguments = Record<string, unknown>;
/** Whether a response follows one instruction. */
export type InstructionCheck = (response: string, args: Arguments) => boolean | Promise<boolean>;

const text = (args: Arguments, name: string) => String(args[name]);
const number = (args: Arguments, name: string) => Number(args[name]);
const list = (args: Arguments, name: string) => args[name] as string[];

/** A language that cannot be told counts as the one asked for. Chinese is told as `zh-cn` or `zh-tw`: for the reference, no text is in `zh`, which M-IFEval asks for. */
export function inLanguage(response: string, code: string): boolean {
  const found = referenceLanguage(response);
  return found === undefined || found === code;
}

/** Parts between separators; a blank one is allowed at either end only. */
function parts(response: string, separator: string | RegExp): string[] | undefined {
  const all = response.split(separator);
  const kept = all.filter((part) => part.trim() !== '');
  const blankInside = all.some((part, i) => part.trim() === '' && i > 0 && i < all.length - 1);
  return blankInside ? undefined : kept;
}

export const ifevalInstructions: Readonly<Record<string, InstructionCheck>> = {
  'keywords:existence': (response, args) => list(args, 'keywords').every((keyword) => occurrences(keyword, response) > 0),
  'keywords:frequency': (response, args) =>
    related(occurrences(text(args, 'keyword'), response), text(args, 'relation'), number(args, 'frequency')),
  'keywords:forbidden_words': (response, args) =>
    list(args, 'forbidden_words').every((word) => occurrences(word, response, { word: true }) === 0),
  'keywords:letter_frequency': (response, args) =>
    related(
      response.toLowerCase().split(text(args, 'letter').toLowerCase()).length - 1,
      text(args, 'let_relation'),
      number(args, 'let_frequency'),
    ),
  'language:response_language': (response, args) => inLanguage(response, text(args, 'language')),
  'length_constraints:number_sentences': (response, args) =>
    related(sentences(response).length, text(args, 'relation'), number(args, 'num_sentences')),
  'length_constraints:number_paragraphs': (response, args) => parts(response, /\s?\*\*\*\s?/)?.length === number(args, 'num_paragraphs'),
  'length_constraints:number_words': (response, args) => related(words(response).length, text(args, 'relation'), number(args, 'num_words')),
  'length_constraints:nth_paragraph_first_word'(response, args) {
    const paragraphs = response.split('\n\n');
    const nth = paragraphs[number(args, 'nth_paragraph') - 1]?.trim();
    const first = nth
      ?.split(/\s+/)[0]
      .replace(/^'+/, '')
      .replace(/^"+/, '')
      .split(/[.,?!'"]/)[0]
      .toLowerCase();
    const count = paragraphs.filter((paragraph) => paragraph.trim() !== '').length;
    return (
      count === number(args, 'num_paragraphs') && number(args, 'nth_paragraph') <= count && first === text(args, 'first_word').toLowerCase()
    );
  },
  'detectable_content:number_placeholders': (response, args) => occurrences('\\[.*?\\]', response) >= number(args, 'num_placeholders'),
  'detectable_content:postscript'(response, args) {
    const marker = text(args, 'postscript_marker');
    const lower = response.toLowerCase();
    if (marker === 'P.P.S') return /p\.\s?p\.\s?s/.test(lower);
    if (marker === 'P.S.') return /p\.\s?s\./.test(lower);
    return occurrences(marker.toLowerCase(), lower) > 0;
  },
  'detectable_format:number_bullet_lists': (response, args) =>
    (response.match(/^\s*\*[^*].*$/gm)?.length ?? 0) + (response.match(/^\s*-.*$/gm)?.length ?? 0) === number(args, 'num_bullets'),
  'detectable_format:constrained_response': (response) =>
    ['yes', 'no', 'maybe'].some((answer) => response.includes(`My answer is ${answer}.`)),
  'detectable_format:number_highlighted_sections'(response, args) {
    const inside = (pattern: RegExp) => (response.match(pattern) ?? []).filter((one) => one.replace(/^\*+|\*+$/g, '').trim() !== '').length;
    return inside(/\*[^\n*]*\*/g) + inside(/\*\*[^\n*]*\*\*/g) >= number(args, 'num_highlights');
  },
  'detectable_format:multiple_sections': (response, args) =>
    response.split(new RegExp(`\\s?${text(args, 'section_spliter')}\\s?\\d+\\s?`)).length - 1 >= number(args, 'num_sections'),
  'detectable_format:json_format'(response) {
    try {
      JSON.parse(
        response
          .trim()
          .replace(/^```(json|Json|JSON)?/, '')
          .replace(/```$/, '')
          .trim(),
      );
      return true;
    } catch {
      return false;
    }
  },
  'detectable_format:title': (response) =>
    (response.match(/<<[^\n]+>>/g) ?? []).some((title) => title.replace(/^<+|>+$/g, '').trim() !== ''),
  'combination:two_responses'(response) {
    const both = parts(response, '******');
    return both?.length === 2 && both[0].trim() !== both[1].trim();
  },
  'combination:repeat_prompt': (response, args) =>
    response.trim().toLowerCase().startsWith(text(args, 'prompt_to_repeat').trim().toLowerCase()),
  'startend:end_checker': (response, args) =>
    response
      .trim()
      .replace(/^"+|"+$/g, '')
      .toLowerCase()
      .endsWith(text(args, 'end_phrase').trim().toLowerCase()),
  'change_case:capital_word_frequency': (response, args) =>
    related(tokens(response).filter(isUpper).length, text(args, 'capital_relation'), number(args, 'capital_frequency')),
  'change_case:english_capital': (response) => isUpper(response) && inLanguage(response, 'en'),
  'change_case:english_lowercase': (response) => isLower(response) && inLanguage(response, 'en'),
  'punctuation:no_comma': (response) => !response.includes(','),
  'startend:quotation'(response) {
    const trimmed = response.trim();
    return trimmed.length > 1 && trimmed.startsWith('"') && trimmed.endsWith('"');
  },
};
