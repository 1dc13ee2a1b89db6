/** The light door as a user installs it: judges and verifiers run where neither tfjs nor native code nor models are there at all. */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codeUnder, installPacked } from './install.js';

describe('@plumbline/rewards/judge, packed and installed into an empty project', () => {
  it('runs the example of the README without tfjs, native code or models', { timeout: 600_000 }, () => {
    const { project, how } = installPacked(['native', 'core', 'data', 'models', 'rewards']);
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
    console.log(`installed by ${how}; cold import in ${Math.min(...runs.map(({ cold }) => cold)).toFixed(0)} ms`);
    expect(runs[0]).toMatchObject({ json: 1, language: 1, value: 2 }); // what is loaded on first use
  });
});
