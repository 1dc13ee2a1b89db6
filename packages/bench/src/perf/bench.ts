import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { BackendError } from '@plumbline/core';
import { quantile } from '../metrics/index.js';
import { type BenchCase, type BenchSuite, benchCases } from './cases.js';
import { type Participant, startParticipant } from './participant.js';
import { peerEnvironment, torchPython } from './peer.js';

export type BenchOptions = {
  suite: BenchSuite;
  /**
   * Those that work here of native, tensorflow and wasm, if left out; one that is named must work. `native-bf16` is native with operands
   * of products in bfloat16, beside PyTorch in bfloat16.
   */
  backends?: readonly string[];
  threads?: number;
  /** Where PyTorch is found or put; null goes without. */
  peerFolder: string | null;
  /** Tiny shapes, to see that everything runs. */
  quick?: boolean;
  /** Progress, line by line. */
  say?: (line: string) => void;
};

/** Median over the rounds, and the lowest and highest of them. */
export type Spread = { median: number; low: number; high: number };
export type Measured = {
  seconds: Spread;
  /** Work a second, in the case's unit. */
  rate: Spread;
  rounds: number;
  /** PyTorch's seconds over these, round by round and by its name: above 1 is faster than it. The one of the same precision comes first. */
  ratios?: Record<string, Spread>;
  /** The rate over that of the plain copy on native, where bandwidth is what is measured. */
  ofCopy?: Spread;
  /** The largest resident memory of the whole process; where there was but one case. */
  peakBytes?: number;
  error?: undefined;
};
export type BenchResult = {
  suite: BenchSuite;
  quick: boolean;
  date: string;
  machine: { cpu: string; cores: number; platform: string; node: string; load: { before: number; after: number }; busy: boolean };
  participants: { name: string; version?: string; device?: string; threads?: number }[];
  /** What was not measured, and why. */
  missing: { name: string; why: string }[];
  cases: (Pick<BenchCase, 'name' | 'operation' | 'unit' | 'work'> & {
    bandwidth: boolean;
    results: Record<string, Measured | { error: string }>;
  })[];
};

export const peerName = 'pytorch';
/** PyTorch's processes: its name here, and what it is told. */
const peers = [
  { name: peerName, mode: 'f32', suites: ['kernels', 'train'] },
  { name: `${peerName}-compiled`, mode: 'compile', suites: ['train'] },
  { name: `${peerName}-bf16`, mode: 'bf16', suites: ['kernels', 'train'] },
] as const;
const isBf16 = (name: string): boolean => name.endsWith('-bf16');
const isPeer = (name: string): boolean => name.startsWith(peerName);

/**
 * Measures every case on every backend and in PyTorch, each in a process of its own, in turns: A B C, B C A, ... A round is at least
 * 0.15 s of calls, a training step at least; a case is 5 rounds, 9 of a training step; 3 where that would take
 * more than 10 s, and 1 where a single call does.
 *
 * @throws BackendError if a backend that was named does not start
 */
export async function runBench(options: BenchOptions): Promise<BenchResult> {
  const { suite, quick = false, threads, say = () => {} } = options;
  const before = loadavg()[0];
  const busy = before > availableParallelism() / 4;
  if (busy) say(`The machine is busy (load ${before.toFixed(1)}): ratios still say something, but measure again when it is idle.`);
  const missing: BenchResult['missing'] = [];
  const participants: Participant[] = [];
  try {
    for (const backend of options.backends ?? ['native', 'native-bf16', 'tensorflow', 'wasm']) {
      try {
        participants.push({ ...(await startBackend(backend, threads)), name: backend });
      } catch (error) {
        const why = messageOf(error);
        if (options.backends) throw new BackendError(why);
        missing.push({ name: backend, why });
      }
    }
    if (options.peerFolder !== null) {
      const found = await torchPython(options.peerFolder, say);
      for (const { name, mode, suites } of peers) {
        if (!(suites as readonly string[]).includes(suite) || (isBf16(name) && !participants.some((one) => isBf16(one.name)))) continue;
        const peer =
          'why' in found
            ? found
            : await startPeer(found.python, mode, threads, busy).catch((error: unknown) => ({ why: messageOf(error) }));
        if ('why' in peer) missing.push({ name, why: peer.why });
        else participants.push({ ...peer, name });
      }
    }
    for (const { name, why } of missing) say(`${name} is not measured: ${why}`);
    if (participants.length === 0) throw new BackendError('None of native, tensorflow and wasm works here; --backend names another.');
    const cases: BenchResult['cases'] = [];
    for (const one of benchCases(suite, quick)) {
      say(one.name);
      const fit = participants.filter(({ name }) => {
        if (isBf16(name) && !one.bf16) return false;
        if (isPeer(name) && one.peerless) return false;
        return isPeer(name) || name.startsWith('native') || !(one.large || ('what' in one.operation && one.operation.what === 'copy'));
      });
      cases.push(await measure(one, fit, suite, quick));
    }
    besideCopy(cases);
    return {
      suite,
      quick,
      date: new Date().toISOString(),
      machine: {
        cpu: cpus()[0]?.model.trim() ?? 'unknown',
        cores: availableParallelism(),
        platform: `${process.platform}-${process.arch}`,
        node: process.version,
        load: { before, after: loadavg()[0] },
        busy,
      },
      participants: participants.map(({ name, version, device, threads }) => ({ name, version, device, threads })),
      missing,
      cases,
    };
  } finally {
    await Promise.all(participants.map((participant) => participant.stop()));
  }
}

