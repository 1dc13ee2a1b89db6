import type { LanguageTexts } from '../types.js';

export const ro: LanguageTexts = {
  name: 'română',
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
    river: ({ river, kilometres }) => `Râul ${river} are o lungime de ${kilometres} de kilometri.`,
    located: ({ town, country }) => `Orașul ${town} se află în țara ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `Care este data la ${a} ani și ${b} luni după ${d}?`,
      before: ({ a, b, d }) => `Care este data cu ${a} ani și ${b} luni înainte de ${d}?`,
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
      after: ({ n, d, to }) => `Data la ${n} ani după ${d} este ${to}.`,
      before: ({ n, d, to }) => `Data cu ${n} ani înainte de ${d} este ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `Data la ${n} luni după ${d} este ${to}.`,
      before: ({ n, d, to }) => `Data cu ${n} luni înainte de ${d} este ${to}.`,
    },
    within: ({ d, from, to }) => `Luna ${d} se află în perioada din ${from} până în ${to}.`,
    next: ({ before, next }) => `Imediat după ${before} a urmat ${next}.`,
  },
  answer: (x) => `Deci răspunsul corect este ${x}.`,
  kilometres: (n) => `${n} de kilometri`,
};
