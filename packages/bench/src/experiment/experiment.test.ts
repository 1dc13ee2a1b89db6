import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { pairedPower } from '../metrics/index.js';
import { papers } from '../papers.js';
import { defineExperiment } from './define.js';
import { judgeClaims } from './judge.js';
import { reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
import { runExperiment } from './run.js';
import type { Experiment, Progress, StoredSeed } from './types.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-bench-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = 0;
const outDir = () => join(root, String(folder++));

/** An experiment of arithmetic: `b` is better than `a` by `effect`, with noise from the seed. */
const arithmetic = (runs: number[] = [], abort?: { at: number; controller: AbortController }) =>
  defineExperiment({
    id: 'par',
    paper: 'arXiv:0000.00000',
    packages: ['core'],
    config: z.strictObject({ steps: z.int().positive().default(4), effect: z.number().default(1), noise: z.number().default(0.1) }),
    quick: { steps: 2 },
    arms: ['a', 'b'],
    metrics: { gold: { unit: 'points', better: 'higher' }, cost: { unit: 'nats', better: 'lower' } },
    claims: [
      { id: 'gold', text: 'B has more gold than A', test: { metric: 'gold', better: 'b', than: 'a', smallestEffect: 0.5 } },
      { id: 'cost', text: 'B costs less than A', test: { metric: 'cost', better: 'b', than: 'a' } },
      { id: 'close', text: 'A is not worse than B', test: { metric: 'gold', better: 'a', than: 'b', margin: 0.5 } },
      { id: 'statistic', text: 'The statistic is above 0.4', test: { statistic: 's', above: 0.4 } },
      { id: 'scale', text: 'It also holds at 70B', test: 'full scale only' },
    ],
    async run({ config, seed, rng, arm, shared, signal }) {
      runs.push(seed);
      const common = await shared('common');
      common.log(0, { loss: 1 });
      const noise = rng.fork('noise').normal(2);
      const measure = (name: 'a' | 'b', shift: number, k: number) => {
        const run = arm(name);
        for (let step = 0; step < config.steps; step++) run.log(step, { 'reward/mean': shift + step });
        return { gold: Float64Array.from([0, 1, 2], (x) => x + shift + config.noise * noise[k]), cost: 1 + shift };
      };
      const a = measure('a', 0, 0);
      if (abort && seed === abort.at) abort.controller.abort();
      if (signal.aborted) throw new Error('stopped');
      const b = measure('b', config.effect, 1);
      return { arms: { a, b }, statistics: { s: 0.5 + 0.01 * noise[0] }, samples: [{ prompt: 'p', texts: { a: 'x', b: 'y' } }] };
    },
  });

describe('defineExperiment', () => {
  const spec = arithmetic();
  it('names the arm, metric or claim that does not exist', () => {
    const claims = (test: object) => () => defineExperiment({ ...spec, claims: [{ id: 'x', text: '', test: test as never }] });
    expect(claims({ metric: 'silver', better: 'b', than: 'a' })).toThrow('the metric "silver"; there are gold, cost');
    expect(claims({ metric: 'gold', better: 'c', than: 'a' })).toThrow('names the arm "c"; there are a, b');
    expect(claims({ metric: 'gold', better: 'a', than: 'a' })).toThrow('with itself');
    expect(claims({ statistic: 's' })).toThrow('either above or below');
  });
});

describe('runExperiment', () => {
  it('judges each claim, and writes result and report', async () => {
    const { result, reportPath, resultPath } = await runExperiment(arithmetic(), { outDir: outDir() });
    expect(result.seeds).toEqual([1, 2, 3, 4, 5]);
    expect(result.claims.map((c) => c.verdict)).toEqual(['holds', 'does not hold', 'does not hold', 'holds', 'not testable at this scale']);
    expect(result.claims[0].difference).toBeCloseTo(1, 0);
    expect(result.claims[1].difference).toBe(-1); // lower is better: the sign is turned
    expect(result.claims[0]).toMatchObject({ n: 5, unit: 'seeds', smallestEffect: 0.5, seedsForPower: 5 });
    expect(result.claims[4]).toMatchObject({ smallestEffect: null, power: null });
    expect(JSON.parse(readFileSync(resultPath, 'utf8'))).toEqual(JSON.parse(JSON.stringify(result)));
    const html = readFileSync(reportPath, 'utf8');
    expect(html).toContain('does not hold');
    expect(html).toContain('reward/mean');
  });
  it('gives the same numbers for the same seeds, and others for others', async () => {
    const numbers = async (seeds: number[]) => (await runExperiment(arithmetic(), { outDir: outDir(), seeds })).result.arms;
    const first = await numbers([0, 1]);
    expect(await numbers([0, 1])).toEqual(first);
    expect(await numbers([2, 3])).not.toEqual(first);
  });
  it('keeps the seeds that are done and goes on after an interruption', async () => {
    const dir = outDir();
    const runs: number[] = [];
    const controller = new AbortController();
    await expect(
      runExperiment(arithmetic(runs, { at: 2, controller }), { outDir: dir, seeds: 3, signal: controller.signal }),
    ).rejects.toThrow('stopped in seed 2; the same command goes on from there');
    const progress: Progress[] = [];
    const resumed = await runExperiment(arithmetic(runs), { outDir: dir, seeds: 3, onProgress: (p) => progress.push(p) });
    expect(runs).toEqual([1, 2, 2, 3]);
    expect(progress.flatMap((p) => (p.kind === 'seed' ? [`${p.seed} ${p.state}`] : []))).toEqual([
      '1 kept',
      '2 started',
      '2 finished',
      '3 started',
      '3 finished',
    ]);
    const whole = await runExperiment(arithmetic(), { outDir: outDir(), seeds: 3 });
    expect(resumed.result.arms).toEqual(whole.result.arms);
  });
  it('measures again what another code made', async () => {
    const dir = outDir();
    const runs: number[] = [];
    const first = await runExperiment(arithmetic(runs), { outDir: dir, seeds: 1 });
    const file = join(first.dir, 'seed-1', 'outcome.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace(first.result.codeHash, 'another'));
    const messages: string[] = [];
    await runExperiment(arithmetic(runs), { outDir: dir, seeds: 1, onProgress: (p) => p.kind === 'message' && messages.push(p.text) });
    expect(runs).toEqual([1, 1]);
    expect(messages).toEqual(['seed 1 was measured by other code; it is measured again']);
  });
  it('keeps configs apart, and names a key that does not exist', async () => {
    const dir = outDir();
    const a = await runExperiment(arithmetic(), { outDir: dir, seeds: 1 });
    const b = await runExperiment(arithmetic(), { outDir: dir, seeds: 1, config: { effect: 2 } });
    expect(a.dir).not.toBe(b.dir);
    await expect(runExperiment(arithmetic(), { outDir: dir, config: { efect: 2 } })).rejects.toThrow(/efect.*Keys: steps, effect, noise/s);
    await expect(runExperiment(arithmetic(), { outDir: dir, config: { steps: 'many' } })).rejects.toThrow(/steps: .*number/);
  });
  it('takes the number of seeds from a pilot on other seeds, and keeps the plan', async () => {
    const { result, dir } = await runExperiment(arithmetic(), { outDir: outDir(), pilot: 4, config: { noise: 0.5 }, maximumSeeds: 12 });
    expect(result.pilotSeeds).toEqual([1000, 1001, 1002, 1003]);
    const asked = Math.max(...result.claims.map((c) => c.seedsForPower ?? 0));
    expect(result).toMatchObject({ plannedSeeds: asked, seeds: { length: Math.min(12, asked) } });
    expect(result.claims[0].power).toBeGreaterThan(0.3);
    const plan = JSON.parse(readFileSync(join(dir, 'plan.json'), 'utf8'));
    expect(plan).toMatchObject({ pilotSeeds: result.pilotSeeds, plannedSeeds: asked, countedSeeds: result.seeds });
    expect(plan.claims[0]).toMatchObject({ id: 'gold', smallestEffect: 0.5, pilotDeviation: result.claims[0].pilotDeviation });
  });
  it('runs its own pilot where nobody names a number of seeds, and none where somebody does', async () => {
    const pilotOf = async (options: object, own: object = {}) =>
      (await runExperiment({ ...arithmetic(), ...own }, { outDir: outDir(), ...options })).result.pilotSeeds.length;
    expect(await pilotOf({})).toBe(3);
    expect(await pilotOf({}, { pilot: 2 })).toBe(2);
    expect(await pilotOf({ pilot: 0 })).toBe(0);
    expect(await pilotOf({ seeds: 5 })).toBe(0);
    expect(await pilotOf({ seeds: 5, pilot: 2 })).toBe(2);
    expect(await pilotOf({ quick: true })).toBe(0);
  });
  it('lets no seed count twice, nor one that the pilot has seen', async () => {
    await expect(runExperiment(arithmetic(), { seeds: [2, 3, 2], outDir: outDir() })).rejects.toThrow('seed 2 is there twice');
    await expect(runExperiment(arithmetic(), { seeds: [1, 1001], pilot: 2, outDir: outDir() })).rejects.toThrow(
      /1001 belongs to the pilot/,
    );
  });
  it('names a package that there is not before it runs', async () => {
    const runs: number[] = [];
    const experiment = { ...arithmetic(runs), packages: ['core', 'models2'] };
    await expect(runExperiment(experiment, { outDir: outDir() })).rejects.toThrow('packages names "models2"');
    expect(runs).toEqual([]);
  });
  it('says of one seed that its interval covers the units of one run, by their name where they have one', async () => {
    const claims = async (experiment: Experiment) => (await runExperiment(experiment, { outDir: outDir(), seeds: 1 })).result.claims;
    const [gold, cost] = await claims({ ...arithmetic(), units: 'prompts' });
    expect(gold).toMatchObject({
      verdict: 'undecided at this scale',
      unit: 'prompts',
      n: 3,
      why: expect.stringContaining('over the 3 prompts of one training run'),
    });
    expect(cost).toMatchObject({ unit: 'seeds', why: '−1 from 1 of the 5 seeds that a verdict needs' });
    expect((await claims(arithmetic()))[0]).toMatchObject({ unit: 'units', why: expect.stringContaining('over the 3 units') });
  });
  it('names the arm and the metric that are missing or not finite', async () => {
    const broken = (arms: object): Experiment => ({ ...arithmetic(), run: async () => ({ arms, statistics: { s: 1 } }) as never });
    const run = (arms: object) => runExperiment(broken(arms), { outDir: outDir(), seeds: 1 });
    await expect(run({ a: { gold: 1, cost: 1 } })).rejects.toThrow('no arm "b"');
    await expect(run({ a: { gold: 1, cost: 1 }, b: { gold: 1 } })).rejects.toThrow('arm "b": the metric "cost" is missing');
    await expect(run({ a: { gold: 1, cost: Number.NaN }, b: { gold: 1, cost: 1 } })).rejects.toThrow(
      'arm "a": the metric "cost" holds a value that is not finite',
    );
    await expect(run({ a: { gold: 1, cost: 1, silver: 1 }, b: { gold: 1, cost: 1 } })).rejects.toThrow('"silver" is not declared');
  });
});

describe('judging', () => {
  const seed = (n: number, a: number, b: number): StoredSeed => ({
    seed: n,
    seconds: 1,
    backend: 'cpu',
    codeHash: '',
    arms: { a: { gold: a, cost: 1 }, b: { gold: b, cost: 1 } },
    statistics: { s: 0.5 },
    samples: [],
  });
  it('corrects by Holm within the experiment', () => {
    const experiment = { ...arithmetic(), claims: arithmetic().claims.slice(0, 2) };
    const seeds = [0.9, 1.1, 1, 0.8, 1.2].map((b, i) => seed(i, 0, b));
    const [gold, cost] = judgeClaims(experiment, seeds);
    expect(gold.adjustedP).toBeCloseTo(2 * gold.p!, 12); // two claims, the smaller p
    expect(cost.adjustedP).toBe(1);
  });
  it('resamples units where the arms do not vary with the seed', () => {
    const experiment = {
      ...arithmetic(),
      claims: [{ id: 'u', text: '', test: { metric: 'gold', better: 'b' as const, than: 'a' as const, resample: 'units' as const } }],
    };
    const units = (shift: number) => Array.from({ length: 40 }, (_, i) => shift + (i % 3) * shift);
    const one: StoredSeed = { ...seed(0, 0, 0), arms: { a: { gold: units(0), cost: 1 }, b: { gold: units(1), cost: 1 } } };
    expect(judgeClaims(experiment, [one])[0]).toMatchObject({ verdict: 'holds', unit: 'units', n: 40 });
    // the same units in every seed count once, units that each seed draws count each
    const both = (resample: 'units' | 'drawnUnits') => ({
      ...experiment,
      claims: [{ ...experiment.claims[0], test: { ...experiment.claims[0].test, resample, smallestEffect: 1 } }],
    });
    expect(judgeClaims(both('units'), [one, one])[0].n).toBe(40);
    const drawn = judgeClaims(both('drawnUnits'), [one, one], [one])[0];
    expect(drawn.n).toBe(80);
    expect(drawn.pilotDeviation).toBeCloseTo(0.8317, 3); // of 14 ones, 13 twos and 13 threes
    expect(drawn).toMatchObject({ seedsForPower: 5 });
    expect(drawn.power).toBeGreaterThan(0.99);
  });
  it('takes the power of a statistic from its distance to the bound, and of "not worse" from the margin', () => {
    const seeds = [0.9, 1.1, 1, 0.8, 1.2].map((b, i) => ({ ...seed(i, 0, b), statistics: { s: 0.4 + b / 10 } }));
    const claims = [
      { id: 's', text: '', test: { statistic: 's', above: 0.4, smallestEffect: 0.02 } },
      { id: 'm', text: '', test: { metric: 'gold', better: 'a' as const, than: 'b' as const, margin: 0.5 } },
    ];
    const [statistic, margin] = judgeClaims({ ...arithmetic(), claims }, seeds, seeds);
    expect(statistic.pilotDeviation).toBeCloseTo(0.1 * Math.sqrt(0.025), 6);
    expect(statistic.power).toBeCloseTo(pairedPower(5, 0.02, 0.1 * Math.sqrt(0.025)), 6);
    expect(margin.power).toBeCloseTo(pairedPower(5, 0.5, Math.sqrt(0.025)), 6);
  });
});

describe('the matrix', () => {
  it('lists every paper once, and says which have no experiment yet', async () => {
    expect(papers.length).toBe(75);
    expect(new Set(papers.map(({ id }) => id)).size).toBe(75);
    const rows = await reproductionMatrix({ implemented: new Map([['par', undefined]]), resultsDir: root });
    const text = reproductionsMarkdown(rows);
    expect(text).toContain('75 papers: 0 with stored results, 1 with an experiment but no stored result, 74 not yet implemented.');
    for (const { id } of papers) expect(text).toContain(id);
  });
  it('shows a stored result with its verdicts, and whether the code has changed', async () => {
    const stored = join(root, 'docs');
    const { result } = await runExperiment(arithmetic(), { outDir: outDir(), storeDir: join(stored, 'par') });
    const implemented = new Map([['par', undefined]]);
    expect(reproductionsMarkdown(await reproductionMatrix({ implemented, resultsDir: stored }))).toContain('code unchanged since');
    writeFileSync(join(stored, 'par', 'result.json'), JSON.stringify({ ...result, codeHash: 'old' }));
    const text = reproductionsMarkdown(await reproductionMatrix({ implemented, resultsDir: stored }));
    expect(text).toContain('**the code has changed since**');
    expect(text).toContain('| B has more gold than A | holds | +');
    expect(text).toContain('a pilot on seeds 1000, 1001, 1002 fixed the power: ');
  });
  it('names a damaged result file', async () => {
    writeFileSync(join(root, 'docs', 'par', 'result.json'), '{');
    await expect(reproductionMatrix({ implemented: new Map([['par', undefined]]), resultsDir: join(root, 'docs') })).rejects.toThrow(
      /result\.json: not JSON/,
    );
  });
});
