/** A user's mistake is answered by one clear line that names the thing and what is allowed, and by an exit code that is not 0. */
import { exec } from 'node:child_process';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { root } from './install.js';
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
  { what: 'a flag that does not exist', args: ['start', '--sed', '1'], says: [/"sed" is not a setting \(did you mean --seed\?\)/] },
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
  {
    what: 'a flag that does not exist, of a command that takes settings as flags',
    args: ['train', 'sft', '--modle', 'zoo:words-1m', '--dataset', 'x.jsonl'],
    says: [/"modle" is not a setting \(did you mean --model\?\)/],
  },
  {
    what: 'a settings file that is not YAML',
    args: ['align', '--model', 'zoo:words-1m', '--dataset', 'x.jsonl', '--config', file('torn.yaml', 'steps: [1\n')],
    says: [/torn\.yaml is not YAML: .* at line 2, column 1$/m],
  },
  {
    what: 'a rubric that is not YAML',
    args: [
      'judge',
      file('two.jsonl', '{"prompt":"a","a":"b","b":"c"}\n'),
      '--model',
      'zoo:words-1m',
      '--rubric',
      file('torn-rubric.yaml', '- [1\n'),
    ],
    says: [/torn-rubric\.yaml is not YAML/],
  },
  {
    what: 'a value that is no list, in a flag',
    args: ['train', 'sft', '--model', 'zoo:words-1m', '--dataset', 'x.jsonl', '--lora.targetModules', '[q_proj'],
    says: [/--lora\.targetModules \[q_proj is not YAML/],
  },
  {
    what: 'a value for a group of settings',
    args: ['train', 'sft', '--model', 'zoo:words-1m', '--dataset', 'x.jsonl', '--lora', '8'],
    says: [/setting lora holds 8, but is set by its parts: lora\.r, lora\.alpha/],
  },
  {
    what: 'pairs that are all too long',
    args: [
      'align',
      '--model',
      'zoo:words-1m',
      '--dataset',
      file('short.jsonl', '{"prompt":"a","chosen":"b","rejected":"c"}\n'.repeat(12)),
      '--maxTokens',
      '1',
    ],
    says: [/of 12 preference pairs 0 fit into 1 tokens; at least 10 are needed .*: raise maxTokens, up to 128/],
  },
  {
    what: 'rows that cannot be read',
    args: ['align', '--model', 'zoo:words-1m', '--dataset', file('odd.jsonl', '{"prompt":"a","chosen":true,"rejected":"c"}\n')],
    says: [/1 rows? could not be read \(`plumb data convert SOURCE OUT --skip-bad` writes the others\)/],
  },
  {
    what: 'a port that is none, before the model is loaded',
    args: ['serve', '--model', 'zoo:words-1m', '--port', 'abc'],
    says: [/--port must be a whole number, 0 or more, got "abc"/],
  },
  {
    what: 'a port beyond the last',
    args: ['serve', '--model', 'zoo:words-1m', '--port', '99999'],
    says: [/--port must be at most 65535, got "99999"/],
  },
  {
    what: 'a result over its source',
    args: ['data', 'dedup', file('same.jsonl', '{"prompt":"a"}\n'), join(folder, 'same.jsonl')],
    says: [/same\.jsonl is the source itself/],
  },
  {
    what: 'shares that do not add up',
    args: ['data', 'split', file('split.jsonl', '{"prompt":"a"}\n'), join(folder, 'sides'), '--shares', 'train=0.9,test=0.2'],
    says: [/--shares train=0\.9,test=0\.2: .* add up to 1\.1/],
  },
  {
    what: 'a judge that never answers',
    args: ['judge', file('pair.jsonl', '{"prompt":"a","a":"b","b":"c"}\n'), '--model', 'm', '--url', 'http://127.0.0.1:1/v1'],
    says: [/1 without a verdict/],
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

  it.each([
    ['sft', ['--maxTokens', '1'], /none of 2 conversations fits/],
    ['reward', ['--loss', 'step'], /--loss step learns from stepwise records/],
    ['dpo', ['--maxTokens', '1'], /too few are left to train on/],
    ['kto', ['--loss', 'bco', '--desirableWeight', '2'], /bco has no weights/],
    ['rl', ['--reward', 'numeric', '--weights', '1', '2'], /weights names 2/],
    ['rl', ['--reward', 'length', '--advantage', 'brpo', '--maxTokens', '4', '--promptsPerStep', '1'], /brpo takes verdicts/],
  ])('a mistake in plumb train %s leaves no run folder behind', async (kind, flags, says) => {
    const pairs = file('two-pairs.jsonl', '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":"d","chosen":"e","rejected":"f"}\n');
    const out = join(folder, `nothing-of-${kind}`);
    const outcome = await plumb(['train', kind, '--model', 'zoo:words-1m', '--dataset', pairs, '--out', out, ...flags], { cwd: folder });
    expect(outcome.stderr).toMatch(says);
    expect(outcome.code).toBe(2);
    expect(existsSync(out)).toBe(false);
  });

  it.each([
    ['judge', '--swap', '--model', 'zoo:words-6m', '--out', 'verdicts.jsonl'],
    ['score', '--reward', 'zoo:gold-words', '--out', 'scored.jsonl'],
  ])('%s ends at the first Ctrl-C, however early it comes', async (command, ...flags) => {
    const pairs = file('many.jsonl', '{"prompt":"There was","chosen":" a dog.","rejected":" a cat."}\n'.repeat(5000));
    const { code, stderr } = await plumb([command, pairs, ...flags], { cwd: folder, stop: { signal: 'SIGINT', printed: 'Backend:' } });
    expect(code).toBe(130);
    expect(stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
  });

  it.each(['train dpo --help', 'zoo list'])('%s ends without a word where nobody reads on', async (args) => {
    const command = `"${process.execPath}" "${join(root, 'apps/cli/bin/plumb.mjs')}" ${args} | head -n 1`;
    const { stdout, stderr } = await promisify(exec)(command, { cwd: folder });
    expect(stdout).toMatch(/^.+\n$/);
    expect(stderr).toBe('');
  });

  it('says where the right flags are listed', async () => {
    const { code, stderr } = await plumb(['doctor', '--bakend', 'wasm'], { cwd: folder });
    expect(code).toBe(2);
    expect(stderr).toMatch(/Did you mean --backend\?.*plumb doctor --help lists the options/s);
  });
});
