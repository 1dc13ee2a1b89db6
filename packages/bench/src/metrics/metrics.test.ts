import { readdirSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as m from './index.js';

/** Recorded from scipy and scikit-learn; copies of the parity fixtures. */
const fixture = (name: string) => JSON.parse(readFileSync(new URL(`../../test/fixtures/metrics/${name}.json`, import.meta.url), 'utf8'));
function close(ours: number, theirs: number, tolerance = 1e-9): void {
  expect(Math.abs(ours - theirs) / (1 + Math.abs(theirs)), `${ours} against ${theirs}`).toBeLessThan(tolerance);
}

describe('distributions', () => {
  const intervals = fixture('intervals');
  it("has scipy's t quantiles", () => {
    for (const [df, row] of Object.entries<Record<string, number>>(intervals.t_quantiles))
      for (const [p, value] of Object.entries(row)) close(m.tQuantile(Number(p), Number(df)), value);
  });
  it("has scipy's normal quantiles, and Φ undoes them", () => {
    for (const [p, value] of Object.entries<number>(intervals.normal_quantiles)) {
      close(m.normalQuantile(Number(p)), value);
      close(m.normalCdf(value), Number(p));
    }
  });
  it('is symmetric', () => {
    close(m.tQuantile(0.1, 7), -m.tQuantile(0.9, 7));
    close(m.normalCdf(-1.3) + m.normalCdf(1.3), 1);
  });
  it('names what is out of range', () => expect(() => m.tQuantile(1, 3)).toThrow('p must be in (0, 1), got 1'));
});

describe('intervals', () => {
  const intervals = fixture('intervals');
  it("has scipy's t intervals and p", () => {
    for (const { sample, mean, sd, low, high, p } of Object.values<{
      sample: number[];
      mean: number;
      sd: number;
      low: number;
      high: number;
      p: number;
    }>(intervals.t_intervals)) {
      const ours = m.tInterval(sample);
      for (const [a, b] of [
        [ours.mean, mean],
        [ours.sd, sd],
        [ours.low, low],
        [ours.high, high],
        [ours.p!, p],
      ])
        close(a, b);
    }
  });
  it("has scipy's Welch test", () => {
    const { first, second, t, p, df, low, high } = intervals.welch;
    const ours = m.welchDifference(first, second);
    for (const [a, b] of [
      [ours.t, t],
      [ours.p!, p],
      [ours.df, df],
      [ours.low, low],
      [ours.high, high],
    ])
      close(a, b);
  });
  it('has the recorded Wilson intervals', () => {
    for (const [key, { wilson }] of Object.entries<{ wilson: [number, number] }>(intervals.proportions)) {
      const [successes, trials] = key.split('/').map(Number);
      const ours = m.wilsonInterval(successes, trials);
      close(ours.low, wilson[0]);
      close(ours.high, wilson[1]);
    }
  });
  it('says of a single value that it has no interval', () => {
    expect(m.tInterval([0.4])).toMatchObject({ mean: 0.4, low: -Infinity, high: Infinity, method: 'none', p: 1 });
  });
  it('refuses values that are not finite, naming the one', () => expect(() => m.tInterval([1, Number.NaN])).toThrow('value 1 of 2 is NaN'));
  it('refuses pairs of unequal length', () => expect(() => m.pairedDifference([1, 2], [1])).toThrow('2 units against 1'));
  it('bootstraps the same interval from the same draws, close to the t interval for many units', () => {
    const draws = m.seededDraws(3);
    const values = Float64Array.from({ length: 200 }, () => draws.below(1000) / 1000);
    const once = m.bootstrapInterval(values, m.seededDraws(1));
    expect(m.bootstrapInterval(values, m.seededDraws(1))).toEqual(once);
    expect(m.bootstrapInterval(values, m.seededDraws(2))).not.toEqual(once);
    const t = m.tInterval(values);
    expect(Math.abs(once.low - t.low)).toBeLessThan(0.01);
    expect(Math.abs(once.high - t.high)).toBeLessThan(0.01);
  });
  it('counts a tie as half a win', () => {
    expect(m.winRate([1, 2, 3, 4], [0, 2, 4, 1])).toMatchObject({ mean: 0.625, wins: 2, ties: 1, losses: 1, n: 4, method: 'wilson' });
  });
  it('has NumPy-style quantiles', () => expect(m.quantile([4, 1, 3, 2], 0.25)).toBe(1.75));
});

describe('decisions', () => {
  it("adjusts by Holm's steps and never downwards", () => {
    expect(m.holm([0.01, 0.04, 0.03])).toEqual([0.03, 0.06, 0.06]);
    expect(m.holm([0.9, 0.8])).toEqual([1, 1]);
  });
  it('has the power that the noncentral t distribution gives', () => {
    // effect 1 sd, n = 10: 0.8030969; effect 0.5 sd, n = 34: 0.8077775 (the noncentral t distribution, as in the usual tables of sample sizes)
    close(m.pairedPower(10, 1, 1), 0.8030969, 1e-5);
    close(m.pairedPower(34, 0.5, 1), 0.8077775, 1e-5);
    close(m.pairedPower(8, 0, 1), 0.05, 1e-6);
  });
  it('finds the least number of units for a power of 0.8, and never below five', () => {
    expect(m.unitsForPower(0.5, 1)).toBe(34);
    expect(m.unitsForPower(1, 1)).toBe(10);
    expect(m.unitsForPower(10, 1)).toBe(5);
    expect(m.unitsForPower(1e-9, 1)).toBe(Infinity);
  });
  const estimate = (low: number, high: number, n = 5): m.Estimate => ({
    mean: (low + high) / 2,
    low,
    high,
    sd: 1,
    n,
    level: 0.95,
    method: 't',
    p: low > 0 || high < 0 ? 0.01 : 0.5,
  });
  it('holds above zero, does not hold below it, is undecided across it', () => {
    expect(m.verdict(estimate(0.1, 0.3)).verdict).toBe('holds');
    expect(m.verdict(estimate(-0.3, -0.1)).verdict).toBe('does not hold');
    expect(m.verdict(estimate(-0.1, 0.3)).verdict).toBe('undecided at this scale');
  });
  it('does not hold where the whole interval is smaller than the smallest effect of interest', () =>
    expect(m.verdict(estimate(0.01, 0.04), { smallestEffect: 0.05 }).verdict).toBe('does not hold'));
  it("is undecided where Holm's correction takes the significance away", () =>
    expect(m.verdict(estimate(0.1, 0.3), { adjustedP: 0.06 })).toMatchObject({
      verdict: 'undecided at this scale',
      why: expect.stringContaining('p = 0.06'),
    }));
  it('decides nothing from fewer than five units', () =>
    expect(m.verdict(estimate(0.1, 0.3, 3))).toMatchObject({
      verdict: 'undecided at this scale',
      why: expect.stringContaining('3 of the 5'),
    }));
  it('is not testable without an estimate', () => expect(m.verdict(undefined).verdict).toBe('not testable at this scale'));
  it('takes "not worse" by its margin', () => {
    expect(m.verdict(estimate(-0.05, 0.1), { margin: 0.1 }).verdict).toBe('holds');
    expect(m.verdict(estimate(-0.3, 0.1), { margin: 0.1 }).verdict).toBe('undecided at this scale');
    expect(m.verdict(estimate(-0.3, -0.2), { margin: 0.1 }).verdict).toBe('does not hold');
  });
});

describe('correlation and agreement', () => {
  it("has scipy's Pearson, Spearman and Kendall, ties included", () => {
    for (const c of Object.values<Record<string, never>>(fixture('correlation').cases)) {
      const {
        x,
        y,
        pearson,
        spearman,
        kendall_tau_b: b,
        kendall_tau_c: tauC,
      } = c as unknown as Record<string, number[] & { value: number; p: number }>;
      close(m.pearson(x, y).value, pearson.value);
      close(m.pearson(x, y).p, pearson.p);
      close(m.spearman(x, y).value, spearman.value);
      close(m.spearman(x, y).p, spearman.p);
      close(m.kendallTau(x, y), b.value);
      close(m.kendallTau(x, y, 'c'), tauC.value);
    }
  });
  it("has scikit-learn's NDCG", () => {
    const { relevance, score, value } = fixture('correlation').ndcg;
    for (let i = 0; i < relevance.length; i++) {
      close(m.ndcg(relevance[i], score[i], 3), value['k=3'][i]);
      close(m.ndcg(relevance[i], score[i], 8), value['k=8'][i]);
    }
  });
  it('has the recorded kappas and alphas', () => {
    const { cohen_kappa: cohen, krippendorff_alpha: k, fleiss_kappa: fleiss } = fixture('agreement');
    close(m.cohenKappa(cohen.a, cohen.b), cohen.value.None);
    close(m.cohenKappa(cohen.a, cohen.b, { weights: 'linear' }), cohen.value.linear);
    close(m.cohenKappa(cohen.a, cohen.b, { weights: 'quadratic' }), cohen.value.quadratic);
    close(m.fleissKappa(fleiss.counts_items_by_classes), fleiss.value);
    const numbers = (rows: (number | string | null)[][]) => rows.map((row) => row.map((x) => (typeof x === 'number' ? x : null)));
    for (const [ratings, value] of [
      [k.ratings_raters_by_units, k.value],
      [k.published_example.ratings, k.published_example.value],
    ])
      for (const level of ['nominal', 'ordinal', 'interval'] as const) close(m.krippendorffAlpha(numbers(ratings), level), value[level]);
  });
});

describe('binary scores', () => {
  const { truth, score, tied_score: tied, weight, ece, brier, log_loss: logLoss, auroc, average_precision: ap } = fixture('binary');
  it('has the recorded calibration errors, in both definitions', () => {
    for (const [key, value] of Object.entries<{ ece: number; mce: number; bins: { count: number }[] }>(ece.cases)) {
      const [of, bins] = key.split('/');
      const ours = m.calibration(truth, score, { bins: Number(bins), of: of === 'top_label' ? 'top' : 'positive' });
      close(ours.ece, value.ece);
      close(ours.mce, value.mce);
      expect(ours.bins.map((bin) => bin.count)).toEqual(value.bins.map((bin) => bin.count));
    }
  });
  it("has scikit-learn's Brier score, log loss, AUROC and average precision", () => {
    close(m.brierScore(truth, score), brier.value);
    close(m.logLoss(truth, score), logLoss.value);
    close(m.auroc(truth, score), auroc.value);
    close(m.auroc(truth, tied), auroc.tied);
    close(m.auroc(truth, score, weight), auroc.weighted);
    close(m.averagePrecision(truth, score), ap.value);
    close(m.averagePrecision(truth, tied), ap.tied);
  });
  it('take labels first, and say so where scores stand in their place', () => {
    for (const measure of [m.logLoss, m.auroc, m.averagePrecision])
      expect(() => measure([0.2, 0.7], [0, 1])).toThrow(`${measure.name}: label 0 is 0.2, neither 0 nor 1; labels come before scores`);
  });
});

describe('Bradley-Terry', () => {
  const {
    wins,
    log_strength: strength,
    standard_error: error,
    negative_log_likelihood: nll,
    win_probability: p,
    elo,
    with_ridge_0_1: ridge,
  } = fixture('bradley_terry');
  it('has the recorded strengths, errors and likelihood', () => {
    const ours = m.bradleyTerryMle(wins);
    close(ours.negativeLogLikelihood, nll);
    ours.logStrength.forEach((s, i) => {
      close(s, strength[i], 1e-6);
    });
    ours.standardError.forEach((s, i) => {
      close(s, error[i], 1e-6);
    });
    ours.elo.forEach((s, i) => {
      close(s, elo[i], 1e-6);
    });
    ours.winProbability.flat().forEach((x, i) => {
      close(x, p.flat()[i], 1e-6);
    });
    m.bradleyTerryMle(wins, { ridge: 0.1 }).logStrength.forEach((s, i) => {
      close(s, ridge[i], 1e-6);
    });
  });
  it('ranks by name, with the intervals that the recorded errors give', () => {
    const ranked = m.bradleyTerryRanking(['a', 'b', 'c', 'd', 'e'], wins);
    expect(ranked.map(({ name }) => name)).toEqual(['b', 'e', 'd', 'c', 'a']);
    for (const { name, strength: found, elo: onElo } of ranked) {
      const i = 'abcde'.indexOf(name);
      close(found.low, strength[i] - 1.959963984540054 * error[i], 1e-6);
      close(found.high, strength[i] + 1.959963984540054 * error[i], 1e-6);
      close(onElo.mean, elo[i], 1e-6);
      close(onElo.high - onElo.mean, (400 / Math.LN10) * 1.959963984540054 * error[i], 1e-6);
    }
    expect(() => m.bradleyTerryRanking(['a'], wins)).toThrow('1 names for 5 rows of wins');
  });
  it('says which players make the maximum infinite', () =>
    expect(() =>
      m.bradleyTerryMle([
        [0, 3, 2],
        [0, 0, 1],
        [0, 1, 0],
      ]),
    ).toThrow('since 1, 2 never beat the others'));
});

describe('samples', () => {
  const { cases, best_of_n_kl: kl } = fixture('pass_at_k');
  it('has the recorded pass@k and best-of-n KL', () => {
    for (const c of cases) close(m.passAtK(c.n, c.c, c.k), c.pass_at_k);
    for (const [n, value] of Object.entries<number>(kl)) close(m.bestOfNKl(Number(n)), value);
  });
  it('counts n-grams by hand', () => {
    expect(
      m.distinctN(
        [
          ['a', 'b', 'a', 'b'],
          ['a', 'b'],
        ],
        2,
      ),
    ).toBe(2 / 4);
    expect(m.repetition(['a', 'b', 'a', 'b', 'a'], 3)).toBeCloseTo(1 / 3, 12);
    expect(m.repetition(['a'], 3)).toBe(0);
  });
  it('finds the coefficients and the peak that made a curve', () => {
    const kls = [0.25, 1, 4, 9, 16];
    const bon = m.fitOverOptimisation(
      kls,
      kls.map((k) => Math.sqrt(k) * (1.5 - 0.3 * Math.sqrt(k))),
      'bestOfN',
    );
    expect([bon.alpha, bon.beta, bon.peak, bon.r2]).toEqual([1.5, 0.3, 2.5, 1].map((x) => expect.closeTo(x, 9)));
    const rl = m.fitOverOptimisation(
      kls,
      kls.map((k) => Math.sqrt(k) * (1 - 0.8 * Math.log(Math.sqrt(k)))),
    );
    expect([rl.alpha, rl.beta, rl.peak]).toEqual([1, 0.8, Math.exp(1 / 0.8 - 1)].map((x) => expect.closeTo(x, 9)));
  });
  it('refuses one distance alone', () => expect(() => m.fitOverOptimisation([1, 1, 0], [1, 2, 0])).toThrow('two different KLs'));
});

describe('properties', () => {
  const numbers = fc.array(fc.double({ min: -100, max: 100, noNaN: true }), { minLength: 2, maxLength: 20 });
  it('shifts an interval with its sample', () =>
    fc.assert(
      fc.property(numbers, fc.double({ min: -50, max: 50, noNaN: true }), (xs, shift) => {
        close(m.tInterval(xs.map((x) => x + shift)).low, m.tInterval(xs).low + shift, 1e-7);
      }),
    ));
  it('turns a paired difference round with its arms', () =>
    fc.assert(
      fc.property(numbers, (xs) => {
        const ys = xs.map((x, i) => x * 0.5 + i);
        close(m.pairedDifference(xs, ys).high, -m.pairedDifference(ys, xs).low, 1e-9);
      }),
    ));
});

describe('the light door', () => {
  it('imports nothing but its own files and types', () => {
    const dirs = ['.', '../../../data/src/statistics/'].map((path) => new URL(path, import.meta.url));
    const files = dirs.flatMap((dir) => readdirSync(dir).map((name) => new URL(name, dir)));
    for (const file of files.filter(({ pathname }) => !pathname.endsWith('.test.ts'))) {
      const imports = [...readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type\b)[^;]*? from '([^']+)';/gms)].map((m) => m[1]);
      for (const from of imports) expect(from, file.pathname).toMatch(/^@plumbline\/data\/statistics$|^\.\/\w+\.js$/);
    }
  });
});
