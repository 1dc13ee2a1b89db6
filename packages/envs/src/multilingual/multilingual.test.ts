import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import {
  answerIn,
  answerOf,
  type BedLanguage,
  drawLanguage,
  drawQuestion,
  languageTexts,
  makeWorld,
  multilingualPrompt,
  multilingualReward,
  type Question,
  renderDate,
  renderFact,
  renderQuestion,
  renderTrace,
  type Span,
  splitOfQuestion,
  subjectOf,
  verifyMultilingual,
} from './index.js';

const languages = Object.keys(languageTexts) as BedLanguage[];
const world = makeWorld(rng(0));
const questions = Array.from({ length: 200 }, (_, i) => drawQuestion(world, rng(i + 1), { level: (i % 4) as Question['level'] }));
const may2010 = 12 * 2010 + 4;
const dated = (from: number, years: number, months: number, direction: 'after' | 'before'): Question => ({
  kind: 'date',
  level: 1,
  from,
  years,
  months,
  direction,
});

describe('makeWorld', () => {
  it('is the same for a seed, and has the sizes asked for, every name once', () => {
    expect(makeWorld(rng(0))).toEqual(world);
    expect(makeWorld(rng(1))).not.toEqual(world);
    const names = [...world.towns, ...world.persons, ...world.clubs, ...world.rivers, ...world.countries];
    expect(names.length).toBe(40 + 120 + 24 + 20 + 8);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name) => /^[A-Za-z ]+$/.test(name))).toBe(true);
  });
  it('has three to six in turn, without gap or overlap, and no one twice', () => {
    for (const subject of [...world.towns, ...world.persons]) {
      const spans = world.facts.filter(
        (fact): fact is Span => (fact.kind === 'mayor' || fact.kind === 'team') && subjectOf(fact) === subject,
      );
      expect(spans.length).toBeGreaterThanOrEqual(3);
      expect(spans.length).toBeLessThanOrEqual(6);
      spans.forEach((span, i) => {
        expect(span.to).toBeGreaterThanOrEqual(span.from);
        if (i > 0) expect(span.from).toBe(spans[i - 1].to + 1);
      });
      expect(new Set(spans.map((span) => (span.kind === 'mayor' ? span.person : span.club))).size).toBe(spans.length);
    }
  });
  it('says what it cannot make', () => {
    expect(() => makeWorld(rng(0), { persons: 5 })).toThrow('persons must be a whole number from 6 on, got 5');
    expect(() => makeWorld(rng(0), { years: [2000, 2001] })).toThrow('years must span 10 at least');
  });
});

