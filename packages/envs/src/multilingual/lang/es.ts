import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n} ${n === 1 ? 'año' : 'años'}`;
const months = (n: number) => `${n} ${n === 1 ? 'mes' : 'meses'}`;

export const es: LanguageTexts = {
  name: 'español',
  script: 'Latin',
  months: ['enero', 'febrero', 'marzo', 'abril', 'mayo', 'junio', 'julio', 'agosto', 'septiembre', 'octubre', 'noviembre', 'diciembre'],
  date: (month, year) => `${month} de ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} dirigió la alcaldía de ${town} desde ${from} hasta ${to}.`,
    team: ({ person, club, from, to }) => `${person} jugó en ${club} desde ${from} hasta ${to}.`,
    opened: ({ town, at }) => `El museo de ${town} se abrió en ${at}.`,
    founded: ({ town, year }) => `La ciudad de ${town} se fundó en el año ${year}.`,
    capital: ({ country, town }) => `La capital del país ${country} es la ciudad de ${town}.`,
    river: ({ river, kilometres }) => `El río ${river} tiene una longitud de ${kilometres} kilómetros.`,
    located: ({ town, country }) => `La ciudad de ${town} se encuentra en el país ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `¿Qué fecha es ${years(a)} y ${months(b)} después de ${d}?`,
      before: ({ a, b, d }) => `¿Qué fecha es ${years(a)} y ${months(b)} antes de ${d}?`,
    },
    mayorAt: ({ town, d }) => `¿Quién dirigía la alcaldía de ${town} en ${d}?`,
    mayorAfter: ({ town, person }) => `¿Quién dirigió la alcaldía de ${town} después de ${person}?`,
    teamAt: ({ person, d }) => `¿En qué club jugaba ${person} en ${d}?`,
    teamAfter: ({ person, club }) => `¿En qué club jugó ${person} después de ${club}?`,
    opened: ({ town }) => `¿Cuándo se abrió el museo de ${town}?`,
    founded: ({ town }) => `¿En qué año se fundó la ciudad de ${town}?`,
    capital: ({ country }) => `¿Cuál es la capital del país ${country}?`,
    river: ({ river }) => `¿Qué longitud tiene el río ${river}?`,
    located: ({ town }) => `¿En qué país se encuentra la ciudad de ${town}?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `La fecha ${years(n)} después de ${d} es ${to}.`,
      before: ({ n, d, to }) => `La fecha ${years(n)} antes de ${d} es ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `La fecha ${months(n)} después de ${d} es ${to}.`,
      before: ({ n, d, to }) => `La fecha ${months(n)} antes de ${d} es ${to}.`,
    },
    within: ({ d, from, to }) => `El mes de ${d} queda dentro del tiempo desde ${from} hasta ${to}.`,
    next: ({ before, next }) => `Justo después de ${before} siguió ${next}.`,
  },
  answer: (x) => `Por eso la respuesta correcta es ${x}.`,
  year: (n) => `${n}`,
  kilometres: (n) => `${n} kilómetros`,
};
