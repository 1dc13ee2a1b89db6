/** How fast alignment training is beside TRL: the same model, adapter, data and precision, one after the other in one run, each in a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { rng } from '@plumbline/core';
import { type Participant, startParticipant } from './participant.js';
import { peerEnvironment, torchPython } from './peer.js';

/** What is installed beside PyTorch. */
const packages = ['trl==1.16.0', 'transformers==5.24.0', 'peft==0.21.2', 'gguf==0.19.0', 'accelerate==1.15.0'];

export const trlTasks = ['dpo', 'reward', 'grpo'] as const;
export type TrlTask = (typeof trlTasks)[number];
export type TrlPrecision = 'f32' | 'bf16';

/** Texts that both sides tokenize with the model's own tokenizer, and how they train on them. */
export type TrlWork = {
  task: TrlTask;
  precision: TrlPrecision;
  /** A GGUF file. */
  model: string;
  steps: number;
  threads?: number;
  maxTokens: number;
  pairs: { prompt: string; chosen: string; rejected: string }[];
  prompts: string[];
  samplesPerPrompt: number;
  newTokens: number;
};
/** `seconds` of each step; the tokens that a step has by our count, prompts and completions of every row. */
export type TrlAnswer = { steps: number[]; tokens?: number; peakBytes: number };

export type TrlSide = { secondsPerStep: number; steps: number[]; tokensPerSecond: number; peakBytes: number };
export type TrlCase = {
  task: TrlTask;
  precision: TrlPrecision;
  tokens: number;
  plumbline: TrlSide | { error: string };
  trl?: TrlSide | { error: string };
  /** Times TRL's tokens a second; times TRL's peak memory. */
  speed?: number;
  memory?: number;
};
export type TrlResult = {
  suite: 'trl';
  date: string;
  machine: { cpu: string; cores: number; node: string; load: { before: number; after: number }; busy: boolean };
  versions: { plumbline?: string; trl?: string };
  missing?: string;
  cases: TrlCase[];
};
export type TrlOptions = {
  model: string;
  tasks?: readonly TrlTask[];
  precisions?: readonly TrlPrecision[];
  /** Steps of each side; the first is not counted where there are several. */
  steps?: number;
  threads?: number;
  /** Where TRL is found or put; null goes without. */
  peerFolder: string | null;
  quick?: boolean;
  say?: (line: string) => void;
};

export async function runTrlBench(options: TrlOptions): Promise<TrlResult> {
  const { model, tasks = trlTasks, precisions = ['f32', 'bf16'], threads, peerFolder, quick = false, say = () => {} } = options;
  const steps = options.steps ?? 2;
  const before = loadavg()[0];
  const busy = before > availableParallelism() / 4;
  if (busy) say(`The machine is busy (load ${before.toFixed(1)}): measure again when it is idle.`);
  const peer = peerFolder === null ? { why: 'left out' } : await trlPython(peerFolder, say);
  if ('why' in peer) say(`TRL is not measured: ${peer.why}`);
  const versions: TrlResult['versions'] = {};
  const cases: TrlCase[] = [];
  const scratch = mkdtempSync(join(tmpdir(), 'plumbline-trl-'));
  try {
    for (const task of tasks)
      for (const precision of precisions) {
        const file = join(scratch, `${task}-${precision}.json`);
        writeFileSync(file, JSON.stringify(workOf({ task, precision, model, steps, threads, quick })));
        say(`${task}, ${precision}: Plumbline`);
        const ours = await measured(() => startParticipant(process.execPath, [ownFile('dist', 'perf', 'trlWorker.js'), file], process.env));
        versions.plumbline ??= ours.version;
        const tokens = ours.answer?.tokens ?? 0;
        const one: TrlCase = { task, precision, tokens, plumbline: sideOf(ours, tokens) };
        if (!('why' in peer)) {
          say(`${task}, ${precision}: TRL`);
          const theirs = await measured(() =>
            startParticipant(peer.python, [ownFile('peers', 'trl_peer.py'), file], peerEnvironment(threads, busy)),
          );
          versions.trl ??= theirs.version;
          one.trl = sideOf(theirs, tokens);
        }
        const { plumbline, trl } = one;
        if ('steps' in plumbline && trl && 'steps' in trl) {
          one.speed = plumbline.tokensPerSecond / trl.tokensPerSecond;
          one.memory = plumbline.peakBytes / trl.peakBytes;
        }
        cases.push(one);
        for (const [who, side] of Object.entries({ Plumbline: plumbline, TRL: trl }))
          if (side) say(`  ${who}: ${'error' in side ? side.error : `${side.secondsPerStep.toFixed(2)} s a step`}`); // a run that is cut short has said this
      }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return {
    suite: 'trl',
    date: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: availableParallelism(),
      node: process.version,
      load: { before, after: loadavg()[0] },
      busy,
    },
    versions,
    ...('why' in peer && { missing: peer.why }),
    cases,
  };
}

