/** Verifiers of final answers. */
import { type AnswerRule, extractAnswer, mathEqual, normalizeAnswer, numberOf } from '@plumbline/data/light';
import { answersOf, checkRange, type Verifier, verifier } from './verifier.js';

type AnswerOptions = {
  /** Where `meta` holds the accepted answer, or several. */
  column?: string;
  /** Where the completion says its answer: rules in order, or `'whole'` for the whole text. */
  from?: readonly AnswerRule[] | 'whole';
};

/**
 * 1 where the completion's answer is one of the accepted ones, else 0; an answer that was not found is 0. Compared by normal form (case, spaces, LaTeX dressing), or letter by
 * letter with `normalise: false`. Abstains where no answer is known.
 */
export function exactMatch({
  column = 'answer',
  from = 'whole',
  normalise = true,
}: AnswerOptions & { normalise?: boolean } = {}): Verifier {
  const form = (text: string) => (normalise ? normalizeAnswer(text) : text);
  return verifier('exact match', 'binary', (text, candidate) => {
    const accepted = answersOf(candidate, column);
    const found = from === 'whole' ? text : extractAnswer(text, from)?.value;
    return found !== undefined && accepted.some((answer) => form(answer) === form(found));
  });
}

/**
 * 1 where the completion's answer equals the accepted number, else 0: integers, decimals, fractions, mixed numbers and thousands separators compare exactly; LaTeX is read as far
 * as `\frac`, `\text`, `\boxed` and units of text go. `relTol` and `absTol` widen it; `percent` lets 50% equal 0.5. Answers that are no numbers are compared by their
 * normal form. Abstains where no answer is known.
 *
 * By default the answer is what `\boxed{}`, `<answer>`, `####` or "the answer is" offer; `from: ['last-number']` also takes numbers that were never offered.
 */
export function numericAnswer({
  column = 'answer',
  from,
  relTol,
  absTol = 0,
  percent = false,
}: AnswerOptions & { relTol?: number; absTol?: number; percent?: boolean } = {}): Verifier {
  checkRange('numericAnswer', 'absTol', absTol, 0);
  if (relTol !== undefined) checkRange('numericAnswer', 'relTol', relTol, 0);
  return verifier('numeric answer', 'binary', (text, candidate) => {
    const accepted = answersOf(candidate, column).map((answer) => extractAnswer(answer)?.value ?? answer); // gold may be a whole worked solution
    const found = from === 'whole' ? text : extractAnswer(text, from)?.value;
    if (found === undefined) return 0;
    return accepted.some((answer) => {
      if (mathEqual(found, answer, { relTol, percent })) return true;
      const [x, y] = [numberOf(found), numberOf(answer)];
      return absTol > 0 && x !== null && y !== null && Math.abs(x - y) <= absTol;
    });
  });
}
