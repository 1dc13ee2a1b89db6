/** `plumb bench kernels|train`: how fast each backend is beside PyTorch on this machine, in one run. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type BenchResult, type BenchSuite, type Measured, peerName, runBench, type Spread } from '@plumbline/bench/perf';
import { ConfigError, PlumblineError } from '@plumbline/core';
import pc from 'picocolors';
import { wholeNumber } from '../settings.js';

export type BenchFlags = { backend?: string; threads?: string; json?: boolean; peer: boolean; quick?: boolean };

/** @throws PlumblineError if a backend that was named does not start, or could not do a part of what is measured */
export async function bench(suite: BenchSuite, { backend, threads, json, peer, quick }: BenchFlags): Promise<void> {
  const folder = join(process.cwd(), '.plumbline');
  const result = await runBench({
    suite,
    backends: namesIn(backend),
    ...(threads !== undefined && { threads: wholeNumber('--threads', threads, 1) }),
    peerFolder: peer ? join(folder, 'peers') : null,
    quick,
    say: (line) => console.error(pc.dim(line)),
  });
  mkdirSync(folder, { recursive: true });
  appendFileSync(join(folder, 'bench-history.jsonl'), `${JSON.stringify(result)}\n`);
  console.log(json ? JSON.stringify(result, null, 2) : table(result));
  const failures = result.cases.flatMap(({ name, results }) =>
    Object.entries(results).flatMap(([who, one]) => ('seconds' in one ? [] : [`${who}, ${name}: ${one.error}`])),
  );
  if (failures.length > 0) throw new PlumblineError(`not everything could be measured. ${failures.join('; ')}`);
}

function namesIn(backend: string | undefined): string[] | undefined {
  if (backend === undefined) return undefined;
  const names = backend.split(',').map((name) => name.trim());
  if (names.includes('')) throw new ConfigError(`--backend ${backend}: expected names with commas between, for instance native,tensorflow`);
  return [...new Set(names)];
}

function table({ suite, machine, participants, cases }: BenchResult): string {
  const { cpu, cores, node, load } = machine;
  const heads = participants.map(({ name, version, device, threads }) => {
    const parts = [device, threads && `${threads} thread${threads === 1 ? '' : 's'}`].filter(Boolean).join(', ');
    return `  ${name.padEnd(16)} ${version ?? ''}${parts ? ` (${parts})` : ''}`;
  });
  const names = participants.map(({ name }) => name);
  const rows = cases.map(({ name, unit, results }) => [name, unit, ...names.map((who) => (results[who] ? cell(results[who]) : ''))]);
  const training =
    suite === 'train' ? cases.flatMap(({ results }) => names.filter((who) => results[who]).map((who) => details(who, results[who]))) : [];
  return [
    `${cpu}, ${cores} cores, Node ${node}; load ${load.before.toFixed(1)} before, ${load.after.toFixed(1)} after`,
    ...heads,
    '',
    ...columns([['', '', ...names], ...rows]),
    ...(training.length > 0 ? ['', ...training] : []),
    '',
    ...(machine.busy
      ? ["The machine was busy, PyTorch's threads waited asleep (OMP_WAIT_POLICY=PASSIVE): measure again when it is idle."]
      : []),
    `Medians over rounds in turns, ± half of what lies between the slowest and the fastest${names.includes(peerName) ? "; x: times PyTorch's speed in the same precision" : ''}${cases.some(({ bandwidth }) => bandwidth) ? "; c: of a plain copy's bandwidth, what a store reads being counted" : ''}.`,
  ].join('\n');
}

function cell(one: Measured | { error: string } | undefined): string {
  if (!one || !('seconds' in one)) return 'failed';
  const ratio = Object.values(one.ratios ?? {})[0];
  return `${around(one.rate)}${one.ofCopy ? ` ${one.ofCopy.median.toFixed(2)}c` : ''}${ratio ? ` ${ratio.median.toFixed(2)}x` : ''}`;
}

function details(who: string, one: Measured | { error: string }): string {
  if (!('seconds' in one)) return `  ${who.padEnd(16)} ${one.error}`;
  const peak = one.peakBytes ? `, at most ${(one.peakBytes / 1e6).toFixed(0)} MB resident` : '';
  const ratios = Object.entries(one.ratios ?? {}).map(
    ([peer, ratio]) => `${ratio.median.toFixed(2)} ±${half(ratio)} times as fast as ${peer}`,
  );
  return `  ${who.padEnd(16)} ${[`${around(one.seconds)} s a step, ${one.rounds} of them${peak}`, ...ratios].join('; ')}`;
}

const half = ({ low, high }: Spread): string => ((high - low) / 2).toFixed(2);
const around = ({ median, low, high }: Spread): string => `${short(median)} ±${((50 * (high - low)) / median).toFixed(0)}%`;
const short = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** Texts left, numbers right. */
function columns(rows: readonly string[][]): string[] {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row
      .map((text, i) => (i < 2 ? text.padEnd(widths[i]) : text.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}
