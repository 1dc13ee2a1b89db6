/** A training of the command-line tool that is killed at random moments, again and again, ends where an undisturbed one does. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rng } from '@plumbline/core';
import { afterAll, describe, expect, it } from 'vitest';
import { plumb } from './plumb.js';

const kills = process.env.PLUMB_FULL ? 20 : 3;
/** Of the time of a whole run: a resumed one has less to do, and should not get to its end before it is killed. */
const longest = process.env.PLUMB_FULL ? 0.3 : 0.8;
const folder = mkdtempSync(join(tmpdir(), 'plumbline-kill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const names = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Frank', 'Grace', 'Henry', 'Iris', 'Jack', 'Kate', 'Leo'];
const dataset = join(folder, 'pairs.jsonl');
writeFileSync(
  dataset,
  names
    .map(
      (name) => `${JSON.stringify({ prompt: `A child named ${name}.`, chosen: ` ${name} was happy.`, rejected: ` ${name} was sad.` })}\n`,
    )
    .join(''),
);
const args = (out: string) =>
  ['train', 'dpo', '--model', 'zoo:words-1m', '--dataset', dataset, '--out', join(folder, out)].concat([
    '--steps',
    '30',
    '--pairsPerStep',
    '4',
    '--saveEvery',
    '2',
    '--lora.r',
    '4',
    '--lora.dropout',
    '0.1',
    '--learningRate',
    '1e-3',
  ]);
const adapterIn = (out: string) => {
  const runs = readdirSync(join(folder, out)).filter(
    (name) => name.startsWith('dpo-') && existsSync(join(folder, out, name, 'identity.json')),
  );
  expect(runs).toHaveLength(1); // each start went on with the same run
  return readFileSync(join(folder, out, runs[0], 'adapter', 'adapter_model.safetensors'));
};

describe('SIGKILL', () => {
  it(`at ${kills} random moments leaves a run that goes on, to the same adapter byte by byte`, {
    timeout: kills * 30_000 + 60_000,
  }, async () => {
    const started = performance.now();
    expect((await plumb(args('whole'))).code).toBe(0);
    const whole = performance.now() - started;
    const draw = rng(Number(process.env.PLUMB_TEST_SEED ?? 1)).fork('kill');
    let finished = false;
    for (let n = 0; n < kills && !finished; n++) {
      const until = performance.now() + whole * longest * draw.uniform(1)[0];
      const timer = new AbortController();
      const killed = plumb(args('killed'), { signal: timer.signal });
      setTimeout(() => timer.abort(), until - performance.now());
      const { code, signal, stderr } = await killed;
      expect(signal === 'SIGKILL' || code === 0, stderr).toBe(true);
      finished = code === 0;
    }
    if (!finished) {
      const last = await plumb(args('killed'));
      expect(last.code, last.stderr).toBe(0);
    }
    expect(adapterIn('killed')).toEqual(adapterIn('whole'));
  });
});
