import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import {
  answerIn,
  answerOf,
  type BedLanguage,
  bedLanguageOf,
  bedLanguageReward,
  bedLanguageShare,
  drawLanguage,
  drawQuestion,
  languageTexts,
  makeWorld,
  multilingualPrompt,
  multilingualReward,
  type Question,
  renderDate,
  renderFact,
  renderQuestion,
  renderTrace,
  type Span,
  splitOfQuestion,
  subjectOf,
  verifyMultilingual,
} from './index.js';

const languages = Object.keys(languageTexts) as BedLanguage[];
const world = makeWorld(rng(0));
const questions = Array.from({ length: 200 }, (_, i) => drawQuestion(world, rng(i + 1), { level: (i % 4) as Question['level'] }));
const may2010 = 12 * 2010 + 4;
const dated = (from: number, years: number, months: number, direction: 'after' | 'before'): Question => ({
  kind: 'date',
  level: 1,
  from,
  years,
  months,
  direction,
});

describe('makeWorld', () => {
  it('is the same for a seed, and has the sizes asked for, every name once', () => {
    expect(makeWorld(rng(0))).toEqual(world);
    expect(makeWorld(rng(1))).not.toEqual(world);
    const names = [...world.towns, ...world.persons, ...world.clubs, ...world.rivers, ...world.countries];
    expect(names.length).toBe(40 + 120 + 24 + 20 + 8);
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name) => /^[A-Za-z ]+$/.test(name))).toBe(true);
  });
  it('has three to six in turn, without gap or overlap, and no one twice', () => {
    for (const subject of [...world.towns, ...world.persons]) {
      const spans = world.facts.filter(
        (fact): fact is Span => (fact.kind === 'mayor' || fact.kind === 'team') && subjectOf(fact) === subject,
      );
      expect(spans.length).toBeGreaterThanOrEqual(3);
      expect(spans.length).toBeLessThanOrEqual(6);
      spans.forEach((span, i) => {
        expect(span.to).toBeGreaterThanOrEqual(span.from);
        if (i > 0) expect(span.from).toBe(spans[i - 1].to + 1);
      });
      expect(new Set(spans.map((span) => (span.kind === 'mayor' ? span.person : span.club))).size).toBe(spans.length);
    }
  });
  it('says what it cannot make', () => {
    expect(() => makeWorld(rng(0), { persons: 5 })).toThrow('persons must be a whole number from 6 on, got 5');
    expect(() => makeWorld(rng(0), { years: [2000, 2001] })).toThrow('years must span 10 at least');
  });
});

