/** How fast a decoder generates, beside transformers and llama.cpp in the same run. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { quantile } from '../metrics/index.js';
import type { Spread } from './bench.js';
import { type Participant, startParticipant } from './participant.js';
import { peerEnvironment, torchPython } from './peer.js';

const transformersVersion = '5.24.0';
const ggufVersion = '0.19.0';
const accelerateVersion = '1.15.0'; // with which transformers reads GGUF files
const llamaVersion = '3.22.1';

/** SmolLM2-135M's. */
const smol = {
  vocabSize: 49152,
  width: 576,
  layers: 30,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  mlpWidth: 1536,
  contextLength: 8192,
  ropeTheta: 100_000,
};
const tiny = { ...smol, vocabSize: 4096, width: 48, layers: 2, heads: 3, kvHeads: 1, headDim: 16, mlpWidth: 64, contextLength: 256 };

export type GenerationSettings = {
  shape: typeof smol;
  model?: string;
  storage: 'f32' | 'bf16' | 'int8';
  products: 'f32' | 'bf16';
  threads?: number;
  /** Trains a new model in place of generating: a step takes so many sequences of so many tokens. */
  training?: { sequences: number; tokens: number };
};
export type GenerationRequest =
  | { generate: { batch: number; promptTokens: number; tokens: number } }
  | { train: { sequences: number; tokens: number } }
  | { machine: true }
  | { close: true };

export type GenerationOptions = {
  /** A GGUF file of the model; without one, weights of SmolLM2-135M's sizes, and no llama.cpp. */
  model?: string;
  threads?: number;
  /** Where transformers and llama.cpp are found or put; null goes without. */
  peerFolder: string | null;
  quick?: boolean;
  say?: (line: string) => void;
};
export type GenerationMeasure = {
  seconds: Spread;
  /** Tokens a second: new ones of a whole call; of the prompt where nothing is generated but one token; of a step where it is trained. */
  rate: Spread;
  /** Times transformers' rate, round by round. */
  ratio?: Spread;
  /** The least seconds that the machine needs (the larger of bytes over bandwidth and operations over rate) over the measured ones. */
  rooflineShare?: number;
};
export type GenerationResult = {
  suite: 'generate';
  date: string;
  machine: {
    cpu: string;
    cores: number;
    node: string;
    load: { before: number; after: number };
    busy: boolean;
    bytesPerSecond?: number;
    flops?: { f32: number; bf16: number };
  };
  participants: { name: string; version?: string; device?: string; threads?: number; peakBytes?: number }[];
  missing: { name: string; why: string }[];
  cases: {
    name: string;
    batch: number;
    promptTokens: number;
    tokens: number;
    results: Record<string, GenerationMeasure | { error: string }>;
  }[];
};

type Machine = { bytesPerSecond?: number; flops?: { f32: number; bf16: number } };

export const generationPeer = 'transformers';

/**
 * Measures whole calls of generation (64 new tokens at batch 1, 8 and 32 after prompts of 16) and the computing of long prompts, on `native` with weights in
 * float32, bfloat16 and int8, and in transformers in float32, each in a process of its own, in turns; then a training step of the whole model.
 */
