/**
 * M-IFEval's instructions in Spanish, French and Japanese. Dussolle et al. 2025, arXiv:2502.04688. Those that IFEval has too are mostly checked as there; the others are about the language
 * itself. The checks agree with the reference's, habits included; where that asks a parser of the language (words and sentences of Spanish, words of Japanese), rules stand in for it.
 */
import { type Arguments, type InstructionCheck, ifevalInstructions, inLanguage } from './ifeval.js';
import { isLower, isUpper, occurrences, related, sentences } from './text.js';

const number = (args: Arguments, name: string) => Number(args[name]);
const text = (args: Arguments, name: string) => String(args[name]);
/** By the relation that an instruction names; at least where it names none. */
const enough = (count: number, args: Arguments, bound: string) => related(count, String(args.relation ?? 'at least'), number(args, bound));
const count = (pattern: RegExp, response: string) => response.match(pattern)?.length ?? 0;
const any = (pattern: RegExp, response: string, inside: (found: string) => string) =>
  (response.match(pattern) ?? []).some((found) => inside(found).trim() !== '');
const answers = (response: string, options: readonly string[]) => options.some((option) => response.includes(option));
const sectionsOf = (splitter: string, response: string) => response.split(new RegExp(`\\s?${splitter}\\s?\\d+\\s?`)).length - 1;

const own = (ids: readonly string[]) => Object.fromEntries(ids.map((id) => [id, ifevalInstructions[id]]));
const everywhere = [
  'language:response_language',
  'length_constraints:number_paragraphs',
  'detectable_content:number_placeholders',
  'detectable_format:json_format',
  'combination:two_responses',
] as const;
const romance = {
  ...own([
    ...everywhere,
    'keywords:existence',
    'keywords:frequency',
    'keywords:forbidden_words',
    'keywords:letter_frequency',
    'detectable_format:number_highlighted_sections',
    'combination:repeat_prompt',
    'punctuation:no_comma',
  ]),
  'detectable_format:multiple_sections': (response: string, args: Arguments) =>
    sectionsOf(text(args, 'section_spliter'), response) >= number(args, 'num_sections'),
  'detectable_content:postscript': (response: string, args: Arguments) =>
    response.toLowerCase().includes(text(args, 'postscript_marker').toLowerCase()),
} satisfies Record<string, InstructionCheck>;

// Spanish.

/** Parts between spaces that are more than punctuation, for the tokens of a parser. */
const spanishWords = (response: string) =>
  response
    .split(/\s+/)
    .flatMap((part) => part.split(/(?<=\p{L})[-–—/](?=\p{L}{4})|[—…]|\.{2,}/u))
    .map((part) => part.replace(/^[\p{P}]+|[\p{P}]+$/gu, ''))
    .filter((part) => part !== '');
/** Without the marks of lists at the beginning of lines. */
const withoutMarks = (response: string) => response.replace(/^\s*\d+\.\s*|^\s*[-*]\s*/gm, '');

