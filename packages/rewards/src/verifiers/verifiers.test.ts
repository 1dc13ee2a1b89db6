import { readFileSync } from 'node:fs';
import { rng } from '@plumbline/core';
import type { Candidate } from '@plumbline/data';
import { rewardFunctionContract } from '@plumbline/data/contract';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { exactMatch, numericAnswer } from './answers.js';
import { codeTests, runCode, runTests } from './code.js';
import { gatedReward } from './gated.js';
import { jsonIn, jsonSchema } from './jsonSchema.js';
import { detectLanguage, dominantScript, languageIs, languageShare } from './language.js';
import { keywords, lengthOf, lengthWithin, regexMatch, tagFormat } from './patterns.js';
import { repetitionPenalty } from './repetition.js';
import { type Verifier, verifier } from './verifier.js';

const ctx = { rng: rng(1) };
const candidate = (completion: string, meta?: Record<string, unknown>): Candidate => ({ prompt: 'q', completion, ...(meta && { meta }) });
/** Scores, with null where it abstains. */
async function scoresOf(reward: Verifier, batch: Candidate[]): Promise<(number | null)[]> {
  const { scores, abstained } = await reward.score(batch, ctx);
  return Array.from(scores, (score, i) => (abstained?.[i] === 1 ? null : score));
}
const rows = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('every verifier', () => {
  const candidates = [
    candidate('<think>two and two</think><answer>4</answer>', { answer: '4', language: 'en', schema: {}, tests: 'assert(true)' }),
    candidate('Es sind wohl fünf, denke ich mir so.\n```js\nlet x = 5\n```', {
      answer: 5,
      language: 'de',
      schema: { type: 'object' },
      tests: ['assertEqual(x, 5)', { call: 'x', expected: 6 }],
    }),
    candidate('', {}),
  ];
  const made: Record<string, () => Verifier> = {
    exactMatch: () => exactMatch({ from: ['tag'] }),
    numericAnswer: () => numericAnswer(),
    regexMatch: () => regexMatch({ pattern: 'two' }),
    keywords: () => keywords({ include: ['two'], exclude: ['five'] }),
    tagFormat: () => tagFormat({ tags: ['think', 'answer'], partial: true }),
    lengthWithin: () => lengthWithin({ max: 5, slack: 10 }),
    repetitionPenalty: () => repetitionPenalty(),
    jsonSchema: () => jsonSchema(),
    languageIs: () => languageIs(),
    codeTests: () => codeTests(),
  };
  for (const [name, make] of Object.entries(made))
    for (const { name: what, run } of rewardFunctionContract(make, { candidates })) it(`${name} ${what}`, run);
  it('counts what it abstains on, and why', async () => {
    const reward = numericAnswer();
    expect(await scoresOf(reward, candidates)).toEqual([1, 0, null]);
    expect(reward.counts).toEqual({ scored: 2, abstained: 1, reasons: { 'no "answer" beside the prompt': 1 } });
  });
  it('names the candidate whose check breaks or is not a number', async () => {
    const broken = verifier('mine', 'score', (text) => (text === '' ? Number.NaN : 1));
    await expect(broken.score(candidates, ctx)).rejects.toThrow('mine: candidate 2: the score is NaN');
  });
});

