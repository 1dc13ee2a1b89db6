/**
 * Trainings of the command-line tool that are killed again and again end where undisturbed ones do, to the byte. Moments are random over what a process does to the disk, and aimed: while a
 * checkpoint is written, and while the result is.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rng } from '@plumbline/core';
import { afterAll, describe, expect, it } from 'vitest';
import { plumb } from './plumb.js';

type Moment = 'at random' | 'in a checkpoint' | 'in the result';
const full = Boolean(process.env.PLUMB_FULL);
/** For each trainer; the full suite has 20 random ones in all, and two more for each trainer that are aimed. */
const moments: readonly Moment[] = full
  ? ['at random', 'in a checkpoint', 'at random', 'at random', 'at random', 'in the result']
  : ['at random', 'in a checkpoint'];

const folder = mkdtempSync(join(tmpdir(), 'plumbline-kill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const names = ['Anna', 'Ben', 'Clara', 'David', 'Emma', 'Frank', 'Grace', 'Henry', 'Iris', 'Jack', 'Kate', 'Leo'];
const pairs = join(folder, 'pairs.jsonl');
const lines = names.map((name) => ({ prompt: `A child named ${name}.`, chosen: ` ${name} was happy.`, rejected: ` ${name} was sad.` }));
writeFileSync(pairs, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

const shared = ['--saveEvery', '2', '--lora.r', '4', '--lora.dropout', '0.1', '--learningRate', '1e-3'];
const trainers: Record<string, readonly string[]> = {
  dpo: ['--steps', '60', '--pairsPerStep', '4', ...shared],
  sft: ['--steps', '60', '--sequencesPerStep', '4', '--evaluateEvery', '4', ...shared],
  reward: ['--steps', '60', '--recordsPerStep', '4', '--evaluateEvery', '4', ...shared],
  kto: ['--steps', '60', '--rowsPerStep', '8', ...shared],
  rl: [
    ...['--reward', 'length', '--steps', '24', '--promptsPerStep', '2', '--samplesPerPrompt', '4', '--maxTokens', '12', '--heldOut', '2'],
    ...shared,
  ],
};
const args = (trainer: string, out: string) => [
  ...['train', trainer, '--model', 'zoo:words-1m', '--dataset', pairs, '--out', join(folder, out)],
  ...trainers[trainer],
];

/** The one run of a folder: each start went on with the same. */
function runIn(trainer: string, out: string): string | undefined {
  const where = join(folder, out);
  const runs = (existsSync(where) ? readdirSync(where) : []).filter(
    (name) => name.startsWith(`${trainer}-`) && existsSync(join(where, name, 'identity.json')),
  );
  expect(runs.length).toBeLessThan(2);
  return runs[0] && join(where, runs[0]);
}

/** The operations on files, counted in the process itself, among which a moment lies; and how many of them it may let pass. */
const places: Record<Moment, { path: string; most: (all: number) => number }> = {
  // A fifth of the whole run's: four kills do not get to its end.
  'at random': { path: '[/\\\\]killed[/\\\\]', most: (all) => Math.floor(all / 5) },
  'in a checkpoint': { path: '[/\\\\]killed[/\\\\].*[/\\\\]\\.step-', most: () => 6 },
  'in the result': { path: '[/\\\\]killed[/\\\\].*[/\\\\](adapter|model)\\b', most: () => 2 },
};

/** What a run leaves, without what tells the time. */
function left(trainer: string, out: string) {
  const run = runIn(trainer, out)!;
  const numbers = readFileSync(join(run, 'metrics.jsonl'), 'utf8').replaceAll(/"tokensPerSecond":[^,}]*/g, '');
  // Without the temporary files, which are hidden, of a process that was killed before it renamed one.
  const samples = (existsSync(join(run, 'samples')) ? readdirSync(join(run, 'samples')) : []).filter((name) => !name.startsWith('.'));
  const { heldOut, heldOutLoss, heldOutReward, steps } = JSON.parse(readFileSync(join(run, 'summary.json'), 'utf8'));
  return {
    adapter: readFileSync(join(run, 'adapter', 'adapter_model.safetensors')),
    numbers: numbers.trim().split('\n'),
    samples: samples.map((name) => readFileSync(join(run, 'samples', name), 'utf8')),
    result: { heldOut, heldOutLoss, heldOutReward, steps },
  };
}

describe('SIGKILL', () => {
  const draw = rng(Number(process.env.PLUMB_TEST_SEED ?? 1));
  for (const trainer of full ? Object.keys(trainers) : ['dpo'])
    it(`at ${moments.length} moments leaves a run of plumb train ${trainer} that goes on, to the same adapter and numbers byte by byte`, async () => {
      const tally = join(folder, `${trainer}.tally`);
      const undisturbed = await plumb(args(trainer, 'whole'), { stop: { path: '[/\\\\]whole[/\\\\]', tally } });
      expect(undisturbed.code, undisturbed.stderr).toBe(0);
      const operations = Number(readFileSync(tally, 'utf8'));
      const random = draw.fork('kill', trainer);
      for (const moment of moments) {
        const { path, most } = places[moment];
        const at = 1 + random.below(most(operations));
        const { signal, stderr } = await plumb(args(trainer, 'killed'), { stop: { signal: 'SIGKILL', path, at } });
        expect(signal, `operation ${at} of ${operations}, ${moment}: ${stderr}`).toBe('SIGKILL');
      }
      const last = await plumb(args(trainer, 'killed'));
      expect(last.code, last.stderr).toBe(0);
      const [{ adapter, ...ours }, { adapter: expected, ...theirs }] = [left(trainer, 'killed'), left(trainer, 'whole')];
      expect(ours).toEqual(theirs);
      expect(adapter.equals(expected)).toBe(true);
    });
});
