import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { bf16Instructions, nativeAvailable } from './index.js';

const here = dirname(fileURLToPath(import.meta.url));
const cxx = process.env.CXX || 'c++';
const possible =
  process.platform === 'linux' && process.arch === 'x64' && nativeAvailable().ok && bf16Instructions() && !process.env.PLUMB_CXXFLAGS;

it.runIf(possible)('multiplies by tiles as by single numbers, whatever the shapes, with functions in the place of AMX', () => {
  const dir = mkdtempSync(join(tmpdir(), 'plumbline-tiles-'));
  try {
    const sources = ['amx.cc', 'frozen.cc', 'pool.cc'].map((name) => join(here, 'cc', name));
    const flags = '-std=c++17 -O1 -ffp-contract=off -w -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -pthread'.split(' ');
    const program = join(dir, 'tiles');
    const harness = join(here, '..', 'test', 'tiles.cc');
    const built = spawnSync(cxx, [...flags, '-DPLUMB_TILES_EMULATED', '-I', join(here, 'cc'), ...sources, harness, '-o', program], {
      encoding: 'utf8',
    });
    expect(built.stderr).toBe('');
    const [entries, worst, alone] = spawnSync(program, { encoding: 'utf8' }).stdout.split(' ').map(Number);
    expect(entries).toBeGreaterThan(500_000);
    expect(worst).toBeLessThan(1e-5);
    expect(alone).toBe(0); // a row has the same bits whatever the others
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
