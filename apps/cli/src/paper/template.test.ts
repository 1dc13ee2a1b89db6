import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { experimentContract, loadExperimentFrom } from '@plumbline/bench';
import { afterAll, expect, it } from 'vitest';
import { experimentSource, readmeSource } from './template.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-paper-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('begins a paper in under 150 lines that holds what every experiment must, wherever it lies', async () => {
  const paper = { id: 'my-paper', title: 'A paper of mine', arxiv: '2401.00001' };
  const dir = join(root, paper.id);
  mkdirSync(dir);
  const [source, readme] = [experimentSource(paper), readmeSource(paper, `./${paper.id}`)];
  expect(source.split('\n').length + readme.split('\n').length).toBeLessThan(150);
  writeFileSync(join(dir, 'experiment.ts'), source);
  writeFileSync(join(dir, 'README.md'), readme);
  const experiment = await loadExperimentFrom(dir);
  for (const { run } of experimentContract(experiment, { dir, listed: false })) await run();
});