describe('answers', () => {
  it('compares numbers by value and texts by normal form', async () => {
    const reward = numericAnswer();
    const batch = [
      candidate('so \\boxed{1{,}024}', { answer: '1024' }),
      candidate('#### 0.5', { answer: '1/2' }),
      candidate('The answer is $\\frac{3}{4}$.', { answer: 0.75 }),
      candidate('The answer is Paris.', { answer: ['paris', 'Paris, France'] }),
      candidate('We get 7.', { answer: 7 }), // never offered as the answer
      candidate('#### 18', { answer: '16 - 3 - 4 = 9 eggs.\n#### 18' }), // gold as a worked solution
    ];
    expect(await scoresOf(reward, batch)).toEqual([1, 1, 1, 1, 0, 1]);
    expect(await scoresOf(numericAnswer({ from: ['last-number'] }), [batch[4]])).toEqual([1]);
    expect(await scoresOf(numericAnswer({ absTol: 0.01 }), [candidate('#### 2.72', { answer: 2.715 })])).toEqual([1]);
    expect(await scoresOf(numericAnswer({ percent: true }), [candidate('#### 50%', { answer: 0.5 })])).toEqual([1]);
  });
  it('matches the whole text or what a rule finds', async () => {
    expect(await scoresOf(exactMatch(), [candidate(' Yes. ', { answer: 'yes' }), candidate('Yes, it is', { answer: 'yes' })])).toEqual([
      1, 0,
    ]);
    expect(await scoresOf(exactMatch({ normalise: false }), [candidate('Yes', { answer: 'yes' })])).toEqual([0]);
  });
  const gsm8k = dataPath('gsm8k/train.jsonl');
  it.skipIf(!gsm8k)(
    `accepts each of GSM8K's own solutions and none of another question's${gsm8k ? '' : ' (skipped: the data is not here)'}`,
    async () => {
      const solved = rows(gsm8k!).slice(0, 500) as { answer: string }[];
      const own = await scoresOf(
        numericAnswer(),
        solved.map(({ answer }) => candidate(answer, { answer })),
      );
      expect(own.every((score) => score === 1)).toBe(true);
      const other = await scoresOf(
        numericAnswer(),
        solved.map(({ answer }, i) => candidate(answer, { answer: solved[(i + 1) % 500].answer })),
      );
      expect(other.filter((score) => score === 1).length).toBeLessThan(25); // equal by chance
    },
  );
});

describe('patterns', () => {
  it('finds a pattern, the whole of it, or its absence', async () => {
    expect(await scoresOf(regexMatch({ pattern: '\\d+' }), [candidate('a1'), candidate('a')])).toEqual([1, 0]);
    expect(await scoresOf(regexMatch({ pattern: 'a|b', whole: true }), [candidate('a'), candidate('ab')])).toEqual([1, 0]);
    expect(await scoresOf(regexMatch({ pattern: /,/, absent: true }), [candidate('a, b'), candidate('a b')])).toEqual([0, 1]);
    expect(() => regexMatch({ pattern: '(' })).toThrow('regexMatch: Invalid regular expression');
    expect(() => regexMatch({ pattern: /a/g })).toThrow('keep a position between texts');
  });
  it('counts whole words', async () => {
    const reward = keywords({ include: ['cat'], exclude: ['dog'], counts: [{ word: 'the', min: 2 }] });
    expect(
      (await scoresOf(reward, [candidate('The cat saw the dogs.'), candidate('The catfish and a dog.')])).map((x) => x!.toFixed(4)),
    ).toEqual(['1.0000', '0.0000']);
    expect(() => keywords({})).toThrow('nothing to look for');
  });
  it('wants tags once each, in order, around everything', async () => {
    const tags = ['think', 'answer'];
    const texts = [
      '<think>a</think>\n<answer>b</answer>\n',
      'Well. <think>a</think><answer>b</answer>',
      '<answer>b</answer><think>a</think>',
      '<think>a</think><think>a</think><answer>b</answer>',
      '<think></think><answer>b</answer>',
      '',
    ];
    expect(
      await scoresOf(
        tagFormat({ tags }),
        texts.map((text) => candidate(text)),
      ),
    ).toEqual([1, 0, 0, 0, 0, 0]);
    expect(
      await scoresOf(
        tagFormat({ tags, partial: true }),
        texts.map((text) => candidate(text)),
      ),
    ).toEqual([1, 0.5, 0.5, 0.25, 0.25, 0]);
  });
  it('measures length in the units that people ask for', async () => {
    const text = "It's one. Is it two?\n\n“Yes!” it is — naïve co-op.";
    expect(lengthOf(text, 'words')).toBe(10);
    expect(lengthOf(text, 'sentences')).toBe(4);
    expect(lengthOf(text, 'paragraphs')).toBe(2);
    expect(lengthOf('😀é', 'characters')).toBe(2);
    expect(await scoresOf(lengthWithin({ min: 2, max: 4 }), [candidate('a b'), candidate('a'), candidate('a b c d e')])).toEqual([1, 0, 0]);
    expect(await scoresOf(lengthWithin({ max: 4, slack: 4 }), [candidate('a b c d e'), candidate('a '.repeat(20))])).toEqual([0.75, 0]);
    expect(() => lengthWithin({ unit: 'pages' as never })).toThrow('there are characters, words');
  });
  it('punishes what repeats', async () => {
    const [loop, prose, short] = (await scoresOf(repetitionPenalty(), [
      candidate('ha ha ha '.repeat(30)),
      candidate('the quick brown fox jumps over it'),
      candidate('one'),
    ])) as number[];
    expect(loop).toBeLessThan(-0.95);
    expect([prose, short]).toEqual([0, 0]);
  });
});

