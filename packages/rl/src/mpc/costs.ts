/** What a controller minimises: weighted norms of residuals, as MuJoCo MPC has them (google-deepmind/mujoco_mpc, norm.cc). Plain numbers. */

/**
 * `quadratic` ½ x·x; `l2` √(x·x + p²) − p; `l22` ((x·x)^(q/2) + p^q)^(1/q) − p; `cosh` p² Σ (cosh(x/p) − 1); `power` Σ |x|^p; `smoothAbs` Σ √(x² + p²) − p;
 * `smoothAbs2` Σ (|x|^q + p^q)^(1/q) − p; `rectify` p Σ ln(1 + e^(x/p)).
 */
export type Norm = 'quadratic' | 'l2' | 'l22' | 'cosh' | 'power' | 'smoothAbs' | 'smoothAbs2' | 'rectify';

/**
 * The norm of a residual. All but `power` and `rectify` are 0 with a gradient of 0 at the origin.
 *
 * @param p scale of the rounding at 0 (of `power` the exponent), above 0; 0.1 unless given
 * @param q exponent, at least 1; 2 unless given
 */
export function norm(kind: Norm, x: ArrayLike<number>, { p = 0.1, q = 2 }: { p?: number; q?: number } = {}): number {
  if (!(p > 0)) throw new RangeError(`norm: p must be > 0, got ${p}`);
  if (!(q >= 1)) throw new RangeError(`norm: q must be at least 1, got ${q}`);
  const values = Array.from(x);
  const sum = (f: (value: number) => number) => values.reduce((total, value) => total + f(value), 0);
  const squares = sum((value) => value * value);
  switch (kind) {
    case 'quadratic':
      return squares / 2;
    case 'l2':
      return Math.sqrt(squares + p * p) - p;
    case 'l22':
      return (squares ** (q / 2) + p ** q) ** (1 / q) - p;
    case 'cosh':
      return p * p * sum((value) => Math.cosh(value / p) - 1);
    case 'power':
      return sum((value) => Math.abs(value) ** p);
    case 'smoothAbs':
      return sum((value) => Math.sqrt(value * value + p * p) - p);
    case 'smoothAbs2':
      return sum((value) => (Math.abs(value) ** q + p ** q) ** (1 / q) - p);
    case 'rectify':
      return sum((value) => p * softplus(value / p));
    default:
      throw new RangeError(
        `norm: there is no norm "${kind satisfies never}"; there are quadratic, l2, l22, cosh, power, smoothAbs, smoothAbs2, rectify`,
      );
  }
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** One term of a cost: what should be 0, how it is measured, and how much it counts. */
export type CostTerm<State> = {
  name: string;
  weight: number;
  norm: Norm;
  p?: number;
  q?: number;
  residual: (state: State) => ArrayLike<number>;
};

/**
 * The cost of a state, `Σ weight · norm(residual)`, and under a risk ρ other than 0 `(e^(ρ·cost) − 1) / ρ`: above 0 large costs count more, below 0 less. Yu et al. 2023 (Language to Rewards),
 * arXiv:2306.08647; the reward is its negative.
 *
 * @throws RangeError for no terms, or a weight below 0, by its name
 */
export function costOf<State>(terms: readonly CostTerm<State>[], { risk = 0 } = {}): (state: State) => number {
  if (terms.length === 0) throw new RangeError('costOf: there are no terms');
  for (const { name, weight } of terms)
    if (!(weight >= 0)) throw new RangeError(`costOf: the weight of "${name}" must be at least 0, got ${weight}`);
  if (!Number.isFinite(risk)) throw new RangeError(`costOf: risk must be finite, got ${risk}`);
  return (state) => {
    const cost = terms.reduce(
      (sum, { weight, norm: kind, p, q, residual }) => sum + (weight === 0 ? 0 : weight * norm(kind, residual(state), { p, q })),
      0,
    );
    return risk === 0 ? cost : Math.expm1(risk * cost) / risk;
  };
}
