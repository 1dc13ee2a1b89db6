/** A made-up world whose names say nothing of a language: towns with mayors, persons with clubs, and what can be asked of them. */
import type { Rng } from '@plumbline/core';
import { type Split, splitOf } from '../maths/problem.js';
import type { Fact, Month, Question, Span } from './types.js';

export type WorldOptions = {
  towns?: number;
  persons?: number;
  clubs?: number;
  rivers?: number;
  countries?: number;
  years?: readonly [number, number];
};
export type World = {
  towns: readonly string[];
  persons: readonly string[];
  clubs: readonly string[];
  rivers: readonly string[];
  countries: readonly string[];
  facts: readonly Fact[];
};

/**
 * A world of 40 towns, 120 persons, 24 clubs, 20 rivers and 8 countries unless said, from 1900 to 2019. Each town had three to six mayors, one after another without gap, and each person played for three to
 * six clubs in turn; no one comes back to where they were, so that "after whom" has one answer. Names are made of syllables and are all different.
 *
 * @throws RangeError where there are too few persons or clubs for six in turn, or no years
 */
export function makeWorld(rng: Rng, options: WorldOptions = {}): World {
  const { towns = 40, persons = 120, clubs = 24, rivers = 20, countries = 8, years = [1900, 2019] } = options;
  for (const [
    name,
    count,
    least,
  ] of [['towns', towns, 1], ['persons', persons, 6], ['clubs', clubs, 6], ['rivers', rivers, 1], ['countries', countries, 1]] as const) // biome-ignore format: five counts
    if (!(Number.isInteger(count) && count >= least))
      throw new RangeError(`makeWorld: ${name} must be a whole number from ${least} on, got ${count}`);
  if (!(years[1] - years[0] >= 10)) throw new RangeError(`makeWorld: years must span 10 at least, got ${years[0]} to ${years[1]}`);
  const name = namesFrom(rng.fork('names'));
  const list = (count: number, make: () => string) => Array.from({ length: count }, make);
  const places = list(towns, () => name(3));
  const people = list(persons, () => `${name(2)} ${name(2)}`);
  const teams = list(clubs, () => name(2));
  const streams = list(rivers, () => name(3));
  const lands = list(countries, () => name(4));
  const draws = rng.fork('facts');
  const [first, last] = [12 * years[0], 12 * years[1] + 11];
  /** Three to six in turn, over a stretch of 8 to 40 years. */
  const spans = (among: readonly string[], stream: Rng): { who: string; from: Month; to: Month }[] => {
    const count = 3 + stream.below(4);
    const length = Math.min(last - first + 1, 12 * (8 + stream.below(33)));
    const start = first + stream.below(last - first + 2 - length);
    const cuts = [...stream.permutation(length - 1).subarray(0, count - 1)].map((cut) => start + cut + 1).sort((a, b) => a - b);
    const who = stream.permutation(among.length);
    return Array.from({ length: count }, (_, i) => ({
      who: among[who[i]],
      from: i === 0 ? start : cuts[i - 1],
      to: i === count - 1 ? start + length - 1 : cuts[i] - 1,
    }));
  };
  const facts: Fact[] = [
    ...places.flatMap((town) =>
      spans(people, draws.fork('mayor', town)).map(({ who, from, to }): Fact => ({ kind: 'mayor', town, person: who, from, to })),
    ),
    ...people.flatMap((person) =>
      spans(teams, draws.fork('team', person)).map(({ who, from, to }): Fact => ({ kind: 'team', person, club: who, from, to })),
    ),
    ...places.flatMap((town, i): Fact[] => {
      const stream = draws.fork('town', town);
      return [
        { kind: 'opened', town, at: first + stream.below(last - first + 1) },
        { kind: 'founded', town, year: 1100 + stream.below(700) },
        { kind: 'located', town, country: lands[i % countries] },
      ];
    }),
    ...lands.slice(0, towns).map((country, i): Fact => ({ kind: 'capital', country, town: places[i] })),
    ...streams.map((river): Fact => ({ kind: 'river', river, kilometres: 40 + draws.fork('river', river).below(1900) })),
  ];
  return { towns: places, persons: people, clubs: teams, rivers: streams, countries: lands, facts };
}