const spanish: Record<string, InstructionCheck> = {
  ...romance,
  ...own(['detectable_format:title', 'startend:quotation']),
  'length_constraints:number_words': (response, args) => enough(spanishWords(withoutMarks(response)).length, args, 'num_words'),
  // a new paragraph or point begins a sentence, as it does for a parser
  'length_constraints:number_sentences': (response, args) =>
    enough(withoutMarks(response).split(/\n+/).flatMap(sentences).length, args, 'num_sentences'),
  'length_constraints:nth_paragraph_first_word'(response, args) {
    const paragraphs = response.split('\n\n');
    const filled = paragraphs.filter((paragraph) => paragraph.trim() !== '').length;
    const nth = number(args, 'nth_paragraph') <= filled ? paragraphs[number(args, 'nth_paragraph') - 1].trim() : '';
    const plain = nth.split(/\s+/).map((word) => word.replace(/[!-/:-@[-`{-~]/g, '').toLowerCase());
    const wanted = text(args, 'first_word').toLowerCase().split(/\s+/).filter(Boolean);
    return nth !== '' && filled === number(args, 'num_paragraphs') && wanted.every((word, i) => word === plain[i]);
  },
  'detectable_content:postscript': (response, args) =>
    text(args, 'postscript_marker') === 'P.D.'
      ? /p\.\s?d\./i.test(response)
      : response.toLowerCase().includes(text(args, 'postscript_marker').toLowerCase()),
  'detectable_format:number_bullet_lists': (response, args) => count(/^\s*\*[^*].*$/gm, response) === number(args, 'num_bullets'),
  'detectable_format:constrained_response': (response) => answers(response, ['Sí.', 'No.', 'Quizás.']),
  'startend:end_checker': (response, args) =>
    response
      .trim()
      .replace(/^"+|"+$/g, '')
      .toLowerCase()
      .replace(/\.$/, '')
      .endsWith(text(args, 'end_phrase').trim().toLowerCase()),
  'change_case:capital_word_frequency': (response, args) =>
    related(spanishWords(response).filter(isUpper).length, text(args, 'capital_relation'), number(args, 'capital_frequency')),
  // in small letters, or the detector would call it another language
  'change_case:spanish_capital': (response) =>
    !/[\p{Ll}\p{Lt}\p{Lm}\p{Lo}]/u.test(response.normalize('NFKD')) && inLanguage(response.toLowerCase(), 'es'),
  'change_case:spanish_lowercase': (response) => isLower(response) && inLanguage(response, 'es'),
  'punctuation:question_marks': (response) => any(/¿[^?]*\?/g, response, (found) => found.replace(/^¿+|\?+$/g, '')),
  'punctuation:exclamation_marks': (response) => any(/¡[^!]*!/g, response, (found) => found.replace(/^¡+|!+$/g, '')),
  'special_character:enie': (response, args) =>
    spanishWords(response).filter((word) => /ñ/i.test(word)).length === number(args, 'let_frequency'),
  'special_character:dieresis': (response, args) =>
    spanishWords(response).filter((word) => /ü/i.test(word)).length === number(args, 'let_frequency'),
  'special_character:tildes': (response, args) =>
    enough(spanishWords(response).filter((word) => /[áéíóú]/i.test(word)).length, args, 'num_words'),
};

// French.

const french: Record<string, InstructionCheck> = {
  ...romance,
  ...own([
    'length_constraints:number_words',
    'length_constraints:number_sentences',
    'length_constraints:nth_paragraph_first_word',
    'detectable_format:number_bullet_lists',
    'startend:end_checker',
    'change_case:capital_word_frequency',
  ]),
  'detectable_format:title': (response) => any(/##[^\n]+##/g, response, (found) => found.replace(/^#+|#+$/g, '')),
  'detectable_format:constrained_response': (response) => answers(response, ['Oui.', 'Non.', 'Peut-être.']),
  'startend:quotation'(response) {
    const trimmed = response.trim();
    return trimmed.length > 1 && ['""', "''", '«»'].some(([open, close]) => trimmed.startsWith(open) && trimmed.endsWith(close));
  },
  // whether the formal address is there too is not asked
  'detectable_content:informal_address': (response) =>
    occurrences('(?:tu|te|toi|ton|ta|tes)', response, { word: true }) > 0 || /(?<![\p{L}\p{N}_])t'(?=[\p{L}\p{N}_])/iu.test(response),
  'detectable_content:no_digits': (response) => !/\p{Nd}/u.test(response),
  'change_case:french_capital': (response) => isUpper(response) && inLanguage(response.toLowerCase(), 'fr'),
  'change_case:french_lowercase': (response) => isLower(response) && inLanguage(response, 'fr'),
  'special_character:accents'(response, args) {
    const wanted = args.word_to_accentuate as Record<string, string>;
    return (response.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).every((word) => {
      const plain = word.normalize('NFKD').replace(/\p{M}/gu, '');
      return !Object.hasOwn(wanted, plain) || word === wanted[plain];
    });
  },
  'special_character:ethel_or_cedilla': (response, args) => !response.toLowerCase().includes(text(args, 'forbidden_char').toLowerCase()),
  'special_character:no_accents': (response) => !/[àáâãäåçèéêëìíîïñòóôõöùúûüýÿ]/i.test(response),
};

// Japanese.

const segmenter = new Intl.Segmenter('ja', { granularity: 'word' });
/** How often a word stands in a text by itself. One that the segmenter cuts in two is never found, as with the reference's parser. */
const standing = (word: string, response: string): number =>
  [...segmenter.segment(response)].filter(({ segment }) => segment === word).length;
const japaneseSentences = (response: string) =>
  response
    .split(/(?<=[。！？!?])|\n+/)
    .map((sentence) => sentence.trim())
    .filter(Boolean);
const withoutQuotes = (response: string) => response.replace(/「.*?」/g, '').replace(/『.*?』/g, '');

const japanese: Record<string, InstructionCheck> = {
  ...own(everywhere),
  'keywords:existence': (response, args) => (args.keywords as string[]).every((word) => standing(word, response) > 0),
  'keywords:frequency': (response, args) =>
    related(standing(text(args, 'keyword'), response), text(args, 'relation'), number(args, 'frequency')),
  'keywords:forbidden_words': (response, args) => (args.forbidden_words as string[]).every((word) => standing(word, response) === 0),
  // the kana of both kinds
  'keywords:letter_frequency'(response, args) {
    const letter = text(args, 'letter');
    const other = String.fromCharCode(letter.charCodeAt(0) + 96);
    return related(
      [...response].filter((one) => one === letter || one === other).length,
      text(args, 'let_relation'),
      number(args, 'let_frequency'),
    );
  },
  'length_constraints:number_sentences': (response, args) => enough(japaneseSentences(response).length, args, 'num_sentences'),
  'length_constraints:number_letters': (response, args) => enough([...response].length, args, 'num_letters'),
  'length_constraints:nth_paragraph_first_word'(response, args) {
    const paragraphs = response.split('\n\n');
    const filled = paragraphs.filter((paragraph) => paragraph.trim() !== '').length;
    const nth = number(args, 'nth_paragraph') <= filled ? paragraphs[number(args, 'nth_paragraph') - 1].trim() : '';
    return (
      nth !== '' &&
      filled === number(args, 'num_paragraphs') &&
      nth.replace(/^「+/, '').replace(/^『+/, '').startsWith(text(args, 'first_word'))
    );
  },
  'combination:repeat_prompt': (response, args) => response.trim().startsWith(text(args, 'prompt_to_repeat').trim()),
  'detectable_content:postscript'(response, args) {
    const marker = text(args, 'postscript_marker');
    return marker === 'P.S.' ? /p\.\s?s\./i.test(response) : response.toLowerCase().includes(marker.toLowerCase());
  },
  'detectable_format:constrained_response': (response) =>
    answers(response, ['はい、そうです。', 'いいえ、違います。', 'どちらとも言えません。']),
  'detectable_format:multiple_sections': (response, args) =>
    count(new RegExp(`第[\\d０-９]+${text(args, 'section_spliter')}`, 'g'), response) >= number(args, 'num_sections'),
  'detectable_format:number_bullet_lists': (response, args) => count(/^\s*・[^・].*$/gm, response) === number(args, 'num_bullets'),
  'detectable_format:number_numbered_lists': (response, args) => count(/^\s*\p{Nd}+\.\s.*$/gmu, response) === number(args, 'num_items'),
  'detectable_format:number_highlighted_sections': (response, args) =>
    (response.match(/《[^\n《》]*》/g) ?? []).filter((found) => found.slice(1, -1).trim() !== '').length >= number(args, 'num_highlights'),
  'detectable_format:title': (response) => any(/『[^\n]+』/g, response, (found) => found.replace(/^『+|』+$/g, '')),
  'detectable_format:nominal_ending': (response, args) => count(nominalEnd, withoutQuotes(response)) >= number(args, 'count'),
  'startend:end_checker': (response, args) =>
    response
      .trim()
      .replace(/^[」』]+|[」』]+$/g, '')
      .endsWith(
        text(args, 'end_phrase')
          .trim()
          .replace(/^[」』]+|[」』]+$/g, ''),
      ),
  'startend:quotation': (response) => /^「[\s\S]*」$/.test(response.trim()) && response.trim().length > 1,
  'startend:sentence_unified_end': (response, args) =>
    withoutQuotes(response)
      .split(/[。！？]/)
      .every((sentence) => sentence === '' || sentence.endsWith(text(args, 'ending'))),
  'punctuation:no_comma': (response) => !response.includes('、'),
  'punctuation:no_period': (response) => !response.includes('。'),
  'letters:furigana': (response) => count(/[\u4e00-\u9faf]+/g, response) === count(/[\u4e00-\u9faf]+（[ぁ-ん]+）/g, response),
  'letters:hiragana_only': (response) => !/(?![ぁ-んー])\p{L}/u.test(response),
  'letters:katakana_only': (response) => !/(?![ァ-ンー・ｦ-ﾟ])\p{L}/u.test(response),
  'letters:no_hiragana': (response) => !/[ぁ-ゖ]/.test(response),
  'letters:no_katakana': (response) => !/[ァ-ヺｦ-ﾟ]/.test(response),
  'letters:kanji': (response, args) => enough(count(/[\u4e00-\u9faf]/g, response), args, 'kanji_limit'),
  'letters:kansuuji': (response) => !/\p{Nd}/u.test(response),
};
/** A noun before the end of a sentence: kanji, katakana, digits and letters, or one of the nouns that are written in hiragana. */
const nominalEnd =
  /(?:[\p{Script=Han}\p{Script=Katakana}ー々\p{Nd}A-Za-zＡ-Ｚａ-ｚ%％*]|こと|もの|ため|ところ|とき|よう|ほう|わけ|はず|つもり|まま|さ|たち|さん|それ|これ|あれ|ここ|そこ|みんな|ひとつ|[一二三四五六七八九]つ)[。！？]/gu;

const prefixed = (language: string, checks: Record<string, InstructionCheck>) =>
  Object.entries(checks).map(([id, check]) => [`${language}:${id}`, check] as const);
export const mIfevalInstructions: Readonly<Record<string, InstructionCheck>> = Object.fromEntries([
  ...prefixed('es', spanish),
  ...prefixed('fr', french),
  ...prefixed('ja', japanese),
]);
