import type { LanguageTexts } from '../types.js';

/** Verbs are chosen so that they agree with a thing and not with a person: names here have no gender. */
export const hi: LanguageTexts = {
  name: 'हिन्दी',
  script: 'Devanagari',
  months: ['जनवरी', 'फ़रवरी', 'मार्च', 'अप्रैल', 'मई', 'जून', 'जुलाई', 'अगस्त', 'सितंबर', 'अक्टूबर', 'नवंबर', 'दिसंबर'],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} ने ${from} से ${to} तक ${town} के मेयर का पद सँभाला।`,
    team: ({ person, club, from, to }) => `${person} ने ${from} से ${to} तक ${club} क्लब की ओर से खेला।`,
    opened: ({ town, at }) => `${town} का संग्रहालय ${at} में खुला।`,
    founded: ({ town, year }) => `${town} शहर की स्थापना सन् ${year} में हुई थी।`,
    capital: ({ country, town }) => `${country} देश की राजधानी ${town} शहर है।`,
    river: ({ river, kilometres }) => `${river} नदी ${kilometres} किलोमीटर लंबी है।`,
    located: ({ town, country }) => `${town} शहर ${country} देश में स्थित है।`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `${d} के ${a} साल और ${b} महीने बाद कौन-सा महीना और साल होगा?`,
      before: ({ a, b, d }) => `${d} से ${a} साल और ${b} महीने पहले कौन-सा महीना और साल था?`,
    },
    mayorAt: ({ town, d }) => `${d} में ${town} के मेयर का पद किसके पास था?`,
    mayorAfter: ({ town, person }) => `${person} के बाद ${town} के मेयर का पद किसने सँभाला?`,
    teamAt: ({ person, d }) => `${d} में ${person} ने किस क्लब की ओर से खेला?`,
    teamAfter: ({ person, club }) => `${club} क्लब के बाद ${person} ने किस क्लब की ओर से खेला?`,
    opened: ({ town }) => `${town} का संग्रहालय कब खुला?`,
    founded: ({ town }) => `${town} शहर की स्थापना किस साल हुई थी?`,
    capital: ({ country }) => `${country} देश की राजधानी कौन-सा शहर है?`,
    river: ({ river }) => `${river} नदी कितनी लंबी है?`,
    located: ({ town }) => `${town} शहर किस देश में स्थित है?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `${d} के ${n} साल बाद का समय ${to} है।`,
      before: ({ n, d, to }) => `${d} से ${n} साल पहले का समय ${to} है।`,
    },
    months: {
      after: ({ n, d, to }) => `${d} के ${n} महीने बाद का समय ${to} है।`,
      before: ({ n, d, to }) => `${d} से ${n} महीने पहले का समय ${to} है।`,
    },
    within: ({ d, from, to }) => `${d} का महीना ${from} से ${to} तक की अवधि में आता है।`,
    next: ({ before, next }) => `${before} के ठीक बाद ${next} की बारी आई।`,
  },
  answer: (x) => `इसलिए सही उत्तर ${x} है।`,
  year: (n) => `${n}`,
  kilometres: (n) => `${n} किलोमीटर`,
};
