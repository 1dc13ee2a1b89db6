/**
 * Maximum-likelihood Bradley-Terry strengths from a table of wins, by Newton's method on the log-likelihood.
 * Bradley & Terry 1952: `P(i beats j) = σ(s_i − s_j)`; a tie is half a win for each side.
 *
 * `logStrength` is centred on 0. `standardError` comes from the pseudo-inverse of the Fisher information, that is
 * under the same centring. `ridge` adds `ridge · Σ s²` to the negative log-likelihood, and makes unbeaten players finite.
 *
 * @param wins wins[i][j], how often i beat j; the diagonal is not read
 * @throws RangeError where the table is not square, a count is negative, or, without ridge, some group of players never beat the rest
 */
export function bradleyTerryMle(
  wins: readonly (readonly number[])[],
  { ridge = 0, iterations = 100 }: { ridge?: number; iterations?: number } = {},
): { logStrength: number[]; standardError: number[]; negativeLogLikelihood: number; winProbability: number[][]; elo: number[] } {
  const n = wins.length;
  if (wins.some((row) => row.length !== n)) throw new RangeError(`bradleyTerryMle: the table must be square, ${n} rows of ${n} counts`);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      if (i !== j && !(wins[i][j] >= 0)) throw new RangeError(`bradleyTerryMle: wins[${i}][${j}] is ${wins[i][j]}, not a count`);
  if (ridge === 0) {
    const stuck = neverBeatTheRest(wins);
    if (stuck)
      throw new RangeError(
        `bradleyTerryMle: no maximum exists, since ${stuck.join(', ')} never beat the others; compare them more, or set ridge`,
      );
  }
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  const objective = (s: readonly number[]) => {
    let sum = 0;
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) if (i !== j && wins[i][j] > 0) sum += wins[i][j] * Math.log1p(Math.exp(s[j] - s[i]));
    return sum + ridge * s.reduce((t, x) => t + x * x, 0);
  };
  /** Gradient, and the Hessian plus `1 1ᵀ / n`, which fixes the free shift without changing centred directions. */
  const derivatives = (s: readonly number[]) => {
    const gradient = s.map((x) => 2 * ridge * x);
    const hessian = s.map((_, i) => s.map((__, j) => 1 / n + (i === j ? 2 * ridge : 0)));
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        if (i === j) continue;
        const p = sigmoid(s[i] - s[j]);
        gradient[i] += wins[j][i] * p - wins[i][j] * (1 - p);
        const curvature = (wins[i][j] + wins[j][i]) * p * (1 - p);
        hessian[i][i] += curvature;
        hessian[i][j] -= curvature;
      }
    return { gradient, hessian };
  };
  let s = new Array<number>(n).fill(0);
  let value = objective(s);
  for (let k = 0; k < iterations; k++) {
    const { gradient, hessian } = derivatives(s);
    const inverse = invertMatrix(hessian);
    const step = inverse.map((row) => row.reduce((t, x, j) => t + x * gradient[j], 0));
    if (Math.max(...step.map(Math.abs)) < 1e-13) break;
    let scale = 1;
    let next = s.map((x, i) => x - scale * step[i]);
    while (objective(next) > value + 1e-12 && scale > 1e-6) {
      scale /= 2;
      next = s.map((x, i) => x - scale * step[i]);
    }
    const centre = next.reduce((t, x) => t + x, 0) / n;
    s = next.map((x) => x - centre);
    value = objective(s);
  }
  const inverse = invertMatrix(derivatives(s).hessian);
  return {
    logStrength: s,
    // (H + 11ᵀ/n)⁻¹ = H⁺ + 11ᵀ/n on the space where H has none: take the shift off again
    standardError: inverse.map((row, i) => Math.sqrt(Math.max(0, row[i] - (ridge === 0 ? 1 / n : 0)))),
    negativeLogLikelihood: value,
    winProbability: s.map((x) => s.map((y) => sigmoid(x - y))),
    elo: s.map((x) => 1000 + (400 / Math.LN10) * x),
  };
}

/** Ford's condition: from every player, each other can be reached along "has beaten". Names a set that breaks it. */
function neverBeatTheRest(wins: readonly (readonly number[])[]): number[] | null {
  for (let start = 0; start < wins.length; start++) {
    const reached = new Set([start]);
    for (const i of reached) for (let j = 0; j < wins.length; j++) if (j !== i && wins[i][j] > 0) reached.add(j);
    if (reached.size < wins.length) return [...reached].sort((a, b) => a - b);
  }
  return null;
}

/** Gauss-Jordan with partial pivoting. */
function invertMatrix(matrix: readonly (readonly number[])[]): number[][] {
  const n = matrix.length;
  const a = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let row = column + 1; row < n; row++) if (Math.abs(a[row][column]) > Math.abs(a[pivot][column])) pivot = row;
    [a[column], a[pivot]] = [a[pivot], a[column]];
    const scale = a[column][column];
    for (let k = 0; k < 2 * n; k++) a[column][k] /= scale;
    for (let row = 0; row < n; row++) {
      if (row === column) continue;
      const factor = a[row][column];
      if (factor !== 0) for (let k = 0; k < 2 * n; k++) a[row][k] -= factor * a[column][k];
    }
  }
  return a.map((row) => row.slice(n));
}
