import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasSwiftShader, swiftShader } from '@plumbline/tools/swiftshader';
import { build } from 'tsup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

describe.skipIf(!hasSwiftShader)('webgpu on SwiftShader (Linux x64)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-swiftshader-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let checks: { name: string; error: string | null }[] = [];

  beforeAll(async () => {
    const outDir = fileURLToPath(new URL('../.results/webgpu', import.meta.url)); // under the package, so that what it imports is found
    await build({
      entry: [fileURLToPath(new URL('./testing/webgpuChecks.ts', import.meta.url))],
      outDir,
      format: 'esm',
      config: false,
      silent: true,
      clean: true,
      esbuildOptions: (options) => {
        options.conditions = ['plumbline-source'];
      },
    });
    const child = spawnSync(process.execPath, [join(outDir, 'webgpuChecks.js')], {
      env: { ...process.env, PLUMB_BACKEND: '', ...swiftShader(folder, import.meta.url) },
      encoding: 'utf8',
      timeout: 800_000, // below that of the test, so that it says what was done until then
    });
    checks = child.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
    if (child.status !== 0)
      checks.push({ name: 'the process ends well', error: `${child.error ?? ''}exit code ${child.status}\n${child.stderr.slice(-2000)}` });
  });

  it('passes every check', () => {
    expect(checks.filter(({ error }) => error)).toEqual([]);
    expect(checks.length).toBeGreaterThan(30);
  });
});
