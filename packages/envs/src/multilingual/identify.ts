/** Which of the bed's languages a text is in: by its script where one language alone is written so, else by runs of three letters as the bed's own sentences have them. */
import { type Candidate, type RewardFunction, textOf } from '@plumbline/data';
import { type BedLanguage, languageTexts, renderFact, renderQuestion, renderTrace, textsIn } from './render.js';
import type { Fact, LanguageTexts, Question, Span } from './types.js';

export type BedLanguageOptions = {
  /** Those in question: all of the bed's. */
  candidates?: readonly BedLanguage[];
  /** Fewer Latin letters than this are no language where several candidates are written so: 10. */
  minLetters?: number;
};

/**
 * The language of a sentence, or '' where it cannot be told: no letters, a script that none of `candidates` is written in, or fewer than `minLetters` letters of one that several are written in.
 * Between those, naive Bayes over runs of three letters, add-one smoothed, that the bed's sentences have taught; a seventh language in Latin letters is taken for the nearest of the six.
 *
 * @returns `confidence`: 1 where the script decides, else the probability of the language among the candidates
 * @throws RangeError for a candidate that is none of the bed's
 */
export function bedLanguageOf(
  text: string,
  { candidates = Object.keys(languageTexts) as BedLanguage[], minLetters = 10 }: BedLanguageOptions = {},
): { language: BedLanguage | ''; confidence: number } {
  const script = scriptOf(text);
  const written = candidates.filter((code) => textsIn(code).script === script);
  if (written.length === 1) return { language: written[0], confidence: 1 };
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  if (written.length === 0 || letters < minLetters) return { language: '', confidence: 0 };
  const runs = runsOf(text);
  const scores = written.map((code) => {
    const { counts, total } = runCounts(code);
    return runs.reduce((sum, run) => sum + Math.log(((counts.get(run) ?? 0) + 1) / (total + distinctRuns)), 0);
  });
  const best = Math.max(...scores);
  return { language: written[scores.indexOf(best)], confidence: 1 / scores.reduce((sum, score) => sum + Math.exp(score - best), 0) };
}

/** How many of a text's sentences are in `language`, among those whose language can be told. Sentences end at `.`, `!`, `?`, `।`, `。` and a line's end (Thai: at a line's end alone). */
export function bedLanguageShare(
  text: string,
  language: BedLanguage,
  options: BedLanguageOptions = {},
): { matching: number; total: number; share: number } {
  textsIn(language); // there is one
  const found = text
    .split(/(?<=[.!?।])\s+|(?<=[。！？])|\n+/u)
    .map((sentence) => bedLanguageOf(sentence, options).language)
    .filter((code) => code !== '');
  const matching = found.filter((code) => code === language).length;
  return { matching, total: found.length, share: found.length === 0 ? 0 : matching / found.length };
}

/**
 * That share as a reward: whether a completion stays in the language of its question, whatever it says. The language stands under `column` of each candidate's `meta`; a text of which no sentence can be told
 * is abstained from.
 *
 * @throws RangeError for a candidate without a language of the bed's
 */
export function bedLanguageReward({ column = 'language', ...options }: { column?: string } & BedLanguageOptions = {}): RewardFunction {
  const shareOf = ({ completion, meta }: Candidate, i: number) => {
    const language = meta?.[column];
    if (typeof language !== 'string' || !Object.hasOwn(languageTexts, language))
      throw new RangeError(
        `bedLanguageReward: candidate ${i} has "${String(language)}" under "${column}" of its meta, no language of the bed`,
      );
    return bedLanguageShare(textOf(completion), language as BedLanguage, options);
  };
  return {
    name: 'bed language',
    async score(batch) {
      const shares = batch.map(shareOf);
      return {
        scores: Float32Array.from(shares, ({ share }) => share),
        abstained: Uint8Array.from(shares, ({ total }) => Number(total === 0)),
      };
    },
  };
}

const scripts: Record<LanguageTexts['script'], RegExp> = {
  Latin: /\p{Script=Latin}/gu,
  Devanagari: /\p{Script=Devanagari}/gu,
  Japanese: /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}ー]/gu,
  Thai: /\p{Script=Thai}/gu,
};

/** The script of more than half of the letters. Words with a Latin capital count only where there are no others, since names are written so in every language. */
function scriptOf(text: string): LanguageTexts['script'] | undefined {
  const unnamed = text.replace(/\p{Lu}[\p{Script=Latin}\p{M}]*/gu, ' ');
  const counted = /\p{L}/u.test(unnamed) ? unnamed : text;
  const count = (letter: RegExp) => counted.match(letter)?.length ?? 0;
  const half = count(/[\p{L}\p{M}]/gu) / 2;
  return (Object.keys(scripts) as LanguageTexts['script'][]).find((script) => count(scripts[script]) > half);
}

/** The runs of three letters of each word, which a space begins and ends. */
const runsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .normalize('NFC')
    .split(/[^\p{L}\p{M}]+/u)
    .filter((word) => word !== '')
    .flatMap((word) => {
      const letters = [' ', ...word, ' '];
      return letters.slice(2).map((_, i) => letters.slice(i, i + 3).join(''));
    });

/** Roughly how many runs there are in a language: what add-one smoothing spreads over. */
const distinctRuns = 5000;
const learned = new Map<BedLanguage, { counts: Map<string, number>; total: number }>();

/** Runs of all kinds of sentences of the bed, without names. */
function runCounts(language: BedLanguage): { counts: Map<string, number>; total: number } {
  const known = learned.get(language);
  if (known) return known;
  const counts = new Map<string, number>();
  const runs = sentences(language).flatMap(runsOf);
  for (const run of runs) counts.set(run, (counts.get(run) ?? 0) + 1);
  const made = { counts, total: runs.length };
  learned.set(language, made);
  return made;
}

/** Each kind of fact, question and trace, with each month. */
function sentences(language: BedLanguage): string[] {
  return textsIn(language).months.flatMap((_, month) => {
    const mayor: Span = { kind: 'mayor', town: '', person: '', from: month, to: month };
    const team: Span = { kind: 'team', person: '', club: '', from: month, to: month };
    const facts: Exclude<Fact, Span>[] = [
      { kind: 'opened', town: '', at: month },
      { kind: 'founded', town: '', year: 1 },
      { kind: 'capital', country: '', town: '' },
      { kind: 'river', river: '', kilometres: 100 },
      { kind: 'located', town: '', country: '' },
    ];
    const questions: Question[] = [
      ...(['after', 'before'] as const).map(
        (direction): Question => ({ kind: 'date', level: 1, from: month + 12, years: (month % 2) + 1, months: (month % 2) + 1, direction }),
      ),
      ...[mayor, team].flatMap((fact): Question[] => [
        { kind: 'at', level: 2, at: month, fact },
        { kind: 'after', level: 3, before: fact, fact },
      ]),
      ...facts.map((fact): Question => ({ kind: 'plain', level: 0, fact })),
    ];
    return [
      ...[mayor, team, ...facts].map((fact) => renderFact(fact, language)),
      ...questions.flatMap((question) => [renderQuestion(question, language), ...renderTrace(question, language)]),
    ];
  });
}
