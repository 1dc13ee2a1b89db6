/** Ten steps of TRL's SFT trainer on models/llama, replayed: loss, gradient norm, learning rate, and each parameter's norm at the end. */
import { memoryRun } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { describe, expect, it } from 'vitest';
import { createDecoder } from '../decoder/decoder.js';
import { specFromConfig } from '../decoder/spec.js';
import { ownFixture, readJson, readTensors, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { sftBatch } from './batches.js';
import { trainSft } from './trainSft.js';

type Inputs = { input_ids: number[][]; labels: number[][]; attention_mask?: number[][]; position_ids?: number[][] };
type Record_ = {
  config: { learning_rate: number; lr_scheduler_type: 'cosine'; warmup_steps: number; weight_decay: number; max_grad_norm: number };
  steps: { loss: number; grad_norm: number; learning_rate: number }[];
  micro_batches: { step: number; inputs: Inputs }[];
  parameter_norms_after: Record<string, number>;
};

describe('trainSft against TRL 1.16: sft_accumulation', () => replay(ownFixture('sft_accumulation.json')));
describe.skipIf(!sharedFolder).each(['sft', 'sft_packing', 'sft_packing_wrapped', 'sft_prompt_completion'])(
  `trainSft against TRL 1.16: %s${whySkipped}`,
  (name) => {
    if (sharedFolder) replay(sharedFixture(`training/${name}.json`));
  },
);

function replay(path: string): void {
  it('takes the same ten steps', async () => {
    const record = readJson<Record_>(path);
    const { config, steps, micro_batches } = record;
    const spec = specFromConfig(readJson(ownFixture('llama/config.json')));
    const policy = createDecoder(spec, {
      tokenizer: plainTokenizer(spec.vocabSize),
      weights: readTensors(ownFixture('llama/model.safetensors')),
    });
    const batches = {
      steps: steps.length,
      at: async (step: number) => {
        const segments = micro_batches.filter((micro) => micro.step === step).flatMap(({ inputs }) => segmentsOf(inputs));
        const packed = packSequences(segments.map(({ tokens }, row) => ({ tokens, completionStart: 0, row })));
        packed.completionMask = Uint8Array.from(segments.flatMap(({ counts }) => counts));
        return sftBatch(
          segments.map((_, row) => `${row}`),
          packed,
        );
      },
    };
    const run = memoryRun({ seed: 1 });
    await trainSft(
      {
        steps: steps.length,
        sequencesPerMicroBatch: 2,
        learningRate: config.learning_rate,
        schedule: { kind: config.lr_scheduler_type, warmupSteps: config.warmup_steps },
        weightDecay: config.weight_decay,
        maxGradNorm: config.max_grad_norm,
      },
      { policy, batches, run },
    );
    steps.forEach(({ loss, grad_norm, learning_rate }, step) => {
      const ours = run.history[step];
      const tolerance = step < 3 ? 1e-5 : 1e-3;
      expect(Math.abs(ours.loss! - loss) / (1 + loss), `loss of step ${step}`).toBeLessThan(tolerance);
      expect(Math.abs(ours.gradNorm! - grad_norm) / (1 + grad_norm), `gradient norm of step ${step}`).toBeLessThan(tolerance);
      expect(ours.learningRate!).toBeCloseTo(learning_rate, 10);
    });
    const { tensors } = await policy.parameters.save();
    for (const [name, norm] of Object.entries(record.parameter_norms_after)) {
      const ours = Math.sqrt(Array.from(tensors[name].data as Float32Array).reduce((sum, w) => sum + w * w, 0));
      expect(Math.abs(ours - norm) / (1 + norm), name).toBeLessThan(1e-4);
    }
  });
}

/** Rows without their padding; where positions restart, another sequence begins. The first token of a sequence is never a target. */
function segmentsOf({ input_ids, labels, attention_mask, position_ids }: Inputs): { tokens: Int32Array; counts: number[] }[] {
  return input_ids.flatMap((ids, row) => {
    const segments: { tokens: number[]; counts: number[] }[] = [];
    ids.forEach((id, t) => {
      if (attention_mask && !attention_mask[row][t]) return;
      if (segments.length === 0 || position_ids?.[row][t] === 0) segments.push({ tokens: [], counts: [] });
      const segment = segments[segments.length - 1];
      segment.counts.push(segment.tokens.length > 0 && labels[row][t] !== -100 ? 1 : 0);
      segment.tokens.push(id);
    });
    return segments.map(({ tokens, counts }) => ({ tokens: Int32Array.from(tokens), counts }));
  });
}
