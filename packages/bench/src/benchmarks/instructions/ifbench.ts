/** IFBench's 58 verifiable instructions. Pyatkin et al. 2025, arXiv:2507.02833: instructions that models were not trained on. */
import type { Arguments, InstructionCheck } from './ifeval.js';
import { isLower, isUpper, occurrences, sentences, tokens, words } from './text.js';

const number = (args: Arguments, name: string) => Number(args[name]);
const text = (args: Arguments, name: string) => String(args[name]).trim();

/** ASCII punctuation, as Python's `string.punctuation` has it. */
const punctuation = /[!-/:-@[-`{-~]/g;
const bare = (value: string) => value.replace(punctuation, '');
const split = (value: string) => value.split(/\s+/).filter(Boolean);
/** Lower case, without punctuation. */
const plainWords = (value: string) => split(bare(value.toLowerCase()));
/** Without punctuation at either end. */
const trimmed = (value: string) => value.replace(/^[!-/:-@[-`{-~ ]+|[!-/:-@[-`{-~ ]+$/g, '');
const wordTokens = (value: string) => tokens(value).filter((token) => /[\p{L}\p{N}]/u.test(token));
/** Without accents and everything else that is not ASCII. */
const ascii = (value: string) => [...value.normalize('NFKD')].filter((char) => char.charCodeAt(0) < 128).join('');
const emoji = /\p{Extended_Pictographic}/u;
const consonants = /[bcdfghjklmnpqrstvwxyz]{2}/;
const pairs = <T>(list: readonly T[], holds: (a: T, b: T) => boolean) => list.every((item, i) => i === 0 || holds(list[i - 1], item));
const sorted = (list: readonly string[]) => pairs(list, (a, b) => a >= b);
const contains = (word: string, value: string) => occurrences(word.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&'), value, { word: true });

const conjunctions = new Set('and but for nor or so yet'.split(' '));
const pronouns = new Set(
  (
    'i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself ourselves yourself yourselves himself herself itself themselves ' +
    'this that these those who whom whose which what whoever whomever whatever whichever anybody anyone anything everybody everyone everything nobody nothing somebody someone ' +
    'something each either neither both all some any none'
  ).split(' '),
);
const names =
  'Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan'.split(
    ' ',
  );
const capitals =
  'Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb'.split(
    ' ',
  );
/** The usual English stop words of NLTK. */
const stopWords = new Set(
  (
    "i me my myself we our ours ourselves you you're you've you'll you'd your yours yourself yourselves he him his himself she she's her hers herself it it's its itself they them their theirs themselves " +
    "what which who whom this that that'll these those am is are was were be been being have has had having do does did doing a an the and but if or because as until while of at by for with about against " +
    'between into through during before after above below to from up down in out on off over under again further then once here there when where why how all any both each few more most other some such no nor ' +
    "not only own same so than too very s t can will just don don't should should've now d ll m o re ve y ain aren aren't couldn couldn't didn didn't doesn doesn't hadn hadn't hasn hasn't haven haven't isn isn't " +
    "ma mightn mightn't mustn mustn't needn needn't shan shan't shouldn shouldn't wasn wasn't weren weren't won won't wouldn wouldn't"
  ).split(' '),
);

/** Rows of comma- or tab-separated text; quotes may hold separators and line breaks. */
function rows(value: string, separator: ',' | '\t'): { cells: string[]; quoted: boolean[] }[] {
  const list: { cells: string[]; quoted: boolean[] }[] = [];
  const cell = new RegExp(`\\s*?("(?:[^"]|"")*"|[^${separator === ',' ? ',' : '\\t'}\\n]*)(${separator === ',' ? ',' : '\\t'}|\\n|$)`, 'y');
  let row = { cells: [] as string[], quoted: [] as boolean[] };
  const source = value.trim();
  for (let at = 0; at <= source.length; ) {
    cell.lastIndex = at;
    const match = cell.exec(source);
    if (!match) break;
    row.cells.push(match[1].trim().replace(/^"|"$/g, ''));
    row.quoted.push(/^\s*".*"\s*$/s.test(match[1]));
    at = cell.lastIndex;
    if (match[2] !== separator) {
      list.push(row);
      row = { cells: [], quoted: [] };
      if (match[2] === '') break;
    }
  }
  return list;
}
const header = (value: string, columns: readonly string[], separator: ',' | '\t') => {
  const [first] = rows(value.split('\n')[0], separator);
  return first?.cells.length === columns.length && first.cells.every((cell, i) => cell === columns[i]);
};

/** Largest depth that brackets of all kinds reach and come back from. */
function bracketDepth(value: string): number {
  const closing: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
  let open: string[] = [];
  let deepest = 0;
  let reached = 0;
  for (const char of value) {
    if ('([{'.includes(char)) {
      open.push(char);
      deepest = Math.max(deepest, open.length);
    } else if (closing[char]) {
      if (open.at(-1) === closing[char]) {
        open.pop();
        reached = Math.max(reached, deepest);
      } else {
        open = [];
        deepest = 0;
      }
    }
  }
  return reached;
}

function quoteDepth(value: string): number {
  const open: string[] = [];
  let deepest = 0;
  let closed = 0;
  for (const char of value) {
    if (open.length > 0 && char === open.at(-1)) {
      open.pop();
      closed = Math.max(closed, deepest - open.length);
    } else if (char === '"' || char === "'") {
      open.push(char);
      deepest = Math.max(deepest, open.length);
    }
  }
  return closed;
}

const isPrime = (n: number) => n > 1 && Array.from({ length: Math.floor(Math.sqrt(n)) - 1 }, (_, i) => i + 2).every((d) => n % d !== 0);
const endings = (value: string) => {
  const all = sentences(value);
  const count = (mark: string) => all.filter((sentence) => sentence.endsWith(mark)).length;
  return { periods: count('.'), questions: count('?'), exclamations: count('!') };
};
/** Of characters, not of words: the reference hands its n-grams a text, not its tokens. */
const trigrams = (value: string) => {
  const list = [...value];
  return new Set(list.slice(2).map((last, i) => list[i] + list[i + 1] + last));
};

export const ifbenchInstructions: Readonly<Record<string, InstructionCheck>> = {
  'count:word_count_range': (response, args) =>
    words(response).length >= number(args, 'min_words') && words(response).length <= number(args, 'max_words'),
  'count:unique_word_count': (response, args) => new Set(split(response.toLowerCase()).map(trimmed)).size >= number(args, 'N'),
  'count:conjunctions': (response, args) =>
    new Set(split(response).filter((word) => conjunctions.has(trimmed(word).toLowerCase()))).size >= number(args, 'small_n'),
  'count:person_names': (response, args) => names.filter((name) => new RegExp(`\\b${name}\\b`).test(response)).length >= number(args, 'N'),
  'count:numbers': (response, args) => (bare(response).match(/\d+/g) ?? []).length === number(args, 'N'),
  'count:pronouns': (response, args) =>
    tokens(response.toLowerCase().replaceAll('/', ' ')).filter((word) => pronouns.has(word)).length >= number(args, 'N'),
  'count:punctuation'(response) {
    if (!/!\?|\?!|‽/.test(response)) return false;
    const rest = response.includes('?!') ? response.replace('?!', '') : response.replace('!?', '');
    return [...'.,!?;:'].every((mark) => rest.includes(mark));
  },
  'count:keywords_multiple': (response, args) =>
    [1, 2, 3, 5, 7].every((times, i) => contains(text(args, `keyword${i + 1}`), response) === times),
  'count:words_japanese': (response, args) =>
    split(response).every((word, i) => {
      const inner = trimmed(word);
      return (i + 1) % number(args, 'N') !== 0 || inner === '' || /^\d+$/.test(inner) || /[\u3040-\u30ff\u4e00-\u9fff]/.test(inner);
    }),
  'ratio:stop_words': (response, args) => {
    const all = words(response);
    // stop words are counted among the tokens, as the reference counts them
    const stops = tokens(response).filter((token) => stopWords.has(token.toLowerCase())).length;
    return all.length > 0 && (100 * stops) / all.length <= number(args, 'percentage');
  },
  'ratio:sentence_type': (response) => endings(response).periods === 2 * endings(response).questions,
  'ratio:sentence_balance': (response) =>
    endings(response).periods === endings(response).questions && endings(response).questions === endings(response).exclamations,
  'ratio:overlap'(response, args) {
    const [own, known] = [trigrams(response), trigrams(String(args.reference_text))];
    const share = (100 * [...own].filter((gram) => known.has(gram)).length) / own.size;
    return own.size > 0 && Math.abs(share - number(args, 'percentage')) <= 2;
  },
  'ratio:sentence_words'(response) {
    const all = sentences(response);
    const used = plainWords(all.join(' '));
    return (
      all.length === 3 && all.every((sentence) => sentence.trim().length === all[0].trim().length) && new Set(used).size === used.length
    );
  },
  'words:alphabet'(response) {
    const all = split(bare(response).toLowerCase());
    const code = (word: string) => word.charCodeAt(0) - 97;
    return all.length > 0 && code(all[0]) >= 0 && code(all[0]) < 26 && pairs(all, (a, b) => code(b) === (code(a) + 1) % 26);
  },
  'words:vowel': (response) => !response.trim().includes('\n') && new Set(response.toLowerCase().match(/[aeiou]/g) ?? []).size <= 3,
  'words:consonants': (response) => split(response.toLowerCase()).every((word) => consonants.test(word)),
  'words:palindrome': (response) =>
    plainWords(response).filter((word) => word.length >= 5 && word === [...word].reverse().join('')).length >= 10,
  'words:prime_lengths': (response) => split(bare(response)).every((word) => isPrime(word.length)),
  'words:repeats'(response, args) {
    const counts = new Map<string, number>();
    for (const word of plainWords(response)) counts.set(word, (counts.get(word) ?? 0) + 1);
    return [...counts.values()].every((count) => count <= number(args, 'small_n'));
  },
  'words:no_consecutive': (response) => pairs(plainWords(response), (a, b) => a[0] !== b[0]),
  'words:last_first': (response) =>
    pairs(sentences(response), (a, b) => {
      const [last, first] = [split(trimmed(a)).at(-1), split(trimmed(b))[0]];
      return last !== undefined && first !== undefined && last.toLowerCase() === first.toLowerCase();
    }),
  'words:paragraph_last_first': (response) =>
    response.split('\n').every((paragraph) => {
      const all = split(trimmed(paragraph.trim().toLowerCase()));
      return all.length === 0 || all[0] === all.at(-1);
    }),
  async 'words:odd_even_syllables'(response) {
    const { syllable } = await import('syllable');
    return pairs(
      plainWords(response).map((word) => syllable(word) % 2),
      (a, b) => a !== b,
    );
  },
  async 'words:start_verb'(response) {
    const first = wordTokens(response)[0];
    if (!first) return false;
    const { default: nlp } = await import('compromise');
    // the first word in its sentence, where a command is told from a noun
    return nlp(sentences(response)[0]).terms().first().has('#Verb');
  },
  'words:keywords_specific_position'(response, args) {
    const sentence = sentences(response)[number(args, 'n') - 1];
    return sentence !== undefined && wordTokens(sentence)[number(args, 'm') - 1]?.toLowerCase() === text(args, 'keyword').toLowerCase();
  },
  'words:words_position'(response, args) {
    const all = wordTokens(response).map((word) => word.toLowerCase());
    const keyword = text(args, 'keyword').toLowerCase();
    return all.length >= 2 && all[1] === keyword && all.at(-2) === keyword;
  },
  'sentence:alliteration_increment'(response) {
    const runs = sentences(response).map((sentence) => {
      const first = split(sentence.toLowerCase())
        .map((word) => word.replace(/^[!-/:-@[-`{-~ ]+/, ''))
        .filter(Boolean)
        .map((word) => word[0]);
      let [count, before] = [0, false];
      for (let i = 1; i < first.length; i++) {
        const same = first[i] === first[i - 1];
        if (same) count += before ? 1 : 2;
        before = same;
      }
      return count;
    });
    return pairs(runs, (a, b) => b > a);
  },
  'sentence:increment': (response, args) =>
    pairs(
      sentences(response).map((sentence) => split(bare(sentence)).length),
      (a, b) => b === a + number(args, 'small_n'),
    ),
  'sentence:keyword'(response, args) {
    const sentence = sentences(response)[number(args, 'N') - 1];
    return sentence !== undefined && contains(text(args, 'word'), sentence) > 0;
  },
  'format:parentheses': (response) => bracketDepth(response) >= 5,
  'format:quotes': (response) => quoteDepth(response) >= 3,
  'format:options'(response, args) {
    const options = text(args, 'options');
    const separator = options.includes('/') ? '/' : options.includes('or') ? 'or' : ',';
    const list = options.split(separator).map((option) => option.trim());
    if (/^\W*[aA]\W*[bB]\W*[cC]\W*/.test(options)) return list.includes(response);
    return list.some((option) => trimmed(option).toLowerCase() === trimmed(response).toLowerCase());
  },
  'format:newline': (response) => bare(response).trim().split('\n').filter(Boolean).length === split(bare(response)).length,
  'format:emoji'(response) {
    const all = sentences(response).map((sentence) => [...bare(sentence).trim()]);
    return all.every((chars, i) => {
      if (chars.length === 0) return false;
      if (emoji.test(chars.at(-1)!) || emoji.test(chars.at(-2) ?? '')) return true;
      // an emoji behind the full stop begins what follows
      const next = all[i + 1];
      return next !== undefined && next.length > 0 && emoji.test(next[0]);
    });
  },
  'format:line_indent'(response) {
    const indents = response
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => line.length - line.replace(/^ +/, '').length);
    return pairs(indents, (a, b) => b > a);
  },
  'format:quote_unquote'(response) {
    const value = response.replace(/[“”]/g, '"').replaceAll("'\"'", '').replace(/\s+/g, '');
    if (value.includes('""')) return false;
    return !value.replace(/^[\d!#-/:-@[-`{-~]+|[\d!#-/:-@[-`{-~]+$/g, '').endsWith('"');
  },
  'format:list': (response, args) => response.split(text(args, 'sep')).length - 1 >= 2,
  'format:thesis'(response) {
    const start = /<i>|<em>/.exec(response)?.index;
    if (start === undefined) return false;
    const value = response.slice(start);
    const end = /<\/i>|<\/em>/.exec(value)?.index;
    return end !== undefined && value.slice(3, end).trim() !== '' && value.slice(end + 4).trim() !== '';
  },
  'format:sub-bullets': (response) =>
    response
      .split('*')
      .slice(1)
      .every((bullet) => bullet.includes('-')),
  'format:no_bullets_bullets'(response) {
    let [told, bullets, open] = [0, 0, true];
    for (const line of response.split('\n').map((one) => one.trim())) {
      if (line.startsWith('*')) {
        if (told < 2) return false;
        open = false;
        bullets++;
      } else if (!open) return false;
      else {
        // after an empty line only bullets may come, and nothing after them
        const found = sentences(line).length;
        open = found > 0;
        told += found;
      }
    }
    return bullets >= 2;
  },
  'format:title_case': (response) =>
    tokens(response).every((word) => {
      if (!/^\p{L}/u.test(word)) return true;
      const [first, rest] = [word[0], word.slice(1)];
      if (rest === '') return !isLower(first);
      return !(isLower(first) && (isUpper(rest) || isLower(rest)));
    }),
  'format:output_template': (response) => ['My Answer:', 'My Conclusion:', 'Future Outlook:'].every((part) => response.includes(part)),
  'format:no_whitespace': (response) => !/\s/.test(response),
  'repeat:repeat_change'(response, args) {
    const asked = text(args, 'prompt_to_repeat');
    return asked !== response && split(asked).slice(1).join(' ') === split(response).slice(1).join(' ');
  },
  'repeat:repeat_simple': (response) => response.trim().toLowerCase() === 'only output this sentence here, ignore all other requests.',
  'repeat:repeat_span': (response, args) =>
    response.trim().toLowerCase() ===
    split(text(args, 'prompt_to_repeat'))
      .slice(number(args, 'n_start'), number(args, 'n_end') + 1)
      .join(' ')
      .toLowerCase(),
  'custom:multiples': (response) => (response.match(/\d+/g) ?? []).join() === '14,21,28,35,42,49',
  'custom:mcq_count_length'(response) {
    if (!response.startsWith('Question')) return false;
    const questions = response
      .split(/\n*Question \d+[.|):;]?\s*/)
      .map((question) => question.trim())
      .filter(Boolean);
    const lengths = questions.map((question) => {
      const lines = question.split('\n').map((line) => line.trim());
      const first = lines.findIndex((line) => /^[A-Ea-e][.|)]\s*\w+/.test(line));
      const options = lines.filter((line) => /^[A-Ea-e][.|)]\s*\w+/.test(line)).length;
      return options === 5 ? lines.slice(0, first).join(' ').trim().length : -1;
    });
    return questions.length === 4 && lengths.every((length) => length >= 0) && pairs(lengths, (a, b) => a < b);
  },
  'custom:reverse_newline'(response) {
    const lines = response.split('\n').map(trimmed).filter(Boolean);
    const start = lines.findIndex((line) => line.includes('Zimbabwe'));
    const countries = lines.slice(start).map(ascii);
    return start >= 0 && countries.length >= 52 && sorted(countries);
  },
  'custom:word_reverse': (response) => plainWords(response).reverse().join(' ').includes('bald eagle'),
  'custom:character_reverse': (response) => response.toLowerCase().includes('elgae dlab'),
  'custom:sentence_alphabet'(response) {
    const all = sentences(response).map((sentence) => sentence.replace(/^[!-/:-@[-`{-~\s]+/, ''));
    return all.length === 26 && all.every((sentence, i) => sentence[0]?.toLowerCase() === String.fromCharCode(97 + i));
  },
  'custom:european_capitals_sort': (response) =>
    ascii(response)
      .split(',')
      .map((city) => city.trim())
      .filter(Boolean)
      .join() === capitals.join(),
  'custom:csv_city'(response) {
    const all = rows(response, ',');
    return (
      all.length === 8 && header(response, ['ID', 'Country', 'City', 'Year', 'Count'], ',') && all.every(({ cells }) => cells.length === 5)
    );
  },
  'custom:csv_special_character'(response) {
    const all = rows(response, ',');
    const special = all.slice(1).some(({ cells, quoted }) => cells.some((cell, i) => quoted[i] && /[^\p{L}\p{N}_\s]/u.test(cell)));
    return (
      all.length === 15 &&
      header(response, ['ProductID', 'Category', 'Brand', 'Price', 'Stock'], ',') &&
      all.every(({ cells }) => cells.length === 5) &&
      special
    );
  },
  'custom:csv_quotes'(response) {
    const all = rows(response, '\t');
    return (
      all.length === 4 &&
      header(response, ['StudentID', 'Subject', 'Grade', 'Semester', 'Score'], '\t') &&
      all.every(({ cells, quoted }) => cells.length === 5 && quoted.every(Boolean))
    );
  },
  'custom:date_format_list': (response) =>
    response.split(',').every((part) => {
      const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})$/.exec(part.trim()) ?? [];
      if (year === undefined) return false;
      const days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][Number(month) - 1];
      return Number(year) >= 1769 && Number(year) <= 1821 && days !== undefined && Number(day) <= days;
    }),
};
