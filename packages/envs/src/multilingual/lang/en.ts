import type { LanguageTexts } from '../types.js';

const years = (n: number) => `${n} ${n === 1 ? 'year' : 'years'}`;
const months = (n: number) => `${n} ${n === 1 ? 'month' : 'months'}`;

export const en: LanguageTexts = {
  name: 'English',
  script: 'Latin',
  months: ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'],
  date: (month, year) => `${month} ${year}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person} was mayor of ${town} from ${from} to ${to}.`,
    team: ({ person, club, from, to }) => `${person} played for ${club} from ${from} to ${to}.`,
    opened: ({ town, at }) => `The museum of ${town} was opened in ${at}.`,
    founded: ({ town, year }) => `The town of ${town} was founded in the year ${year}.`,
    capital: ({ country, town }) => `The capital of ${country} is the town of ${town}.`,
    river: ({ river, kilometres }) => `The river ${river} is ${kilometres} kilometres long.`,
    located: ({ town, country }) => `The town of ${town} lies in the country of ${country}.`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `What is the time ${years(a)} and ${months(b)} after ${d}?`,
      before: ({ a, b, d }) => `What is the time ${years(a)} and ${months(b)} before ${d}?`,
    },
    mayorAt: ({ town, d }) => `Who was mayor of ${town} in ${d}?`,
    mayorAfter: ({ town, person }) => `Who was mayor of ${town} after ${person}?`,
    teamAt: ({ person, d }) => `Which club did ${person} play for in ${d}?`,
    teamAfter: ({ person, club }) => `Which club did ${person} play for after ${club}?`,
    opened: ({ town }) => `When was the museum of ${town} opened?`,
    founded: ({ town }) => `In which year was the town of ${town} founded?`,
    capital: ({ country }) => `What is the capital of ${country}?`,
    river: ({ river }) => `How long is the river ${river}?`,
    located: ({ town }) => `In which country does the town of ${town} lie?`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `The time ${years(n)} after ${d} is ${to}.`,
      before: ({ n, d, to }) => `The time ${years(n)} before ${d} is ${to}.`,
    },
    months: {
      after: ({ n, d, to }) => `The time ${months(n)} after ${d} is ${to}.`,
      before: ({ n, d, to }) => `The time ${months(n)} before ${d} is ${to}.`,
    },
    within: ({ d, from, to }) => `The month ${d} is within the time from ${from} to ${to}.`,
    next: ({ before, next }) => `The one who followed right after ${before} was ${next}.`,
  },
  answer: (x) => `So the correct answer is ${x}.`,
  year: (n) => `${n}`,
  kilometres: (n) => `${n} kilometres`,
};
