import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  mkdirSync(join(out, 'dpo-b', 'samples'));
  for (const [step, completion, score] of [
    [0, ' who slept.', 0.25],
    [25, ' who was happy.', 1 / 3],
  ] as const) {
    const rows = [{ step, prompt: 'Once there was a girl', completion, score, finish: 'stop', chosen: ' who sang.' }];
    writeFileSync(
      join(out, 'dpo-b', 'samples', `step-0000${String(step).padStart(2, '0')}.jsonl`),
      rows.map((row) => JSON.stringify(row)).join('\n'),
    );
  }
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
    expect(printed(() => showRun('dpo-a', { out }))).not.toMatch(/Samples/);
    expect(printed(() => showRun('dpo-b', { out }))).toMatch(
      /Samples of step 25, of 2 steps in .*\n\n.*Once there was a girl.*\n.*completion.*: who was happy\..*\n.*chosen.*: who sang\.\n.*score 0.3333, finish stop/,
    );
    expect(JSON.parse(printed(() => showRun('dpo-b', { out, json: true }))).samples).toMatchObject([{ completion: ' who was happy.' }]);
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
    const ofSamples = ['Samples of step 25', 'who was happy', 'completion, step 0', 'who slept', '(step 0: score 0.25'];
    for (const part of ['rewards/margin', 'This run is not finished', 'lora.r', 'backend', ...ofSamples]) expect(page).toContain(part);
  });
});