export async function runGenerationBench({
  model,
  threads,
  peerFolder,
  quick = false,
  say = () => {},
}: GenerationOptions): Promise<GenerationResult> {
  const before = loadavg()[0];
  const busy = before > availableParallelism() / 4;
  if (busy) say(`The machine is busy (load ${before.toFixed(1)}): ratios still say something, but measure again when it is idle.`);
  const shape = quick ? tiny : smol;
  const missing: GenerationResult['missing'] = [];
  const participants: (Participant & { settings?: GenerationSettings })[] = [];
  const enter = async (name: string, start: () => Promise<Participant | { why: string }>, settings?: GenerationSettings) => {
    const one = await start().catch((error: unknown) => ({ why: messageOf(error) }));
    if ('why' in one) {
      missing.push({ name, why: one.why });
      say(`${name} is not measured: ${one.why}`);
    } else participants.push({ ...one, name, settings });
  };
  /** A run that is cut short has said this. */
  const tell = ({ results }: GenerationResult['cases'][number]) => {
    for (const [who, one] of Object.entries(results)) {
      const more =
        'error' in one
          ? []
          : [one.ratio && `${one.ratio.median.toFixed(2)}x`, one.rooflineShare && `${(100 * one.rooflineShare).toFixed(0)}%`];
      say(`  ${who}: ${'error' in one ? one.error : [`${one.rate.median.toFixed(0)} tokens/s`, ...more].filter(Boolean).join(', ')}`);
    }
  };
  const measured = () => participants.filter(({ name }) => name !== gaugeName);
  /** Steps of the whole model; weights in int8 are not trained. */
  const trainingCase = async (): Promise<GenerationResult['cases'][number]> => {
    const training = quick ? { sequences: 2, tokens: 32 } : { sequences: 4, tokens: 128 };
    const name = `a training step of ${training.sequences} x ${training.tokens} tokens`;
    say(name);
    for (const products of ['f32', 'bf16'] as const) {
      const settings: GenerationSettings = { shape, storage: 'f32', products, training, ...(threads && { threads }) };
      await enter(`native ${products}`, () => startNative(settings), settings);
    }
    if (peerFolder !== null) await enter(generationPeer, () => startTransformers(peerFolder, shape, model, threads, busy, say));
    const seconds = await measure(participants, () => ({ train: training }));
    return {
      name,
      batch: training.sequences,
      promptTokens: training.tokens,
      tokens: 0,
      results: resultsOf(participants, seconds, training.sequences * training.tokens),
    };
  };
  try {
    for (const [storage, products] of [
      ['f32', 'f32'],
      ['bf16', 'bf16'],
      ['int8', 'bf16'],
    ] as const) {
      const settings: GenerationSettings = { shape, storage, products, ...(model && { model }), ...(threads && { threads }) };
      await enter(`native ${storage}`, () => startNative(settings), settings);
    }
    if (peerFolder !== null) {
      await enter(generationPeer, () => startTransformers(peerFolder, shape, model, threads, busy, say));
      if (model) await enter('llama.cpp', () => startLlama(peerFolder, model, say));
    }
    const gauge = participants.some(({ settings }) => settings) ? await startGauge(threads) : undefined;
    if (gauge) participants.push(gauge);
    const readings: Machine[] = [];
    const look = async () => {
      if (gauge) readings.push(await ask(gauge, { machine: true }));
    };
    const cases: GenerationResult['cases'] = [];
    const [prompt, tokens, long] = quick ? [4, 4, 32] : [16, 64, 512];
    for (const [name, batch, promptTokens, count] of [
      ...[1, 8, 32].map((b) => [`batch ${b}, ${tokens} new tokens`, b, prompt, tokens] as const),
      [`a prompt of ${long} tokens`, 1, long, 1] as const,
    ]) {
      say(name);
      const work = { batch, promptTokens, tokens: count };
      // What the machine can do changes with what its neighbours do: it is looked at before and after each case.
      await look();
      const seconds = await measure(measured(), (tokens) => ({ generate: { ...work, tokens: tokens ?? count } }));
      await look();
      const machine = typical(readings.slice(-2));
      const counted = batch * (count === 1 ? promptTokens : count);
      cases.push({
        name,
        ...work,
        results: resultsOf(measured(), seconds, counted, (settings) => floorOf(settings, work, machine, shape)),
      });
      tell(cases[cases.length - 1]);
    }
    const peaks = await Promise.all(measured().map((one) => ask(one, { close: true }).catch((): { peakBytes?: number } => ({}))));
    const machine = typical(readings);
    const generating = measured().map(({ name, version, device, threads: used }, i) => ({
      name,
      version,
      device,
      threads: used,
      peakBytes: peaks[i].peakBytes,
    }));
    await Promise.all(participants.splice(0).map((participant) => participant.stop()));
    cases.push(await trainingCase());
    tell(cases[cases.length - 1]);
    return {
      suite: 'generate',
      date: new Date().toISOString(),
      machine: {
        cpu: cpus()[0]?.model.trim() ?? 'unknown',
        cores: availableParallelism(),
        node: process.version,
        load: { before, after: loadavg()[0] },
        busy,
        bytesPerSecond: machine.bytesPerSecond,
        flops: machine.flops,
      },
      participants: generating,
      missing,
      cases,
    };
  } finally {
    await Promise.all(participants.map((participant) => participant.stop()));
  }
}

const ask = (one: Participant, request: GenerationRequest) => one.ask(request as never);

const startNative = (settings: GenerationSettings): Promise<Participant> =>
  startParticipant(process.execPath, [ownFile('dist', 'perf', 'generationWorker.js'), JSON.stringify(settings)], process.env);

const gaugeName = 'gauge';
/** What measures the machine, in a process of its own, whose memory is not that of a model. */
const startGauge = async (threads: number | undefined): Promise<Participant> => ({
  ...(await startNative({ shape: tiny, storage: 'f32', products: 'f32', ...(threads && { threads }) })),
  name: gaugeName,
});
/** Medians of what was measured. */
function typical(readings: readonly Machine[]): Machine {
  const of = (value: (one: Machine) => number | undefined) => {
    const values = readings.map(value).filter((x): x is number => x !== undefined);
    return values.length > 0 ? quantile(values, 0.5) : undefined;
  };
  const [bytesPerSecond, f32, bf16] = [of((m) => m.bytesPerSecond), of((m) => m.flops?.f32), of((m) => m.flops?.bf16)];
  return { bytesPerSecond, ...(f32 && bf16 && { flops: { f32, bf16 } }) };
}

type Member = Participant & { settings?: GenerationSettings };
type Seconds = Map<string, number[] | { error: string }>;

