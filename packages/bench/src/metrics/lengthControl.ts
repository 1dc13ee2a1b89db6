/** Win rates that do not reward length, and what they need. Dubois et al. 2024, arXiv:2404.04475 (AlpacaEval 2). */
import { mean, standardDeviation } from '@plumbline/data/statistics';

export type LengthControlled = {
  /** Mean preference, in [0, 1]. */
  winRate: number;
  /** What the regression says the win rate would be at equal lengths, in [0, 1]. */
  lengthControlled: number;
  /** Standard error of the raw win rate. */
  standardError: number;
  /** Log-odds at equal length and average difficulty; slope on `tanh` of the length difference in standard deviations; slope on the difficulty. */
  coefficients: { model: number; length: number; difficulty: number };
};

/**
 * Logistic regression of the preference on the difference in length and on how hard the instruction is, predicted at equal lengths:
 * `logit P(model preferred) = θ + φ tanh(Δ / sd(Δ)) + ψ γ`, the mean over the instructions of the prediction with Δ = 0.
 *
 * @param preferences       [n] in [0, 1], the judge's probability that the model's answer is better than the baseline's
 * @param lengthDifferences [n] length of the model's answer minus the baseline's, in any unit
 * @param difficulty        [n] γ of each instruction (`instructionDifficulty`); left out of the regression where it is not given
 * @param ridge             penalty on φ and ψ, which keeps one-sided data finite
 */
export function lengthControlledWinRate(
  preferences: ArrayLike<number>,
  lengthDifferences: ArrayLike<number>,
  { difficulty, ridge = 0.2 }: { difficulty?: ArrayLike<number>; ridge?: number } = {},
): LengthControlled {
  const n = preferences.length;
  if (n === 0 || lengthDifferences.length !== n || (difficulty && difficulty.length !== n))
    throw new RangeError(
      `lengthControlledWinRate: ${n} preferences, ${lengthDifferences.length} length differences${difficulty ? `, ${difficulty.length} difficulties` : ''}; needs as many of each, at least one`,
    );
  const sd = standardDeviation(lengthDifferences) || 1;
  const length = Array.from(lengthDifferences, (difference) => Math.tanh(difference / sd));
  const gamma = difficulty ? Array.from(difficulty) : length.map(() => 0);
  const columns = [length.map(() => 1), length, ...(difficulty ? [gamma] : [])];
  const fitted = logistic(
    columns,
    Array.from(preferences),
    columns.map((_, k) => (k === 0 ? 0 : ridge)),
  );
  const [theta, phi, psi = 0] = fitted;
  return {
    winRate: mean(preferences),
    lengthControlled: mean(gamma.map((g) => sigmoid(theta + psi * g))),
    standardError: standardDeviation(preferences) / Math.sqrt(n),
    coefficients: { model: theta, length: phi, difficulty: psi },
  };
}

/**
 * How much easier than average it is to beat the baseline on each instruction: γ of a Rasch model `logit p = θ(model) + γ(instruction)`, fitted to the preferences of many models.
 * @param preferences [models][instructions] in [0, 1]; NaN where there is none
 * @returns [instructions], mean 0
 */
export function instructionDifficulty(
  preferences: readonly ArrayLike<number>[],
  { ridge = 1, iterations = 50 }: { ridge?: number; iterations?: number } = {},
): Float64Array {
  const items = preferences[0]?.length ?? 0;
  if (preferences.some((row) => row.length !== items))
    throw new RangeError('instructionDifficulty: every model needs a preference, or NaN, for every instruction');
  const theta = new Float64Array(preferences.length);
  const gamma = new Float64Array(items);
  for (let step = 0; step < iterations; step++) {
    // one Newton step for every model, then for every instruction
    for (const [m, row] of preferences.entries()) theta[m] += newton(items, (x) => [row[x], theta[m] + gamma[x]], 0, 0);
    for (let x = 0; x < items; x++)
      gamma[x] += newton(preferences.length, (m) => [preferences[m][x], theta[m] + gamma[x]], ridge, gamma[x]);
    const shift = mean(gamma);
    for (let x = 0; x < items; x++) gamma[x] -= shift;
    for (let m = 0; m < theta.length; m++) theta[m] += shift;
  }
  return gamma;
}

function newton(n: number, at: (i: number) => [target: number, logit: number], ridge: number, value: number): number {
  let gradient = -ridge * value;
  let curvature = ridge + 1e-9;
  for (let i = 0; i < n; i++) {
    const [target, logit] = at(i);
    if (Number.isNaN(target)) continue;
    const p = sigmoid(logit);
    gradient += target - p;
    curvature += p * (1 - p);
  }
  return Math.max(-2, Math.min(2, gradient / curvature));
}

/** Coefficients that maximise the log-likelihood of soft labels, by Newton's method. `columns` [k][n], `ridge` [k]. */
function logistic(columns: readonly (readonly number[])[], targets: readonly number[], ridge: readonly number[]): number[] {
  const k = columns.length;
  const weights = new Array<number>(k).fill(0);
  for (let step = 0; step < 100; step++) {
    const gradient = ridge.map((r, a) => -r * weights[a]);
    const hessian = columns.map((_, a) => columns.map((__, b) => (a === b ? ridge[a] + 1e-9 : 0)));
    for (const [i, target] of targets.entries()) {
      const p = sigmoid(columns.reduce((sum, column, a) => sum + weights[a] * column[i], 0));
      for (let a = 0; a < k; a++) {
        gradient[a] += (target - p) * columns[a][i];
        for (let b = 0; b < k; b++) hessian[a][b] += p * (1 - p) * columns[a][i] * columns[b][i];
      }
    }
    const move = solve(hessian, gradient);
    const scale = Math.min(1, 3 / Math.max(...move.map(Math.abs), 1e-300));
    for (let a = 0; a < k; a++) weights[a] += scale * move[a];
    if (Math.max(...move.map(Math.abs)) < 1e-12) break;
  }
  return weights;
}

/** Gaussian elimination with pivoting, for the few unknowns of a regression. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  const n = rows.length;
  for (let column = 0; column < n; column++) {
    const pivot = rows
      .slice(column)
      .reduce((best, row, i) => (Math.abs(row[column]) > Math.abs(rows[best][column]) ? column + i : best), column);
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let i = 0; i < n; i++) {
      if (i === column) continue;
      const factor = rows[i][column] / rows[column][column];
      for (let j = column; j <= n; j++) rows[i][j] -= factor * rows[column][j];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
