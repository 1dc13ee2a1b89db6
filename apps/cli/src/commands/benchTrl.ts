/** `plumb bench trl`: how fast alignment training is beside TRL, with the same model, adapter, data and precision. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { runTrlBench, type TrlPrecision, type TrlResult, type TrlSide, type TrlTask, trlTasks } from '@plumbline/bench/perf';
import { ConfigError, PlumblineError } from '@plumbline/core';
import { modelPath } from '@plumbline/models';
import pc from 'picocolors';
import { wholeNumber } from '../settings.js';

export type BenchTrlFlags = {
  model?: string;
  tasks?: string;
  precision?: string;
  steps?: string;
  threads?: string;
  json?: boolean;
  peer: boolean;
  quick?: boolean;
};

export async function benchTrl({ model, tasks, precision, steps, threads, json, peer, quick }: BenchTrlFlags): Promise<void> {
  if (model === undefined) throw new ConfigError('plumb bench trl needs --model FILE.gguf, such as that of SmolLM2-135M-Instruct');
  const folder = join(process.cwd(), '.plumbline');
  const result = await runTrlBench({
    model: modelPath(model),
    ...(tasks !== undefined && { tasks: among<TrlTask>('--tasks', tasks, trlTasks) }),
    ...(precision !== undefined && { precisions: among<TrlPrecision>('--precision', precision, ['f32', 'bf16']) }),
    ...(steps !== undefined && { steps: wholeNumber('--steps', steps, 1) }),
    ...(threads !== undefined && { threads: wholeNumber('--threads', threads, 1) }),
    peerFolder: peer ? join(folder, 'peers') : null,
    quick,
    say: (line) => console.error(pc.dim(line)),
  });
  mkdirSync(folder, { recursive: true });
  appendFileSync(join(folder, 'bench-history.jsonl'), `${JSON.stringify(result)}\n`);
  console.log(json ? JSON.stringify(result, null, 2) : table(result));
  const failures = result.cases.flatMap(({ task, precision: how, plumbline, trl }) =>
    Object.entries({ plumbline, trl }).flatMap(([who, one]) => (one && 'error' in one ? [`${who}, ${task}, ${how}: ${one.error}`] : [])),
  );
  if (failures.length > 0) throw new PlumblineError(`not everything could be measured. ${failures.join('; ')}`);
}

function among<T extends string>(flag: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name.trim());
    if (!found) throw new ConfigError(`${flag} ${text}: "${name}" is none of ${known.join(', ')}`);
    return found;
  });
}

function table({ machine, versions, missing, cases }: TrlResult): string {
  const { cpu, cores, node, load, busy } = machine;
  const lines = [
    `${cpu}, ${cores} cores, Node ${node}; load ${load.before.toFixed(1)} before, ${load.after.toFixed(1)} after`,
    `  plumbline ${versions.plumbline ?? ''}`,
    missing ? `  trl not measured: ${missing}` : `  trl ${versions.trl ?? ''}`,
  ];
  for (const { task, precision, tokens, plumbline, trl, speed, memory } of cases) {
    lines.push('', `${task}, ${precision}: ${tokens} tokens a step`);
    for (const [who, one] of Object.entries({ plumbline, trl })) if (one) lines.push(`  ${who.padEnd(10)} ${sideText(one)}`);
    if (speed !== undefined && memory !== undefined)
      lines.push(`  ${speed.toFixed(2)} times TRL's tokens/s, ${memory.toFixed(2)} of its memory`);
  }
  if (busy) lines.push('', 'The machine was busy: measure again when it is idle.');
  return lines.join('\n');
}

const sideText = (one: TrlSide | { error: string }): string =>
  'error' in one
    ? `failed: ${one.error}`
    : `${one.tokensPerSecond.toFixed(0).padStart(6)} tokens/s, ${one.secondsPerStep.toFixed(2)} s a step, at most ${(one.peakBytes / 1e9).toFixed(2)} GB resident`;