describe('questions', () => {
  it('count in months over years', () => {
    expect(answerOf(dated(may2010, 4, 5, 'after'), 'en')).toBe('October 2014');
    expect(answerOf(dated(12 * 1950 + 2, 2, 4, 'before'), 'en')).toBe('November 1947');
    expect(answerOf(dated(12 * 1999 + 11, 0, 1, 'after'), 'sw')).toBe('Januari 2000');
    expect(answerOf(dated(12 * 2000, 0, 1, 'before'), 'ja')).toBe('1999年12月');
    expect(languages.map((language) => renderDate(may2010, language))).toEqual([
      'May 2010',
      'Mai 2010',
      'mai 2010',
      'mayo de 2010',
      'mai 2010',
      'मई 2010',
      '2010年5月',
      'เดือนพฤษภาคม ปี 2010',
      'Mei 2010',
    ]);
  });
  it('have the forms that are fixed', () => {
    const fact: Span = { kind: 'mayor', town: 'Velmora', person: 'Ada Rusk', from: may2010, to: may2010 + 13 };
    expect(languages.map((language) => renderFact(fact, language))).toEqual([
      'Ada Rusk was mayor of Velmora from May 2010 to June 2011.',
      'Ada Rusk war von Mai 2010 bis Juni 2011 im Amt des Bürgermeisters von Velmora.',
      'Ada Rusk a dirigé la mairie de Velmora de mai 2010 à juin 2011.',
      'Ada Rusk dirigió la alcaldía de Velmora desde mayo de 2010 hasta junio de 2011.',
      'Ada Rusk a condus primăria din Velmora din mai 2010 până în iunie 2011.',
      'Ada Rusk ने मई 2010 से जून 2011 तक Velmora के मेयर का पद सँभाला।',
      'Ada Ruskは2010年5月から2011年6月まで、Velmora市の市長を務めていました。',
      'Ada Rusk เป็นนายกเทศมนตรีเมือง Velmora ตั้งแต่เดือนพฤษภาคม ปี 2010 ถึงเดือนมิถุนายน ปี 2011',
      'Ada Rusk alikuwa meya wa Velmora kuanzia Mei 2010 hadi Juni 2011.',
    ]);
    expect(languages.map((language) => renderQuestion({ kind: 'at', level: 2, at: may2010, fact }, language))).toEqual([
      'Who was mayor of Velmora in May 2010?',
      'Wer war im Mai 2010 im Amt des Bürgermeisters von Velmora?',
      'Qui dirigeait la mairie de Velmora en mai 2010 ?',
      '¿Quién dirigía la alcaldía de Velmora en mayo de 2010?',
      'Cine conducea primăria din Velmora în mai 2010?',
      'मई 2010 में Velmora के मेयर का पद किसके पास था?',
      '2010年5月にVelmora市の市長を務めていたのは誰ですか。',
      'ใครเป็นนายกเทศมนตรีเมือง Velmora ในเดือนพฤษภาคม ปี 2010',
      'Ni nani aliyekuwa meya wa Velmora mwezi wa Mei 2010?',
    ]);
    expect(languages.map((language) => renderQuestion(dated(may2010, 4, 5, 'after'), language))).toEqual([
      'What is the time 4 years and 5 months after May 2010?',
      'Welcher Zeitpunkt liegt 4 Jahre und 5 Monate nach Mai 2010?',
      'Quelle est la date 4 ans et 5 mois après mai 2010 ?',
      '¿Qué fecha es 4 años y 5 meses después de mayo de 2010?',
      'Care este data la 4 ani și 5 luni după mai 2010?',
      'मई 2010 के 4 साल और 5 महीने बाद कौन-सा महीना और साल होगा?',
      '2010年5月の4年5か月後は何年何月ですか。',
      'นับจากเดือนพฤษภาคม ปี 2010 ไปอีก 4 ปี 5 เดือน จะตรงกับเดือนใด ปีใด',
      'Ni mwezi na mwaka gani, miaka 4 na miezi 5 baada ya Mei 2010?',
    ]);
  });
  it('bend to their numbers and dates as the language wants', () => {
    const april = 12 * 2010 + 3;
    const ask = (language: BedLanguage) => renderQuestion(dated(april, 1, 1, 'after'), language);
    expect(ask('en')).toBe('What is the time 1 year and 1 month after April 2010?');
    expect(ask('de')).toBe('Welcher Zeitpunkt liegt 1 Jahr und 1 Monat nach April 2010?');
    expect(ask('fr')).toBe('Quelle est la date 1 an et 1 mois après avril 2010 ?');
    expect(ask('es')).toBe('¿Qué fecha es 1 año y 1 mes después de abril de 2010?');
    expect(ask('ro')).toBe('Care este data la 1 an și 1 lună după aprilie 2010?');
    expect(ask('sw')).toBe('Ni mwezi na mwaka gani, mwaka 1 na mwezi 1 baada ya Aprili 2010?');
    const team: Span = { kind: 'team', person: 'Ada Rusk', club: 'Arkon', from: april, to: april + 1 };
    expect(renderFact(team, 'fr')).toBe("Ada Rusk a joué pour Arkon d'avril 2010 à mai 2010.");
    const length = (kilometres: number) => renderFact({ kind: 'river', river: 'Vlor', kilometres }, 'ro');
    expect(length(119)).toBe('Râul Vlor are o lungime de 119 kilometri.');
    expect(length(200)).toBe('Râul Vlor are o lungime de 200 de kilometri.');
  });
  it('are written in composed characters, and hold no word of another script but names', () => {
    for (const language of languages)
      for (const question of questions) {
        const text = [renderQuestion(question, language), ...renderTrace(question, language)].join('\n');
        expect(text).toBe(text.normalize('NFC'));
        if (languageTexts[language].script !== 'Latin') expect(text).not.toMatch(/(?<!\p{L})\p{Ll}/u);
      }
  });
  it('have one answer in every language, and true traces that end with it', () => {
    for (const question of questions) {
      const named = question.kind !== 'date' && ['mayor', 'team', 'capital', 'located'].includes(question.fact.kind);
      if (named) expect(new Set(languages.map((language) => answerOf(question, language))).size).toBe(1);
      for (const language of languages) {
        const trace = renderTrace(question, language);
        expect(trace.length).toBeGreaterThanOrEqual(2);
        expect(trace.length).toBeLessThanOrEqual(4);
        expect(answerIn(trace.join('\n'))).toEqual({ answer: answerOf(question, language), language });
        expect(verifyMultilingual(question, trace.join('\n'))).toBe(true);
      }
    }
  });
  it('agree with an evaluator of their own', () => {
    for (const question of questions) {
      if (question.kind === 'at') {
        const held = world.facts.filter(
          (fact) =>
            fact.kind === question.fact.kind &&
            subjectOf(fact) === subjectOf(question) &&
            'from' in fact &&
            fact.from <= question.at &&
            question.at <= fact.to,
        );
        expect(held).toEqual([question.fact]);
      }
      if (question.kind === 'after') expect(question.fact.from).toBe(question.before.to + 1);
      if (question.kind === 'date') {
        const [month, year] = renderDate(question.from, 'en').split(' ');
        const date = new Date(
          Date.UTC(
            Number(year),
            languageTexts.en.months.indexOf(month) + (question.direction === 'after' ? 1 : -1) * (12 * question.years + question.months),
            1,
          ),
        );
        expect(answerOf(question, 'en')).toBe(`${languageTexts.en.months[date.getUTCMonth()]} ${date.getUTCFullYear()}`);
      }
    }
  });
  it('are split by their subject, and each side has its own', () => {
    for (const split of ['train', 'validation', 'test'] as const)
      for (const level of [0, 1, 2, 3] as const) expect(splitOfQuestion(drawQuestion(world, rng(9), { level, split }))).toBe(split);
    const small = makeWorld(rng(0), { towns: 1, persons: 6 });
    const train = small.facts.filter((fact) => splitOfQuestion(fact) === 'train').length;
    expect(train).toBeGreaterThan(0);
    expect(() => drawQuestion({ ...small, facts: [] }, rng(0), { level: 2 })).toThrow('the world has no question of level 2');
  });
});