/** Seconds of three rounds in turns; `request` is told of fewer tokens for the call before the rounds, which is not counted. */
async function measure(members: readonly Member[], request: (tokens?: number) => GenerationRequest): Promise<Seconds> {
  const seconds: Seconds = new Map(members.map(({ name }) => [name, []]));
  const rounds = 3;
  for (let round = -1; round < rounds; round++)
    for (let i = 0; i < members.length; i++) {
      const one = members[(Math.max(0, round) + i) % members.length];
      const known = seconds.get(one.name)!;
      if ('error' in known) continue;
      await setTimeout(10); // threads that wait for more work spin for a while, in whoever had the last turn
      try {
        const whole = request();
        const short = 'generate' in whole ? request(Math.min(whole.generate.tokens, 4)) : whole;
        const { seconds: took = Number.NaN } = await ask(one, round < 0 ? short : whole);
        if (round >= 0) known.push(took);
      } catch (error) {
        seconds.set(one.name, { error: messageOf(error) });
      }
    }
  return seconds;
}

function resultsOf(
  members: readonly Member[],
  seconds: Seconds,
  counted: number,
  floorOfSettings: (settings: GenerationSettings) => number | undefined = () => undefined,
): GenerationResult['cases'][number]['results'] {
  const peer = seconds.get(generationPeer);
  const results: GenerationResult['cases'][number]['results'] = {};
  for (const { name, settings } of members) {
    const took = seconds.get(name)!;
    if ('error' in took) {
      results[name] = took;
      continue;
    }
    const floor = settings && floorOfSettings(settings);
    results[name] = {
      seconds: spread(took),
      rate: spread(took.map((s) => counted / s)),
      ...(peer && !('error' in peer) && name !== generationPeer && { ratio: spread(took.map((s, i) => peer[i] / s)) }),
      ...(floor && { rooflineShare: floor / quantile(took, 0.5) }),
    };
  }
  return results;
}

/** Seconds that a call needs at least: its prompts' operations, then each step the larger of reading all weights and keys, and multiplying. */
function floorOf(
  { storage, products }: GenerationSettings,
  { batch, promptTokens, tokens }: { batch: number; promptTokens: number; tokens: number },
  { bytesPerSecond, flops }: Machine,
  { layers, heads, kvHeads, headDim, vocabSize, width, mlpWidth }: typeof smol,
): number | undefined {
  if (!bytesPerSecond || !flops) return undefined;
  // Numbers in matrices, each of which a step reads once; the head is the embedding.
  const weights = vocabSize * width + layers * width * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * mlpWidth);
  const bytes = weights * { f32: 4, bf16: 2, int8: 1 }[storage];
  const step = (rows: number, keys: number, logits: number) => {
    const operations = 2 * (weights - vocabSize * width) * rows + 2 * vocabSize * width * logits;
    return Math.max((bytes + keys * layers * 2 * kvHeads * headDim * 4) / bytesPerSecond, operations / flops[products]);
  };
  let seconds = step(batch * promptTokens, 0, batch);
  for (let t = 1; t < tokens; t++) seconds += step(batch, batch * (promptTokens + t), batch);
  return seconds;
}

const spread = (values: readonly number[]): Spread => ({
  median: quantile(values, 0.5),
  low: Math.min(...values),
  high: Math.max(...values),
});
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function ownFile(...path: string[]): string {
  return join(dirname(createRequire(import.meta.url).resolve('@plumbline/bench/package.json')), ...path);
}

async function startTransformers(
  folder: string,
  shape: typeof smol,
  model: string | undefined,
  threads: number | undefined,
  busy: boolean,
  say: (line: string) => void,
): Promise<Participant | { why: string }> {
  const found = await torchPython(folder, say);
  if ('why' in found) return found;
  const wanted = [`transformers==${transformersVersion}`, `gguf==${ggufVersion}`, `accelerate==${accelerateVersion}`];
  const complete = join(dirname(dirname(found.python)), `complete-${wanted.join('-').replaceAll('==', '-')}`);
  if (!existsSync(complete)) {
    say(`Installing transformers ${transformersVersion} beside PyTorch (once; --no-peer goes without)`);
    const { code, last } = await run(found.python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wanted]);
    if (code !== 0) return { why: `pip could not install ${wanted.join(' and ')}: ${last}` };
    writeFileSync(complete, `${transformersVersion}\n`);
  }
  return startParticipant(
    found.python,
    [ownFile('peers', 'generate_peer.py'), JSON.stringify(shape), ...(model ? [model] : [])],
    peerEnvironment(threads, busy),
  );
}

async function startLlama(folder: string, model: string, say: (line: string) => void): Promise<Participant | { why: string }> {
  const home = join(folder, `node-llama-cpp-${llamaVersion}`);
  if (!existsSync(join(home, 'complete'))) {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), '{ "private": true }\n');
    say(`Installing node-llama-cpp ${llamaVersion} (once; --no-peer goes without)`);
    const { code, last } = await run('npm', [
      'install',
      '--prefix',
      home,
      '--no-audit',
      '--no-fund',
      '--ignore-scripts',
      `node-llama-cpp@${llamaVersion}`,
    ]);
    if (code !== 0) return { why: `npm could not install node-llama-cpp: ${last}` };
    writeFileSync(join(home, 'complete'), `${llamaVersion}\n`);
  }
  return startParticipant(process.execPath, [ownFile('peers', 'llama_peer.mjs'), home, model], process.env);
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
