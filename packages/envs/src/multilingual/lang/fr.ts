import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n} ${n === 1 ? 'an' : 'ans'}`;
const months = (n: number) => `${n} mois`;

/** d'avril, de mai. */
const de = (date: string) => (/^[ao]/.test(date) ? `d'${date}` : `de ${date}`);

export const fr: LanguageTexts = {
  name: 'français',
  script: 'Latin',
  months: ['janvier', 'février', 'mars', 'avril', 'mai', 'juin', 'juillet', 'août', 'septembre', 'octobre', 'novembre', 'décembre'],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} a dirigé la mairie de ${town} ${de(from)} à ${to}.`,
    team: ({ person, club, from, to }) => `${person} a joué pour ${club} ${de(from)} à ${to}.`,
    opened: ({ town, at }) => `Le musée de ${town} a été ouvert en ${at}.`,
    founded: ({ town, year }) => `La ville de ${town} a été fondée en ${year}.`,
    capital: ({ country, town }) => `La capitale du pays ${country} est la ville de ${town}.`,
    river: ({ river, kilometres }) => `La rivière ${river} est longue de ${kilometres} kilomètres.`,
    located: ({ town, country }) => `La ville de ${town} se trouve dans le pays ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `Quelle est la date ${years(a)} et ${months(b)} après ${d} ?`,
      before: ({ a, b, d }) => `Quelle est la date ${years(a)} et ${months(b)} avant ${d} ?`,
    },
    mayorAt: ({ town, d }) => `Qui dirigeait la mairie de ${town} en ${d} ?`,
    mayorAfter: ({ town, person }) => `Qui a dirigé la mairie de ${town} après ${person} ?`,
    teamAt: ({ person, d }) => `Pour quel club ${person} jouait en ${d} ?`,
    teamAfter: ({ person, club }) => `Pour quel club ${person} a joué après ${club} ?`,
    opened: ({ town }) => `Quand le musée de ${town} a été ouvert ?`,
    founded: ({ town }) => `En quelle année la ville de ${town} a été fondée ?`,
    capital: ({ country }) => `Quelle est la capitale du pays ${country} ?`,
    river: ({ river }) => `Quelle est la longueur de la rivière ${river} ?`,
    located: ({ town }) => `Dans quel pays se trouve la ville de ${town} ?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `La date ${years(n)} après ${d} est ${to}.`,
      before: ({ n, d, to }) => `La date ${years(n)} avant ${d} est ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `La date ${months(n)} après ${d} est ${to}.`,
      before: ({ n, d, to }) => `La date ${months(n)} avant ${d} est ${to}.`,
    },
    within: ({ d, from, to }) => `Le mois ${d} se situe dans la période ${de(from)} à ${to}.`,
    next: ({ before, next }) => `Juste après ${before} est venu ${next}.`,
  },
  answer: (x) => `La bonne réponse est donc ${x}.`,
  year: (n) => `${n}`,
  kilometres: (n) => `${n} kilomètres`,
};