describe('questions', () => {
  it('count in months over years', () => {
    expect(answerOf(dated(may2010, 4, 5, 'after'), 'en')).toBe('October 2014');
    expect(answerOf(dated(12 * 1950 + 2, 2, 4, 'before'), 'en')).toBe('November 1947');
    expect(languages.map((language) => renderDate(may2010, language))).toEqual([
      'May 2010',
      'Mai 2010',
      'mai 2010',
      'mayo de 2010',
      'mai 2010',
    ]);
  });
  it('have the forms that are fixed', () => {
    const fact: Span = { kind: 'mayor', town: 'Velmora', person: 'Ada Rusk', from: may2010, to: may2010 + 13 };
    expect(languages.map((language) => renderFact(fact, language))).toEqual([
      'Ada Rusk was mayor of Velmora from May 2010 to June 2011.',
      'Ada Rusk war von Mai 2010 bis Juni 2011 im Amt des Bürgermeisters von Velmora.',
      'Ada Rusk a dirigé la mairie de Velmora de mai 2010 à juin 2011.',
      'Ada Rusk dirigió la alcaldía de Velmora desde mayo de 2010 hasta junio de 2011.',
      'Ada Rusk a condus primăria din Velmora din mai 2010 până în iunie 2011.',
    ]);
    expect(languages.map((language) => renderQuestion({ kind: 'at', level: 2, at: may2010, fact }, language))).toEqual([
      'Who was mayor of Velmora in May 2010?',
      'Wer war im Mai 2010 im Amt des Bürgermeisters von Velmora?',
      'Qui dirigeait la mairie de Velmora en mai 2010 ?',
      '¿Quién dirigía la alcaldía de Velmora en mayo de 2010?',
      'Cine conducea primăria din Velmora în mai 2010?',
    ]);
    expect(languages.map((language) => renderQuestion(dated(may2010, 4, 5, 'after'), language))).toEqual([
      'What is the time 4 years and 5 months after May 2010?',
      'Welcher Zeitpunkt liegt 4 Jahre und 5 Monate nach Mai 2010?',
      'Quelle est la date 4 ans et 5 mois après mai 2010 ?',
      '¿Qué fecha es 4 años y 5 meses después de mayo de 2010?',
      'Care este data la 4 ani și 5 luni după mai 2010?',
    ]);
  });
  it('have one answer in every language, and true traces that end with it', () => {
    for (const question of questions) {
      const named = question.kind !== 'date' && ['mayor', 'team', 'capital', 'located', 'founded'].includes(question.fact.kind);
      if (named) expect(new Set(languages.map((language) => answerOf(question, language))).size).toBe(1);
      for (const language of languages) {
        const trace = renderTrace(question, language);
        expect(trace.length).toBeGreaterThanOrEqual(2);
        expect(trace.length).toBeLessThanOrEqual(4);
        expect(answerIn(trace.join('\n'))).toEqual({ answer: answerOf(question, language), language });
        expect(verifyMultilingual(question, trace.join('\n'))).toBe(true);
      }
    }
  });
  it('agree with an evaluator of their own', () => {
    for (const question of questions) {
      if (question.kind === 'at') {
        const held = world.facts.filter(
          (fact) =>
            fact.kind === question.fact.kind &&
            subjectOf(fact) === subjectOf(question) &&
            'from' in fact &&
            fact.from <= question.at &&
            question.at <= fact.to,
        );
        expect(held).toEqual([question.fact]);
      }
      if (question.kind === 'after') expect(question.fact.from).toBe(question.before.to + 1);
      if (question.kind === 'date') {
        const [month, year] = renderDate(question.from, 'en').split(' ');
        const date = new Date(
          Date.UTC(
            Number(year),
            languageTexts.en.months.indexOf(month) + (question.direction === 'after' ? 1 : -1) * (12 * question.years + question.months),
            1,
          ),
        );
        expect(answerOf(question, 'en')).toBe(`${languageTexts.en.months[date.getUTCMonth()]} ${date.getUTCFullYear()}`);
      }
    }
  });
  it('are split by their subject, and each side has its own', () => {
    for (const split of ['train', 'validation', 'test'] as const)
      for (const level of [0, 1, 2, 3] as const) expect(splitOfQuestion(drawQuestion(world, rng(9), { level, split }))).toBe(split);
    const small = makeWorld(rng(0), { towns: 1, persons: 6 });
    const train = small.facts.filter((fact) => splitOfQuestion(fact) === 'train').length;
    expect(train).toBeGreaterThan(0);
    expect(() => drawQuestion({ ...small, facts: [] }, rng(0), { level: 2 })).toThrow('the world has no question of level 2');
  });
});

describe('prompts and answers', () => {
  it('hold the facts that are needed among others, or none', () => {
    for (const question of questions.filter(({ kind }) => kind === 'after').slice(0, 10)) {
      const prompt = multilingualPrompt(question, 'de', { world, rng: rng(0), distractors: 3 });
      expect(prompt.split('\n').length).toBe(2 + 3 + 2);
      if (question.kind === 'after') for (const fact of [question.before, question.fact]) expect(prompt).toContain(renderFact(fact, 'de'));
      expect(multilingualPrompt(question, 'de')).toBe(`${renderQuestion(question, 'de')}\n`);
    }
  });
  it('are right in another language than the question, and wrong where the last answer is', () => {
    const question = questions.find(({ kind }) => kind === 'at')!;
    const right = renderTrace(question, 'ro').at(-1)!;
    expect(verifyMultilingual(question, `Hmm. ${right}`)).toBe(true);
    expect(verifyMultilingual(question, `${right}\nSo the correct answer is Nobody.`)).toBe(false);
    expect(verifyMultilingual(question, 'I do not know.')).toBe(false);
    expect(answerIn('Die richtige Antwort ist also Mai 2010')).toEqual({ answer: 'Mai 2010', language: 'de' });
  });
  it('are a reward', async () => {
    const question = questions[0];
    const batch = languages.map((language) => ({
      prompt: renderQuestion(question, language),
      completion: renderTrace(question, language).join('\n'),
      meta: { question },
    }));
    const { scores } = await multilingualReward().score([...batch, { ...batch[0], completion: 'no' }], { rng: rng(0) });
    expect([...scores]).toEqual([1, 1, 1, 1, 1, 0]);
    await expect(multilingualReward().score([{ prompt: '', completion: '' }], { rng: rng(0) })).rejects.toThrow(
      'candidate 0 has no question under "question"',
    );
  });
  it('come in languages by their shares', () => {
    const stream = rng(0);
    const drawn = Array.from({ length: 5000 }, () => drawLanguage(stream));
    expect(drawn.filter((code) => code === 'en').length / 5000).toBeCloseTo(0.6, 1);
    expect(drawn.filter((code) => code === 'ro').length / 5000).toBeCloseTo(0.04, 1);
    expect(() => renderDate(0, 'xx' as 'en')).toThrow('there is no language "xx"; there are en, de, fr, es, ro');
  });
});