describe('prompts and answers', () => {
  it('hold the facts that are needed among others, or none', () => {
    for (const question of questions.filter(({ kind }) => kind === 'after').slice(0, 10)) {
      const prompt = multilingualPrompt(question, 'de', { world, rng: rng(0), distractors: 3 });
      expect(prompt.split('\n').length).toBe(2 + 3 + 2);
      if (question.kind === 'after') for (const fact of [question.before, question.fact]) expect(prompt).toContain(renderFact(fact, 'de'));
      expect(multilingualPrompt(question, 'de')).toBe(`${renderQuestion(question, 'de')}\n`);
    }
  });
  it('are right in another language than the question, and wrong where the last answer is', () => {
    const question = questions.find(({ kind }) => kind === 'at')!;
    const right = renderTrace(question, 'ro').at(-1)!;
    expect(verifyMultilingual(question, `Hmm. ${right}`)).toBe(true);
    expect(verifyMultilingual(question, `${right}\nSo the correct answer is Nobody.`)).toBe(false);
    expect(verifyMultilingual(question, 'I do not know.')).toBe(false);
    expect(answerIn('Die richtige Antwort ist also Mai 2010')).toEqual({ answer: 'Mai 2010', language: 'de' });
  });
  it('are read however they are written', () => {
    const read = (text: string) => answerIn(text)?.answer;
    expect(read('I count, so the correct answer is **Ada Rusk**. I am sure of that.')).toBe('Ada Rusk');
    expect(read('So the correct answer is\nAda Rusk.')).toBe('');
    expect(read('इसलिए सही उत्तर Ada Rusk है। वह मेयर थीं।')).toBe('Ada Rusk');
    expect(read('इसलिए सही उत्तर Ada Rusk है')).toBe('Ada Rusk');
    expect(read('したがって、正しい答えはAda Ruskです')).toBe('Ada Rusk');
    expect(read('したがって、正しい答えは２０１０年５月です。以上です。')).toBe('2010年5月');
    expect(read('ดังนั้นคำตอบที่ถูกต้องคือAda Rusk \nจบ')).toBe('Ada Rusk');
    expect(read('')).toBeUndefined();
    const founded: Question = { kind: 'plain', level: 0, fact: { kind: 'founded', town: 'Velmora', year: 1300 } };
    const long: Question = { kind: 'plain', level: 0, fact: { kind: 'river', river: 'Vlor', kilometres: 1300 } };
    expect(languages.map((language) => answerOf(founded, language)).join(' ')).toBe('1300 1300 1300 1300 1300 1300 1300年 ปี 1300 1300');
    for (const text of ['したがって、正しい答えは1300です。', 'So the correct answer is the year 1300.'])
      expect(verifyMultilingual(founded, text), text).toBe(true);
    for (const text of [
      'So the correct answer is 1,300 km.',
      'Die richtige Antwort ist also 1.300 Kilometer.',
      'Kwa hiyo jibu sahihi ni 1300.',
    ])
      expect(verifyMultilingual(long, text), text).toBe(true);
    for (const text of [
      'So the correct answer is 1300 or 1301.',
      'So the correct answer is 13.',
      'So the correct answer is 1300.5.',
      'So the correct answer is .',
    ])
      expect(verifyMultilingual(long, text), text).toBe(false);
  });
  it('are a reward', async () => {
    const question = questions[0];
    const batch = languages.map((language) => ({
      prompt: renderQuestion(question, language),
      completion: renderTrace(question, language).join('\n'),
      meta: { question },
    }));
    const { scores } = await multilingualReward().score([...batch, { ...batch[0], completion: 'no' }], { rng: rng(0) });
    expect([...scores]).toEqual([...languages.map(() => 1), 0]);
    for (const meta of [undefined, { question: 'who?' }, { question: { kind: 'riddle' } }])
      await expect(multilingualReward().score([{ prompt: '', completion: batch[0].completion, meta }], { rng: rng(0) })).rejects.toThrow(
        'candidate 0 has no question under "question"',
      );
  });
  it('come in languages by their shares', () => {
    const stream = rng(0);
    const drawn = Array.from({ length: 5000 }, () => drawLanguage(stream));
    expect(drawn.filter((code) => code === 'en').length / 5000).toBeCloseTo(0.6, 1);
    expect(drawn.filter((code) => code === 'ro').length / 5000).toBeCloseTo(0.04, 1);
    expect(() => renderDate(0, 'xx' as 'en')).toThrow('there is no language "xx"; there are en, de, fr, es, ro, hi, ja, th, sw');
    expect(drawn).not.toContain('hi');
    expect(drawLanguage(rng(0), { sw: 1 })).toBe('sw');
  });
});

