/**
 * M-IFEval's instructions in Spanish, French and Japanese. Dussolle et al. 2025, arXiv:2502.04688. Those that IFEval has too are checked as there; the others are about the language
 * itself. No recorded verdicts were at hand for these: their checks follow the instructions' own words.
 */
import { type Arguments, type InstructionCheck, ifevalInstructions, inLanguage } from './ifeval.js';
import { isLower, isUpper, occurrences, related, words } from './text.js';

const number = (args: Arguments, name: string) => Number(args[name]);
const text = (args: Arguments, name: string) => String(args[name]);
/** By the relation that an instruction names; at least where it names none. */
const enough = (count: number, args: Arguments, bound: string) => related(count, String(args.relation ?? 'at least'), number(args, bound));
const count = (pattern: RegExp, response: string) => response.match(pattern)?.length ?? 0;
const graphemes = (response: string) => [...response.replace(/\s/g, '')];
const japaneseSentences = (response: string) =>
  response
    .split(/(?<=[。！？!?])|\n+/)
    .map((sentence) => sentence.trim())
    .filter(Boolean);
const withoutEnd = (sentence: string) => sentence.replace(/[。．.！!？?」』）)\s]+$/u, '');

/** IFEval's checks that are the same in a language that writes words with spaces. */
const spaced = [
  'keywords:existence',
  'keywords:frequency',
  'keywords:forbidden_words',
  'keywords:letter_frequency',
  'language:response_language',
  'length_constraints:number_sentences',
  'length_constraints:number_paragraphs',
  'length_constraints:number_words',
  'length_constraints:nth_paragraph_first_word',
  'detectable_format:number_bullet_lists',
  'detectable_format:json_format',
  'detectable_format:title',
  'combination:two_responses',
  'combination:repeat_prompt',
  'startend:end_checker',
  'startend:quotation',
  'change_case:capital_word_frequency',
  'punctuation:no_comma',
] as const;
const own = (ids: readonly string[]) => Object.fromEntries(ids.map((id) => [id, ifevalInstructions[id]]));

const highlighted = (response: string) => count(/\*[^\n*]*[^\n*\s][^\n*]*\*/g, response);
const sectionsOf = (splitter: string, response: string) =>
  response.split(new RegExp(`\\s?${splitter}\\s?[\\d一二三四五六七八九十]+\\s?`)).length - 1;
const answers = (response: string, options: readonly string[]) => options.some((option) => response.includes(option));

const romance = {
  ...own(spaced),
  'detectable_content:number_placeholders': (response: string, args: Arguments) =>
    enough(count(/\[.*?\]/g, response), args, 'num_placeholders'),
  'detectable_content:postscript': (response: string, args: Arguments) =>
    response.toLowerCase().includes(text(args, 'postscript_marker').toLowerCase()),
  'detectable_format:number_highlighted_sections': (response: string, args: Arguments) =>
    enough(highlighted(response), args, 'num_highlights'),
  'detectable_format:multiple_sections': (response: string, args: Arguments) =>
    enough(sectionsOf(text(args, 'section_spliter'), response), args, 'num_sections'),
} satisfies Record<string, InstructionCheck>;

const spanish: Record<string, InstructionCheck> = {
  ...romance,
  'detectable_format:constrained_response': (response) => answers(response, ['Sí.', 'No.', 'Quizás.']),
  'change_case:spanish_capital': (response) => isUpper(response) && inLanguage(response, 'es'),
  'change_case:spanish_lowercase': (response) => isLower(response) && inLanguage(response, 'es'),
  'punctuation:question_marks': (response) => /¿[^?]*\?/.test(response),
  'punctuation:exclamation_marks': (response) => /¡[^!]*!/.test(response),
  'special_character:enie': (response, args) => words(response).filter((word) => /ñ/i.test(word)).length === number(args, 'let_frequency'),
  'special_character:dieresis': (response, args) =>
    words(response).filter((word) => /ü/i.test(word)).length === number(args, 'let_frequency'),
  'special_character:tildes': (response, args) =>
    enough(words(response.normalize('NFC')).filter((word) => /[áéíóú]/i.test(word)).length, args, 'num_words'),
};

const french: Record<string, InstructionCheck> = {
  ...romance,
  'detectable_format:constrained_response': (response) =>
    answers(response, ['Oui.', 'Non.', 'Peut-être.', 'Ma réponse est oui.', 'Ma réponse est non.', 'Ma réponse est peut-être.']),
  'detectable_content:informal_address': (response) =>
    occurrences("tu|te|toi|ton|ta|tes|t['’]\\p{L}+", response, { word: true }) > 0 &&
    occurrences('vous|votre|vos', response, { word: true }) === 0,
  'detectable_content:no_digits': (response) => !/\d/.test(response),
  'change_case:french_capital': (response) => isUpper(response) && inLanguage(response, 'fr'),
  'change_case:french_lowercase': (response) => isLower(response) && inLanguage(response, 'fr'),
  'special_character:accents': (response, args) =>
    Object.entries(args.word_to_accentuate as Record<string, string>).every(
      ([plain, accented]) => occurrences(accented, response, { word: true }) > 0 && occurrences(plain, response, { word: true }) === 0,
    ),
  'special_character:ethel_or_cedilla': (response, args) => !response.toLowerCase().includes(text(args, 'forbidden_char').toLowerCase()),
  'special_character:no_accents': (response) => !/[àâäéèêëîïôöùûüÿ]/i.test(response.normalize('NFC')),
};

