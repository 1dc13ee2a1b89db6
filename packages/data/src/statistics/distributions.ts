/** Normal and Student t distributions in double precision: what the intervals and tests of this package stand on. */

/** ln Γ(x) for x > 0, Lanczos (g = 7, 9 terms); relative error below 1e-14. */
export function lnGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - lnGamma(1 - x);
  const terms = [
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905, -0.13857109526572012,
    9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const z = x - 1;
  const sum = terms.reduce((total, term, i) => total + term / (z + i + 1), 0.99999999999980993);
  const t = z + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum);
}

/** Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction. */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) + lnGamma(a + b) - lnGamma(a) - lnGamma(b)) / a;
  const tiny = 1e-300;
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1) || tiny);
  let value = d;
  for (let m = 1; m < 1000; m++) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / (1 + term * d || tiny);
      c = 1 + term / c || tiny;
      value *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return front * value;
}

/** P(T ≤ t) for Student's t with `df` degrees of freedom. */
export function tCdf(t: number, df: number): number {
  const tail = 0.5 * incompleteBeta(df / (df + t * t), df / 2, 0.5);
  return t > 0 ? 1 - tail : tail;
}

/** Two-sided p of a t statistic. */
export const tTwoSidedP = (t: number, df: number) => (Number.isFinite(t) ? incompleteBeta(df / (df + t * t), df / 2, 0.5) : 0);

/** The value below which a share `p` of Student's t with `df` degrees of freedom lies. @throws RangeError unless 0 < p < 1 and df > 0 */
export function tQuantile(p: number, df: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`tQuantile: p must be in (0, 1), got ${p}`);
  if (!(df > 0)) throw new RangeError(`tQuantile: df must be > 0, got ${df}`);
  if (p === 0.5) return 0;
  if (p < 0.5) return -tQuantile(1 - p, df);
  return invert((t) => tCdf(t, df) - p);
}

/** P(Z ≤ z) for the standard normal: Φ. */
export function normalCdf(z: number): number {
  if (Math.abs(z) > 38) return z > 0 ? 1 : 0;
  const x = (z * z) / 2;
  const tail = 0.5 * (x < 1.5 ? 1 - lowerGammaHalf(x) : upperGammaHalf(x));
  return z > 0 ? 1 - tail : tail;
}

/** The value below which a share `p` of the standard normal lies. @throws RangeError unless 0 < p < 1 */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1)) throw new RangeError(`normalQuantile: p must be in (0, 1), got ${p}`);
  if (p === 0.5) return 0;
  if (p < 0.5) return -normalQuantile(1 - p);
  return invert((z) => normalCdf(z) - p);
}

/** Root of an increasing function on [0, ∞), by doubling and bisection to the last bit that changes. */
function invert(f: (x: number) => number): number {
  let low = 0;
  let high = 1;
  while (f(high) < 0 && high < 1e300) [low, high] = [high, high * 2];
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (f(middle) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** Regularised lower incomplete gamma P(1/2, x) by its series, for small x. */
function lowerGammaHalf(x: number): number {
  if (x === 0) return 0;
  let term = 2; // 1 / a
  let sum = term;
  for (let n = 1; n < 500 && term > sum * 1e-17; n++) sum += term *= x / (0.5 + n);
  return sum * Math.exp(-x + 0.5 * Math.log(x) - lnGamma(0.5));
}

/** Regularised upper incomplete gamma Q(1/2, x) by its continued fraction, for x above 1. */
function upperGammaHalf(x: number): number {
  let b = x + 0.5;
  let c = 1e300;
  let d = 1 / b;
  let value = d;
  for (let n = 1; n < 1000; n++) {
    const a = -n * (n - 0.5);
    b += 2;
    d = 1 / (a * d + b);
    c = b + a / c;
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return value * Math.exp(-x + 0.5 * Math.log(x) - lnGamma(0.5));
}
