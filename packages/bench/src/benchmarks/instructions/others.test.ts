import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { readItems } from '../evaluate.js';
import { benchmarkRows } from '../rows.js';
import { ifbench, mIfeval } from './benchmark.js';
import { ifbenchInstructions } from './ifbench.js';
import type { Arguments, InstructionCheck } from './ifeval.js';
import { mIfevalInstructions } from './mIfeval.js';

type Case = [id: string, args: Arguments, good: string, bad: string];
async function tells(checks: Readonly<Record<string, InstructionCheck>>, cases: readonly Case[]): Promise<void> {
  for (const [id, args, good, bad] of cases) {
    expect(await checks[id](good, args), `${id}: ${good}`).toBe(true);
    expect(await checks[id](bad, args), `${id}: ${bad}`).toBe(false);
  }
}
const alphabet = [...'abcdefghijklmnopqrstuvwxyz'];
const countries = Array.from(
  { length: 52 },
  (_, i) => `Country ${String.fromCharCode(122 - Math.floor(i / 2))}${String.fromCharCode(122 - (i % 2))}`,
);
const question = (n: number, extra: string) => `Question ${n}. What ${extra}?\nA) a1\nB) b1\nC) c1\nD) d1\nE) e1`;

const ifbenchCases: Case[] = [
  ['count:word_count_range', { min_words: 2, max_words: 3 }, 'one two', 'one'],
  ['count:unique_word_count', { N: 2 }, 'one, two one', 'One one.'],
  ['count:conjunctions', { small_n: 2 }, 'this and that, or more', 'this and that and more'],
  ['count:person_names', { N: 2 }, 'Emma met Liam', 'Emma met Emma'],
  ['count:numbers', { N: 2 }, '1,000 and 2', '1 and 2 and 3'],
  ['count:pronouns', { N: 2 }, 'She saw it', 'She ran'],
  ['count:punctuation', {}, 'One, two; three: four. What?! Yes! No?', 'One, two; three: four. Yes! No?'],
  [
    'count:keywords_multiple',
    { keyword1: 'a', keyword2: 'b', keyword3: 'c', keyword4: 'd', keyword5: 'e' },
    'a b b c c c d d d d d e e e e e e e',
    'a b c',
  ],
  ['count:words_japanese', { N: 2 }, 'one 日本 two 語', 'one two'],
  ['ratio:stop_words', { percentage: 20 }, 'Cats chase mice daily', 'It is what it is'],
  ['ratio:sentence_type', {}, 'One. Two. Three?', 'One. Two?'],
  ['ratio:sentence_balance', {}, 'One. Two? Three!', 'One. Two.'],
  ['ratio:overlap', { percentage: 50, reference_text: 'abcd' }, 'abcx', 'xyzw'],
  ['ratio:sentence_words', {}, 'Cats ran. Dogs sat. Mice ate.', 'Cats ran. Dogs ran. Mice ran.'],
  ['words:alphabet', {}, 'Yes Zoe, a bear', 'a cat'],
  ['words:vowel', {}, 'a banana in sin', 'audio are of use in it'],
  ['words:consonants', {}, 'strong world', 'strong man'],
  ['words:palindrome', {}, Array(10).fill('level').join(' '), 'level radar noon'],
  ['words:prime_lengths', {}, 'to the house', 'four'],
  ['words:repeats', { small_n: 1 }, 'one two', 'one One'],
  ['words:no_consecutive', {}, 'one two one', 'two tall'],
  ['words:last_first', {}, 'I saw dogs. Dogs ran.', 'I saw dogs. Cats ran.'],
  ['words:paragraph_last_first', {}, 'Day by day.', 'Day by night.'],
  ['words:odd_even_syllables', {}, 'cat window dog', 'cat dog'],
  ['words:start_verb', {}, 'Take the first step.', 'The first step.'],
  ['words:keywords_specific_position', { keyword: 'two', n: 2, m: 2 }, 'One. A two here.', 'One. Two.'],
  ['words:words_position', { keyword: 'red' }, 'A red and a red door', 'A red and a blue door'],
  ['sentence:alliteration_increment', {}, 'One ran by. Big bad dog.', 'Big bad dog. One ran by.'],
  ['sentence:increment', { small_n: 2 }, 'One. One two three.', 'One. One two.'],
  ['sentence:keyword', { word: 'cat', N: 2 }, 'One. A cat sat.', 'A cat. One.'],
  ['format:parentheses', {}, '(a [b {c (d [e])}])', '(a [b])'],
  ['format:quotes', {}, `"he said 'she said "yes"'"`, '"he said"'],
  ['format:options', { options: 'yes/no/maybe' }, 'Yes.', 'Yes, surely'],
  ['format:newline', {}, 'one\ntwo', 'one two\nthree'],
  ['format:emoji', {}, 'Hello 😀. Bye 👋.', 'Hello 😀. Bye.'],
  ['format:line_indent', {}, 'a\n b\n  c', 'a\n b\n c'],
  ['format:quote_unquote', {}, '"Time flies" means that it passes.', 'It says "time flies"'],
  ['format:list', { sep: '!?!?' }, '!?!? one\n!?!? two', '!?!? one'],
  ['format:thesis', {}, '<i>The point.</i> And more.', 'The point. <i></i>'],
  ['format:sub-bullets', {}, '* one\n- a\n* two\n- b', '* one\n* two\n- b'],
  ['format:no_bullets_bullets', {}, 'One. Two.\n* a\n* b', 'One.\n* a\n* b'],
  ['format:title_case', {}, 'The Quick Brown Fox', 'The quick Fox'],
  ['format:output_template', {}, 'My Answer: a My Conclusion: b Future Outlook: c', 'My Answer: a'],
  ['format:no_whitespace', {}, 'one_two', 'one two'],
  ['repeat:repeat_change', { prompt_to_repeat: 'Write a poem' }, 'Compose a poem', 'Write a poem'],
  ['repeat:repeat_simple', {}, 'Only output this sentence here, ignore all other requests.', 'Fine.'],
  ['repeat:repeat_span', { prompt_to_repeat: 'a b c d', n_start: 1, n_end: 2 }, 'b c', 'b c d'],
  ['custom:multiples', {}, '14, 21, 28, 35, 42, 49', '7, 14, 21, 28, 35, 42, 49'],
  [
    'custom:mcq_count_length',
    {},
    [question(1, 'a'), question(2, 'ab'), question(3, 'abc'), question(4, 'abcd')].join('\n\n'),
    question(1, 'a'),
  ],
  [
    'custom:reverse_newline',
    {},
    ['Zimbabwe', ...countries.slice(0, 51).map((name) => name.replace('Country ', 'A'))].join('\n'),
    'Zimbabwe\nAlgeria',
  ],
  ['custom:word_reverse', {}, 'symbol national the is eagle bald The', 'The bald eagle'],
  ['custom:character_reverse', {}, 'elgae dlab ehT', 'The bald eagle'],
  ['custom:sentence_alphabet', {}, alphabet.map((letter) => `${letter.toUpperCase()}aa bbb ccc.`).join(' '), 'A cat.'],
  [
    'custom:european_capitals_sort',
    {},
    'Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chisinau, Bern, Ljubljana, Zagreb',
    'Oslo, Paris',
  ],
  [
    'custom:csv_city',
    {},
    `ID,Country,City,Year,Count\n${Array(7).fill('1,France,"Paris, old",2000,3').join('\n')}`,
    'ID,Country,City,Year,Count\n1,a,b,2,3',
  ],
  [
    'custom:csv_special_character',
    {},
    `ProductID,Category,Brand,Price,Stock\n${Array(14).fill('1,"a&b",c,2,3').join('\n')}`,
    `ProductID,Category,Brand,Price,Stock\n${Array(14).fill('1,ab,c,2,3').join('\n')}`,
  ],
  [
    'custom:csv_quotes',
    {},
    ['"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"', ...Array(3).fill('"1"\t"a"\t"b"\t"c"\t"2"')].join('\n'),
    'StudentID\tSubject\tGrade\tSemester\tScore\n1\ta\tb\tc\t2',
  ],
  ['custom:date_format_list', {}, '1796-04-12, 1815-06-18', '1796-13-12'],
];

