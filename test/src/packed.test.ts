/** What a user installs is the tarball: the README's example runs from it, in a project outside the workspace. */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { codeUnder, installPacked } from './install.js';

describe('@plumbline/dpo, packed and installed into an empty project', () => {
  it('runs the DPO example of the README', { timeout: 300_000 }, () => {
    const { project, how } = installPacked(['native', 'core', 'data', 'models', 'dpo']);
    console.log(`installed by ${how === 'npm' ? 'npm install' : 'unpacking, since no registry is in reach'}`);
    expect(existsSync(join(project, 'node_modules/@plumbline/dpo/dist/index.d.ts'))).toBe(true);
    writeFileSync(join(project, 'example.mjs'), codeUnder('README.md', 'One package alone', 'js'));
    const printed = execFileSync(process.execPath, ['example.mjs'], { cwd: project, encoding: 'utf8' });
    const losses = [...printed.matchAll(/loss (\d+\.\d+)/g)].map((match) => Number(match[1]));
    expect(losses[0]).toBeCloseTo(Math.LN2, 4); // policy and reference are the same at first
    expect(losses.at(-1)!).toBeLessThan(0.6);
  });
});
