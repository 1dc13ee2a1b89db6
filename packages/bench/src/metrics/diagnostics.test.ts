import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { bestOfNCurve } from './bestOfN.js';
import { lengthBias, lengthCorrelation, mean, passAtK, positionBias, seededDraws, selfPreference } from './index.js';
import { instructionDifficulty, lengthControlledWinRate } from './lengthControl.js';

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

describe('bestOfNCurve', () => {
  it('is the mean over every choice of n samples', () => {
    const [proxy, gold] = [
      [3, 1, 2, 2],
      [1, 0, 5, 7],
    ];
    const curve = bestOfNCurve([proxy], [gold], [1, 2, 3, 4]);
    const brute = (n: number) => {
      const sets = Array.from({ length: 16 }, (_, bits) => [0, 1, 2, 3].filter((i) => bits & (1 << i))).filter((set) => set.length === n);
      return mean(
        sets.map((set) => {
          const highest = Math.max(...set.map((i) => proxy[i]));
          return mean(set.filter((i) => proxy[i] === highest).map((i) => gold[i]));
        }),
      );
    };
    for (const { n, gold: value } of curve) expect(value).toBeCloseTo(brute(n), 12);
    expect(curve[0].kl).toBe(0);
  });
  it('is pass@k where the proxy is the gold itself', () => {
    const passed = [1, 0, 0, 1, 0, 0, 0, 0];
    for (const { n, gold } of bestOfNCurve([passed], [passed])) expect(gold).toBeCloseTo(passAtK(8, 2, n), 12);
    expect(() => bestOfNCurve([[1]], [[1]], [2])).toThrow('n = 2, with 1 samples');
  });
});

describe('biases', () => {
  it('tell a judge that goes by length from one that goes by quality', () => {
    const pairs = [1, 2, 3, 4].map((k) => ({ lengths: [10 * k, 25] as const, prefersFirst: 10 * k > 25 ? 1 : 0, gold: k % 2 }));
    expect(lengthBias(pairs)).toEqual({ longer: 1, goldLonger: 0.5, accuracyLonger: 1, accuracyShorter: 0, n: 4 });
    expect(lengthBias(pairs.map((pair) => ({ ...pair, prefersFirst: pair.gold })))).toMatchObject({
      longer: 0.5,
      accuracyLonger: 1,
      accuracyShorter: 1,
    });
    expect(lengthCorrelation([1, 2, 3], [5, 50, 500])).toBeCloseTo(1, 12);
  });
  it('of position: one that always takes the first shown is never consistent', () => {
    expect(
      positionBias([
        [1, 1],
        [1, 1],
      ]),
    ).toEqual({ firstShown: 1, consistency: 0, n: 2 });
    expect(
      positionBias([
        [1, 0],
        [0, 1],
      ]),
    ).toEqual({ firstShown: 0.5, consistency: 1, n: 2 });
  });
  it('towards itself: the excess over what others say of the same pairs', () => {
    const { mean: excess, low } = selfPreference([1, 1, 1, 0, 1, 1], [1, 0, 0, 0, 1, 0], seededDraws(1));
    expect(excess).toBeCloseTo(0.5, 12);
    expect(low).toBeGreaterThan(0);
    expect(() => selfPreference([1], [], seededDraws(1))).toThrow('1 judgements and 0 gold ones');
  });
});