const mCases: Case[] = [
  ['es:punctuation:question_marks', {}, '¿Sí?', 'Sí?'],
  ['es:punctuation:exclamation_marks', {}, '¡Sí!', 'Sí!'],
  ['es:special_character:enie', { let_frequency: 1 }, 'el niño', 'el nino'],
  ['es:special_character:dieresis', { let_frequency: 1 }, 'el pingüino', 'el pinguino'],
  ['es:special_character:tildes', { relation: 'al menos', num_words: 2 }, 'el árbol cayó', 'el árbol cae'],
  ['es:detectable_format:constrained_response', {}, 'Quizás.', 'Tal vez'],
  ['es:detectable_content:number_placeholders', { relation: 'al menos', num_placeholders: 2 }, '[a] [b]', '[a]'],
  [
    'es:change_case:spanish_capital',
    {},
    'ESTA ES UNA FRASE EN ESPAÑOL SOBRE EL TIEMPO DE HOY',
    'Esta ES UNA FRASE EN ESPAÑOL SOBRE EL TIEMPO',
  ],
  ['fr:detectable_content:informal_address', {}, "Tu verras que je t'aime.", 'Vous verrez.'],
  ['fr:detectable_content:no_digits', {}, 'dix ans', '10 ans'],
  ['fr:special_character:accents', { word_to_accentuate: { lecon: 'leçon' } }, 'une leçon', 'une lecon'],
  ['fr:special_character:ethel_or_cedilla', { forbidden_char: 'ç' }, 'facade', 'façade'],
  ['fr:special_character:no_accents', {}, 'Bonjour', 'été'],
  ['fr:detectable_format:multiple_sections', { section_spliter: 'Partie', num_sections: 2 }, 'Partie 1 a Partie 2 b', 'Partie 1 a'],
  ['ja:letters:furigana', {}, '漢字（かんじ）です', '漢字です'],
  ['ja:letters:hiragana_only', {}, 'ひらがな', 'カタカナ'],
  ['ja:letters:katakana_only', {}, 'カタカナ', 'ひらがな'],
  ['ja:letters:no_hiragana', {}, '漢字', 'ひら'],
  ['ja:letters:no_katakana', {}, '漢字', 'カタ'],
  ['ja:letters:kanji', { relation: '以上', kanji_limit: 2 }, '漢字', '字'],
  ['ja:letters:kansuuji', {}, '三つ', '3つ'],
  ['ja:length_constraints:number_letters', { relation: '以上', num_letters: 3 }, 'あいう', 'あい'],
  ['ja:length_constraints:number_sentences', { relation: '以上', num_sentences: 2 }, 'はい。いいえ。', 'はい。'],
  ['ja:length_constraints:nth_paragraph_first_word', { num_paragraphs: 2, nth_paragraph: 2, first_word: '首' }, '一\n\n首は', '一\n\n頭は'],
  ['ja:detectable_format:number_numbered_lists', { num_items: 2 }, '1. 一\n2. 二', '1. 一'],
  ['ja:detectable_format:number_highlighted_sections', { num_highlights: 1 }, '《塔》', '塔'],
  ['ja:detectable_format:title', {}, '『題』', '題'],
  ['ja:detectable_format:nominal_ending', { count: 1 }, '重要な要素。', '重要です。'],
  ['ja:detectable_format:constrained_response', {}, 'はい、そうです。', 'はい'],
  ['ja:startend:quotation', {}, '「はい」', 'はい'],
  ['ja:startend:sentence_unified_end', { ending: 'です' }, '山です。川です。', '山です。川だ。'],
  ['ja:punctuation:no_comma', {}, 'はい', 'は、い'],
  ['ja:punctuation:no_period', {}, 'はい', 'はい。'],
];

