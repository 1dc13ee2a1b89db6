/**
 * The best policy over a finite set of outputs under a KL penalty: `p(y) ∝ p0(y) · exp(utility(y) / gamma)`, with its KL to the base in nats. What any optimiser tends to, in closed form.
 *
 * @throws RangeError for gamma that is not above 0, unlike lengths, or base probabilities that do not add up to 1
 */
export function tiltedPolicy(
  base: ArrayLike<number>,
  utility: ArrayLike<number>,
  gamma: number,
): { probabilities: Float64Array; kl: number } {
  if (!(gamma > 0)) throw new RangeError(`tiltedPolicy: gamma must be > 0, got ${gamma}`);
  if (base.length !== utility.length || base.length === 0)
    throw new RangeError(`tiltedPolicy: ${base.length} probabilities and ${utility.length} utilities`);
  const total = Array.from(base).reduce((a, b) => a + b, 0);
  if (!(Math.abs(total - 1) < 1e-6)) throw new RangeError(`tiltedPolicy: the base's probabilities add up to ${total}`);
  const logits = Array.from(base, (p, i) => (p > 0 ? Math.log(p) + utility[i] / gamma : -Infinity));
  const largest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  const probabilities = Float64Array.from(weights, (weight) => weight / sum);
  return { probabilities, kl: probabilities.reduce((kl, p, i) => kl + (p > 0 ? p * Math.log(p / base[i]) : 0), 0) };
}
