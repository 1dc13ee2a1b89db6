/** A score read off a model without letting it write: what it would say, over the tokens that are scores. Plain numbers. */

/** `expectation` over all values; `argmax` the likeliest value; `argmaxTimesProbability` that value times its probability, which is not monotone in quality: a sure 3 beats an unsure 4. */
export type LogitScoreMode = 'expectation' | 'argmax' | 'argmaxTimesProbability';

/**
 * The score that the logits of the score tokens stand for: a softmax over those alone, then by `mode`. arXiv:2510.16888 (Edit-R1); as in VideoScore2 (arXiv:2509.22799), whose own variant is `argmaxTimesProbability`.
 *
 * @param logits of the tokens of `values`, in their order
 * @param values what each token is worth, ascending: 0 to 5, 1 to 5
 * @param normalise puts the score on [0, 1], from the least value to the largest; true unless given
 * @throws RangeError for fewer than two values, values that do not ascend, unlike lengths, or logits of which none is above −Infinity
 */
export function expectedScoreFromLogits(
  logits: ArrayLike<number>,
  { values, normalise = true, mode = 'expectation' }: { values: readonly number[]; normalise?: boolean; mode?: LogitScoreMode },
): number {
  if (values.length < 2 || values.some((value, i) => i > 0 && !(value > values[i - 1])))
    throw new RangeError(`expectedScoreFromLogits: values must ascend, and be two at least, got ${values.join(', ')}`);
  if (logits.length !== values.length) throw new RangeError(`expectedScoreFromLogits: ${logits.length} logits and ${values.length} values`);
  const largest = Math.max(...Array.from(logits));
  if (!Number.isFinite(largest) && largest !== Infinity)
    throw new RangeError(`expectedScoreFromLogits: the logits are ${Array.from(logits).join(', ')}`);
  const weights = Array.from(logits, (logit) => (logit === largest ? 1 : Math.exp(logit - largest)));
  const total = weights.reduce((a, b) => a + b, 0);
  const top = weights.indexOf(1);
  const scores: Record<LogitScoreMode, () => number> = {
    expectation: () => weights.reduce((sum, weight, i) => sum + (weight / total) * values[i], 0),
    argmax: () => values[top],
    argmaxTimesProbability: () => (values[top] * weights[top]) / total,
  };
  if (!Object.hasOwn(scores, mode))
    throw new RangeError(`expectedScoreFromLogits: there is no mode "${mode}"; there are ${Object.keys(scores).join(', ')}`);
  const score = scores[mode]();
  return normalise ? (score - values[0]) / (values.at(-1)! - values[0]) : score;
}
