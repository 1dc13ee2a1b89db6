import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAdapter, loadDecoder } from '@plumbline/models';
import { afterAll, describe, expect, it } from 'vitest';
import { parseFlags, readSettings } from '../settings.js';
import { type PreferenceSummary, runDpo, runKto } from './preference.js';
import { DpoSettings, KtoSettings, pairLossOf } from './preferenceConfig.js';
import { jobsIn } from './testing.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-preferences-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const names = [
  'Anna',
  'Ben',
  'Clara',
  'David',
  'Emma',
  'Frank',
  'Grace',
  'Henry',
  'Iris',
  'Jack',
  'Kate',
  'Leo',
  'Mia',
  'Noah',
  'Olga',
  'Paul',
];
const rows = names.map((name) => ({
  prompt: `Once there was a child named ${name}.`,
  chosen: ` ${name} went to the river and was very happy.`,
  rejected: ` ${name} cried all day and was sad.`,
}));
const dataset = join(folder, 'pairs.jsonl');
writeFileSync(dataset, [...rows, { prompt: 'Same.', chosen: ' a b', rejected: ' a b' }].map((row) => `${JSON.stringify(row)}\n`).join(''));
const { job, adapterOf } = jobsIn(folder, dataset);
/** Aborted once so many steps are in the log. */
const after = (steps: number, dir: string) =>
  ({
    get aborted() {
      const log = join(folder, dir, 'metrics.jsonl');
      return existsSync(log) && readFileSync(log, 'utf8').split('\n').length > steps;
    },
    throwIfAborted() {},
    addEventListener() {},
    removeEventListener() {},
  }) as unknown as AbortSignal;

