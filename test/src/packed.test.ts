/** What a user installs is the tarball: the examples of the READMEs run from it, in a project outside the workspace. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { codeUnder, installPacked, unpackAlone } from './install.js';

describe('packages, packed and installed into an empty project', () => {
  let project: string;
  let how: string;
  beforeAll(() => {
    ({ project, how } = installPacked(['native', 'core', 'data', 'models', 'rewards', 'dpo']));
    console.log(`installed by ${how === 'npm' ? 'npm install' : 'unpacking, since no registry is in reach'}`);
  });

  it('run the DPO example of the README', () => {
    expect(existsSync(join(project, 'node_modules/@plumbline/dpo/dist/index.d.ts'))).toBe(true);
    writeFileSync(join(project, 'example.mjs'), codeUnder('README.md', 'One package alone', 'js'));
    const printed = execFileSync(process.execPath, ['example.mjs'], { cwd: project, encoding: 'utf8' });
    const losses = [...printed.matchAll(/loss (\d+\.\d+)/g)].map((match) => Number(match[1]));
    expect(losses[0]).toBeCloseTo(Math.LN2, 4); // policy and reference are the same at first
    expect(losses.at(-1)!).toBeLessThan(0.6);
  });

  /** The last of these tests: it takes the heavy packages away. */
  it('judge without tfjs, native code or models: the light door of rewards', () => {
    for (const gone of [
      '@tensorflow',
      '@plumbline/native',
      '@plumbline/models',
      '@plumbline/core/node_modules',
      '@plumbline/data/node_modules',
    ])
      rmSync(join(project, 'node_modules', gone), { recursive: true, force: true });
    expect(existsSync(join(project, 'node_modules/@plumbline/rewards/dist/judge.d.ts'))).toBe(true);
    writeFileSync(join(project, 'example.mjs'), codeUnder('packages/rewards/README.md', 'Judging without training', 'js'));
    const printed = execFileSync(process.execPath, ['example.mjs'], { cwd: project, encoding: 'utf8' });
    expect(printed).toContain('scores 1, 0, abstains on 1');
    expect(printed).toMatch(/winner a, kappa 1\.00/);

    writeFileSync(
      join(project, 'cold.mjs'),
      `const start = performance.now();
const { jsonSchema, languageIs, runCode, rng } = await import('@plumbline/rewards/judge');
const cold = performance.now() - start;
const ctx = { rng: rng(1) };
const json = await jsonSchema({ schema: { type: 'integer' } }).score([{ prompt: '', completion: '3' }], ctx);
const language = await languageIs({ language: 'en' }).score([{ prompt: '', completion: 'This is an English sentence.' }], ctx);
const { value } = await runCode('1 + 1');
console.log(JSON.stringify({ cold, json: json.scores[0], language: language.scores[0], value }));`,
    );
    const runs = Array.from({ length: 3 }, () =>
      JSON.parse(execFileSync(process.execPath, ['cold.mjs'], { cwd: project, encoding: 'utf8' })),
    );
    console.log(`cold import in ${Math.min(...runs.map(({ cold }) => cold)).toFixed(0)} ms`);
    expect(runs[0]).toMatchObject({ json: 1, language: 1, value: 2 }); // what is loaded on first use
  });
});

describe('the statistics of bench, from the tarballs of bench and data alone', () => {
  it('run where nothing else is installed: no tfjs, no environments', () => {
    const project = unpackAlone(['bench', 'data']);
    writeFileSync(
      join(project, 'example.mjs'),
      `const { cohenKappa, pairedDifference, winRate, lengthControlledWinRate } = await import('@plumbline/bench/metrics');
console.log(JSON.stringify({ kappa: cohenKappa([1, 1, 0, 0], [1, 0, 0, 0]), mean: pairedDifference([2, 3], [1, 1]).mean, wins: winRate([1, 2, 3], [0, 2, 4]).mean, lengths: typeof lengthControlledWinRate }));`,
    );
    const printed = execFileSync(process.execPath, ['example.mjs'], { cwd: project, encoding: 'utf8' });
    expect(JSON.parse(printed)).toEqual({ kappa: 0.5, mean: 1.5, wins: 0.5, lengths: 'function' });
    expect(existsSync(join(project, 'node_modules/@plumbline/bench/data/language-profiles.json.gz'))).toBe(true);
    rmSync(project, { recursive: true, force: true });
  });
});
