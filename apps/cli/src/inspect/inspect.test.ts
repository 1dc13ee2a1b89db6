import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRun } from '@plumbline/core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { compareRuns, listRuns, report, showRun } from '../commands/runs.js';
import { findRun, runFolders } from './folders.js';

const out = mkdtempSync(join(tmpdir(), 'plumbline-inspect-'));
afterAll(() => rmSync(out, { recursive: true, force: true }));
beforeAll(async () => {
  for (const [name, beta] of [
    ['dpo-a', 0.1],
    ['dpo-b', 0.3],
  ] as const) {
    const run = await openRun({ dir: join(out, name), config: { beta, lora: { r: 8 } }, seed: 0, onWarning: () => {} });
    for (let step = 0; step < 25; step++) run.log(step, { loss: name === 'dpo-a' ? Math.LN2 : 0.5 / (step + 1), 'rewards/margin': step });
    await run.close();
  }
  writeFileSync(join(out, 'dpo-a', 'summary.json'), '{"steps":25}');
  writeFileSync(join(out, 'dpo-a', 'metrics.jsonl'), `${readFileSync(join(out, 'dpo-a', 'metrics.jsonl'), 'utf8')}{"step":25,"lo`);
  writeFileSync(join(out, 'notes.txt'), 'no run');
});
const printed = (f: () => void): string => {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(String(line)));
  f();
  log.mockRestore();
  return lines.join('\n');
};

describe('plumb runs', () => {
  it('lists, shows with hints, and compares only what differs', () => {
    expect(runFolders(out).map(({ name, state }) => `${name} ${state}`)).toEqual(['dpo-b unfinished', 'dpo-a finished']);
    expect(printed(() => listRuns({ out }))).toMatch(/dpo-a +finished +25 steps +loss 0.6931/);
    expect(printed(() => showRun('dpo-a', { out }))).toMatch(/hint: up to step 19, the loss is still ln 2 after 20 steps/);
    const compared = printed(() => compareRuns(['dpo-a', 'dpo-b'], { out }));
    expect(compared).toMatch(/^beta +0.1 +0.3$/m);
    expect(compared).not.toMatch(/lora/);
    expect(JSON.parse(printed(() => compareRuns(['dpo-a', 'dpo-b'], { out, json: true })))[1].metrics['rewards/margin']).toBe(24);
  });
  it('names the runs that there are where one is not found', () => {
    expect(() => findRun('grpo', out)).toThrow(/grpo is no run folder; in .* there are dpo-b, dpo-a/);
    expect(() => findRun('dpo', out)).toThrow(/beginning of 2 runs/);
  });
});

describe('plumb report', () => {
  it('makes the page of a run, finished or not', async () => {
    await report('dpo-b', { out });
    const page = readFileSync(join(out, 'dpo-b', 'run.html'), 'utf8');
    for (const part of ['rewards/margin', 'This run is not finished', 'lora.r', 'backend']) expect(page).toContain(part);
  });
});
