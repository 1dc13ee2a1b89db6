import { ConfigError } from '@plumbline/core/light';
import type { Candidate } from '@plumbline/data/light';
import { Abstain, knownOf, type Verifier, verifier } from './verifier.js';

type Detector = { detect(text: string): { language: string; getScores(): Record<string, number>; isReliable(): boolean } };
let detector: Promise<Detector> | undefined;

/** ISO 639-1 code of a text's language, or '' where it cannot be told: fewer than 10 letters, or no language that `eld` knows (it has 60). */
export async function detectLanguage(text: string): Promise<{ language: string; confidence: number; reliable: boolean }> {
  const cleaned = text.replace(/```[\s\S]*?```|\$[^$\n]*\$|\\[a-zA-Z]+|https?:\S+|<[^<>\n]{1,40}>|[\d_]+/g, ' ');
  if ((cleaned.match(/\p{L}/gu)?.length ?? 0) < 10) return { language: '', confidence: 0, reliable: false };
  detector ??= loadDetector();
  const found = (await detector).detect(cleaned);
  return { language: found.language, confidence: found.getScores()[found.language] ?? 0, reliable: found.isReliable() };
}

/** Sentence by sentence, how many are in `language` among those whose language can be told: a whole text's language hides a change in the middle. */
export async function languageShare(text: string, language: string): Promise<{ matching: number; total: number; share: number }> {
  let [matching, total] = [0, 0];
  for (const piece of text.split(/(?<=[.!?])\s+|(?<=[。！？])|\n+/)) {
    const { language: found } = await detectLanguage(piece);
    if (found === '') continue;
    total++;
    if (found === language) matching++;
  }
  return { matching, total, share: total === 0 ? 0 : matching / total };
}

/**
 * Share of the sentences in the wanted language (`share: false`: 1 or 0 by the whole text), a code of ISO 639-1: one for all, or of each candidate under `column` of its
 * `meta`. Abstains where no language is known or none of the text can be told.
 */
export function languageIs({
  language,
  column = 'language',
  share = true,
}: {
  language?: string;
  column?: string;
  share?: boolean;
} = {}): Verifier {
  if (language !== undefined && !/^[a-z]{2,3}$/.test(language))
    throw new ConfigError(`languageIs: language is "${language}"; it is a code such as en, de or zh`);
  const wanted = (candidate: Candidate) => language ?? String(knownOf(candidate, column)).toLowerCase().slice(0, 2);
  return verifier(`language ${language ?? ''}`.trim(), share ? 'score' : 'binary', async (text, candidate) => {
    const code = wanted(candidate);
    if (!share) {
      const { language: found } = await detectLanguage(text);
      if (found === '') throw new Abstain('the language cannot be told');
      return found === code;
    }
    const { share: matching, total } = await languageShare(text, code);
    if (total === 0) throw new Abstain('the language cannot be told');
    return matching;
  });
}

async function loadDetector(): Promise<Detector> {
  return (await import('eld/small')).eld;
}
