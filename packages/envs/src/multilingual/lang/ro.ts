import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n} ${n === 1 ? 'an' : 'ani'}`;
const months = (n: number) => `${n} ${n === 1 ? 'lună' : 'luni'}`;

/** 105 kilometri, but 120 de kilometri: numbers that end in 01 to 19 go without. */
const kilometri = (n: number) => `${n} ${n % 100 > 0 && n % 100 < 20 ? '' : 'de '}kilometri`;

export const ro: LanguageTexts = {
  name: 'română',
  script: 'Latin',
  months: [
    'ianuarie',
    'februarie',
    'martie',
    'aprilie',
    'mai',
    'iunie',
    'iulie',
    'august',
    'septembrie',
    'octombrie',
    'noiembrie',
    'decembrie',
  ],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} a condus primăria din ${town} din ${from} până în ${to}.`,
    team: ({ person, club, from, to }) => `${person} a jucat pentru ${club} din ${from} până în ${to}.`,
    opened: ({ town, at }) => `Muzeul din ${town} a fost deschis în ${at}.`,
    founded: ({ town, year }) => `Orașul ${town} a fost fondat în anul ${year}.`,
    capital: ({ country, town }) => `Capitala țării ${country} este orașul ${town}.`,
    river: ({ river, kilometres }) => `Râul ${river} are o lungime de ${kilometri(kilometres)}.`,
    located: ({ town, country }) => `Orașul ${town} se află în țara ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `Care este data la ${years(a)} și ${months(b)} după ${d}?`,
      before: ({ a, b, d }) => `Care este data cu ${years(a)} și ${months(b)} înainte de ${d}?`,
    },
    mayorAt: ({ town, d }) => `Cine conducea primăria din ${town} în ${d}?`,
    mayorAfter: ({ town, person }) => `Cine a condus primăria din ${town} după ${person}?`,
    teamAt: ({ person, d }) => `Pentru ce club juca ${person} în ${d}?`,
    teamAfter: ({ person, club }) => `Pentru ce club a jucat ${person} după ${club}?`,
    opened: ({ town }) => `Când a fost deschis muzeul din ${town}?`,
    founded: ({ town }) => `În ce an a fost fondat orașul ${town}?`,
    capital: ({ country }) => `Care este capitala țării ${country}?`,
    river: ({ river }) => `Ce lungime are râul ${river}?`,
    located: ({ town }) => `În ce țară se află orașul ${town}?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `Data la ${years(n)} după ${d} este ${to}.`,
      before: ({ n, d, to }) => `Data cu ${years(n)} înainte de ${d} este ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `Data la ${months(n)} după ${d} este ${to}.`,
      before: ({ n, d, to }) => `Data cu ${months(n)} înainte de ${d} este ${to}.`,
    },
    within: ({ d, from, to }) => `Luna ${d} se află în perioada din ${from} până în ${to}.`,
    next: ({ before, next }) => `Imediat după ${before} a urmat ${next}.`,
  },
  answer: (x) => `Deci răspunsul corect este ${x}.`,
  year: (n) => `${n}`,
  kilometres: kilometri,
};