describe('jsonSchema', () => {
  const schema = { type: 'object', properties: { when: { type: 'string', format: 'date' } }, required: ['when'] };
  it('accepts what the schema accepts, formats included', async () => {
    const texts = [
      '{"when":"2024-02-29"}',
      '{"when":"2024-02-30"}',
      '{}',
      'no JSON',
      'Sure!\n```json\n{"when":"2024-01-01"}\n```\nDone.',
      'It is {"when":"2024-01-01"}.',
    ];
    expect(
      await scoresOf(
        jsonSchema({ schema }),
        texts.map((text) => candidate(text)),
      ),
    ).toEqual([1, 0, 0, 0, 1, 1]);
    expect(
      await scoresOf(
        jsonSchema({ schema, from: 'text' }),
        texts.map((text) => candidate(text)),
      ),
    ).toEqual([1, 0, 0, 0, 0, 0]);
    expect(jsonIn('```json\n[1]\n```', 'text')).toEqual({ json: [1] });
  });
  it("takes each row's own schema, and abstains where there is none", async () => {
    const batch = [
      candidate('3', { schema: '{"type":"integer"}' }),
      candidate('3', { schema: { type: 'string' } }),
      candidate('3'),
      candidate('3', { schema: '{"type":' }),
      candidate('3', { schema: { type: 'strin' } }),
    ];
    expect(await scoresOf(jsonSchema(), batch)).toEqual([1, 0, null, null, null]);
    await expect(jsonSchema({ schema: { type: 'strin' } }).score([candidate('1')], ctx)).rejects.toThrow('the schema is none');
  });
  const suite = dataPath('json-schema-suite/draft2020-12.jsonl');
  it.skipIf(!suite)(`agrees with the JSON Schema test suite${suite ? '' : ' (skipped: the data is not here)'}`, async () => {
    let [asked, right] = [0, 0];
    const reward = jsonSchema({ from: 'text' });
    for (const row of rows(suite!)) {
      if (/^optional\/|^format\.json/.test(row.file)) continue; // formats are checked here, and other drafts are not read
      const tests = (row.tests ?? [row]) as { data: unknown; valid: boolean }[];
      const scores = await scoresOf(
        reward,
        tests.map(({ data }) => candidate(JSON.stringify(data), { schema: row.schema })),
      );
      tests.forEach(({ valid }, i) => {
        if (scores[i] === null) return;
        asked++;
        if (scores[i] === Number(valid)) right++;
      });
    }
    console.log(`JSON Schema suite: ${right} of ${asked} as expected`);
    expect(asked).toBeGreaterThan(500);
    expect(right / asked).toBeGreaterThan(0.97);
  });
});

