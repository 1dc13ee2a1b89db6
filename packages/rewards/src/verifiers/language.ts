import { ConfigError } from '@plumbline/core/light';
import type { Candidate } from '@plumbline/data/light';
import { Abstain, knownOf, type Verifier, verifier } from './verifier.js';

type Detector = {
  detect(text: string): { language: string; getScores(): Record<string, number>; isReliable(): boolean };
  setLanguageSubset(languages: string[]): Record<number, string>;
  newInstance(): Detector;
  info(): { Languages: Record<number, string> };
};
export type Script = 'latin' | 'devanagari' | 'thai' | 'kana-han' | 'han' | 'cyrillic' | 'arabic' | 'hangul' | 'greek' | 'hebrew' | 'none';
export type LanguageOptions = {
  /** ISO 639-1 codes among which the language is; any that `eld` knows by default. */
  candidates?: readonly string[];
  /** Fewer letters than this are no language: 10. */
  minLetters?: number;
};

const scripts: readonly [Script, RegExp][] = [
  ['latin', /\p{Script=Latin}/gu],
  ['devanagari', /\p{Script=Devanagari}/gu],
  ['thai', /\p{Script=Thai}/gu],
  ['kana-han', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['han', /\p{Script=Han}/gu],
  ['cyrillic', /\p{Script=Cyrillic}/gu],
  ['arabic', /\p{Script=Arabic}/gu],
  ['hangul', /\p{Script=Hangul}/gu],
  ['greek', /\p{Script=Greek}/gu],
  ['hebrew', /\p{Script=Hebrew}/gu],
];

/** The script of most of a text's letters, the first of the list where two have as many. Kana beside Han is Japanese: `kana-han`. */
export function dominantScript(text: string): Script {
  const counts = new Map(scripts.map(([name, letters]) => [name, text.match(letters)?.length ?? 0]));
  const kana = counts.get('kana-han')!;
  if (kana > 0) {
    counts.set('kana-han', kana + counts.get('han')!);
    counts.set('han', 0);
  }
  let best: Script = 'none';
  for (const [name, count] of counts) if (count > (counts.get(best) ?? 0)) best = name;
  return best;
}

/** Of languages that are not written in Latin letters; what is missing here is. */
const scriptOf: Record<string, Script> = {
  ...{ am: 'none', bn: 'none', gu: 'none', hy: 'none', ka: 'none', kn: 'none', ml: 'none', or: 'none', pa: 'none', ta: 'none', te: 'none' }, // their own
  ...{
    ar: 'arabic',
    fa: 'arabic',
    ur: 'arabic',
    ku: 'arabic',
    be: 'cyrillic',
    bg: 'cyrillic',
    ru: 'cyrillic',
    sr: 'cyrillic',
    uk: 'cyrillic',
  },
  ...{ el: 'greek', he: 'hebrew', hi: 'devanagari', mr: 'devanagari', ja: 'kana-han', ko: 'hangul', th: 'thai', zh: 'han' },
};

const detectors = new Map<string, Promise<Detector>>();

/**
 * ISO 639-1 code of a text's language, or '' where it cannot be told: fewer than `minLetters` letters, or none of the languages in question. A script that one of `candidates` alone is
 * written in decides; otherwise `eld` does (60 languages; no Swahili and no Indonesian), among the candidates that it knows.
 *
 * @throws ConfigError for a candidate that is no code, or that neither its script nor `eld` tells from the others
 */
export async function detectLanguage(
  text: string,
  { candidates, minLetters = 10 }: LanguageOptions = {},
): Promise<{ language: string; confidence: number; reliable: boolean }> {
  const wrong = candidates?.find((code) => !/^[a-z]{2,3}$/.test(code));
  if (wrong !== undefined) throw new ConfigError(`detectLanguage: the candidate "${wrong}" is no code such as en, de or zh`);
  const none = { language: '', confidence: 0, reliable: false };
  const cleaned = text.replace(/```[\s\S]*?```|\$[^$\n]*\$|\\[a-zA-Z]+|https?:\S+|<[^<>\n]{1,40}>|[\d_]+/g, ' ');
  if ((cleaned.match(/\p{L}/gu)?.length ?? 0) < minLetters) return none;
  if (candidates) {
    const script = dominantScript(withoutNames(cleaned));
    const written = candidates.filter((code) => (scriptOf[code] ?? 'latin') === script);
    if (script !== 'none' && written.length === 0) return none;
    if (script !== 'none' && script !== 'latin' && written.length === 1) return { language: written[0], confidence: 1, reliable: true };
  }
  const found = (await detectorOf(candidates)).detect(cleaned);
  if (candidates && !candidates.includes(found.language)) return none;
  return { language: found.language, confidence: found.getScores()[found.language] ?? 0, reliable: found.isReliable() };
}

/** Names in Latin letters stand in texts of every script: words with a Latin capital count only where there are no others. */
function withoutNames(text: string): string {
  const others = text.replace(/\p{Lu}[\p{Script=Latin}\p{M}]*/gu, ' ');
  return /\p{L}/u.test(others) ? others : text;
}

/** Sentence by sentence, how many are in `language` among those whose language can be told: a whole text's language hides a change in the middle. */
export async function languageShare(
  text: string,
  language: string,
  options: LanguageOptions = {},
): Promise<{ matching: number; total: number; share: number }> {
  let [matching, total] = [0, 0];
  for (const piece of text.split(/(?<=[.!?।])\s+|(?<=[。！？])|\n+/)) {
    const { language: found } = await detectLanguage(piece, options);
    if (found === '') continue;
    total++;
    if (found === language) matching++;
  }
  return { matching, total, share: total === 0 ? 0 : matching / total };
}

/**
 * Share of the sentences in the wanted language (`share: false`: 1 or 0 by the whole text), a code of ISO 639-1: one for all, or of each candidate under `column` of its
 * `meta`. Abstains where no language is known, where it is one that cannot be told (`eld` has no Swahili), or where none of the text can be told. `candidates` are the languages among which a text's is; with
 * few, short sentences are told better (Hindi is not taken for Marathi).
 *
 * @throws ConfigError on first use where the one language cannot be told
 */
export function languageIs({
  language,
  column = 'language',
  share = true,
  candidates,
}: {
  language?: string;
  column?: string;
  share?: boolean;
  candidates?: readonly string[];
} = {}): Verifier {
  if (language !== undefined && !/^[a-z]{2,3}$/.test(language))
    throw new ConfigError(`languageIs: language is "${language}"; it is a code such as en, de or zh`);
  if (language !== undefined && candidates && !candidates.includes(language))
    throw new ConfigError(`languageIs: language is "${language}", which is none of its candidates ${candidates.join(', ')}`);
  const wanted = (candidate: Candidate) => language ?? String(knownOf(candidate, column)).toLowerCase().slice(0, 2);
  return verifier(`language ${language ?? ''}`.trim(), share ? 'score' : 'binary', async (text, candidate) => {
    const code = wanted(candidate);
    if (!Object.values((await detectorOf(undefined)).info().Languages).includes(code)) {
      const why = `there is no telling whether a text is in "${code}": eld does not know that language`;
      throw language === undefined ? new Abstain(why) : new ConfigError(`languageIs: ${why}`);
    }
    if (!share) {
      const { language: found } = await detectLanguage(text, { candidates });
      if (found === '') throw new Abstain('the language cannot be told');
      return found === code;
    }
    const { share: matching, total } = await languageShare(text, code, { candidates });
    if (total === 0) throw new Abstain('the language cannot be told');
    return matching;
  });
}

/** One for each set of languages, since `eld` keeps its subset. */
function detectorOf(candidates: readonly string[] | undefined): Promise<Detector> {
  const key = candidates ? [...candidates].sort().join(' ') : '';
  const known = detectors.get(key);
  if (known) return known;
  const made = import('eld/small').then(({ eld }) => {
    if (!candidates) return eld as Detector;
    const own = eld.newInstance() as Detector;
    const known = Object.values(own.setLanguageSubset([...candidates]));
    const unknown = candidates.filter((code) => !known.includes(code));
    if (unknown.length > 0)
      throw new ConfigError(`detectLanguage: ${unknown.join(', ')} cannot be told from others of the same script: eld does not know it`);
    return own;
  });
  detectors.set(key, made);
  return made;
}
