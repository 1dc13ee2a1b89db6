import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { build } from 'tsup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Vulkan on the CPU, out of a package that ships it for headless Chromium: Dawn, tfjs's WebGPU backend and our shaders run for real. */
function swiftShader(folder: string): { LD_LIBRARY_PATH: string; VK_ICD_FILENAMES: string } {
  // The package's exports hide its files: from its entry, up to the folder that holds bin/.
  let at = dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium'));
  while (!readdirSync(at).includes('bin')) at = dirname(at);
  const archive = join(folder, 'swiftshader.tar');
  writeFileSync(archive, brotliDecompressSync(readFileSync(join(at, 'bin', 'swiftshader.tar.br'))));
  spawnSync('tar', ['xf', archive, '-C', folder]);
  return { LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json') };
}

const here = process.platform === 'linux' && process.arch === 'x64';

describe.skipIf(!here)('webgpu on SwiftShader (Linux x64)', () => {
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
      env: { ...process.env, PLUMB_BACKEND: '', ...swiftShader(folder) },
      encoding: 'utf8',
      timeout: 280_000,
    });
    checks = child.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
    if (child.status !== 0)
      checks.push({ name: 'the process ends well', error: `${child.error ?? ''}exit code ${child.status}\n${child.stderr.slice(-2000)}` });
  }, 300_000);

  it('passes every check', () => {
    expect(checks.filter(({ error }) => error)).toEqual([]);
    expect(checks.length).toBeGreaterThan(30);
  });
});
