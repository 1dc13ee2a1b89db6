import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CheckpointError, ConfigError, FileError, InterruptedError, NonFiniteError } from './errors.js';
import { writeFileAtomic } from './files.node.js';
import { createParameters, replaceValue } from './parameters.js';
import { rng } from './rng.js';
import { saveIfAborted } from './run.js';
import { type OpenRun, openRun, type RunOptions } from './run.node.js';
import './setup.js';
import * as tf from '@tensorflow/tfjs-core';
import type { Checkpointable, Saved } from './types.js';

let folder: string;
let dir: string;
const open: OpenRun[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plumbline-runs-'));
});
beforeEach(async () => {
  for (const run of open.splice(0)) await run.close();
  dir = join(folder, `run-${readdirSync(folder).length}`);
});
afterAll(async () => {
  for (const run of open) await run.close();
  rmSync(folder, { recursive: true, force: true });
});

const start = async (options: Partial<RunOptions> = {}): Promise<OpenRun> => {
  const run = await openRun({ dir, config: { steps: 10, model: { width: 8 } }, seed: 5, saveEvery: 2, ...options });
  open.push(run);
  return run;
};
const counter = (value: number) => createParameters({ value: { shape: [1], data: Float32Array.of(value) } });
const held = async (tree: ReturnType<typeof counter>) => (await tree.save()).tensors.value.data[0];
const text = (...path: string[]) => readFileSync(join(dir, ...path), 'utf8');
const json = (...path: string[]) => JSON.parse(text(...path));
const checkpoints = () => readdirSync(join(dir, 'checkpoints')).sort();

/** Counts to `steps`, as a trainer would, and closes the folder. */
async function train(steps: number, options: Partial<RunOptions> = {}): Promise<void> {
  const run = await start(options);
  const policy = counter(0);
  for (let step = await run.restore({ policy }); step < steps; step++) {
    replaceValue(policy.get('value'), tf.tensor([step + 1]));
    run.log(step, { loss: 1 / (step + 1) });
    if ((step + 1) % run.saveEvery === 0) await run.save(step + 1, { policy });
  }
  await run.close();
}