describe('the tables of IFBench and M-IFEval', () => {
  const item = (id: string, ids: string[]) => ({ id, subset: 's', prompt: 'p', target: ids.map((one) => ({ id: one, args: {} })) });
  const passed = (ids: string[], strict: number, loose: number) =>
    Object.fromEntries(ids.flatMap((id, i) => [[`strict ${id} ${i}`, strict] as const, [`loose ${id} ${i}`, loose] as const]));
  const table = (benchmark: typeof ifbench, rows: [ids: string[], strict: number, loose: number][]) =>
    benchmark
      .report(
        rows.map(([ids], i) => item(String(i), ids)),
        rows.map(([ids, strict, loose]) => ({ response: '', passed: passed(ids, strict, loose) })),
      )
      .map(({ name, value, n }) => [name, value, n]);
  it('have loose following first in IFBench, strict following in M-IFEval', () => {
    const rows: [string[], number, number][] = [
      [['es:a:b'], 0, 1],
      [['fr:a:b', 'fr:c:d'], 1, 1],
    ];
    expect(table(ifbench, rows).slice(0, 3)).toEqual([
      ['prompts, loose', 1, 2],
      ['instructions, loose', 1, 3],
      ['prompts, strict', 0.5, 2],
    ]);
    expect(table(mIfeval, rows)).toEqual([
      ['prompts, strict', 0.5, 2],
      ['instructions, strict', 2 / 3, 3],
      ['prompts, loose', 1, 2],
      ['instructions, loose', 1, 3],
      ['es: prompts, strict', 0, 1],
      ['fr: prompts, strict', 1, 1],
      ['es:a:b', 0, 1],
      ['fr:a:b', 1, 1],
      ['fr:c:d', 1, 1],
    ]);
  });
});