const japanese: Record<string, InstructionCheck> = {
  ...own([
    'keywords:existence',
    'keywords:frequency',
    'keywords:letter_frequency',
    'language:response_language',
    'detectable_format:json_format',
    'combination:two_responses',
    'combination:repeat_prompt',
    'startend:end_checker',
  ]),
  'keywords:forbidden_words': (response, args) => (args.forbidden_words as string[]).every((word) => !response.includes(word)),
  'length_constraints:number_sentences': (response, args) => enough(japaneseSentences(response).length, args, 'num_sentences'),
  'length_constraints:number_letters': (response, args) => enough(graphemes(response).length, args, 'num_letters'),
  'length_constraints:number_paragraphs': (response, args) =>
    response.split(/\s?\*\*\*\s?/).filter((part) => part.trim() !== '').length === number(args, 'num_paragraphs'),
  'length_constraints:nth_paragraph_first_word'(response, args) {
    const paragraphs = response.split('\n\n').filter((paragraph) => paragraph.trim() !== '');
    return (
      paragraphs.length === number(args, 'num_paragraphs') &&
      paragraphs[number(args, 'nth_paragraph') - 1]?.trim().startsWith(text(args, 'first_word')) === true
    );
  },
  'detectable_content:number_placeholders': (response, args) => enough(count(/[[［].*?[\]］]/g, response), args, 'num_placeholders'),
  'detectable_content:postscript': (response, args) => response.includes(text(args, 'postscript_marker')),
  'detectable_format:constrained_response': (response) =>
    answers(response, ['はい、そうです。', 'いいえ、違います。', 'どちらとも言えません。']),
  'detectable_format:multiple_sections': (response, args) => {
    const splitter = text(args, 'section_spliter');
    return (
      count(new RegExp(`${splitter}\\s?[\\d０-９一二三四五六七八九十]+|第[\\d０-９一二三四五六七八九十]+${splitter}`, 'g'), response) >=
      number(args, 'num_sections')
    );
  },
  'detectable_format:number_bullet_lists': (response, args) => count(/^\s*[・\-*][^*].*$/gm, response) === number(args, 'num_bullets'),
  'detectable_format:number_numbered_lists': (response, args) =>
    count(/^\s*[\d０-９]+[.．、)）]\s*\S.*$/gm, response) === number(args, 'num_items'),
  'detectable_format:number_highlighted_sections': (response, args) => enough(count(/《[^\n《》]+》/g, response), args, 'num_highlights'),
  'detectable_format:title': (response) => /『[^\n『』]+』/.test(response),
  // a sentence that ends in a noun: kanji or katakana, no inflection behind it
  'detectable_format:nominal_ending': (response, args) =>
    japaneseSentences(response).filter((sentence) => /[\p{Script=Han}\p{Script=Katakana}ー]$/u.test(withoutEnd(sentence))).length >=
    number(args, 'count'),
  'startend:quotation': (response) => /^「[\s\S]*」$/.test(response.trim()),
  'startend:sentence_unified_end': (response, args) =>
    japaneseSentences(response).every((sentence) => withoutEnd(sentence).endsWith(text(args, 'ending'))),
  'punctuation:no_comma': (response) => !/[、，,]/.test(response),
  'punctuation:no_period': (response) => !/[。．]/.test(response),
  'letters:furigana': (response) =>
    /\p{Script=Han}/u.test(response) &&
    !/[\p{Script=Han}々](?![\p{Script=Han}々]|[（(][\p{Script=Hiragana}\p{Script=Katakana}ー]+[）)])/u.test(response),
  'letters:hiragana_only': (response) => !/[\p{Script=Han}\p{Script=Katakana}]/u.test(response),
  'letters:katakana_only': (response) => !/[\p{Script=Han}\p{Script=Hiragana}]/u.test(response),
  'letters:no_hiragana': (response) => !/\p{Script=Hiragana}/u.test(response),
  'letters:no_katakana': (response) => !/\p{Script=Katakana}/u.test(response),
  'letters:kanji': (response, args) => enough(count(/\p{Script=Han}/gu, response), args, 'kanji_limit'),
  'letters:kansuuji': (response) => !/[\d０-９]/.test(response),
};

const prefixed = (language: string, checks: Record<string, InstructionCheck>) =>
  Object.entries(checks).map(([id, check]) => [`${language}:${id}`, check] as const);
export const mIfevalInstructions: Readonly<Record<string, InstructionCheck>> = Object.fromEntries([
  ...prefixed('es', spanish),
  ...prefixed('fr', french),
  ...prefixed('ja', japanese),
]);
