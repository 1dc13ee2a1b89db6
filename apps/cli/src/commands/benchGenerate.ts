/** `plumb bench generate`: how fast a decoder generates on this machine, beside transformers and llama.cpp in one run. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type GenerationMeasure, type GenerationResult, runGenerationBench } from '@plumbline/bench/perf';
import { PlumblineError } from '@plumbline/core';
import { modelPath } from '@plumbline/models';
import pc from 'picocolors';
import { wholeNumber } from '../settings.js';

export type BenchGenerateFlags = { model?: string; threads?: string; json?: boolean; peer: boolean; quick?: boolean };

export async function benchGenerate({ model, threads, json, peer, quick }: BenchGenerateFlags): Promise<void> {
  const folder = join(process.cwd(), '.plumbline');
  const result = await runGenerationBench({
    ...(model !== undefined && { model: modelPath(model) }),
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

function table({ machine, participants, missing, cases }: GenerationResult): string {
  const { cpu, cores, node, load, bytesPerSecond = 0, flops } = machine;
  const lines = [
    `${cpu}, ${cores} cores, Node ${node}; load ${load.before.toFixed(1)} before, ${load.after.toFixed(1)} after`,
    `It reads ${(bytesPerSecond / 1e9).toFixed(0)} GB/s and multiplies ${((flops?.f32 ?? 0) / 1e9).toFixed(0)} GFLOP/s in float32, ${((flops?.bf16 ?? 0) / 1e9).toFixed(0)} in bf16.`,
    ...participants.map(
      ({ name, version = '', device, threads, peakBytes = 0 }) =>
        `  ${name.padEnd(13)} ${version} (${[device, threads && `${threads} threads`].filter(Boolean).join(', ')}), at most ${(peakBytes / 1e6).toFixed(0)} MB resident`,
    ),
    ...missing.map(({ name, why }) => `  ${name.padEnd(13)} not measured: ${why}`),
  ];
  for (const { name, results } of cases) {
    lines.push('', name);
    for (const [who, one] of Object.entries(results))
      lines.push(`  ${who.padEnd(13)} ${'seconds' in one ? cell(one) : `failed: ${one.error}`}`);
  }
  lines.push(
    '',
    'Tokens a second over whole calls, medians of rounds in turns, lowest to highest in brackets; x: times transformers; %: of what the bandwidth and the rate above allow.',
  );
  if (machine.busy) lines.push('The machine was busy: measure again when it is idle.');
  return lines.join('\n');
}

function cell({ rate, ratio, rooflineShare }: GenerationMeasure): string {
  const spread = (digits: number, { low, high }: { low: number; high: number }) => `[${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
  return [
    `${rate.median.toFixed(0).padStart(5)} tokens/s ${spread(0, rate)}`,
    ratio && `${ratio.median.toFixed(2)}x ${spread(2, ratio)}`,
    rooflineShare !== undefined && `${(100 * rooflineShare).toFixed(0)}%`,
  ]
    .filter(Boolean)
    .join('  ');
}
