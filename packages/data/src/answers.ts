/**
 * Final answers of solutions: found in the text, brought to a normal form, compared exactly. Pure text, no dependencies.
 */

/** Where an answer may stand. `last-number` rewards numbers that were never offered as the answer: for evaluating base models, not for rewards. */
export type AnswerRule = 'boxed' | 'tag' | 'hash' | 'answer-is' | 'last-number';
export const answerRules: readonly AnswerRule[] = ['boxed', 'tag', 'hash', 'answer-is'];

/**
 * The answer that a text offers. Rules are tried in order; within a rule the last match wins; after a `</think>` only what follows the last one is searched.
 * `boxed`: `\boxed{...}` with balanced braces. `tag`: `<answer>...</answer>`. `hash`: `#### x`. `answer-is`: "the answer is x" or "Answer: x" up to
 * the line's end. `last-number`: the last number.
 *
 * @returns null where no rule finds anything
 */
export function extractAnswer(text: string, rules: readonly AnswerRule[] = answerRules): { value: string; rule: AnswerRule } | null {
  const end = text.lastIndexOf('</think>');
  const searched = end < 0 ? text : text.slice(end + '</think>'.length);
  for (const rule of rules) {
    const value = finders[rule](searched)?.trim();
    if (value) return { value, rule };
  }
  return null;
}

