/** Words and sentences, counted as the reference checkers of instruction following count them. */

/** Runs of letters, digits and underscores: what a word is where words are counted. */
export const words = (text: string): string[] => text.match(/[\p{L}\p{M}\p{N}_]+/gu) ?? [];

/** Ends of abbreviations after which a sentence goes on. */
const abbreviations = new Set(
  (
    'a.m p.m e.g i.e etc vs mr mrs ms dr prof rev gen col sgt capt lt maj hon sr jr st ave blvd rd mt ft inc ltd co corp cos bros dept univ assn est approx ' +
    'jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri no nos vol pp fig eds ph.d u.s u.k u.n d.c n.y calif fla minn tex va ' +
    'ariz ark colo conn ga ind kan ky md mich mo mont neb nev okla ore tenn vt wis wyo sen rep gov pres messrs m.b.a b.c a.d'
  ).split(' '),
);
/** Words that begin sentences so often that one begins even after an abbreviation. */
const starters = new Set(
  'the this these that it its he she we they i you in on at but and however if when while there a an for as to what his her my our their'.split(
    ' ',
  ),
);

/**
 * The sentences of a text by a model of periods: a token that ends in `?`, `!` or a period ends a sentence, unless it is an abbreviation, an initial, a number before a lower-case
 * word, or dots of omission before one.
 */
export function sentences(text: string): string[] {
  const found: string[] = [];
  let from = 0;
  for (const { 0: token, index } of text.matchAll(/\S+/g)) {
    const end = index + token.length;
    const [, head, closing] = /^(.*[.?!])(?=$|([)";}\]*:@'({[!?]))/su.exec(token) ?? [];
    const next = closing ?? /\S+/.exec(text.slice(end))?.[0];
    if (head === undefined || next === undefined || !endsSentence(head, next)) continue;
    found.push(text.slice(from, end).trim());
    from = end;
  }
  const rest = text.slice(from).trim();
  return rest ? [...found, rest] : found;
}

function endsSentence(token: string, next: string): boolean {
  if (/[?!]$/.test(token)) return true;
  const upper = /^\p{Lu}/u.test(next);
  const lower = /^\p{Ll}/u.test(next);
  const starts = upper && starters.has(next.toLowerCase().replace(/\W+$/, ''));
  const type = token
    .replace(/^["'“‘([{*_-]+/u, '')
    .replace(/\.+$/, '')
    .toLowerCase();
  if (/\.\.+$/.test(token)) return starts;
  if (abbreviations.has(type) || /^(\p{L}\.)+\p{L}$/u.test(type)) return starts;
  if (/^\p{L}$/u.test(type)) return !upper && !lower;
  if (/^[\d.,:/-]+$/.test(type)) return !lower;
  return true;
}

/** Tokens as the Penn Treebank has them: punctuation apart, contractions cut. */
export function tokens(text: string): string[] {
  return sentences(text).flatMap((sentence) =>
    sentence
      .replace(/\.\.\./g, ' ... ')
      .replace(/--/g, ' -- ')
      .replace(/([,:])(?!\d)/g, ' $1 ')
      .replace(/[;@#$%&?!()[\]{}<>"“”`«»]/g, ' $& ')
      .replace(/(^|\s)'(?=\S)/g, "$1' ")
      .replace(/([^.])(\.)(["')\]}>]*)\s*$/, '$1 $2 $3')
      .replace(/([^' ])('s|'m|'d|'ll|'re|'ve|n't)(?=\s|$)/gi, '$1 $2')
      .replace(/(\S)'(?=\s|$)/g, "$1 '")
      .split(/\s+/)
      .filter(Boolean),
  );
}

/** At least one letter with a case, and none of the other case, as Python's `isupper` and `islower` have it. */
export const isUpper = (text: string): boolean => /\p{Lu}/u.test(text) && !/[\p{Ll}\p{Lt}]/u.test(text);
export const isLower = (text: string): boolean => /\p{Ll}/u.test(text) && !/[\p{Lu}\p{Lt}]/u.test(text);

/** All matches of a pattern that the reference takes as a regular expression; one that is none is taken literally. */
export function occurrences(pattern: string, text: string, { word = false }: { word?: boolean } = {}): number {
  const bounded = (source: string) => (word ? `(?<![\\p{L}\\p{N}_])${source}(?![\\p{L}\\p{N}_])` : source);
  let compiled: RegExp;
  try {
    compiled = new RegExp(bounded(pattern), 'giu');
  } catch {
    compiled = new RegExp(bounded(pattern.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')), 'giu');
  }
  return [...text.matchAll(compiled)].length;
}

/** `count` against a bound, by the relation in words. @throws RangeError for words that name no relation */
export function related(count: number, relation: string, bound: number): boolean {
  const atLeast = ['at least', 'al menos', 'au moins', '以上'];
  const lessThan = ['less than', 'menos de', 'moins de', '未満'];
  if (atLeast.includes(relation)) return count >= bound;
  if (lessThan.includes(relation)) return count < bound;
  if (relation === 'como máximo') return count <= bound;
  throw new RangeError(`the relation "${relation}" is none of ${[...atLeast, ...lessThan, 'como máximo'].join(', ')}`);
}
