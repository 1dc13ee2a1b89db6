import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildScript } from './testing/buildScript.js';

describe.runIf(process.env.PLUMB_FULL)('10,000 steps of a tiny model (slow)', () => {
  let script = '';
  beforeAll(async () => {
    script = await buildScript('longTraining');
  });

  it.each(['native', 'wasm', 'cpu'])('leave resident memory where it was after the warm-up, on %s', (backend) => {
    const child = spawnSync(process.execPath, ['--expose-gc', script, backend, '10000'], { encoding: 'utf8' });
    expect(child.stderr).not.toMatch(/Error/);
    const { resident, tensors } = JSON.parse(child.stdout.trim().split('\n').at(-1)!) as { resident: number[]; tensors: number };
    console.log(`${backend}: resident MiB after each 1,000 steps: ${resident.map((mib) => mib.toFixed(0)).join(' ')}`);
    expect(tensors).toBeLessThan(20);
    expect(resident[9] - resident[1]).toBeLessThan(16);
  });
});
