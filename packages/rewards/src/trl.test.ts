import { readFileSync } from 'node:fs';
import { memoryRun, parseSafetensors } from '@plumbline/core';
import type { Batches, PackedBatch, RewardBatch, Tokenizer } from '@plumbline/data';
import { packSequences } from '@plumbline/data';
import { byteTokenizer } from '@plumbline/data/contract';
import { createDecoder, createScorer, specFromConfig } from '@plumbline/models';
import { expect, it } from 'vitest';
import { trainReward } from './train.js';

type Recorded = {
  config: Record<'learning_rate' | 'warmup_steps' | 'weight_decay' | 'max_steps' | 'center_rewards_coefficient', number>;
  steps: Record<'loss' | 'grad_norm' | 'learning_rate' | 'accuracy' | 'margin' | 'num_tokens', number>[];
  micro_batches: { inputs: { input_ids: number[][]; attention_mask: number[][] } }[];
  parameter_norms_after: Record<string, number>;
};
const fixture = (name: string) => readFileSync(new URL(`../test/fixtures/trl-reward/${name}`, import.meta.url));

/** A batch as TRL's collator makes it: chosen rows, then rejected ones, padded on the right. */
function batchOf({ input_ids, attention_mask }: Recorded['micro_batches'][number]['inputs']): RewardBatch {
  const pairs = input_ids.length / 2;
  const packed: PackedBatch = packSequences(
    input_ids.map((ids, row) => ({
      tokens: Int32Array.from(ids.filter((_, i) => attention_mask[row][i] === 1)),
      completionStart: 1,
      row: row % pairs,
    })),
  );
  const range = (from: number) => Int32Array.from({ length: pairs }, (_, i) => from + i);
  const batch: RewardBatch = {
    ids: [...range(0)].map(String),
    groups: pairs,
    pairs,
    packed,
    chosen: range(0),
    rejected: range(pairs),
    split: () => [batch],
  };
  return batch;
}

it("replays ten steps of TRL's reward trainer: losses, gradient norms, metrics, parameters", async () => {
  const { config, steps, micro_batches, parameter_norms_after } = JSON.parse(fixture('reward.json').toString()) as Recorded;
  const file = parseSafetensors(fixture('model.safetensors'));
  const { 'score.weight': head, ...weights } = Object.fromEntries(
    file.names.map((name) => [name, { shape: file.entry(name).shape, data: file.floats(name) }]),
  );
  const tokenizer: Tokenizer = { ...byteTokenizer({ eos: false }), vocabSize: 256 };
  const decoder = createDecoder(specFromConfig(JSON.parse(fixture('config.json').toString())), { tokenizer, weights });
  const scorer = createScorer(decoder, { pooling: 'last', padId: 0, head: head.data });
  const batches: Batches<RewardBatch> = { steps: 10, at: async (step) => batchOf(micro_batches[step].inputs) };
  const run = memoryRun({ seed: 1 });
  await trainReward(
    {
      steps: config.max_steps,
      learningRate: config.learning_rate,
      schedule: { kind: 'cosine', warmupSteps: config.warmup_steps },
      weightDecay: config.weight_decay,
      centerCoefficient: config.center_rewards_coefficient,
    },
    { scorer, batches, run },
  );
  const error = (ours: number, theirs: number) => Math.abs(ours - theirs) / (1 + Math.abs(theirs));
  for (const [step, theirs] of steps.entries()) {
    const ours = run.history[step];
    const tolerance = step < 3 ? 1e-5 : 1e-3; // another order of sums is amplified by Adam
    expect(error(ours.loss!, theirs.loss)).toBeLessThan(tolerance);
    expect(error(ours.gradNorm!, theirs.grad_norm)).toBeLessThan(tolerance);
    expect(error(ours.margin!, theirs.margin)).toBeLessThan(tolerance);
    expect(error(ours.learningRate!, theirs.learning_rate)).toBeLessThan(1e-9);
    expect(ours.accuracy).toBe(theirs.accuracy);
  }
  const saved = (await scorer.parameters.save()).tensors;
  for (const [name, norm] of Object.entries(parameter_norms_after)) {
    expect(error(Math.hypot(...(saved[name].data as Float32Array)), norm)).toBeLessThan(1e-4);
  }
  decoder.dispose();
  scorer.dispose();
});
