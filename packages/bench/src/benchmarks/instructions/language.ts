/**
 * The language of a text as the reference checkers of instruction following tell it: naive Bayes over runs of one to three letters. Nakatani 2010, "Language detection
 * library for Java". Their verdicts follow from its habits, so that it is kept here beside the better detector of `@plumbline/rewards`: words in capitals do not count but for their
 * first letter, hence a text in capitals is told by little, and a single word is often called another language.
 *
 * The reference draws grams with a seed of its own in every run, and is not sure of a text that is close. Here the seed is fixed, and more draws are averaged.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { rng } from '@plumbline/core';

/** Draws of grams whose posteriors are averaged; the reference has 7. */
const trials = 49;
const maxCharacters = 10_000;
/** Smoothing of a gram that a language lacks: a normal draw around `mean`, in units of 1 / 10,000. */
const smoothing = { mean: 0.5, deviation: 0.05 };
const maxGrams = 1000;
const converged = 0.99999;

type Profiles = {
  languages: string[] /** What each gram's share is in the languages that have it. */;
  grams: Map<string, { language: number; share: number }[]>;
};
let loaded: Profiles | undefined;

/** @returns the code of a language (`zh-cn` and `zh-tw` for Chinese), or undefined where nothing in the text tells */
export function referenceLanguage(text: string): string | undefined {
  loaded ??= load();
  const { languages, grams } = loaded;
  const found = gramsOf(text).filter((gram) => grams.has(gram));
  if (found.length === 0) return undefined;
  const stream = rng(0).fork('language');
  const noise = stream.normal(trials);
  const average = new Float64Array(languages.length);
  for (let trial = 0; trial < trials; trial++) {
    const missing = (smoothing.mean + smoothing.deviation * noise[trial]) / 10_000;
    const posterior = new Float64Array(languages.length).fill(1 / languages.length);
    for (let i = 0; ; i++) {
      for (let l = 0; l < posterior.length; l++) posterior[l] *= missing;
      for (const { language, share } of grams.get(found[stream.below(found.length)])!) posterior[language] *= (missing + share) / missing;
      if (i % 5 > 0) continue;
      const sum = posterior.reduce((a, b) => a + b, 0);
      for (let l = 0; l < posterior.length; l++) posterior[l] /= sum;
      if (i >= maxGrams || Math.max(...posterior) > converged) break;
    }
    for (let l = 0; l < posterior.length; l++) average[l] += posterior[l] / trials;
  }
  return languages[average.indexOf(Math.max(...average))];
}

/** Runs of up to three letters within words, a word's beginning and end marked by a space. */
function gramsOf(text: string): string[] {
  const cleaned = withoutForeignLatin(
    text
      .replace(/https?:\/\/[-_.?&~;+=/#0-9A-Za-z]{1,2076}/g, ' ')
      .replace(/[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}/g, ' ')
      .normalize('NFC')
      .replace(/ +/g, ' '),
  );
  const list: string[] = [];
  let held = [' '];
  let capitals = false;
  for (const character of cleaned) {
    const one = normalized(character);
    const before = held[held.length - 1];
    if (before === ' ') {
      [held, capitals] = [[' '], false];
      if (one === ' ') continue;
    } else if (held.length >= 3) held.shift();
    held.push(one);
    const upper = /\p{Lu}/u.test(one);
    capitals = upper ? capitals || /\p{Lu}/u.test(before) : false;
    if (capitals) continue;
    for (let n = 1; n <= held.length; n++) {
      const gram = held.slice(-n).join('');
      if (gram !== ' ') list.push(gram);
    }
  }
  return list;
}

/** Latin letters are left out where other scripts have more than twice as many. */
function withoutForeignLatin(text: string): string {
  const characters = [...text].slice(0, maxCharacters);
  const latin = characters.filter((one) => one >= 'A' && one <= 'z').length;
  const others = characters.filter((one) => one >= '\u0300' && !(one >= '\u1e00' && one <= '\u1eff')).length;
  return (latin * 2 < others ? characters.filter((one) => one < 'A' || one > 'z') : characters).join('');
}

/** One sign for a whole script where single letters tell nothing. */
function normalized(one: string): string {
  if (one < '\u0080') return /[A-Za-z]/.test(one) ? one : ' ';
  if ('\u00a0\u00ab\u00b0\u00bb'.includes(one) || (one >= '\u2000' && one <= '\u206f')) return ' ';
  if (one === '\u0219') return '\u015f';
  if (one === '\u021b') return '\u0163';
  if (one === '\u06cc') return '\u064a';
  if (one >= '\u1ea0' && one <= '\u1eff') return '\u1ec3';
  if (one >= '\u3040' && one <= '\u309f') return '\u3042';
  if (one >= '\u30a0' && one <= '\u30ff') return '\u30a2';
  if ((one >= '\u3100' && one <= '\u312f') || (one >= '\u31a0' && one <= '\u31bf')) return '\u3105';
  if (one >= '\uac00' && one <= '\ud7a3') return '\uac00';
  return one;
}

function load(): Profiles {
  const root = dirname(createRequire(import.meta.url).resolve('@plumbline/bench/package.json'));
  const { profiles } = JSON.parse(gunzipSync(readFileSync(join(root, 'data', 'language-profiles.json.gz'))).toString('utf8')) as {
    profiles: Record<string, { totals: number[]; counts: Record<string, number> }>;
  };
  const languages = Object.keys(profiles);
  const grams: Profiles['grams'] = new Map();
  for (const [language, { totals, counts }] of Object.values(profiles).entries())
    for (const [gram, count] of Object.entries(counts)) {
      const length = [...gram].length;
      if (length < 1 || length > 3) continue;
      const list = grams.get(gram);
      const one = { language, share: count / totals[length - 1] };
      if (list) list.push(one);
      else grams.set(gram, [one]);
    }
  return { languages, grams };
}