describe('the length-controlled win rate', () => {
  const draws = seededDraws(3);
  const lengths = Array.from({ length: 4000 }, () => draws.below(801) - 100);
  const sd = Math.sqrt(mean(lengths.map((x) => (x - mean(lengths)) ** 2)));
  it('takes the share of length out of a win rate that length has made', () => {
    const preferences = lengths.map((difference) => sigmoid(-0.4 + 1.2 * Math.tanh(difference / sd)));
    const { winRate, lengthControlled, coefficients } = lengthControlledWinRate(preferences, lengths);
    expect(winRate).toBeGreaterThan(0.5);
    expect(lengthControlled).toBeCloseTo(sigmoid(-0.4), 2);
    expect(coefficients.length).toBeCloseTo(1.2, 1);
  });
  it('is the win rate where length plays no part, and stays finite where one side always wins', () => {
    const indifferent = lengthControlledWinRate(
      lengths.map((_, i) => (i % 4 === 0 ? 1 : 0)),
      lengths,
    );
    expect(indifferent.lengthControlled).toBeCloseTo(indifferent.winRate, 1);
    expect(lengthControlledWinRate([1, 1, 1], [5, 6, 7]).lengthControlled).toBeGreaterThan(0.9);
    expect(() => lengthControlledWinRate([1], [1, 2])).toThrow('1 preferences, 2 length differences');
  });
  it('recovers the difficulty of instructions from many models', () => {
    const gamma = [-1, -0.5, 0, 0.5, 1];
    const rows = [-1, 0, 0.7].map((theta) => gamma.map((g) => sigmoid(theta + g)));
    rows[0][2] = Number.NaN;
    const fitted = instructionDifficulty(rows, { ridge: 1e-6, iterations: 200 });
    for (const [x, g] of gamma.entries()) expect(fitted[x]).toBeCloseTo(g, 3);
  });

  const leaderboard = dataPath('alpaca-eval/leaderboard_alpaca_eval_2.csv');
  it.skipIf(!leaderboard)("gives AlpacaEval 2's leaderboard from its recorded annotations (skipped where the real data is missing)", () => {
    const folder = dirname(leaderboard!);
    const printed = new Map(
      readFileSync(leaderboard!, 'utf8')
        .trim()
        .split('\n')
        .slice(1)
        .flatMap((line) => {
          const [, controlled, rate] = line.split(/,(?=[\d.]+,[\d.]+,\d+,)|(?<=^[^"]*,[\d.]+),/);
          const name = /results\/([^/]+)\/model_outputs/.exec(line)?.[1];
          return name ? [[name, { controlled: Number(controlled) / 100, rate: Number(rate?.split(',')[0]) / 100 }] as const] : [];
        }),
    );
    const lines = gunzipSync(readFileSync(join(folder, 'preference_matrix.csv.gz')))
      .toString('utf8')
      .trim()
      .split('\n')
      .slice(1);
    const matrix = lines.map((line) =>
      line
        .split(',')
        .slice(1)
        .map((cell) => (cell === '' ? Number.NaN : Number(cell) - 1)),
    );
    const names = lines.map((line) => line.split(',')[0]);
    let compared = 0;
    for (const [m, name] of names.entries()) {
      const row = matrix[m].filter((p) => !Number.isNaN(p));
      const known = printed.get(name);
      if (!known || row.length < 805) continue;
      expect(Math.abs(mean(row) - known.rate), name).toBeLessThan(1e-4);
      compared++;
    }
    expect(compared).toBeGreaterThan(40);
    const difficulty = instructionDifficulty(matrix);
    const questions = gunzipSync(readFileSync(join(folder, 'instructions.csv.gz'))).toString('utf8');
    for (const name of ['gemma-7b-it', 'vicuna-7b-v1.5', 'claude-2.1', 'NullModel']) {
      const rows = gunzipSync(readFileSync(join(folder, `annotations_${name}.jsonl.gz`)))
        .toString('utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { instruction: string; output_1: string; output_2: string; preference: number | null });
      const whole = rows.filter(({ preference }) => preference !== null);
      const at = whole.map(({ instruction }) => questionIndex(questions).get(instruction));
      const fitted = lengthControlledWinRate(
        whole.map(({ preference }) => preference! - 1),
        whole.map(({ output_1, output_2 }) => output_2.length - output_1.length),
        { difficulty: at.map((x) => (x === undefined ? 0 : difficulty[x])) },
      );
      // the leaderboard's own difficulties come from all of its 200 models, ours from the 58 whose annotations are here
      expect(Math.abs(fitted.winRate - printed.get(name)!.rate), name).toBeLessThan(name === 'NullModel' ? 0.03 : 0.001);
      expect(Math.abs(fitted.lengthControlled - printed.get(name)!.controlled), name).toBeLessThan(0.035);
    }
  });
});

const cache = new Map<string, Map<string, number>>();
function questionIndex(csv: string): Map<string, number> {
  let index = cache.get(csv);
  if (!index) {
    index = new Map(
      [...csv.matchAll(/^q(\d+),[^,]*,("(?:[^"]|"")*"|.*)$/gm)].map(([, n, text]) => [
        text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text,
        Number(n),
      ]),
    );
    cache.set(csv, index);
  }
  return index;
}
