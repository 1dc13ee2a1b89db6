import type { Rng } from '@plumbline/core';
import { FormatError } from '@plumbline/core';
import type { PreferenceRecord } from '../records.js';

const aspects = ['helpfulness', 'honesty', 'instruction_following', 'truthfulness'] as const;
type Rated = { response: string; score: number; fine: number };

/**
 * Pairs of openbmb/UltraFeedback, prepared as for reward-augmented preferences (arXiv:2410.08067): rows of the source `truthful_qa` and answers with a
 * rating "N/A" are dropped; chosen is the highest `overall_score` (the first of equals), rejected a random other; a pair is kept only if the mean of the four fine
 * ratings of chosen is at least that of rejected.
 *
 * @throws FormatError naming the row and the field that is not as the data set has it
 */
export function ultrafeedbackPairs(rows: readonly Record<string, unknown>[], { rng }: { rng: Rng }): PreferenceRecord[] {
  return rows.flatMap((row, r): PreferenceRecord[] => {
    const { instruction, source, completions } = row;
    if (typeof instruction !== 'string') throw new FormatError(`ultrafeedbackPairs: row ${r} has no text "instruction"`);
    if (!Array.isArray(completions)) throw new FormatError(`ultrafeedbackPairs: row ${r} has no list "completions"`);
    if (source === 'truthful_qa') return [];
    const rated = completions.flatMap((completion, c) => ratedAnswer(completion, `row ${r}, completion ${c}`));
    if (rated.length < 2) return [];
    const best = rated.reduce((top, answer) => (answer.score > top.score ? answer : top));
    const others = rated.filter((answer) => answer !== best);
    const other = others[rng.fork('ultrafeedback', r).below(others.length)];
    if (best.fine < other.fine || best.response === other.response) return [];
    return [
      {
        id: `ultrafeedback:${r}`,
        prompt: [{ role: 'user', content: instruction }],
        chosen: [{ role: 'assistant', content: best.response }],
        rejected: [{ role: 'assistant', content: other.response }],
        chosen_score: best.score,
        rejected_score: other.score,
      },
    ];
  });
}

function ratedAnswer(completion: unknown, where: string): Rated[] {
  const { response, overall_score, annotations } = completion as Record<string, unknown>;
  if (typeof response !== 'string') throw new FormatError(`ultrafeedbackPairs: ${where} has no text "response"`);
  if (typeof overall_score !== 'number') throw new FormatError(`ultrafeedbackPairs: ${where} has no number "overall_score"`);
  const ratings = aspects.map((aspect) => {
    const rating = (annotations as Record<string, { Rating?: unknown } | undefined> | undefined)?.[aspect]?.Rating;
    if (typeof rating !== 'string' && typeof rating !== 'number')
      throw new FormatError(`ultrafeedbackPairs: ${where} has no rating of ${aspect}`);
    return Number(rating); // "N/A" becomes NaN
  });
  if (ratings.some(Number.isNaN)) return [];
  return [{ response, score: overall_score, fine: ratings.reduce((a, b) => a + b) / aspects.length }];
}