const finders: Record<AnswerRule, (text: string) => string | undefined> = {
  boxed: lastBoxed,
  tag: (text) => last(text, /<answer>([\s\S]*?)<\/answer>/gi),
  hash: (text) => last(text, /####[ \t]*(.+)/g),
  'answer-is': (text) =>
    last(text, /(?:the (?:correct |final )?answer(?: to this problem)? is|answer:)\s*(.+)/gi)
      ?.replaceAll('*', '')
      .trim()
      .replace(/^:\s*/, '')
      .replace(/\.$/, ''),
  'last-number': (text) => text.match(/[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\/\d+)?%?/g)?.at(-1),
};

const last = (text: string, pattern: RegExp): string | undefined => [...text.matchAll(pattern)].at(-1)?.[1];

function lastBoxed(text: string): string | undefined {
  for (let at = text.lastIndexOf('\\boxed'); at >= 0; at = at > 0 ? text.lastIndexOf('\\boxed', at - 1) : -1) {
    const open = /^\\boxed\s*\{/.exec(text.slice(at));
    if (!open) continue;
    const from = at + open[0].length;
    let depth = 1;
    for (let i = from; i < text.length; i++) {
      if (text[i] === '{' && text[i - 1] !== '\\') depth++;
      else if (text[i] === '}' && text[i - 1] !== '\\' && --depth === 0) return text.slice(from, i);
    }
  }
  return undefined;
}

/** The text by which answers are compared where they are not numbers: width, dashes, LaTeX dressing, thousands separators, case and spaces settled. */
export function normalizeAnswer(answer: string): string {
  let s = answer.normalize('NFKC').trim();
  s = s
    .replace(/[\u2212\u2013]/g, '-')
    .replaceAll('{,}', ',')
    .replace(/\\[,;!: ]/g, ' ')
    .replaceAll('\\left', '')
    .replaceAll('\\right', '');
  for (let before = ''; before !== s; ) {
    before = s;
    s = s
      .trim()
      .replace(/^\$+([\s\S]*?)\$+$/, '$1')
      .replace(/^\\\(([\s\S]*)\\\)$/, '$1')
      .replace(/^\\\[([\s\S]*)\\\]$/, '$1');
    s = s.replace(/\\(?:text|mathrm|mathbf|mbox|textbf)\s*\{([^{}]*)\}/g, '$1').replace(/^\\boxed\s*\{([\s\S]*)\}$/, '$1');
    s = s
      .replace(/(\d)\s*\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '$1 $2/$3')
      .replace(/\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '$1/$2');
    s = s.replace(/\\[dt]?frac\s*(\d)\s*(\d)/g, '$1/$2');
  }
  s = s.replace(/\\?\$/g, '').replaceAll('\\%', '%').replace(/\.+$/, '');
  s = s.replace(/(?<![\d,.])-?\d{1,3}(?:,\d{3})+(?![\d,])/g, (number) => number.replaceAll(',', ''));
  return s.replace(/\s+/g, ' ').trim().toLowerCase();
}

/** An exact number, numerator over a positive denominator. `percent` where a percent sign stood behind it (its value is not divided by 100). */
type Exact = { numerator: bigint; denominator: bigint; percent: boolean };

/** Integers, decimals, fractions and mixed numbers; null for anything else, and for a zero denominator. */
function exactNumber(normal: string): Exact | null {
  const percent = normal.endsWith('%');
  const s = (percent ? normal.slice(0, -1) : normal).trim();
  const decimal = (sign: string, whole: string, fraction = '', exponent = '0'): Exact => {
    const power = Number(exponent) - fraction.length;
    const digits = BigInt(`${whole}${fraction}` || '0') * (sign === '-' ? -1n : 1n);
    return power >= 0
      ? { numerator: digits * 10n ** BigInt(power), denominator: 1n, percent }
      : { numerator: digits, denominator: 10n ** BigInt(-power), percent };
  };
  let match = /^([+-]?)(\d+)(?:\.(\d*))?(?:e([+-]?\d{1,3}))?$/.exec(s) ?? /^([+-]?)()\.(\d+)(?:e([+-]?\d{1,3}))?$/.exec(s);
  if (match) return decimal(match[1], match[2], match[3], match[4]);
  match = /^([+-]?)(?:(\d+) )?\(?(\d+)\)? ?\/ ?\(?([+-]?\d+)\)?$/.exec(s);
  if (match) {
    const denominator = BigInt(match[4]);
    if (denominator === 0n) return null;
    let numerator = BigInt(match[3]);
    if (match[2]) numerator += BigInt(match[2]) * denominator;
    if (match[1] === '-') numerator = -numerator;
    return denominator < 0n ? { numerator: -numerator, denominator: -denominator, percent } : { numerator, denominator, percent };
  }
  match = /^([+-]?)(\d+\.\d+) ?\/ ?(\d+(?:\.\d+)?)$/.exec(s);
  if (match) {
    const [a, b] = [decimal(match[1], ...(match[2].split('.') as [string, string])), decimal('', ...(match[3].split('.') as [string]))];
    if (b.numerator === 0n) return null;
    return { numerator: a.numerator * b.denominator, denominator: a.denominator * b.numerator, percent };
  }
  return null;
}

export type MathEqualOptions = {
  /** Also equal within `relTol · max(1, |b|)`. */
  relTol?: number;
  /** A percentage equals the number it stands for: 50% and 0.5. */
  percent?: boolean;
};

/**
 * Whether two answers are the same: numbers (integers, decimals, fractions, mixed numbers) exactly, as rationals; all else by its normal form. Never throws; 1/0
 * equals nothing.
 */
export function mathEqual(a: string, b: string, { relTol, percent = false }: MathEqualOptions = {}): boolean {
  const [left, right] = [normalizeAnswer(a), normalizeAnswer(b)];
  const [x, y] = [exactNumber(left), exactNumber(right)];
  if (x && y) {
    const same = (scaleX: bigint, scaleY: bigint) => x.numerator * y.denominator * scaleX === y.numerator * x.denominator * scaleY;
    if (x.percent === y.percent && same(1n, 1n)) return true;
    if (percent && (same(100n, 1n) || same(1n, 100n))) return true;
    if (relTol === undefined) return false;
    const value = ({ numerator, denominator }: Exact) => quotient(numerator, denominator);
    const near = (p: number, q: number) => Math.abs(p - q) <= relTol * Math.max(1, Math.abs(q));
    if (x.percent === y.percent && near(value(x), value(y))) return true;
    return percent && (near(value(x) * 100, value(y)) || near(value(x), value(y) * 100));
  }
  if (/^[+-]?[\d.]+ ?\/ ?[+-]?0+(?:\.0+)?$/.test(left) || /^[+-]?[\d.]+ ?\/ ?[+-]?0+(?:\.0+)?$/.test(right)) return false;
  return left !== '' && left === right;
}

/** As a double, also where numerator or denominator alone would overflow one. */
function quotient(numerator: bigint, denominator: bigint): number {
  const direct = Number(numerator) / Number(denominator);
  return Number.isFinite(direct) ? direct : Number((numerator * 1_000_000n) / denominator) / 1e6;
}

/** The number that an answer is, as a double, or null; a percentage is its number of percent. */
export function numberOf(answer: string): number | null {
  const exact = exactNumber(normalizeAnswer(answer));
  return exact && quotient(exact.numerator, exact.denominator);
}

/** Whether the answer offered by `text` is `gold` (or one of several). `extracted` is null where no answer was found, which is never correct. */
export function verifyAnswer(
  text: string,
  gold: string | readonly string[],
  { rules, ...options }: MathEqualOptions & { rules?: readonly AnswerRule[] } = {},
): { correct: boolean; extracted: string | null; rule: AnswerRule | null } {
  const found = extractAnswer(text, rules);
  if (!found) return { correct: false, extracted: null, rule: null };
  const accepted = typeof gold === 'string' ? [gold] : gold;
  return { correct: accepted.some((one) => mathEqual(found.value, one, options)), extracted: found.value, rule: found.rule };
}

/**
 * `1 − distance / length` of the longer text, where the distance is the least number of code points that are put in, taken out or exchanged (Levenshtein). 1 for equal texts, two empty ones among
 * them; 0 where nothing agrees.
 */
export function editSimilarity(a: string, b: string): number {
  const [x, y] = [Array.from(a), Array.from(b)];
  if (x.length === 0 && y.length === 0) return 1;
  let row = Array.from({ length: y.length + 1 }, (_, j) => j);
  for (let i = 1; i <= x.length; i++) {
    const next = [i];
    for (let j = 1; j <= y.length; j++) next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (x[i - 1] === y[j - 1] ? 0 : 1));
    row = next;
  }
  return 1 - row[y.length] / Math.max(x.length, y.length);
}
