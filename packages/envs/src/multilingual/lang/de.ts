import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n} ${n === 1 ? 'Jahr' : 'Jahre'}`;
const months = (n: number) => `${n} ${n === 1 ? 'Monat' : 'Monate'}`;

export const de: LanguageTexts = {
  name: 'Deutsch',
  script: 'Latin',
  months: ['Januar', 'Februar', 'März', 'April', 'Mai', 'Juni', 'Juli', 'August', 'September', 'Oktober', 'November', 'Dezember'],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} war von ${from} bis ${to} im Amt des Bürgermeisters von ${town}.`,
    team: ({ person, club, from, to }) => `${person} spielte von ${from} bis ${to} für ${club}.`,
    opened: ({ town, at }) => `Das Museum von ${town} wurde im ${at} eröffnet.`,
    founded: ({ town, year }) => `Die Stadt ${town} wurde im Jahr ${year} gegründet.`,
    capital: ({ country, town }) => `Die Hauptstadt von ${country} ist die Stadt ${town}.`,
    river: ({ river, kilometres }) => `Der Fluss ${river} ist ${kilometres} Kilometer lang.`,
    located: ({ town, country }) => `Die Stadt ${town} liegt in dem Land ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `Welcher Zeitpunkt liegt ${years(a)} und ${months(b)} nach ${d}?`,
      before: ({ a, b, d }) => `Welcher Zeitpunkt liegt ${years(a)} und ${months(b)} vor ${d}?`,
    },
    mayorAt: ({ town, d }) => `Wer war im ${d} im Amt des Bürgermeisters von ${town}?`,
    mayorAfter: ({ town, person }) => `Wer war nach ${person} im Amt des Bürgermeisters von ${town}?`,
    teamAt: ({ person, d }) => `Für welchen Verein spielte ${person} im ${d}?`,
    teamAfter: ({ person, club }) => `Für welchen Verein spielte ${person} nach ${club}?`,
    opened: ({ town }) => `Wann wurde das Museum von ${town} eröffnet?`,
    founded: ({ town }) => `In welchem Jahr wurde die Stadt ${town} gegründet?`,
    capital: ({ country }) => `Welche Stadt ist die Hauptstadt von ${country}?`,
    river: ({ river }) => `Wie lang ist der Fluss ${river}?`,
    located: ({ town }) => `In welchem Land liegt die Stadt ${town}?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `Der Zeitpunkt ${years(n)} nach ${d} ist ${to}.`,
      before: ({ n, d, to }) => `Der Zeitpunkt ${years(n)} vor ${d} ist ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `Der Zeitpunkt ${months(n)} nach ${d} ist ${to}.`,
      before: ({ n, d, to }) => `Der Zeitpunkt ${months(n)} vor ${d} ist ${to}.`,
    },
    within: ({ d, from, to }) => `Der Monat ${d} liegt in der Zeit von ${from} bis ${to}.`,
    next: ({ before, next }) => `Unmittelbar auf ${before} folgte ${next}.`,
  },
  answer: (x) => `Die richtige Antwort ist also ${x}.`,
  year: (n) => `${n}`,
  kilometres: (n) => `${n} Kilometer`,
};