describe('openRun', () => {
  it('writes the configuration, the environment, a line a step, and keeps the newest two checkpoints', async () => {
    await train(7);
    expect(json('config.json')).toEqual({ steps: 10, model: { width: 8 } });
    expect(json('environment.json')).toMatchObject({ seed: 5, backend: tf.getBackend(), versions: { tfjs: '4.22.0' }, resumed: [] });
    expect(text('metrics.jsonl').split('\n').slice(0, 2)).toEqual(['{"step":0,"loss":1}', '{"step":1,"loss":0.5}']);
    expect(checkpoints()).toEqual(['step-4', 'step-6']);
    expect(readdirSync(join(dir, 'checkpoints', 'step-6')).sort()).toEqual(['checkpoint.json', 'policy.safetensors']);
    expect(
      readdirSync(dir)
        .filter((name) => !name.startsWith('events.out.tfevents.'))
        .sort(),
    ).toEqual(['checkpoints', 'config.json', 'environment.json', 'metrics.jsonl']);
  });

  it('goes on from the newest checkpoint, without the lines of the steps that are done again', async () => {
    await train(7);
    const run = await start();
    const policy = counter(0);
    expect(await run.restore({ policy })).toBe(6);
    expect(await held(policy)).toBe(6);
    expect(text('metrics.jsonl').trim().split('\n')).toHaveLength(6);
    run.log(6, { loss: Number.NaN });
    expect(text('metrics.jsonl').trim().split('\n').at(-1)).toBe('{"step":6,"loss":"NaN"}');
    expect(json('environment.json').resumed).toMatchObject([{ step: 6 }]);
  });

  it('drops a last line that was cut short', async () => {
    await train(4);
    writeFileSync(join(dir, 'metrics.jsonl'), '{"step":4,"lo', { flag: 'a' });
    await (await start()).restore({ policy: counter(0) });
    expect(text('metrics.jsonl').trim().split('\n')).toHaveLength(4);
  });

  it('gives the seed’s stream, and calls onLog after a step is written', async () => {
    const logged: number[] = [];
    const run = await start({ onLog: (step) => logged.push(step) });
    expect(run.rng.seed32).toBe(rng(5).seed32);
    run.log(0, { loss: 1 });
    expect(logged).toEqual([0]);
  });

  it('brings back all types of saved tensors, and the JSON beside them', async () => {
    const saved: Saved = {
      tensors: {
        f: { shape: [2], data: Float32Array.of(1 / 3, -0) },
        i: { shape: [1, 1], data: Int32Array.of(-5) },
        h: { shape: [1], data: Uint16Array.of(65535) },
        b: { shape: [0], data: new Int8Array(0) },
      },
      json: { name: 'part', list: [1, null, 'x'] },
    };
    let loaded: Saved | undefined;
    const part: Checkpointable = {
      save: async () => saved,
      load: async (found) => {
        loaded = found;
      },
    };
    const run = await start();
    await run.save(1, { part });
    await run.restore({ part });
    expect(loaded).toMatchObject(saved);
  });

  it('names the key in which another configuration differs, and the seed', async () => {
    await train(2);
    await expect(start({ config: { steps: 10, model: { width: 9 } } })).rejects.toThrow('model.width was 8 and is 9 now');
    await expect(start({ config: { steps: 10, model: { width: 8 }, extra: true } })).rejects.toThrow('extra was not set and is true now');
    await expect(start({ seed: 6 })).rejects.toThrow('seed was 5 and is 6 now');
    await expect(start({ config: { steps: 10, model: { width: 9 } } })).rejects.toThrow(ConfigError);
    await start({ config: { model: { width: 8 }, steps: 20 }, mayChange: ['steps'] });
    expect(json('config.json').steps).toBe(20);
  });

  it('refuses a folder with a run where resuming is not wanted, and a folder that is open', async () => {
    await train(2);
    await expect(start({ resume: false })).rejects.toThrow('already holds a run');
    await start();
    await expect(start()).rejects.toThrow('is open in this process');
  });

  it('takes a folder over from a process that is gone, not from one that lives', async () => {
    await train(2);
    const { hostname } = await import('node:os');
    writeFileSync(join(dir, 'run.lock'), JSON.stringify({ pid: process.ppid, host: hostname() }));
    await expect(start()).rejects.toThrow(`is open in process ${process.ppid}`);
    const { pid } = spawnSync(process.execPath, ['-e', '0']);
    writeFileSync(join(dir, 'run.lock'), JSON.stringify({ pid, host: hostname() }));
    await (await start()).close();
    if (process.platform === 'linux') {
      // The number of a process that was killed, given to another one since.
      writeFileSync(join(dir, 'run.lock'), JSON.stringify({ pid: process.ppid, host: hostname(), began: '1' }));
      await (await start()).close();
    }
    expect(existsSync(join(dir, 'run.lock'))).toBe(false);
  });

  it('sets a damaged checkpoint aside with a warning and goes on from the older one', async () => {
    for (const damage of [
      (path: string) => writeFileSync(join(path, 'policy.safetensors'), flipped(join(path, 'policy.safetensors'))),
      (path: string) => truncateSync(join(path, 'policy.safetensors'), 20),
      (path: string) => rmSync(join(path, 'policy.safetensors')),
      (path: string) => truncateSync(join(path, 'checkpoint.json'), 20),
      (path: string) => rmSync(join(path, 'checkpoint.json')),
    ]) {
      rmSync(dir, { recursive: true, force: true });
      await train(6);
      damage(join(dir, 'checkpoints', 'step-6'));
      const warnings: string[] = [];
      const run = await start({ onWarning: (line) => warnings.push(line) });
      const policy = counter(0);
      expect(await run.restore({ policy })).toBe(4);
      expect(await held(policy)).toBe(4);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/step-6 is damaged and was set aside: .*; going on from step 4$/);
      await run.close();
      await train(8, { onWarning: (line) => warnings.push(line) });
      expect(warnings).toHaveLength(1);
      expect(checkpoints()).toEqual(['damaged-step-6', 'step-6', 'step-8']);
    }
  });

  it('says so where no checkpoint is intact, and changes nothing', async () => {
    await train(6);
    for (const step of [4, 6]) truncateSync(join(dir, 'checkpoints', `step-${step}`, 'policy.safetensors'), 20);
    const run = await start();
    const policy = counter(1);
    const restoring = run.restore({ policy });
    await expect(restoring).rejects.toThrow(CheckpointError);
    await expect(restoring).rejects.toThrow(
      /no checkpoint is intact: .*step-6: policy.safetensors has 20 bytes where \d+ were written; .*step-4: .*Delete/,
    );
    expect(await held(policy)).toBe(1);
    expect(checkpoints()).toEqual(['step-4', 'step-6']);
  });

  it('does not go back to an older checkpoint because the newest is another model’s', async () => {
    await train(4);
    const run = await start();
    const other = createParameters({ value: { shape: [2], data: new Float32Array(2) } });
    await expect(run.restore({ policy: other })).rejects.toThrow('"value" is [1] where [2] belongs');
    await expect(run.restore({ policy: counter(0), optimizer: counter(0) })).rejects.toThrow(
      'the checkpoint holds policy; this run asks for optimizer, policy',
    );
  });

  it('does not go on on another backend unless that is allowed', async () => {
    await train(4);
    const path = join(dir, 'checkpoints', 'step-4', 'checkpoint.json');
    writeFileSync(path, text('checkpoints', 'step-4', 'checkpoint.json').replace(`"backend": "${tf.getBackend()}"`, '"backend": "abacus"'));
    const run = await start();
    await expect(run.restore({ policy: counter(0) })).rejects.toThrow(
      `was computed on the backend "abacus", and this is "${tf.getBackend()}"`,
    );
    await run.close();
    const allowed = await start({ allowOtherBackend: true });
    expect(await allowed.restore({ policy: counter(0) })).toBe(4);
  });

  it('saves a step again, and cleans up after a process that was killed while it saved', async () => {
    await train(4);
    const root = join(dir, 'checkpoints');
    mkdirSync(join(root, '.step-6.123-abc.tmp'));
    spawnSync('mv', [join(root, 'step-4'), join(root, '.step-4.123-abc.tmp.replaced')]);
    const run = await start();
    expect(checkpoints()).toEqual(['step-2', 'step-4']);
    await run.save(4, { policy: counter(7) });
    const policy = counter(0);
    expect(await run.restore({ policy })).toBe(4);
    expect(await held(policy)).toBe(7);
    expect(checkpoints()).toEqual(['step-2', 'step-4']);
  });

  it('names step, rows and where the state is when a number is not finite', async () => {
    const run = await start();
    const failing = run.fail(3, { rows: ['pair-7'], values: { loss: Number.NaN, gradNorm: 1 } }, { policy: counter(3) });
    await expect(failing).rejects.toThrow(NonFiniteError);
    await expect(failing).rejects.toThrow(/step 3: loss is NaN; rows: pair-7\. The state before this step is saved in .*step-3/);
    expect(json('failure.json')).toEqual({ step: 3, rows: ['pair-7'], values: { loss: 'NaN', gradNorm: 1 } });
    expect(await run.restore({ policy: counter(0) })).toBe(3);
  });

  it('saves before it stops where it is asked to', async () => {
    const controller = new AbortController();
    const run = await start({ signal: controller.signal });
    controller.abort();
    await expect(saveIfAborted(run, 5, { policy: counter(5) })).rejects.toThrow(InterruptedError);
    expect(await run.restore({ policy: counter(0) })).toBe(5);
  });

  it('says in one line that a folder cannot be written', async () => {
    writeFileSync(join(folder, 'file'), '');
    const beside = start({ dir: join(folder, 'file', 'run') });
    await expect(beside).rejects.toThrow(FileError);
    await expect(beside).rejects.toThrow(/^cannot make the run folder .*: a part of the path is a file, not a folder \(ENOTDIR\)$/);
    if (process.platform === 'linux')
      await expect(start({ dir: '/proc/run' })).rejects.toThrow(/^cannot make the run folder \/proc\/run: .* \(E[A-Z]+\)$/);
    if (process.getuid?.() !== 0) {
      mkdirSync(join(folder, 'locked'));
      chmodSync(join(folder, 'locked'), 0o500);
      await expect(start({ dir: join(folder, 'locked', 'run') })).rejects.toThrow('choose a folder that you may write to (EACCES)');
    }
  });

  it('keeps the older checkpoint where the new one cannot be written', async () => {
    const run = await start();
    await run.save(2, { policy: counter(2) });
    const failing: Checkpointable = {
      save: async () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
      load: async () => {},
    };
    await expect(run.save(4, { policy: failing })).rejects.toThrow(
      `cannot save the checkpoint of step 4 in ${dir} (the checkpoint of step 2 is intact): the disk is full; free some space and start again (ENOSPC)`,
    );
    expect(checkpoints()).toEqual(['step-2']);
  });
});

