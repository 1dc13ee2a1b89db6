/** How good a score is at telling two classes apart, and whether its probabilities can be believed. */

type Numbers = ArrayLike<number>;
export type CalibrationBin = { low: number; high: number; count: number; confidence: number; accuracy: number };

/**
 * Expected and maximum calibration error over equal bins `(low, high]`, the first one closed. `positive` bins the probability
 * of class 1 against its frequency; `top` bins the confidence of the predicted class against whether it was right.
 */
export function calibration(
  truth: Numbers,
  probability: Numbers,
  { bins = 10, of = 'positive' }: { bins?: number; of?: 'positive' | 'top' } = {},
): { ece: number; mce: number; bins: CalibrationBin[] } {
  sameLength('calibration', truth, probability);
  const counts = new Float64Array(bins);
  const confidences = new Float64Array(bins);
  const hits = new Float64Array(bins);
  for (let i = 0; i < truth.length; i++) {
    const p = probability[i];
    if (!(p >= 0 && p <= 1)) throw new RangeError(`calibration: probability ${i} is ${p}, outside [0, 1]`);
    const confidence = of === 'positive' ? p : Math.max(p, 1 - p);
    const hit = of === 'positive' ? truth[i] : Number(truth[i] === (p >= 0.5 ? 1 : 0));
    // the bin whose upper edge is the first at or above the confidence; edges are k / bins as doubles
    let bin = Math.max(0, Math.ceil(confidence * bins) - 1);
    while (bin > 0 && confidence <= bin / bins) bin--;
    while (bin < bins - 1 && confidence > (bin + 1) / bins) bin++;
    counts[bin]++;
    confidences[bin] += confidence;
    hits[bin] += hit;
  }
  const filled: CalibrationBin[] = [];
  for (let b = 0; b < bins; b++)
    if (counts[b] > 0)
      filled.push({
        low: b / bins,
        high: (b + 1) / bins,
        count: counts[b],
        confidence: confidences[b] / counts[b],
        accuracy: hits[b] / counts[b],
      });
  const gaps = filled.map((bin) => Math.abs(bin.confidence - bin.accuracy));
  return {
    ece: filled.reduce((sum, bin, i) => sum + (bin.count / truth.length) * gaps[i], 0),
    mce: Math.max(0, ...gaps),
    bins: filled,
  };
}

/** Mean squared error of a probability: 0 is perfect, 0.25 is a coin. */
export function brierScore(truth: Numbers, probability: Numbers): number {
  sameLength('brierScore', truth, probability);
  let sum = 0;
  for (let i = 0; i < truth.length; i++) sum += (probability[i] - truth[i]) ** 2;
  return sum / truth.length;
}

/** Mean negative log-likelihood of a probability, in nats. */
export function logLoss(truth: Numbers, probability: Numbers): number {
  checkLabels('logLoss', truth, probability);
  const eps = Number.EPSILON;
  let sum = 0;
  for (let i = 0; i < truth.length; i++) {
    const p = Math.min(1 - eps, Math.max(eps, probability[i]));
    sum -= truth[i] === 1 ? Math.log(p) : Math.log1p(-p);
  }
  return sum / truth.length;
}

/** Area under the ROC curve: how often a positive scores above a negative; ties count half. */
export function auroc(truth: Numbers, score: Numbers, weight?: Numbers): number {
  checkLabels('auroc', truth, score);
  const order = Array.from(score, (_, i) => i).sort((i, j) => score[i] - score[j]);
  const w = (i: number) => weight?.[i] ?? 1;
  let negativesBelow = 0;
  let positives = 0;
  let area = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && score[order[end + 1]] === score[order[start]]) end++;
    let tiedPositive = 0;
    let tiedNegative = 0;
    for (let k = start; k <= end; k++)
      if (truth[order[k]] === 1) tiedPositive += w(order[k]);
      else tiedNegative += w(order[k]);
    area += tiedPositive * (negativesBelow + tiedNegative / 2);
    positives += tiedPositive;
    negativesBelow += tiedNegative;
    start = end + 1;
  }
  return area / (positives * negativesBelow);
}

/** Average precision: the mean of precision over recall steps, without interpolation. */
export function averagePrecision(truth: Numbers, score: Numbers): number {
  checkLabels('averagePrecision', truth, score);
  const order = Array.from(score, (_, i) => i).sort((i, j) => score[j] - score[i]);
  const total = Array.from(truth).filter((t) => t === 1).length;
  let hits = 0;
  let precisionSum = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && score[order[end + 1]] === score[order[start]]) end++;
    let tied = 0;
    for (let k = start; k <= end; k++) tied += truth[order[k]] === 1 ? 1 : 0;
    hits += tied;
    precisionSum += (tied / total) * (hits / (end + 1));
    start = end + 1;
  }
  return precisionSum;
}

/** @throws RangeError for a label that is neither 0 nor 1, as where labels and scores have changed places */
function checkLabels(where: string, truth: Numbers, score: Numbers) {
  sameLength(where, truth, score);
  for (let i = 0; i < truth.length; i++)
    if (truth[i] !== 0 && truth[i] !== 1)
      throw new RangeError(`${where}: label ${i} is ${truth[i]}, neither 0 nor 1; labels come before scores`);
}
function sameLength(where: string, truth: Numbers, score: Numbers) {
  if (truth.length !== score.length) throw new RangeError(`${where}: ${truth.length} labels against ${score.length} scores`);
}