describe('the loss that settings name', () => {
  const of = (...flags: string[]) => pairLossOf(readSettings(DpoSettings, { flags: parseFlags(flags) }));
  it('has its options, mixes several by weight, and takes what is put around it', () => {
    expect(of('--beta', '0.3').options.parse({})).toMatchObject({ beta: 0.3 });
    const mixed = of('--loss', 'sigmoid', 'bco_pair', 'sft', '--lossWeights', '0.8', '0.2', '1', '--beta', '0.1');
    expect([...mixed.needs].sort()).toEqual(['lengths', 'nll', 'reference']);
    expect(of('--loss', 'simpo', '--lossOptions.simpoGamma', '1').needs).not.toContain('reference');
    expect(of('--ldAlpha', '0.5', '--policyWeighting').needs).toEqual(['reference', 'tokens', 'squaredSum']);
    expect(() => of('--divergence.type', 'js_divergence')).not.toThrow();
  });
  it('names what is wrong', () => {
    expect(() => of('--loss', 'dop')).toThrow(/there is no pair loss "dop"; there are dpo, sigmoid/);
    expect(() => of('--loss', 'sft', '--beta', '1')).toThrow(/setting beta: sft has no such option/);
    expect(() => of('--lossOptions.gamma', '1')).toThrow(/gamma/);
    expect(() => of('--loss', 'sigmoid', 'sft', '--lossWeights', '1', '2', '3')).toThrow(/3 weights for 2 losses/);
    expect(() => of('--loss', 'sigmoid', 'sft', '--lossOptions.beta', '1')).toThrow(/options go by the loss's name/);
    expect(() => readSettings(DpoSettings, { flags: parseFlags(['--betta', '1']) })).toThrow(
      /"betta" is not a setting \(did you mean beta\?\); there are loss/,
    );
  });
});

describe('plumb train dpo', () => {
  const settings = DpoSettings.parse({
    steps: 6,
    heldOut: 0.25,
    pairsPerStep: 4,
    pairsPerMicroBatch: 2,
    learningRate: 5e-3,
    evaluateEvery: 3,
    lora: { r: 4, dropout: 0.1 },
    saveEvery: 100,
  });
  let straight: PreferenceSummary<DpoSettings>;

  it('starts at ln 2, learns, counts what is left out, and leaves an adapter that loads', async () => {
    straight = await runDpo(job(settings, 'straight'));
    const log = readFileSync(join(folder, 'straight', 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(log[0].loss).toBeCloseTo(Math.LN2, 2); // dropout moves nothing while B is 0; shared prompts round
    expect(log[2]).toHaveProperty('eval/accuracy');
    expect(straight.heldOut!.after).toMatchObject({ accuracy: { mean: 1 } });
    expect(straight.heldOut!.after.loss).toBeLessThan(0.66);
    expect(straight).toMatchObject({
      steps: 6,
      data: { read: 16, skipped: 1, train: 12, heldOut: 4 },
      reference: { computed: 16, cached: 0 },
    });
    await loadAdapter(await loadDecoder('zoo:words-1m', { storage: 'bf16' }), straight.output);
    expect(readdirSync(join(folder, 'straight')).some((name) => name.startsWith('events.out.tfevents'))).toBe(true);
  });

  it('goes on after an interruption to the same bytes, and knows the reference from before', async () => {
    await expect(runDpo(job(settings, 'stopped', after(3, 'stopped')))).rejects.toThrow(/stopped after step 3/);
    const summary = await runDpo(job(settings, 'stopped'));
    expect(adapterOf('stopped')).toEqual(adapterOf('straight'));
    expect(summary.reference).toEqual({ computed: 0, cached: 16 });
  });

  it('takes the reference from the model where it moves or the loss reads tokens, and refuses what does not go together', async () => {
    const moving = await runDpo(job({ ...settings, steps: 2, referenceSync: { every: 1, mixup: 1 } }, 'moving'));
    expect(moving.reference).toBeUndefined();
    expect((await runDpo(job({ ...settings, steps: 1, ldAlpha: 0.5 }, 'tokens'))).steps).toBe(1);
    const stopping = { ...settings, referenceSync: { every: 1, mixup: 1 }, evaluateEvery: 1, earlyStopping: { patience: 1, minDelta: 0 } };
    await expect(runDpo(job(stopping, 'none'))).rejects.toThrow(/earlyStopping compares held-out losses .* under referenceSync/);
    await expect(runDpo(job({ ...settings, maxTokens: 3 }, 'short'))).rejects.toThrow(/16 longer than 3 tokens/);
  });

  it('trains all weights where asked to', async () => {
    const summary = await runDpo(job({ ...settings, full: true, steps: 3, learningRate: 1e-3 }, 'full'));
    expect(summary.heldOut!.after.loss).toBeLessThan(Math.LN2);
    expect((await loadDecoder(summary.output)).parameters.trainable().length).toBeGreaterThan(0);
  });
});

describe('plumb train kto', () => {
  it('takes pairs apart, learns, and goes on to the same bytes', async () => {
    const settings = KtoSettings.parse({ steps: 5, heldOut: 0.25, rowsPerStep: 8, learningRate: 5e-3, lora: { r: 4 }, saveEvery: 100 });
    const straight = await runKto(job(settings, 'kto'));
    expect(straight.heldOut!.after.auroc!).toBeGreaterThan(0.85);
    expect(straight.heldOut!.after.margin.mean).toBeGreaterThan(0);
    await expect(runKto(job(settings, 'ktoStopped', after(2, 'ktoStopped')))).rejects.toThrow(/stopped after step 2/);
    await runKto(job(settings, 'ktoStopped'));
    expect(adapterOf('ktoStopped')).toEqual(adapterOf('kto'));
  });

  it('refuses labels of one class, and says when the classes do not balance', async () => {
    const labelled = (name: string, labels: boolean[]) => {
      writeFileSync(
        join(folder, name),
        labels.map((label, i) => `${JSON.stringify({ prompt: `Say ${i}.`, completion: ' yes', label })}\n`).join(''),
      );
      return join(folder, name);
    };
    const settings = KtoSettings.parse({ steps: 1, heldOut: 0, rowsPerStep: 4, lora: { r: 2 } });
    await expect(runKto({ ...job(settings, 'one'), dataset: labelled('ones.jsonl', [true, true, true]) })).rejects.toThrow(
      /every label is true/,
    );
    const { warnings } = await runKto({ ...job(settings, 'skewed'), dataset: labelled('skewed.jsonl', [true, true, true, false]) });
    expect(warnings[0]).toMatch(/count 3.00 times as much as undesirable ones \(3 and 1\).*set desirableWeight to 0.39/);
  });
});