describe('writeFileAtomic', () => {
  it('leaves the old contents where it fails', async () => {
    const path = join(folder, 'atomic.txt');
    await writeFileAtomic(path, 'old');
    mkdirSync(join(folder, 'taken'));
    await expect(writeFileAtomic(join(folder, 'taken'), 'new')).rejects.toThrow(
      /^cannot write .*taken: it is a folder, not a file \(EISDIR\)$/,
    );
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('a training process', () => {
  const steps = 30;
  let script: string;
  let uninterrupted: { end: string; metrics: string };

  beforeAll(async () => {
    // Under the package, so that what the script imports is found.
    const outDir = fileURLToPath(new URL('../.results/smallTraining', import.meta.url));
    await build({
      entry: [fileURLToPath(new URL('./testing/smallTraining.ts', import.meta.url))],
      outDir,
      format: 'esm',
      config: false,
      silent: true,
      clean: true,
      esbuildOptions: (options) => {
        options.conditions = ['plumbline-source']; // as the tests themselves: nothing has to be built first
      },
    });
    script = join(outDir, readdirSync(outDir).find((name) => name.startsWith('smallTraining') && name.endsWith('js'))!);
    const whole = join(folder, 'whole');
    const { end, code, errors } = await finish(launch(whole));
    expect(errors).toBe('');
    expect(code).toBe(0);
    uninterrupted = { end: end!, metrics: readFileSync(join(whole, 'metrics.jsonl'), 'utf8') };
    expect(uninterrupted.metrics.trim().split('\n')).toHaveLength(steps);
  });

  const env = { ...process.env, PLUMB_BACKEND: 'cpu' };
  /** Starts it; a paced one waits after each step for a line of its stdin. */
  const launch = (at: string, paced = false) =>
    spawn(process.execPath, [script, at, String(steps)], { stdio: [paced ? 'pipe' : 'ignore', 'pipe', 'pipe'], env });

  /** Waits for the process; `onStep` is called at each step that it prints, before a paced one is let go on. */
  function finish(
    child: ChildProcess,
    onStep: (step: number) => void = () => {},
  ): Promise<{ code: number | null; end?: string; errors: string }> {
    let out = '';
    let errors = '';
    child.stdin?.on('error', () => {}); // it was killed
    createInterface({ input: child.stdout! }).on('line', (line) => {
      out += `${line}\n`;
      const step = /^step (\d+)$/.exec(line)?.[1];
      if (step === undefined) return;
      onStep(Number(step));
      child.stdin?.write('\n');
    });
    child.stderr!.on('data', (data) => {
      errors += data;
    });
    return new Promise((done) => child.on('close', (code) => done({ code, end: /^end .*$/m.exec(out)?.[0], errors })));
  }

  it('that is killed again and again, at any moment, ends with the same numbers bit for bit', async () => {
    const draw = rng(Number(process.env.PLUMB_TEST_SEED ?? 1)).fork('kill');
    const killed = join(folder, 'killed');
    const reached: number[] = [];
    for (let kills = 0; kills < (process.env.PLUMB_FULL ? 20 : 6); kills++) {
      const child = launch(killed, true);
      const after = 1 + draw.below(9); // steps seen before it is killed
      const delay = draw.below(12); // milliseconds, in which it does one more step at most
      let seen = 0;
      const { end } = await finish(child, (step) => {
        if (++seen === after) setTimeout(() => child.kill('SIGKILL'), delay);
        if (seen === 1) reached.push(step);
      });
      if (end) break;
    }
    expect(new Set(reached).size).toBeGreaterThan(1); // it did begin at several places
    const { end, code } = await finish(launch(killed));
    expect(code).toBe(0);
    expect(end).toBe(uninterrupted.end);
    expect(readFileSync(join(killed, 'metrics.jsonl'), 'utf8')).toBe(uninterrupted.metrics);
  });

  it('that is interrupted saves, says so, and goes on from there', async () => {
    const stopped = join(folder, 'stopped');
    const child = launch(stopped, true);
    const first = await finish(child, (step) => {
      if (step === 7) child.kill('SIGINT');
    });
    expect(first.code).toBe(130);
    expect(first.errors).toMatch(
      /stopping: the step in progress is finished and saved first; once more to stop at once\nstopped after step \d+; the state is saved in/,
    );
    const from: number[] = [];
    const second = await finish(launch(stopped), (step) => from.push(step));
    expect(from[0]).toBe(Number(/stopped after step (\d+)/.exec(first.errors)![1]));
    expect(second.end).toBe(uninterrupted.end);
    expect(readFileSync(join(stopped, 'metrics.jsonl'), 'utf8')).toBe(uninterrupted.metrics);
  });

  it.skipIf(process.platform === 'win32')('that runs out of room says so in one line and keeps what it had', async () => {
    // A limit on the size of files stands in for a full disk: the metrics grow until it is reached.
    const full = join(folder, 'full');
    mkdirSync(full);
    const child = spawn('bash', ['-c', `trap '' XFSZ; ulimit -f 1; exec "$0" "$@"`, process.execPath, script, full, String(steps)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
    });
    const { code, errors } = await finish(child);
    expect(code).toBe(1);
    expect(errors).toMatch(/FileError: cannot (write|save) .*\(EFBIG\)/);
    expect(await finish(launch(full))).toMatchObject({ code: 0, end: uninterrupted.end });
  });
});

function flipped(path: string): Buffer {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] ^= 1;
  return bytes;
}
