/** How strong each preference is, by a vote of reward models. Wang et al. 2024, arXiv:2401.06080. Plain numbers. */

/**
 * Mean and population standard deviation of each pair's margin over models trained independently, [models][pairs] -> [pairs].
 *
 * @throws RangeError for fewer than two models, or models that all agree (they were not trained independently)
 */
export function preferenceStrength(margins: readonly ArrayLike<number>[]): { mean: Float32Array; std: Float32Array } {
  if (margins.length < 2) throw new RangeError(`preferenceStrength: ${margins.length} models; strength is a vote of at least two`);
  const pairs = margins[0].length;
  margins.forEach((own, m) => {
    if (own.length !== pairs) throw new RangeError(`preferenceStrength: model ${m} has ${own.length} margins and the first ${pairs}`);
    for (let i = 0; i < pairs; i++)
      if (!Number.isFinite(own[i])) throw new RangeError(`preferenceStrength: model ${m} gives pair ${i} the margin ${own[i]}`);
  });
  const mean = Float32Array.from({ length: pairs }, (_, i) => margins.reduce((sum, own) => sum + own[i], 0) / margins.length);
  const std = Float32Array.from({ length: pairs }, (_, i) =>
    Math.sqrt(margins.reduce((sum, own) => sum + (own[i] - mean[i]) ** 2, 0) / margins.length),
  );
  if (pairs > 0 && std.every((sd) => sd === 0))
    throw new RangeError('preferenceStrength: the models agree on every pair; strength needs independently trained models');
  return { mean, std };
}

/**
 * Pairs by strength: the weakest share is taken as wrongly labelled, the next as ambiguous, the rest as clear. With `threshold` in place of shares, those below it are wrong.
 *
 * @returns indices of the pairs, weakest first
 */
export function partitionByStrength(
  mean: ArrayLike<number>,
  how: { wrong: number; ambiguous: number } | { threshold: number },
): { wrong: number[]; ambiguous: number[]; clear: number[] } {
  const order = Array.from(mean, (_, i) => i).sort((i, j) => mean[i] - mean[j] || i - j);
  if ('threshold' in how) {
    const cut = order.filter((i) => mean[i] < how.threshold).length;
    return { wrong: order.slice(0, cut), ambiguous: [], clear: order.slice(cut) };
  }
  const { wrong, ambiguous } = how;
  if (!(wrong >= 0 && ambiguous >= 0 && wrong + ambiguous <= 1))
    throw new RangeError(`partitionByStrength: wrong and ambiguous are shares that add up to at most 1, got ${wrong} and ${ambiguous}`);
  const [first, second] = [Math.round(wrong * order.length), Math.round((wrong + ambiguous) * order.length)];
  return { wrong: order.slice(0, first), ambiguous: order.slice(first, second), clear: order.slice(second) };
}
