/** Facts, questions, traces and answers of the multilingual bed in each language, and whether an answer is right. */
import type { Rng } from '@plumbline/core';
import { type Candidate, type RewardFunction, textOf } from '@plumbline/data';
import { de } from './lang/de.js';
import { en } from './lang/en.js';
import { es } from './lang/es.js';
import { fr } from './lang/fr.js';
import { hi } from './lang/hi.js';
import { ja } from './lang/ja.js';
import { ro } from './lang/ro.js';
import { sw } from './lang/sw.js';
import { th } from './lang/th.js';
import type { Fact, LanguageTexts, Month, Question } from './types.js';
import { subjectOf, type World } from './world.js';

export const languageTexts = { en, de, fr, es, ro, hi, ja, th, sw } as const;
export type BedLanguage = keyof typeof languageTexts;
/** How much of the text is in each language where nothing else is said: some have plenty, some little, and hi, ja, th and sw none. */
export const languageShares: Readonly<Partial<Record<BedLanguage, number>>> = { en: 0.6, de: 0.14, fr: 0.14, es: 0.08, ro: 0.04 };

/** A language by its share. */
export function drawLanguage(rng: Rng, shares: Partial<Record<BedLanguage, number>> = languageShares): BedLanguage {
  const codes = Object.keys(shares) as BedLanguage[];
  return codes[rng.categorical(codes.map((code) => shares[code] ?? 0))];
}

/** @throws RangeError for a language that there is not */
export function textsIn(language: BedLanguage): LanguageTexts {
  if (!Object.hasOwn(languageTexts, language))
    throw new RangeError(`multilingual: there is no language "${language}"; there are ${Object.keys(languageTexts).join(', ')}`);
  return languageTexts[language];
}

export function renderDate(month: Month, language: BedLanguage): string {
  const { months, date } = textsIn(language);
  return date(months[month % 12], Math.floor(month / 12));
}

export function renderFact(fact: Fact, language: BedLanguage): string {
  const { fact: texts } = textsIn(language);
  const when = (month: Month) => renderDate(month, language);
  switch (fact.kind) {
    case 'mayor':
      return texts.mayor({ ...fact, from: when(fact.from), to: when(fact.to) });
    case 'team':
      return texts.team({ ...fact, from: when(fact.from), to: when(fact.to) });
    case 'opened':
      return texts.opened({ ...fact, at: when(fact.at) });
    case 'founded':
      return texts.founded(fact);
    case 'capital':
      return texts.capital(fact);
    case 'river':
      return texts.river(fact);
    case 'located':
      return texts.located(fact);
  }
}

export function renderQuestion(question: Question, language: BedLanguage): string {
  const { ask } = textsIn(language);
  switch (question.kind) {
    case 'date':
      return ask.date[question.direction]({ a: question.years, b: question.months, d: renderDate(question.from, language) });
    case 'at':
      return question.fact.kind === 'mayor'
        ? ask.mayorAt({ town: question.fact.town, d: renderDate(question.at, language) })
        : ask.teamAt({ person: question.fact.person, d: renderDate(question.at, language) });
    case 'after':
      return question.before.kind === 'mayor'
        ? ask.mayorAfter({ town: question.before.town, person: question.before.person })
        : ask.teamAfter({ person: question.before.person, club: question.before.club });
    case 'plain':
      return (ask[question.fact.kind] as (fact: Fact) => string)(question.fact);
  }
}

/** Months from one date to another. */
const shiftOf = ({ years, months, direction }: Extract<Question, { kind: 'date' }>) =>
  (direction === 'after' ? 1 : -1) * (12 * years + months);

/** The answer: a name, which is the same in every language, or a date, a year or a length as the language writes it. */
export function answerOf(question: Question, language: BedLanguage): string {
  if (question.kind === 'date') return renderDate(question.from + shiftOf(question), language);
  const { fact } = question;
  switch (fact.kind) {
    case 'mayor':
      return fact.person;
    case 'team':
      return fact.club;
    case 'opened':
      return renderDate(fact.at, language);
    case 'founded':
      return textsIn(language).year(fact.year);
    case 'capital':
      return fact.town;
    case 'river':
      return textsIn(language).kilometres(fact.kilometres);
    case 'located':
      return fact.country;
  }
}