/** New names of so many syllables. */
function namesFrom(rng: Rng): (syllables: number) => string {
  const taken = new Set<string>();
  return (syllables) => {
    for (let tries = 0; tries < 1000; tries++) {
      const name =
        Array.from({ length: syllables }, () => onsets[rng.below(onsets.length)] + nuclei[rng.below(nuclei.length)]).join('') +
        codas[rng.below(codas.length)];
      if (taken.has(name)) continue;
      taken.add(name);
      return name[0].toUpperCase() + name.slice(1);
    }
    throw new RangeError(`makeWorld: there are no more names of ${syllables} syllables`);
  };
}
const onsets = ['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z', 'br', 'dr', 'kr', 'st', 'tr', 'vl'];
const nuclei = ['a', 'e', 'i', 'o', 'u'];
const codas = ['', 'k', 'l', 'm', 'n', 'r', 's', 't'];

/** What a fact or a question is about: splits go by it, so that no subject of a test is trained on. */
export function subjectOf(x: Fact | Question): string {
  if (x.kind === 'date') return `date ${x.from} ${x.direction} ${x.years} ${x.months}`;
  if ('fact' in x) return subjectOf(x.fact);
  switch (x.kind) {
    case 'team':
      return x.person;
    case 'capital':
      return x.country;
    case 'river':
      return x.river;
    case 'mayor':
    case 'opened':
    case 'founded':
    case 'located':
      return x.town;
  }
}
export const splitOfQuestion = (x: Fact | Question): Split => splitOf({ key: subjectOf(x) });

/**
 * A question of a level: 1 arithmetic of dates (up to 9 years and 11 months), 2 who or what at a time, 3 who or what after another, 0 a fact by itself.
 *
 * @param split only of subjects of that side
 * @throws RangeError where the world has none of it
 */
export function drawQuestion(world: World, rng: Rng, { level, split }: { level: Question['level']; split?: Split }): Question {
  const fits = (question: Question) => split === undefined || splitOfQuestion(question) === split;
  const candidates =
    level === 1 ? [] : world.facts.filter((fact) => isSpan(fact) === level > 0 && (split === undefined || splitOfQuestion(fact) === split));
  for (let tries = 0; tries < 1000; tries++) {
    const question =
      level === 1
        ? dateQuestion(rng)
        : candidates.length > 0
          ? factQuestion(world, candidates[rng.below(candidates.length)], level, rng)
          : undefined;
    if (question && fits(question)) return question;
  }
  throw new RangeError(`drawQuestion: the world has no question of level ${level}${split ? ` in the split ${split}` : ''}`);
}

const isSpan = (fact: Fact): fact is Span => fact.kind === 'mayor' || fact.kind === 'team';

function dateQuestion(rng: Rng): Question {
  return {
    kind: 'date',
    level: 1,
    from: 12 * (1920 + rng.below(90)) + rng.below(12),
    years: 1 + rng.below(9),
    months: 1 + rng.below(11),
    direction: rng.below(2) === 0 ? 'after' : 'before',
  };
}

function factQuestion(world: World, fact: Fact, level: Question['level'], rng: Rng): Question | undefined {
  if (!isSpan(fact)) return { kind: 'plain', level: 0, fact };
  if (level === 2) return { kind: 'at', level, at: fact.from + rng.below(fact.to - fact.from + 1), fact };
  const next = world.facts.find(
    (other): other is Span => other.kind === fact.kind && subjectOf(other) === subjectOf(fact) && other.from === fact.to + 1,
  );
  return next && { kind: 'after', level: 3, before: fact, fact: next };
}
