/** The multilingual bed writes each language so that another identifier than its own knows it. */
import { readFileSync } from 'node:fs';
import { rng } from '@plumbline/core';
import {
  type BedLanguage,
  bedLanguageOf,
  bedLanguageShare,
  drawQuestion,
  languageTexts,
  makeWorld,
  type Question,
  renderQuestion,
  renderTrace,
} from '@plumbline/envs';
import { detectLanguage, languageIs } from '@plumbline/rewards';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';

const world = makeWorld(rng(7));
const questions = Array.from({ length: 60 }, (_, i) => drawQuestion(world, rng(i), { level: (i % 4) as Question['level'] }));
const told = (Object.keys(languageTexts) as BedLanguage[]).filter((language) => language !== 'sw'); // eld has no Swahili

describe('the sentences of the multilingual bed', () => {
  it.each(told)('%s: eld takes each of them for what it is, among the languages that it knows', async (language) => {
    for (const question of questions)
      for (const sentence of [renderQuestion(question, language), ...renderTrace(question, language)])
        expect((await detectLanguage(sentence, { candidates: told })).language, sentence).toBe(language);
  });
  it('are all in their language to the verifier, which abstains from Swahili', async () => {
    const batch = (language: BedLanguage) =>
      questions.map((question) => ({ prompt: '', completion: renderTrace(question, language).join('\n'), meta: { language } }));
    for (const language of told) {
      const { scores } = await languageIs({ candidates: told }).score(batch(language), { rng: rng(0) });
      expect([...new Set(scores)], language).toEqual([1]);
    }
    const { abstained } = await languageIs().score(batch('sw'), { rng: rng(0) });
    expect([...new Set(abstained)]).toEqual([1]);
  });
});

const geofact = dataPath('geofact-x/geofact_x_train_grpo.jsonl');
describe.skipIf(!geofact)("GeoFact-X's questions, which the bed has not seen (skipped where the real data is missing)", () => {
  it('are in the language that they are said to be in', () => {
    const codes: Record<string, BedLanguage> = { english: 'en', hindi: 'hi', japanese: 'ja', swahili: 'sw', thai: 'th' };
    const candidates = Object.values(codes);
    const rows = readFileSync(geofact!, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { question: string; reasoning: string; language: string });
    const wrong = rows.filter(({ question, language }) => bedLanguageOf(question, { candidates }).language !== codes[language]);
    expect(rows.length).toBe(1500);
    expect(wrong.map(({ question }) => question.slice(0, 16))).toEqual([
      'Nani mwandishi w', // English rows
      'Garrett Morgan a',
      'タイの叙事詩『クン・チャーン・ク', // a Thai row
    ]);
    const shares = rows.map(
      ({ reasoning, language }) => bedLanguageShare(reasoning.replaceAll('<step>', ''), codes[language], { candidates }).share,
    );
    expect(shares.reduce((a, b) => a + b, 0) / shares.length).toBeGreaterThan(0.99);
  });
});
