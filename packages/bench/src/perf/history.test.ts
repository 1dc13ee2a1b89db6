import { describe, expect, it } from 'vitest';
import { benchHistory } from './history.js';

const machine = { cpu: 'A', cores: 2, platform: 'linux', node: '20', load: { before: 0, after: 0 }, busy: false };
const spread = (median: number, by = 0) => ({ median, low: median - by, high: median + by });
const kernels = (date: string, rate: number, ratio?: number, more = {}) =>
  JSON.stringify({
    suite: 'kernels',
    date: `${date}T00:00:00Z`,
    quick: false,
    machine,
    participants: [],
    missing: [],
    cases: [
      {
        name: 'product 128',
        unit: 'GFLOP/s',
        results: { native: { rate: spread(rate), ...(ratio && { ratios: { pytorch: spread(ratio, 0.1) } }) }, wasm: { error: 'none' } },
      },
    ],
    ...more,
  });

describe('the history of the benches', () => {
  it('sets the last run beside those before it, by ratios where there are some', () => {
    const [row, ...others] = benchHistory(
      [kernels('2026-01-01', 50, 1), kernels('2026-01-02', 80, 1.2), kernels('2026-01-03', 60, 1.5)].join('\n'),
    );
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      suite: 'kernels',
      machine: 'A, 2 cores',
      case: 'product 128',
      who: 'native',
      runs: 3,
      first: '2026-01-01',
      last: '2026-01-03',
      rate: 60,
      ratio: { median: 1.5 },
      before: { median: 1.1, low: 1, high: 1.2 },
      trend: { outside: true },
      values: [1, 1.2, 1.5],
    });
    expect(row.trend!.change).toBeCloseTo(1.5 / 1.1, 12);
  });
  it('goes by rates where the last run had no peer, and knows a value within the earlier ones', () => {
    const [row] = benchHistory([kernels('2026-01-01', 50, 1), kernels('2026-01-02', 80), kernels('2026-01-03', 60)].join('\n'));
    expect(row).toMatchObject({ values: [50, 80, 60], before: { median: 65, low: 50, high: 80 }, trend: { outside: false } });
  });
  it('keeps machines, suites and quick runs apart, and reads every suite', () => {
    const other = kernels('2026-01-02', 10, undefined, { machine: { ...machine, cpu: 'B', busy: true } });
    const quick = kernels('2026-01-02', 10, undefined, { quick: true });
    const generate = JSON.stringify({
      suite: 'generate',
      date: '2026-01-04',
      machine,
      cases: [{ name: 'batch 1', results: { 'native f32': { rate: spread(90), ratio: spread(2) } } }],
    });
    const trl = JSON.stringify({
      suite: 'trl',
      date: '2026-01-05',
      machine,
      cases: [
        { task: 'dpo', precision: 'f32', tokens: 1, plumbline: { tokensPerSecond: 160 }, trl: { tokensPerSecond: 40 }, speed: 4 },
        { task: 'sft', precision: 'f32', tokens: 1, plumbline: { error: 'none' } },
      ],
    });
    const text = [kernels('2026-01-01', 50, 1), other, quick, generate, '', trl].join('\n');
    expect(benchHistory(text).map(({ suite, machine: of, case: what, who, runs, busy }) => [suite, of, what, who, runs, busy])).toEqual([
      ['kernels', 'A, 2 cores', 'product 128', 'native', 1, false],
      ['kernels', 'B, 2 cores', 'product 128', 'native', 1, true],
      ['generate', 'A, 2 cores', 'batch 1', 'native f32', 1, false],
      ['trl', 'A, 2 cores', 'dpo, f32', 'plumbline', 1, false],
    ]);
    expect(benchHistory(text, { suite: 'trl' })).toMatchObject([{ rate: 160, ratio: { median: 4 } }]);
    expect(() => benchHistory(`${trl}\nnothing`)).toThrow('bench history, line 2: no run of a bench');
  });
});