describe('language', () => {
  it('tells languages apart, and abstains on what has too little text', async () => {
    const german = candidate('Zuerst betrachten wir die bekannten Jahre. So the correct answer is Ada Rusk.', { language: 'de' });
    expect(
      await scoresOf(languageIs(), [german, candidate('12 + 12 = 24', { language: 'de' }), candidate('ok', { language: 'en' })]),
    ).toEqual([0.5, null, null]);
    expect(await scoresOf(languageIs({ language: 'fr', share: false }), [candidate('Le chat dort sur la table.')])).toEqual([1]);
    expect(await languageShare('今天天气很好，我们去公园散步吧。', 'zh')).toEqual({ matching: 1, total: 1, share: 1 });
    expect((await detectLanguage('short')).language).toBe('');
    expect(() => languageIs({ language: 'English' })).toThrow('it is a code such as en');
  });
  it('does not mark down a language that nobody here can tell', async () => {
    const swahili = 'Mimi ni mwanafunzi wa shule ya msingi na ninapenda kusoma vitabu.';
    expect(await scoresOf(languageIs(), [candidate(swahili, { language: 'sw' })])).toEqual([null]);
    await expect(languageIs({ language: 'sw' }).score([candidate(swahili)], ctx)).rejects.toThrow('eld does not know that language');
  });
  it('is told of short sentences where the languages in question are few, whatever names they hold', async () => {
    const month = candidate('अक्टूबर 1979 का महीना सितंबर 1979 से नवंबर 1979 तक की अवधि में आता है।', { language: 'hi' });
    expect(await scoresOf(languageIs(), [month])).toEqual([0]); // Marathi, if all are in question
    expect(await scoresOf(languageIs({ candidates: ['en', 'hi'] }), [month])).toEqual([1]);
    const named = candidate('Nizobron市でPamit Sabasの次に市長を務めたのは誰ですか。', { language: 'ja' });
    expect(await scoresOf(languageIs({ candidates: ['en', 'de', 'ja'] }), [named])).toEqual([1]);
    expect(() => languageIs({ language: 'fr', candidates: ['en', 'hi'] })).toThrow('none of its candidates en, hi');
  });
  it('is shared out over sentences that end as their script ends them', async () => {
    const mixed = 'इसलिए सही उत्तर मई है। पहले हम साल गिनते हैं। So the correct answer is May.';
    expect(await languageShare(mixed, 'hi', { candidates: ['en', 'hi'] })).toEqual({ matching: 2, total: 3, share: 2 / 3 });
  });
  it('tells scripts apart', () => {
    const texts = {
      latin: 'Straße 12',
      devanagari: 'नमस्ते',
      thai: 'สวัสดี',
      'kana-han': '東京へ行く',
      han: '今天天气很好',
      cyrillic: 'Привет, hi',
      arabic: 'مرحبا',
      hangul: '안녕하세요',
      greek: 'Καλημέρα',
      hebrew: 'שלום',
      none: '12 + 3',
    };
    for (const [script, text] of Object.entries(texts)) expect(dominantScript(text), text).toBe(script);
  });
  it('decides among candidates: by a script that is one alone, else by the words', async () => {
    const of = async (text: string, candidates: string[], minLetters?: number) =>
      (await detectLanguage(text, { candidates, minLetters })).language;
    expect(await of('今天天气很好', ['en', 'zh', 'ja'], 5)).toBe('zh');
    expect(await of('นี่คือคำตอบที่ถูกต้อง', ['en', 'th'])).toBe('th');
    expect(await of('La bonne réponse est donc Ada Rusk.', ['en', 'de', 'fr', 'ro', 'es'])).toBe('fr');
    expect(await of('Die richtige Antwort ist also Ada Rusk.', ['en', 'de', 'fr', 'ro', 'es'])).toBe('de');
    expect(await of('Die richtige Antwort ist also Ada Rusk.', ['hi', 'th'])).toBe(''); // none of them is written so
    expect((await languageShare('Die richtige Antwort ist Ada. So the answer is Ada.', 'de', { candidates: ['de', 'en'] })).share).toBe(
      0.5,
    );
    await expect(detectLanguage('a text that is long enough', { candidates: ['English'] })).rejects.toThrow(
      'the candidate "English" is no code',
    );
    await expect(detectLanguage('a text that is long enough', { candidates: ['en', 'sw'] })).rejects.toThrow(
      'sw cannot be told from others',
    );
    expect((await detectLanguage('Le chat dort sur la table.')).language).toBe('fr'); // the one for all languages is as it was
  });
});

