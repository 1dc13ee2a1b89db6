import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasSwiftShader, swiftShader } from '@plumbline/tools/swiftshader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeBackends } from './index.node.js';
import { buildScript } from './testing/buildScript.js';

/** One small network in a process that imports core and nothing else, with the backend from the environment. */
describe('a plain Node script that imports core alone', () => {
  let script = '';
  const vulkan = mkdtempSync(join(tmpdir(), 'plumbline-swiftshader-'));
  afterAll(() => rmSync(vulkan, { recursive: true, force: true }));
  const train = (backend: string, env: Record<string, string> = {}): { name: string; losses: number[] } => {
    const child = spawnSync(process.execPath, [script], {
      env: { ...process.env, PLUMB_BACKEND: backend, ...env },
      encoding: 'utf8',
    });
    if (child.status !== 0) throw new Error(`${backend} ended with ${child.signal ?? child.status}\n${child.stderr}`);
    return JSON.parse(child.stdout.trim().split('\n').at(-1)!);
  };
  let expected: number[] = [];
  beforeAll(async () => {
    script = await buildScript('plainTraining');
    expected = train('cpu').losses;
  });

  it.each(['native', 'wasm', 'webgpu'])('trains to the losses of cpu on %s', async (backend) => {
    const software = backend === 'webgpu' && hasSwiftShader ? swiftShader(vulkan, import.meta.url) : undefined;
    if (!software && !(await describeBackends({ backend })).some((rung) => rung.name === backend && rung.taken)) return;
    const { name, losses } = train(backend, software);
    expect(name).toBe(backend);
    expect(expected[11]).toBeLessThan(expected[0] / 2);
    losses.forEach((loss, step) => void expect(Math.abs(loss - expected[step]), `step ${step}`).toBeLessThan(1e-3));
  });
});
