/** What the recipes of decoders share: pretraining that can be interrupted, float16 files, and the card of what was measured of those files. */
import { mkdir, rm } from 'node:fs/promises';
import { openRun } from '@plumbline/core';
import type { Batches } from '@plumbline/data';
import { type createDecoder, type SftBatch, saveDecoder, trainSft } from '@plumbline/models';
import type { RecipeOptions, RecipeResult } from './recipe.js';
import type { clock, Spent } from './spent.js';

export type PretrainingConfig = {
  readonly name: string;
  readonly steps: number;
  readonly learningRate: number;
  readonly warmupSteps: number;
  /** Share of the steps before the rate begins to fall. */
  readonly flatShare: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
};

/**
 * Trains `decoder`, which it disposes, on `batches`, and leaves its files in `out` with the card that `measure` writes. Stopped by `signal`, it
 * throws an InterruptedError once it has saved; called again with the same `runDir`, it goes on.
 */
export async function pretrain(
  config: PretrainingConfig,
  { seed, out, runDir, signal, onProgress }: RecipeOptions,
  work: {
    time: Awaited<ReturnType<typeof clock>>;
    decoder: ReturnType<typeof createDecoder>;
    batches: Batches<SftBatch>;
    measure(spent: Spent): Promise<Omit<RecipeResult, 'seconds'>>;
  },
): Promise<RecipeResult> {
  const { time, decoder } = work;
  const { steps, learningRate, warmupSteps, flatShare, beta1, beta2, weightDecay } = config;
  let last = 0;
  const run = await openRun({
    dir: runDir,
    config: { recipe: config.name, ...config },
    seed,
    saveEvery: 250,
    signal,
    onLog: (step, metrics) => {
      if (Date.now() - last < 1000 && step + 1 < steps) return;
      last = Date.now();
      onProgress?.({ stage: 'pretraining', done: step + 1, total: steps, unit: 'steps', note: `loss ${metrics.loss?.toFixed(3)}` });
    },
  });
  try {
    await trainSft(
      {
        steps,
        learningRate,
        schedule: { kind: 'wsd', warmupSteps, decaySteps: Math.round(steps * (1 - flatShare)), decay: 'cosine' },
        beta1,
        beta2,
        weightDecay,
      },
      { policy: decoder, batches: work.batches, run },
    );
  } finally {
    await run.close();
    await time.stop();
  }
  await mkdir(out, { recursive: true });
  await saveDecoder(out, decoder, { dtype: 'F16' });
  decoder.dispose();
  onProgress?.({ stage: 'measuring', done: 0, total: 1, unit: 'models' });
  const spent = await time.stop();
  const card = await work.measure(spent);
  onProgress?.({ stage: 'measuring', done: 1, total: 1, unit: 'models' });
  await rm(runDir, { recursive: true, force: true });
  return { ...card, seconds: spent.seconds };
}