describe('the sandbox', () => {
  it('runs code and returns its value and output', async () => {
    expect(await runCode('print("hi", [1]); 6 * 7')).toEqual({ value: 42, stdout: 'hi [1]\n' });
    expect(await runCode('throw new TypeError("no")')).toMatchObject({ error: { kind: 'error', message: 'TypeError: no' } });
  });
  it('has neither process, require, fetch nor timers', async () => {
    const { value } = await runCode('[typeof process, typeof require, typeof fetch, typeof setTimeout, typeof Deno]');
    expect(value).toEqual(['undefined', 'undefined', 'undefined', 'undefined', 'undefined']);
  });
  it('stops endless loops, memory hogs, deep recursion and endless regular expressions, and works after each', async () => {
    const limits = { timeoutMs: 100, memoryBytes: 16 << 20 };
    const unhurried = { ...limits, timeoutMs: 600_000 }; // for what ends by itself
    expect((await runCode('while (true) {}', limits)).error?.kind).toBe('timeout');
    expect((await runCode('const a = []; while (true) a.push("x".repeat(100000))', unhurried)).error?.kind).toBe('memory');
    expect((await runCode('function f() { return f() } f()', unhurried)).error?.kind).toBe('stack');
    expect((await runCode(`/^(a+)+$/.test('${'a'.repeat(40)}b')`, limits)).error?.kind).toBe('timeout');
    expect((await runCode('async function f() { while (true) await 0 } f(); 1', limits)).error?.kind).toBe('timeout');
    expect((await runCode('1 + 1')).value).toBe(2);
  });
  it('waits for promises, and tells one that never ends', async () => {
    expect(await runCode('(async () => { await 0; return [5] })()')).toEqual({ value: [5], stdout: '' });
    expect((await runCode('Promise.reject(new TypeError("late"))')).error).toEqual({ kind: 'error', message: 'TypeError: late' });
    expect((await runCode('new Promise(() => {})')).error?.message).toBe('its promise comes to no end');
    expect((await runCode('import("fs")')).error?.kind).toBe('error');
    expect((await runCode('throw Promise.resolve(print(Promise.resolve(1)))')).stdout).toBe('{}\n');
    const { passed } = await runTests('async function f(x) { return 2 * x }', [
      { call: 'f(2)', expected: 4 },
      'return f(2).then((y) => assert(y === 4))',
      'return f(2).then((y) => assert(y === 5))',
      'assertEqual(f(2), 4)',
    ]);
    expect(passed).toEqual([true, true, false, false]);
  });
  it('scores the share of tests that pass', async () => {
    const tests = [{ call: 'add(1, 2)', expected: 3 }, 'assertEqual(add([1], [2]), "12")', 'assert(add(2, 2) === 5)'];
    const right = candidate('Here:\n```js\nfunction add(a, b) { return a + b }\n```', { tests });
    expect((await scoresOf(codeTests(), [right]))[0]).toBeCloseTo(2 / 3, 6);
    expect(
      await scoresOf(codeTests({ all: true }), [
        right,
        candidate('no code', { tests }),
        candidate('```js\n}\n```', { tests }),
        candidate('```js\n1\n```'),
      ]),
    ).toEqual([0, 0, 0, null]);
    await expect(codeTests().score([candidate('x', { tests: [3] })], ctx)).rejects.toThrow('must hold tests');
  });
  it('keeps its assertions from the code under test', async () => {
    for (const cheat of [
      'globalThis.assert = () => {}',
      'var assert = () => {}',
      'Object.defineProperty(globalThis, "assert", { value: () => {} })',
    ])
      expect((await runTests(cheat, ['assert(false)'])).passed).toEqual([false]);
  });
  it('limits each test by itself', async () => {
    const { passed } = await runTests(
      'function f(n) { while (n) {} return 1 }',
      [
        { call: 'f(1)', expected: 1 },
        { call: 'f(0)', expected: 1 },
      ],
      { timeoutMs: 1000 },
    );
    expect(passed).toEqual([false, true]);
  });
});