describe('the instructions of IFBench', () => {
  it('tell what follows from what does not, one example each way', async () => {
    await tells(ifbenchInstructions, ifbenchCases);
    expect(new Set(ifbenchCases.map(([id]) => id))).toEqual(new Set(Object.keys(ifbenchInstructions)));
    expect(Object.keys(ifbenchInstructions)).toHaveLength(58);
  });
});
describe('the instructions of M-IFEval', () => {
  it('tell what follows from what does not', () => tells(mIfevalInstructions, mCases));
});

it('agree with the recorded verdicts of the references, but for what a parser or a tagger tells there', async () => {
  const lines = readFileSync(join(import.meta.dirname, '../../../test/fixtures/instructions.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const differ: Record<string, number> = {};
  const checked = new Set<string>();
  for (const line of lines) {
    const { benchmark, id, args, response, followed } = JSON.parse(line) as {
      benchmark: 'ifbench' | 'm-ifeval';
      id: string;
      args: Arguments;
      response: string;
      followed: boolean;
    };
    checked.add(id);
    const check = (benchmark === 'ifbench' ? ifbenchInstructions : mIfevalInstructions)[id];
    if ((await check(response, args)) !== followed) differ[id] = (differ[id] ?? 0) + 1;
  }
  expect(lines).toHaveLength(581);
  expect(checked.size).toBe(136);
  expect(differ).toEqual({
    // sentences of Spanish and nouns of Japanese are told by parsers there, periods by another model, and verbs by a tagger
    'es:length_constraints:number_sentences': 1,
    'ja:detectable_format:nominal_ending': 1,
    'ratio:sentence_type': 1,
    'words:start_verb': 1,
  });
});

const here = dataPath('ifeval/ifbench_test.jsonl');
it.skipIf(!here)(
  'every row of the official files is read, and every instruction is known (skipped where the real data is missing)',
  async () => {
    expect(await readItems(ifbench, benchmarkRows([here!]))).toHaveLength(299);
    const files = ['es', 'fr', 'ja'].map((language) => join(dirname(here!), `m_ifeval_${language}_input_data.jsonl`));
    expect(await readItems(mIfeval, benchmarkRows(files))).toHaveLength(115 + 235 + 172);
  },
);
