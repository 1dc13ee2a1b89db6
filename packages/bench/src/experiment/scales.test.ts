import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { z } from 'zod';
import { defineExperiment } from './define.js';
import { reproductionMatrix, reproductionsMarkdown } from './reproductions.js';
import { runExperiment } from './run.js';
import { readScales, storeScale } from './scales.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-scales-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What it measures depends on the model alone. */
const experiment = defineExperiment({
  id: 'par',
  paper: 'arXiv:0000.00000',
  packages: ['core'],
  config: z.strictObject({ model: z.string().default('zoo:words-1m') }),
  quick: {},
  arms: ['a', 'b'],
  metrics: { gold: { unit: 'points', better: 'higher' } },
  claims: [
    { id: 'gold', text: 'B has more', test: { metric: 'gold', better: 'b', than: 'a', smallestEffect: 0.5 } },
    { id: 'big', text: 'also at 70B', test: 'full scale only' },
  ],
  run: async ({ config, seed }) => ({ arms: { a: { gold: 0 }, b: { gold: config.model === 'zoo:words-6m' ? 2 + 0.1 * seed : 1 } } }),
});

it('keeps the effects with another model beside the main result, and shows both', async () => {
  const storeDir = join(root, 'par');
  const { result } = await runExperiment(experiment, { outDir: join(root, 'runs'), storeDir });
  const main = readFileSync(join(storeDir, 'result.json'), 'utf8');
  await runExperiment(experiment, {
    outDir: join(root, 'runs'),
    storeDir,
    scale: 'words-6m',
    seeds: 2,
    command: 'plumb reproduce par --scale words-6m',
  });
  expect(readFileSync(join(storeDir, 'result.json'), 'utf8')).toBe(main);
  const [row] = readScales(storeDir);
  expect(row).toMatchObject({
    scale: 'words-6m',
    seeds: [1, 2],
    command: 'plumb reproduce par --scale words-6m',
    codeHash: result.codeHash,
  });
  expect(row.effects).toHaveLength(1);
  expect(row.effects[0].difference).toBeCloseTo(2.15, 10);
  // the same model again takes the row's place, another one its own
  await storeScale(storeDir, { ...row, seeds: [1, 2, 3], parameters: 6e6 });
  await storeScale(storeDir, {
    ...row,
    scale: 'SmolLM2-135M',
    parameters: 135e6,
    codeHash: 'old',
    effects: [{ ...row.effects[0], id: 'held-out', claim: 'held-out pairs' }],
  });
  expect(readScales(storeDir).map(({ scale, seeds }) => `${scale} ${seeds.length}`)).toEqual(['words-6m 3', 'SmolLM2-135M 2']);
  const page = reproductionsMarkdown(await reproductionMatrix({ implemented: new Map([['par', undefined]]), resultsDir: root }));
  expect(page).toContain('| words-6m (6.0M) | 3 | +2.15 [');
  expect(page).toContain('| SmolLM2-135M (135M), the code has changed since | held-out pairs | +2.15 [');
  expect(page).toContain('- words-6m: `plumb reproduce par --scale words-6m`');
});

it('takes the settings of an experiment that has scales of its own, and the size that it tells', async () => {
  const storeDir = join(root, 'own');
  const own = defineExperiment({
    ...experiment,
    config: z.strictObject({ width: z.int().default(2), rate: z.number().default(1) }),
    quick: {},
    scales: { wide: { width: 10, rate: 0.5 } },
    run: async ({ config }) => ({ arms: { a: { gold: 0 }, b: { gold: config.rate } }, parameters: config.width ** 2 }),
  });
  const at = (scale: string, config = {}) => runExperiment(own, { outDir: join(root, 'own runs'), storeDir, scale, seeds: 1, config });
  expect((await at('wide')).result.config).toEqual({ width: 10, rate: 0.5 });
  expect(readScales(storeDir)).toMatchObject([{ scale: 'wide', parameters: 100, effects: [{ difference: 0.5 }] }]);
  expect((await at('wide', { rate: 0.25 })).result.config).toEqual({ width: 10, rate: 0.25 });
  await expect(at('words-6m')).rejects.toThrow('"par" has no scale "words-6m"; there are wide');
});

it('has no rows where none are stored, and names a file that is damaged', () => {
  expect(readScales(join(root, 'nothing'))).toEqual([]);
  writeFileSync(join(root, 'scales.json'), '{');
  expect(existsSync(join(root, 'scales.json'))).toBe(true);
  expect(() => readScales(root)).toThrow(/scales\.json: not JSON/);
});
