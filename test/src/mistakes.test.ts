/** A user's mistake is answered by one clear line that names the thing and what is allowed, and by an exit code that is not 0. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plumb } from './plumb.js';

const folder = mkdtempSync(join(tmpdir(), 'plumbline-mistakes-'));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const mistakes: { what: string; args: string[]; says: RegExp[]; env?: Record<string, string> }[] = [
  { what: 'a backend that does not exist', args: ['start', '--backend', 'tpu'], says: [/tpu/, /native/, /wasm/] },
  {
    what: 'a backend that does not exist, by environment',
    args: ['doctor'],
    env: { PLUMB_BACKEND: 'tpu' },
    says: [/tpu/, /native/, /wasm/],
  },
  { what: 'no threads', args: ['start', '--threads', '0'], says: [/threads/, /0/] },
  { what: 'a seed that is not a number', args: ['start', '--seed', 'abc'], says: [/seed/, /abc/] },
  { what: 'a setting that does not exist', args: ['start', '--set', 'dpo.step=3'], says: [/dpo\.step/, /steps/] },
  { what: 'a setting with a wrong value', args: ['start', '--set', 'dpo.steps=-3'], says: [/dpo\.steps/, /-3/] },
  { what: 'a setting without a value', args: ['start', '--set', 'dpo.steps'], says: [/dpo\.steps/, /key=value/] },
  {
    what: 'a settings file with an unknown key',
    args: ['start', '--config', file('bad.yaml', 'grpo:\n  stepz: 3\n')],
    says: [/grpo\.stepz/, /steps/],
  },
  {
    what: 'a folder for its results that cannot be made',
    args: ['start', '--out', join(file('not-a-folder', ''), 'runs')],
    says: [/not-a-folder/, /not a folder/],
  },
  { what: 'an experiment that does not exist', args: ['reproduce', 'parr'], says: [/parr/, /par/] },
  { what: 'a flag that does not exist', args: ['start', '--sed', '1'], says: [/--sed/, /--seed/] },
  {
    what: 'a setting of a training that does not exist, by flag',
    args: ['train', 'dpo', '--model', 'zoo:words-1m', '--dataset', 'x.jsonl', '--lerningRate', '1'],
    says: [/"lerningRate" is not a setting \(did you mean learningRate\?\)/],
  },
  {
    what: 'a loss of reward models that does not exist',
    args: ['train', 'reward', '--model', 'zoo:words-1m', '--dataset', 'x.jsonl', '--loss', 'bradly_terry'],
    says: [/setting loss holds "bradly_terry"/, /bradley_terry/],
  },
  {
    what: 'an online run without a judge',
    args: ['train', 'dpo', '--model', 'zoo:words-1m', '--dataset', file('one.jsonl', '{"prompt":"a"}\n'), '--online', 'pairs'],
    says: [/--online pairs needs a judge/],
  },
  { what: 'a command that does not exist', args: ['strat'], says: [/strat/, /start/] },
  {
    what: 'a model that does not exist',
    args: ['align', '--model', 'zoo:nobody', '--dataset', file('pairs.jsonl', '{"prompt":"a","chosen":"b","rejected":"c"}\n')],
    says: [/nobody/, /words-1m/],
  },
  {
    what: 'a data set that does not exist',
    args: ['align', '--model', 'zoo:words-1m', '--dataset', join(folder, 'nothing.jsonl')],
    says: [/nothing\.jsonl/],
  },
  {
    what: 'a data set with a broken line',
    args: [
      'align',
      '--model',
      'zoo:words-1m',
      '--dataset',
      file('broken.jsonl', '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":\n'),
    ],
    says: [/broken\.jsonl/, /2/],
  },
];

describe('a mistake gets one clear line and a failing exit code:', () => {
  for (const { what, args, says, env } of mistakes)
    it(what, async () => {
      const outcome = await plumb(args, { cwd: folder, ...(env && { env }) });
      expect(outcome.code, outcome.stderr).toBeGreaterThan(0);
      for (const pattern of says) expect(outcome.stderr).toMatch(pattern);
      expect(outcome.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m); // no stack
    });
});