/** One to three sentences of reasoning, then the sentence with the answer. */
export function renderTrace(question: Question, language: BedLanguage): string[] {
  const { think, answer } = textsIn(language);
  const when = (month: Month) => renderDate(month, language);
  const end = answer(answerOf(question, language));
  switch (question.kind) {
    case 'date': {
      const { from, years, months, direction } = question;
      const middle = from + (direction === 'after' ? 12 : -12) * years;
      return [
        think.years[direction]({ n: years, d: when(from), to: when(middle) }),
        think.months[direction]({ n: months, d: when(middle), to: when(from + shiftOf(question)) }),
        end,
      ];
    }
    case 'at':
      return [
        renderFact(question.fact, language),
        think.within({ d: when(question.at), from: when(question.fact.from), to: when(question.fact.to) }),
        end,
      ];
    case 'after': {
      const named = (fact: Fact) => (fact.kind === 'mayor' ? fact.person : fact.kind === 'team' ? fact.club : '');
      return [
        renderFact(question.before, language),
        renderFact(question.fact, language),
        think.next({ before: named(question.before), next: named(question.fact) }),
        end,
      ];
    }
    case 'plain':
      return [renderFact(question.fact, language), end];
  }
}

/**
 * What a model is asked. With a world the facts that the question needs stand before it, in random order among `distractors` others of the same kind (4 unless given); without, it must know them.
 */
export function multilingualPrompt(
  question: Question,
  language: BedLanguage,
  open?: { world: World; rng: Rng; distractors?: number },
): string {
  const asked = `${renderQuestion(question, language)}\n`;
  if (!open || question.kind === 'date') return asked;
  const { world, rng, distractors = 4 } = open;
  const needed: Fact[] = question.kind === 'after' ? [question.before, question.fact] : [question.fact];
  const others = world.facts.filter((fact) => fact.kind === question.fact.kind && subjectOf(fact) !== subjectOf(question));
  const drawn = [...rng.permutation(others.length).subarray(0, distractors)].map((i) => others[i]);
  const facts = [...needed, ...drawn];
  return `${[...rng.permutation(facts.length)].map((i) => renderFact(facts[i], language)).join('\n')}\n${asked}`;
}

/** What the last answering sentence of a text gives, up to its end or the line's, in any of `languages` (all unless given); null where there is none. */
export function answerIn(
  text: string,
  languages: readonly BedLanguage[] = Object.keys(languageTexts) as BedLanguage[],
): { answer: string; language: BedLanguage } | null {
  let found: { answer: string; language: BedLanguage; at: number } | null = null;
  for (const language of languages) {
    const last = [...text.normalize('NFKC').matchAll(answerPattern(language))].at(-1);
    if (!last || (found && last.index < found.at)) continue;
    found = { answer: last[1].replace(/^[\s*"]+|[\s*"]+$/g, ''), language, at: last.index };
  }
  return found && { answer: found.answer, language: found.language };
}

/** Finds answering sentences, the answer in the first group; the full stop may be missing. */
function answerPattern(language: BedLanguage): RegExp {
  const [before, after] = textsIn(language).answer('\n').normalize('NFKC').split('\n');
  const verb = after.replace(/[.।。]$/u, '').trim(); // Hindi and Japanese end with it
  const stop = verb || (after === '' ? '' : '\\.');
  return new RegExp(`${before.trim()}(.*?)(?:${stop && `${stop}(?![\\d\\p{L}\\p{M}])|`}$)`, 'gimu');
}

/** Whether a text's last answer is right: a name in any language, a date as the language of the answering sentence writes it, a year or a length by its number. */
export function verifyMultilingual(question: Question, text: string): boolean {
  const found = answerIn(text);
  if (!found) return false;
  const right = answerOf(question, found.language).normalize('NFKC');
  const counted = question.kind === 'plain' && (question.fact.kind === 'founded' || question.fact.kind === 'river');
  return counted ? numberIn(found.answer) === numberIn(right) : found.answer.toLowerCase() === right.toLowerCase();
}

/** The one whole number of a text, with or without separated thousands; null where there is none or another. */
function numberIn(text: string): string | null {
  const numbers = text.replace(/(?<=\d)[., ](?=\d{3}(?!\d))/g, '').match(/\d+/g);
  return numbers?.length === 1 ? numbers[0] : null;
}

const questionKinds: readonly Question['kind'][] = ['date', 'at', 'after', 'plain'];

/** That as a reward. The question stands under `column` of each candidate's `meta`. @throws RangeError for a candidate without one */
export function multilingualReward({ column = 'question' } = {}): RewardFunction {
  const score = ({ completion, meta }: Candidate, i: number) => {
    const question = meta?.[column] as Question | undefined;
    if (!question || !questionKinds.includes(question.kind))
      throw new RangeError(`multilingualReward: candidate ${i} has no question under "${column}" of its meta`);
    return Number(verifyMultilingual(question, textOf(completion)));
  };
  return { name: 'multilingual answer', score: async (batch) => ({ scores: Float32Array.from(batch, score) }) };
}
