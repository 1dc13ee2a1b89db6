/** Against transformers 5.24: logits, hidden states, log-probabilities, gradients of every parameter, greedy continuations. */
import { gradients, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { generate } from '../generation/generate.js';
import { ownFixture, readJson, readTensors, sharedFixture, sharedFolder, whySkipped } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';
import { createDecoder, type LocalDecoder } from './decoder.js';
import { configFromSpec, specFromConfig } from './spec.js';

type Io = {
  sequences: Record<string, number[]>;
  right_padded: { input_ids: number[][]; attention_mask: number[][] };
  left_padded: { input_ids: number[][]; attention_mask: number[][] };
  gradient: { sequence: string; loss: number };
  greedy: { prompt: number[]; continuation: number[] };
};

const families = ['gpt2', 'llama', 'llama3_rope', 'mistral', 'qwen2', 'qwen3', 'gemma2', 'phi3'];
const shared = ['gpt2', 'llama', 'llama_llama3_rope', 'mistral', 'qwen2', 'qwen3', 'gemma2', 'phi3'];
describe('llama of odd sizes against transformers', () => parity((file) => ownFixture(`llama/${file}`)));
describe.each(families)('a small %s against transformers', (name) => parity((file) => ownFixture(`models/${name}/${file}`)));
describe.skipIf(!sharedFolder).each(shared)(`%s against transformers${whySkipped}`, (name) => {
  if (sharedFolder) parity((file) => sharedFixture(`models/${name}/${file}`));
});

it.skipIf(!sharedFolder)(`reads the rotary scaling of transformers 4 as that of 5${whySkipped}`, () => {
  const at = (file: string) => readJson(sharedFixture(`models/llama_llama3_rope/${file}`));
  expect(specFromConfig(at('config.v4.json'))).toEqual(specFromConfig(at('config.json')));
});

function parity(at: (file: string) => string): void {
  const config = readJson(at('config.json'));
  const io = readJson<Io>(at('io.json'));
  const load = (): LocalDecoder => {
    const spec = specFromConfig(config);
    return createDecoder(spec, { tokenizer: plainTokenizer(spec.vocabSize), weights: readTensors(at('model.safetensors')) });
  };
  const pack = (sequences: number[][]) =>
    packSequences(sequences.map((tokens, row) => ({ tokens: Int32Array.from(tokens), completionStart: 0, row })));

  it('gives the logits and final hidden states of packed sequences', async () => {
    const decoder = load();
    const expected = readTensors(at('io.safetensors'));
    const names = Object.keys(io.sequences);
    const hidden = decoder.hidden(pack(Object.values(io.sequences)));
    expect(worst(await readCopy(hidden), concat(names.map((name) => expected[`${name}.last_hidden`].data)))).toBeLessThan(1e-4);
    expect(worst(await readCopy(decoder.logits(hidden)), concat(names.map((name) => expected[`${name}.logits`].data)))).toBeLessThan(1e-4);
    decoder.dispose();
  });

  // GPT-2's learned positions count the padding on the left there: those rows are another model's answer.
  const sides = config.model_type === 'gpt2' ? (['right'] as const) : (['right', 'left'] as const);
  it.each(sides)('gives rows padded on the %s what they have without padding', async (side) => {
    const decoder = load();
    const expected = readTensors(at('io.safetensors'))[`${side}_padded.logits`];
    const { input_ids, attention_mask } = io[`${side}_padded`];
    const rows = input_ids.map((ids, i) => ids.filter((_, t) => attention_mask[i][t]));
    const ours = await readCopy(decoder.logits(decoder.hidden(pack(rows))));
    const vocabulary = expected.shape[2];
    let token = 0;
    rows.forEach((row, i) => {
      const first = side === 'left' ? expected.shape[1] - row.length : 0;
      const theirs = expected.data.subarray((i * expected.shape[1] + first) * vocabulary).subarray(0, row.length * vocabulary);
      expect(worst(ours.subarray(token * vocabulary, (token + row.length) * vocabulary), theirs)).toBeLessThan(1e-4);
      token += row.length;
    });
    decoder.dispose();
  });

  it('gives the log-probabilities of tokens', async () => {
    const decoder = load();
    const expected = readTensors(at('io.safetensors'));
    const names = Object.keys(io.sequences).filter((name) => expected[`${name}.token_logps`]);
    const { tokens } = decoder.completionLogps(pack(names.map((name) => io.sequences[name])));
    expect(worst(await readCopy(tokens), concat(names.map((name) => expected[`${name}.token_logps`].data)))).toBeLessThan(1e-5);
    decoder.dispose();
  });

  it('gives the loss and its gradient for every parameter', async () => {
    const decoder = load();
    const expected = readTensors(at('grads.safetensors'));
    const batch = pack([io.sequences[io.gradient.sequence]]);
    const { loss, grads } = gradients(
      () => ({ loss: tf.neg(tf.mean(decoder.completionLogps(batch).tokens)) as tf.Scalar }),
      decoder.parameters.trainable(),
    );
    expect((await readCopy(loss))[0]).toBeCloseTo(io.gradient.loss, 4);
    expect([...grads.keys()].map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
    for (const [{ name }, grad] of grads) {
      const largest = expected[name].data.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      const ours = await readCopy(grad);
      const gap = Array.from(ours).reduce((most, g, i) => Math.max(most, Math.abs(g - expected[name].data[i])), 0);
      expect(gap, name).toBeLessThan(1e-4 * largest + 1e-9);
    }
    tf.dispose([loss, ...grads.values()]);
    decoder.dispose();
  });

  it('continues greedily as the reference does', async () => {
    const decoder = load();
    const { prompt, continuation } = io.greedy;
    const [[sample]] = await generate(decoder, [Int32Array.from(prompt)], {
      maxTokens: continuation.length,
      temperature: 0,
      stopIds: [],
      rng: rng(0),
    });
    expect([...sample.tokens]).toEqual(continuation);
    decoder.dispose();
  });

  it('writes a configuration that reads back the same', () => {
    const spec = specFromConfig(config);
    expect(specFromConfig(configFromSpec(spec))).toEqual(spec);
  });
}

const concat = (parts: Float32Array[]): Float32Array => Float32Array.from(parts.flatMap((part) => [...part]));
/** The largest `|ours - theirs| / (1 + |theirs|)`. */
function worst(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  expect(ours.length).toBe(theirs.length);
  let most = 0;
  for (let i = 0; i < theirs.length; i++) most = Math.max(most, Math.abs(ours[i] - theirs[i]) / (1 + Math.abs(theirs[i])));
  return most;
}
