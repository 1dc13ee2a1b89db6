import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { codeHash, experimentFile, loadExperimentFrom } from './bundle.js';

const root = mkdtempSync(join(tmpdir(), 'plumbline-bundle-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** An experiment's folder with these files. */
function folder(name: string, files: Record<string, string>): string {
  const dir = join(root, name);
  mkdirSync(dir, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(dir, file), text);
  return dir;
}

const plain = (body: string) => `import { rng } from '@plumbline/core';\n${body}\nexport default { id: 'mine', run: () => value(rng(0)) };`;

describe('codeHash', () => {
  const body = 'const value = (r: { seed32: number }): number => r.seed32;';
  it('leaves comments, formatting, tests and what is not reached alone', async () => {
    const hash = await codeHash([], folder('a', { 'experiment.ts': plain(body) }));
    expect(hash).toMatch(/^[0-9a-f]{16}$/);
    const same = folder('b', {
      'experiment.ts': plain(`// a word\n${body.replace('=> r', '=>\n    r')}\nexport const never = () => 1;`),
      'experiment.test.ts': 'throw 1',
    });
    expect(await codeHash([], same)).toBe(hash);
  });
  it('sees a change of what the experiment computes, in its own files and behind its imports', async () => {
    const hash = await codeHash([], folder('c', { 'experiment.ts': plain(body) }));
    expect(await codeHash([], folder('d', { 'experiment.ts': plain(body.replace('r.seed32', 'r.seed32 + 1')) }))).not.toBe(hash);
    const beside = (text: string) => ({ 'experiment.ts': plain("import { value } from './value.js';"), 'value.ts': text });
    const one = await codeHash([], folder('e', beside('export const value = (r: unknown) => [r, 1];')));
    expect(await codeHash([], folder('e', beside('export const value = (r: unknown) => [r, 2];')))).not.toBe(one);
  });
});

describe('what an experiment does with a model of the user', () => {
  it('belongs to no result: its module may change', async () => {
    const using = (text: string) => ({
      'experiment.ts': `import { apply } from './apply.js';\nexport default { id: 'mine', apply, run: () => 1 };`,
      'apply.ts': `export const apply = ${text};`,
    });
    expect(await codeHash([], folder('applied', using('1')))).toBe(await codeHash([], folder('applied', using('2'))));
  });
});

describe('an experiment in a folder of its own', () => {
  it('is compiled and loaded', async () => {
    const dir = folder('own', { 'experiment.ts': "const id: string = 'mine';\nexport default { id, run: async () => ({ arms: {} }) };" });
    expect((await loadExperimentFrom(dir)).id).toBe('mine');
  });
  it('is named with its line by an error in it', async () => {
    const body = "\n// a line of prose\nexport default { id: 'mine', run: (): never => {\n  throw new Error('no luck');\n} };";
    const dir = folder('fails', { 'experiment.ts': `type A = 1;${body}` });
    const experiment = await loadExperimentFrom(dir);
    const thrown = await Promise.resolve()
      .then(() => experiment.run({} as never))
      .catch((error: Error) => error.stack);
    expect(thrown).toContain(`(${join(dir, 'experiment.ts')}:4:`);
  });
  it('is named where it is missing, does not compile, or exports something else', async () => {
    expect(() => experimentFile(join(root, 'nowhere'))).toThrow(/nowhere: there is no such file or folder/);
    expect(() => experimentFile(folder('empty', {}))).toThrow(/holds an experiment\.ts/);
    await expect(loadExperimentFrom(folder('broken', { 'experiment.ts': 'export default {' }))).rejects.toThrow(/experiment\.ts:1:17: /);
    await expect(loadExperimentFrom(folder('other', { 'experiment.ts': 'export default 3;' }))).rejects.toThrow(
      /its default export is not an experiment/,
    );
    await expect(
      loadExperimentFrom(folder('missing', { 'experiment.ts': "import 'no-such-package';\nexport default 1;" })),
    ).rejects.toThrow(/cannot find the package "no-such-package"/);
  });
});