describe('the language of a text', () => {
  it('is told of each kind of sentence, with the names of a world that taught it nothing', () => {
    for (const language of languages)
      for (const question of questions)
        for (const sentence of [renderQuestion(question, language), ...renderTrace(question, language)])
          expect(bedLanguageOf(sentence).language, sentence).toBe(language);
  });
  it('is told of sentences that are not its own', () => {
    const sentences: [BedLanguage, string][] = [
      ['en', 'The children were playing near the river when it began to rain.'],
      ['de', 'Die Kinder spielten am Fluss, als es zu regnen begann.'],
      ['fr', "Les enfants jouaient près de la rivière quand il s'est mis à pleuvoir."],
      ['es', 'Los niños jugaban cerca del río cuando empezó a llover.'],
      ['ro', 'Copiii se jucau lângă râu când a început să plouă.'],
      ['hi', 'जब बारिश शुरू हुई तब बच्चे नदी के पास खेल रहे थे।'],
      ['ja', '雨が降り始めたとき、子どもたちは川の近くで遊んでいました。'],
      ['th', 'เด็กๆ กำลังเล่นอยู่ใกล้แม่น้ำตอนที่ฝนเริ่มตก'],
      ['sw', 'Watoto walikuwa wakicheza karibu na mto mvua ilipoanza kunyesha.'],
    ];
    for (const [language, sentence] of sentences) expect(bedLanguageOf(sentence).language, sentence).toBe(language);
  });
  it('is not told of too little, of another script, or where no candidate is written so', () => {
    for (const text of ['', '12 + 3 = 15', 'ok', 'Ada Rusk', 'Правильный ответ таков.'])
      expect(bedLanguageOf(text), text).toEqual({ language: '', confidence: 0 });
    expect(bedLanguageOf('Kwa hiyo jibu sahihi ni Ada.', { candidates: ['hi', 'ja', 'th'] }).language).toBe('');
    expect(bedLanguageOf('正しい答えはAda Rusk')).toEqual({ language: 'ja', confidence: 1 });
    expect(() => bedLanguageOf('x', { candidates: ['xx' as 'en'] })).toThrow('there is no language "xx"');
  });
  it('changes within a text, which the share shows: one sentence of four', () => {
    const mixed = {
      de: 'Zuerst betrachten wir die bekannten Jahre. Danach zählen wir die Monate. Das ergibt den Mai.\nSo the correct answer is May 2010.',
      hi: 'पहले हम साल गिनते हैं। फिर हम महीने गिनते हैं। इससे मई मिलता है। So the correct answer is May 2010.',
      ja: 'まず年を数えます。次に月を数えます。すると5月になります。So the correct answer is May 2010.',
      th: 'ก่อนอื่นเรานับปี\nจากนั้นเรานับเดือน\nจึงได้เดือนพฤษภาคม\nSo the correct answer is May 2010.',
      sw: 'Kwanza tunahesabu miaka. Kisha tunahesabu miezi yote. Hivyo tunapata mwezi wa Mei. So the correct answer is May 2010.',
    };
    for (const [language, text] of Object.entries(mixed))
      expect(bedLanguageShare(text, language as BedLanguage), language).toEqual({ matching: 3, total: 4, share: 0.75 });
    expect(bedLanguageShare('12 + 3', 'en')).toEqual({ matching: 0, total: 0, share: 0 });
  });
  it('is a reward, which abstains where nothing can be told', async () => {
    const candidate = (completion: string, language: unknown) => ({ prompt: '', completion, meta: { language } });
    const { scores, abstained } = await bedLanguageReward().score(
      [candidate('Kwa hiyo jibu sahihi ni Ada.', 'sw'), candidate('So the correct answer is Ada.', 'sw'), candidate('12', 'sw')],
      { rng: rng(0) },
    );
    expect([...scores]).toEqual([1, 0, 0]);
    expect([...abstained!]).toEqual([0, 0, 1]);
    await expect(bedLanguageReward().score([candidate('x', 'pl')], { rng: rng(0) })).rejects.toThrow(
      'candidate 0 has "pl" under "language"',
    );
  });
});
