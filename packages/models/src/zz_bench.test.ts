import { backendInfo, memoryRun, rng } from '@plumbline/core';
import { it } from 'vitest';
import { createDecoder } from './decoder/decoder.js';
import { decoderSpec } from './decoder/spec.js';
import { generate } from './generation/generate.js';
import { blockBatches } from './sft/batches.js';
import { trainSft } from './sft/trainSft.js';
import { plainTokenizer } from './testing/plainTokenizer.js';

it('bench', { timeout: 100000 }, async () => {
  console.log(JSON.stringify(backendInfo()));
  const spec = decoderSpec({ vocabSize: 2048, width: 128, layers: 4, heads: 4, mlpWidth: 352, contextLength: 128 });
  const d = createDecoder(spec, { tokenizer: plainTokenizer(2048), rng: rng(1) });
  const prompts = Array.from({ length: 16 }, (_, i) => Int32Array.from({ length: 16 }, (_, t) => (i * 17 + t * 5) % 2048));
  await generate(d, prompts.slice(0, 2), { n: 8, maxTokens: 4, stopIds: [], rng: rng(1) });
  let t = performance.now();
  await generate(d, prompts, { n: 8, maxTokens: 32, stopIds: [], rng: rng(1) });
  console.log('generate 128 x 32', performance.now() - t, 'ms', ((128 * 32) / (performance.now() - t)) * 1000, 'tok/s');
  const run = memoryRun({ seed: 1 });
  const text = Int32Array.from({ length: 50000 }, (_, i) => (i * 7919) % 2048);
  t = performance.now();
  await trainSft({ steps: 6, learningRate: 1e-3, schedule: { kind: 'constant' } }, { policy: d, batches: blockBatches(text, { blockTokens: 128, blocksPerStep: 10, steps: 6, rng: rng(1) }), run });
  console.log('sft', run.history.map((h) => Math.round(h.tokensPerSecond!)), 'tok/s');
});