/** Sets what is bound by bandwidth beside the copy, by the copy's median. */
function besideCopy(cases: BenchResult['cases']): void {
  const copy = cases.find(({ operation }) => 'what' in operation && operation.what === 'copy')?.results.native;
  if (!copy || !('rate' in copy)) return;
  const plain = copy.rate.median;
  for (const { bandwidth, results } of cases)
    for (const one of Object.values(results))
      if (bandwidth && 'rate' in one)
        one.ofCopy = { median: one.rate.median / plain, low: one.rate.low / plain, high: one.rate.high / plain };
}

async function measure(
  { name, operation, unit, work, bandwidth = false }: BenchCase,
  participants: readonly Participant[],
  suite: BenchSuite,
  quick: boolean,
): Promise<BenchResult['cases'][number]> {
  const [roundSeconds, mostSeconds, mostRounds] = quick ? [0, 1, 2] : [0.15, 10, suite === 'train' ? 9 : 5];
  const errors: Record<string, string> = {};
  const turns: { participant: Participant; calls: number; rounds: number; seconds: (number | undefined)[] }[] = [];
  for (const participant of participants) {
    try {
      const { seconds = Number.NaN } = await participant.ask({ open: operation });
      const calls = suite === 'train' ? 1 : Math.max(1, Math.min(10_000, Math.ceil(roundSeconds / seconds)));
      const rounds = seconds > mostSeconds ? 1 : Math.min(mostRounds, Math.max(3, Math.floor(mostSeconds / (calls * seconds))));
      turns.push({ participant, calls, rounds, seconds: [] });
    } catch (error) {
      errors[participant.name] = messageOf(error);
    }
  }
  for (let round = 0; round < mostRounds; round++)
    for (let i = 0; i < turns.length; i++) {
      const turn = turns[(round + i) % turns.length];
      if (round >= turn.rounds || errors[turn.participant.name]) continue;
      await setTimeout(10); // threads that wait for more work spin for a while, in whoever had the last turn
      try {
        turn.seconds.push((await turn.participant.ask({ calls: turn.calls })).seconds);
      } catch (error) {
        errors[turn.participant.name] = messageOf(error);
      }
    }
  const results: Record<string, Measured | { error: string }> = {};
  /** Round by round; those of the same precision first. */
  const ratiosOf = (name: string, seconds: readonly number[]): Measured['ratios'] => {
    const others = turns.filter(({ participant }) => isPeer(participant.name) && participant.name !== name && !errors[participant.name]);
    const fitting = others.filter(({ participant }) => isBf16(participant.name) === isBf16(name));
    const ratios = fitting.map(({ participant, seconds: theirs }) => {
      const shared = Math.min(theirs.length, seconds.length);
      return [participant.name, spread(Array.from({ length: shared }, (_, i) => theirs[i]! / seconds[i]))] as const;
    });
    return ratios.length > 0 ? Object.fromEntries(ratios) : undefined;
  };
  for (const turn of turns) {
    const { name } = turn.participant;
    const seconds = turn.seconds as number[];
    if (errors[name]) continue;
    const closed = await turn.participant.ask({ close: true }).catch(() => ({ peakBytes: undefined }));
    const ratios = name === peerName ? undefined : ratiosOf(name, seconds);
    results[name] = {
      seconds: spread(seconds),
      rate: spread(seconds.map((s) => work / s)),
      rounds: seconds.length,
      ...(ratios && { ratios }),
      ...(suite === 'train' && { peakBytes: closed.peakBytes }),
    };
  }
  for (const [name, error] of Object.entries(errors)) results[name] = { error };
  return { name, operation, unit, work, bandwidth, results };
}

const spread = (values: readonly number[]): Spread => ({
  median: quantile(values, 0.5),
  low: Math.min(...values),
  high: Math.max(...values),
});

/** The built package's own file. */
function ownFile(...path: string[]): string {
  return join(dirname(createRequire(import.meta.url).resolve('@plumbline/bench/package.json')), ...path);
}

function startBackend(name: string, threads: number | undefined): Promise<Participant> {
  const count = threads === undefined ? {} : { TF_NUM_INTRAOP_THREADS: String(threads) }; // TensorFlow's own; the rest take the option
  const options = isBf16(name) ? { backend: name.replace(/-bf16$/, ''), products: 'bf16' } : { backend: name };
  return startParticipant(process.execPath, [ownFile('dist', 'perf', 'worker.js'), JSON.stringify({ ...options, threads })], {
    ...process.env,
    ...count,
  });
}

function startPeer(python: string, mode: string, threads: number | undefined, busy: boolean): Promise<Participant> {
  const args = [ownFile('peers', 'torch_peer.py'), mode, ...(threads === undefined ? [] : [String(threads)])];
  return startParticipant(python, args, peerEnvironment(threads, busy));
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
