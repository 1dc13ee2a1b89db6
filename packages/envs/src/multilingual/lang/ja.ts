import type { LanguageTexts } from '../types.js';

/** Written without spaces; names stay in Latin letters, as foreign names may in Japanese. */
export const ja: LanguageTexts = {
  name: '日本語',
  script: 'Japanese',
  months: ['1月', '2月', '3月', '4月', '5月', '6月', '7月', '8月', '9月', '10月', '11月', '12月'],
  date: (month, year) => `${year}年${month}`,
  fact: {
    mayor: ({ person, town, from, to }) => `${person}は${from}から${to}まで、${town}市の市長を務めていました。`,
    team: ({ person, club, from, to }) => `${person}は${from}から${to}まで、クラブチームの${club}でプレーしていました。`,
    opened: ({ town, at }) => `${town}市の博物館は${at}に開館しました。`,
    founded: ({ town, year }) => `${town}市は${year}年に建設されました。`,
    capital: ({ country, town }) => `${country}という国の首都は${town}市です。`,
    river: ({ river, kilometres }) => `${river}川の長さは${kilometres}キロメートルです。`,
    located: ({ town, country }) => `${town}市は${country}という国にあります。`,
  },
  ask: {
    date: {
      after: ({ a, b, d }) => `${d}の${a}年${b}か月後は何年何月ですか。`,
      before: ({ a, b, d }) => `${d}の${a}年${b}か月前は何年何月ですか。`,
    },
    mayorAt: ({ town, d }) => `${d}に${town}市の市長を務めていたのは誰ですか。`,
    mayorAfter: ({ town, person }) => `${town}市で${person}の次に市長を務めたのは誰ですか。`,
    teamAt: ({ person, d }) => `${person}は${d}にどのクラブチームでプレーしていましたか。`,
    teamAfter: ({ person, club }) => `${person}は${club}の次にどのクラブチームでプレーしましたか。`,
    opened: ({ town }) => `${town}市の博物館はいつ開館しましたか。`,
    founded: ({ town }) => `${town}市が建設されたのは何年ですか。`,
    capital: ({ country }) => `${country}という国の首都はどこですか。`,
    river: ({ river }) => `${river}川の長さは何キロメートルですか。`,
    located: ({ town }) => `${town}市はどの国にありますか。`,
  },
  think: {
    years: {
      after: ({ n, d, to }) => `${d}の${n}年後は${to}です。`,
      before: ({ n, d, to }) => `${d}の${n}年前は${to}です。`,
    },
    months: {
      after: ({ n, d, to }) => `${d}の${n}か月後は${to}です。`,
      before: ({ n, d, to }) => `${d}の${n}か月前は${to}です。`,
    },
    within: ({ d, from, to }) => `${d}は、${from}から${to}までの期間に含まれます。`,
    next: ({ before, next }) => `${before}のすぐ後に続いたのは${next}でした。`,
  },
  answer: (x) => `したがって、正しい答えは${x}です。`,
  year: (n) => `${n}年`,
  kilometres: (n) => `${n}キロメートル`,
};
