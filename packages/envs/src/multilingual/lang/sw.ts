import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n === 1 ? 'mwaka' : 'miaka'} ${n}`;
const months = (n: number) => `${n === 1 ? 'mwezi' : 'miezi'} ${n}`;
const first = (sentence: string) => sentence[0].toUpperCase() + sentence.slice(1);

export const sw: LanguageTexts = {
  name: 'Kiswahili',
  script: 'Latin',
  months: ['Januari', 'Februari', 'Machi', 'Aprili', 'Mei', 'Juni', 'Julai', 'Agosti', 'Septemba', 'Oktoba', 'Novemba', 'Desemba'],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} alikuwa meya wa ${town} kuanzia ${from} hadi ${to}.`,
    team: ({ person, club, from, to }) => `${person} aliichezea klabu ya ${club} kuanzia ${from} hadi ${to}.`,
    opened: ({ town, at }) => `Jumba la makumbusho la ${town} lilifunguliwa mwezi wa ${at}.`,
    founded: ({ town, year }) => `Mji wa ${town} ulianzishwa mwaka wa ${year}.`,
    capital: ({ country, town }) => `Mji mkuu wa nchi ya ${country} ni ${town}.`,
    river: ({ river, kilometres }) => `Mto ${river} una urefu wa kilomita ${kilometres}.`,
    located: ({ town, country }) => `Mji wa ${town} uko katika nchi ya ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `Ni mwezi na mwaka gani, ${years(a)} na ${months(b)} baada ya ${d}?`,
      before: ({ a, b, d }) => `Ni mwezi na mwaka gani, ${years(a)} na ${months(b)} kabla ya ${d}?`,
    },
    mayorAt: ({ town, d }) => `Ni nani aliyekuwa meya wa ${town} mwezi wa ${d}?`,
    mayorAfter: ({ town, person }) => `Ni nani aliyekuwa meya wa ${town} baada ya ${person}?`,
    teamAt: ({ person, d }) => `${person} alichezea klabu gani mwezi wa ${d}?`,
    teamAfter: ({ person, club }) => `${person} alichezea klabu gani baada ya ${club}?`,
    opened: ({ town }) => `Jumba la makumbusho la ${town} lilifunguliwa lini?`,
    founded: ({ town }) => `Mji wa ${town} ulianzishwa mwaka gani?`,
    capital: ({ country }) => `Mji mkuu wa nchi ya ${country} ni upi?`,
    river: ({ river }) => `Mto ${river} una urefu wa kilomita ngapi?`,
    located: ({ town }) => `Mji wa ${town} uko katika nchi gani?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `${first(years(n))} baada ya ${d} ni ${to}.`,
      before: ({ n, d, to }) => `${first(years(n))} kabla ya ${d} ni ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `${first(months(n))} baada ya ${d} ni ${to}.`,
      before: ({ n, d, to }) => `${first(months(n))} kabla ya ${d} ni ${to}.`,
    },
    within: ({ d, from, to }) => `Mwezi wa ${d} umo katika kipindi cha kuanzia ${from} hadi ${to}.`,
    next: ({ before, next }) => `Mara tu baada ya ${before} ikawa zamu ya ${next}.`,
  },
  answer: (x) => `Kwa hiyo jibu sahihi ni ${x}.`,
  year: (n) => `${n}`,
  kilometres: (n) => `kilomita ${n}`,
};
