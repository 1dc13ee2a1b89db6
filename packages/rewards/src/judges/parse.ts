/** Verdicts in what a judge wrote. Strict: what does not follow the format is not parsed, and never a loss for one side. */

/** What a judge decides with: after a `</think>`, what follows the last one. */
export function afterThinking(text: string): string {
  const end = text.lastIndexOf('</think>');
  return end < 0 ? text : text.slice(end + '</think>'.length);
}

/** `[[A]]`, `[[B]]` or `[[C]]` (also `[[tie]]`), the last one in the text; null where there is none. */
export function parseVerdict(text: string): 'a' | 'b' | 'tie' | null {
  const found = [...afterThinking(text).matchAll(/\[\[\s*(A|B|C|tie)\s*\]\]/gi)].at(-1)?.[1].toLowerCase();
  return found === undefined ? null : found === 'a' || found === 'b' ? found : 'tie';
}

/** `[[7]]`, the last one in the text, if it lies in the scale; null otherwise. */
export function parseRating(text: string, { min, max }: { min: number; max: number }): number | null {
  const found = [...afterThinking(text).matchAll(/\[\[\s*([+-]?\d+(?:\.\d+)?)\s*(?:\/\s*\d+\s*)?\]\]/g)].at(-1)?.[1];
  if (found === undefined) return null;
  const value = Number(found);
  return value >= min && value <= max ? value : null;
}

/** `[[yes]]` or `[[no]]`, the last one; or an answer that is nothing but yes or no. */
export function parseYesNo(text: string): boolean | null {
  const after = afterThinking(text);
  const found = [...after.matchAll(/\[\[\s*(yes|no)\s*\]\]/gi)].at(-1)?.[1] ?? /^\W*(yes|no)\W*$/i.exec(after)?.[1];
  return found === undefined ? null : found.toLowerCase() === 'yes';
}

/** One line `k: yes` or `k: no` for each of `count` criteria, numbered from 1; the last line of a number counts. null where one is missing. */
export function parseChecklist(text: string, count: number): boolean[] | null {
  const answers = new Map<number, boolean>();
  for (const [, number, answer] of afterThinking(text).matchAll(/^[\s*_-]*(\d+)[*_]*\s*[:.)-]+[\s*_[]*(yes|no)\b/gim))
    answers.set(Number(number), answer.toLowerCase() === 'yes');
  const all = Array.from({ length: count }, (_, i) => answers.get(i + 1));
  return all.every((answer) => answer !== undefined) ? (all as boolean[]) : null;
}

/** `[[3, 1, 2]]`: the numbers 1 to `count`, each once, best first; the last such list. As indices from 0; null where there is none. */
export function parseRanking(text: string, count: number): number[] | null {
  for (const [, list] of [...afterThinking(text).matchAll(/\[\[([\d\s,>]+)\]\]/g)].reverse()) {
    const order = (list.match(/\d+/g) ?? []).map((n) => Number(n) - 1);
    if (order.length === count && new Set(order).size === count && order.every((i) => i >= 0 && i < count)) return order;
  }
  return null;
}
