/** The decoder on backends other than the one this machine would choose. */
import { describeBackends, initBackend, memoryRun, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { decoderContract, kvCacheContract } from '@plumbline/data/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { generate } from '../generation/generate.js';
import { blockBatches } from '../sft/batches.js';
import { trainSft } from '../sft/trainSft.js';
import { ownFixture, readJson, readTensors } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { createKvCache } from './cache.js';
import { createDecoder } from './decoder.js';
import { decoderSpec, specFromConfig } from './spec.js';

const here = new Set((await describeBackends()).map(({ name }) => name));

describe.each(['cpu', 'wasm', 'native', ...(process.env.PLUMB_FULL ? ['tensorflow'] : [])].filter((name) => here.has(name)))(
  'the decoder on %s',
  (backend) => {
    let missing = '';
    beforeAll(async () => {
      missing = await initBackend({ backend }).then(
        () => '',
        (error: Error) => error.message,
      );
    });

    it.for([...decoderContract(() => tinyDecoder()), ...kvCacheContract(createKvCache)])('$name', async ({ run }, { skip }) => {
      skip(missing !== '', missing);
      await run();
    });

    it('gives transformers logits and greedy continuation', async ({ skip }) => {
      skip(missing !== '', missing);
      const spec = specFromConfig(readJson(ownFixture('llama/config.json')));
      const decoder = createDecoder(spec, {
        tokenizer: plainTokenizer(spec.vocabSize),
        weights: readTensors(ownFixture('llama/model.safetensors')),
      });
      const { sequences, greedy } = readJson<{ sequences: Record<string, number[]>; greedy: { prompt: number[]; continuation: number[] } }>(
        ownFixture('llama/io.json'),
      );
      const hidden = decoder.hidden(packSequences([{ tokens: Int32Array.from(sequences.len65), completionStart: 0, row: 0 }]));
      const expected = readTensors(ownFixture('llama/io.safetensors'))['len65.logits'].data;
      (await readCopy(decoder.logits(hidden))).forEach(
        (x, i) => void expect(Math.abs(x - expected[i]) / (1 + Math.abs(expected[i]))).toBeLessThan(1e-4),
      );
      const [[sample]] = await generate(decoder, [Int32Array.from(greedy.prompt)], {
        maxTokens: greedy.continuation.length,
        temperature: 0,
        stopIds: [],
        rng: rng(0),
      });
      expect([...sample.tokens]).toEqual(greedy.continuation);
    });
  },
);

describe.skipIf(!here.has('native'))('on native, whatever the number of threads', () => {
  it('samples and trains to the same numbers', async ({ skip }) => {
    const outcome = async (threads: number) => {
      await initBackend({ backend: 'native', threads }).catch((error: Error) => skip(true, error.message));
      const spec = decoderSpec({ vocabSize: 301, width: 96, layers: 2, heads: 3, mlpWidth: 200, contextLength: 128 });
      const policy = createDecoder(spec, { tokenizer: plainTokenizer(301), rng: rng(1) });
      const text = Int32Array.from({ length: 2000 }, (_, i) => (i * 37 + (i >> 3)) % 301);
      const run = memoryRun({ seed: 1 });
      const batches = blockBatches(text, { blockTokens: 64, blocksPerStep: 6, steps: 4, rng: rng(2) });
      await trainSft({ steps: 4, learningRate: 3e-3, schedule: { kind: 'constant' } }, { policy, batches, run });
      const prompts = [5, 17, 90].map((n) => Int32Array.from({ length: n }, (_, t) => (t * 11) % 301));
      const samples = await generate(policy, prompts, { n: 9, maxTokens: 20, stopIds: [], rng: rng(3) });
      const numbers = {
        losses: run.history.map(({ loss, gradNorm }) => [loss, gradNorm]),
        samples,
        weights: (await policy.parameters.save()).tensors,
      };
      policy.dispose();
      return numbers;
    };
    expect(await outcome(2)).toEqual(await outcome(1));
  });
});