describe('gatedReward', () => {
  it('asks later stages only where the gates before are open', async () => {
    const asked: number[] = [];
    const counting = verifier('second', 'score', (text) => {
      asked.push(text.length);
      return 2;
    });
    const reward = gatedReward([{ reward: regexMatch({ pattern: 'a' }), weight: 0.5, gate: 1 }, { reward: counting }]);
    const { scores, components } = await reward.score([candidate('a'), candidate('bb')], ctx);
    expect([...scores]).toEqual([2.5, 0]);
    expect([...components!.second]).toEqual([2, 0]);
    expect(asked).toEqual([1]);
  });
});

const responses = dataPath('ifeval/responses_en_Qwen__Qwen2.5-3B-Instruct-GPTQ-Int4.jsonl');
const inputs = dataPath('ifeval/ifeval_input_data.jsonl');
describe.skipIf(!responses || !inputs)('on real responses to IFEval (skipped where the shared data is missing)', () => {
  it("agrees with IFEval's own verdicts about words, commas, keywords, JSON and language", async () => {
    const kwargs = new Map(
      (rows(inputs!) as { prompt: string; kwargs: Record<string, never>[] }[]).map(({ prompt, kwargs }) => [prompt, kwargs]),
    );
    type Range = {
      relation?: string;
      num_words?: number;
      keywords?: string[];
      forbidden_words?: string[];
      keyword?: string;
      frequency?: number;
      language?: string;
    };
    const bounds = (relation: string | undefined, n: number) => (relation === 'less than' ? { max: n - 1 } : { min: n });
    const makers: Record<string, (k: Range) => Verifier> = {
      'length_constraints:number_words': (k) => lengthWithin({ unit: 'words', ...bounds(k.relation, k.num_words!) }),
      'punctuation:no_comma': () => regexMatch({ pattern: ',', absent: true }),
      'keywords:existence': (k) => keywords({ include: k.keywords! }),
      'keywords:forbidden_words': (k) => keywords({ exclude: k.forbidden_words! }),
      'detectable_format:json_format': () => jsonSchema({ schema: {}, from: 'text' }),
      'language:response_language': () => languageIs({ share: false }),
      'change_case:english_lowercase': () => regexMatch({ pattern: '\\p{Lu}', flags: 'u', absent: true }),
    };
    const agreement: Record<string, [right: number, asked: number]> = {};
    for (const row of rows(responses!)) {
      const settings = kwargs.get(row.prompt);
      if (!settings) continue;
      for (const [i, id] of (row.instruction_id_list as string[]).entries()) {
        const make = makers[id.replace(/^en:/, '')];
        if (!make) continue;
        const [score] = await scoresOf(make(settings[i]), [candidate(row.response, { language: settings[i].language })]);
        if (score === null) continue;
        agreement[id] ??= [0, 0];
        const counted = agreement[id];
        counted[1]++;
        if ((score === 1) === row.follow_instruction_list[i]) counted[0]++;
      }
    }
    const [right, asked] = Object.values(agreement).reduce(([r, a], [x, y]) => [r + x, a + y], [0, 0]);
    console.log(`IFEval: ${right} of ${asked} verdicts agree`, agreement);
    expect(asked).toBeGreaterThan(200);
    expect(right / asked).toBeGreaterThan(0.95);
  });
});