type Outcome = { version?: string; answer?: TrlAnswer; error?: string };

async function measured(start: () => Promise<Participant>): Promise<Outcome> {
  let one: Participant | undefined;
  try {
    one = await start();
    return { version: one.version, answer: (await one.ask({ run: true } as never)) as unknown as TrlAnswer };
  } catch (error) {
    return { version: one?.version, error: error instanceof Error ? error.message : String(error) };
  } finally {
    await one?.stop();
  }
}

function sideOf({ answer, error }: Outcome, tokens: number): TrlSide | { error: string } {
  if (!answer) return { error: error ?? 'no answer' };
  const counted = answer.steps.length > 1 ? answer.steps.slice(1) : answer.steps;
  const secondsPerStep = counted.reduce((a, b) => a + b, 0) / counted.length;
  return { secondsPerStep, steps: answer.steps, tokensPerSecond: tokens / secondsPerStep, peakBytes: answer.peakBytes };
}

const words =
  'the a one old young small large red green river house road tree child friend horse window garden story letter morning evening walked found gave took said saw left kept opened carried under over beside behind through without and but because while'.split(
    ' ',
  );

/** 4 pairs of up to 512 tokens; 4 prompts of about 64 tokens with 8 completions of 64. */
function workOf(o: { task: TrlTask; precision: TrlPrecision; model: string; steps: number; threads?: number; quick: boolean }): TrlWork {
  const { task, precision, model, steps, threads, quick } = o;
  const text = (name: string, count: number) => {
    const draw = rng(1).fork(name);
    return Array.from({ length: count }, () => words[draw.below(words.length)]).join(' ');
  };
  const [asked, answered, short] = quick ? [8, 8, 8] : [240, 250, 60];
  return {
    task,
    precision,
    model,
    steps,
    threads,
    maxTokens: 512,
    pairs: Array.from({ length: 4 * steps }, (_, i) => ({
      prompt: `${text(`prompt ${i}`, asked)}\n`,
      chosen: text(`chosen ${i}`, answered),
      rejected: text(`rejected ${i}`, answered),
    })),
    prompts: Array.from({ length: 4 * steps }, (_, i) => text(`short ${i}`, short)),
    samplesPerPrompt: 8,
    newTokens: quick ? 4 : 64,
  };
}

async function trlPython(folder: string, say: (line: string) => void): Promise<{ python: string } | { why: string }> {
  const found = await torchPython(folder, say);
  if ('why' in found) return found;
  const complete = join(dirname(dirname(found.python)), `complete-${packages.join('-').replaceAll('==', '-')}`);
  if (existsSync(complete)) return found;
  say(`Installing ${packages[0].replace('==', ' ')} beside PyTorch (once; --no-peer goes without)`);
  const { code, last } = await run(found.python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]);
  if (code !== 0) return { why: `pip could not install ${packages.join(', ')}: ${last}` };
  writeFileSync(complete, `${packages.join('\n')}\n`);
  return found;
}

function run(command: string, args: readonly string[]): Promise<{ code: number | null; last: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (part: Buffer) => {
      text = (text + part.toString()).slice(-4000);
    });
    child.once('error', (error) => resolve({ code: null, last: error.message }));
    child.once('close', (code) => resolve({ code, last: text.trim().split('\n').at(-1) ?? '' }));
  });
}

function ownFile(...path: string[]): string {
  return join(dirname(createRequire(import.meta.url).resolve('@plumbline/bench/package.json')), ...path);
}
