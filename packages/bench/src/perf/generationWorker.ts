/** Our side of `plumb bench generate`, one storage in a process of its own. `generationWorker.js SETTINGS`, as JSON. */
import { createInterface } from 'node:readline';
import { frozenMatrix, initBackend, linear, rng } from '@plumbline/core';
import { createDecoder, type DecoderSpec, decoderSpec, generate, loadDecoder } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';
import type { GenerationRequest, GenerationSettings } from './generation.js';
import type { Answer } from './participant.js';
import { arbitraryIds, idsOnly, pacedTraining } from './training.js';

const say = (answer: Answer): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
console.log = console.error; // standard output is for answers

const { shape, model, storage, products, threads, training } = JSON.parse(process.argv[2]) as GenerationSettings;

async function start() {
  const { version, simd, threads: used } = await initBackend({ backend: 'native', ...(threads && { threads }) });
  if (training) {
    say({ name: `native ${products}`, device: simd, version, threads: used });
    return undefined;
  }
  const decoder = model ? await loadDecoder(model, { storage, products }) : newDecoder(decoderSpec(shape));
  say({ name: `native ${storage}`, device: simd, version, threads: used });
  return decoder;
}

/** Weights of the right sizes; their values do not matter to the time. */
function newDecoder(spec: DecoderSpec) {
  return createDecoder(spec, { tokenizer: idsOnly(spec.vocabSize), rng: rng(1), storage, products });
}

let failed = false;
const decoder = await start().catch((error: unknown) => {
  process.stdout.write(`${JSON.stringify({ error: messageOf(error) } satisfies Answer)}\n`, () => process.exit(1));
  failed = true;
  return undefined;
});
/** The training under way: a step a request. */
const paced = training && !failed ? pacedTraining({ model: shape, ...training, products }) : undefined;

for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await answer(JSON.parse(line) as GenerationRequest));
  } catch (error) {
    say({ error: messageOf(error) });
  }
}

async function answer(request: GenerationRequest): Promise<Answer> {
  if ('machine' in request) return machine();
  if ('train' in request) return { seconds: (await paced!.step()).seconds };
  if (!('generate' in request)) return { peakBytes: process.resourceUsage().maxRSS * 1024 };
  const { batch, promptTokens, tokens } = request.generate;
  const prompts = Array.from({ length: batch }, (_, i) => arbitraryIds(promptTokens, 3900).map((id) => 100 + ((id + 31 * i) % 3900)));
  const begin = performance.now();
  const samples = await generate(decoder!, prompts, { maxTokens: tokens, temperature: 0, stopIds: [], rng: rng(0) });
  const seconds = (performance.now() - begin) / 1000;
  if (samples.some(([sample]) => sample.tokens.length !== tokens)) throw new Error('a sequence ended early');
  return { seconds };
}

/** What this machine reads and multiplies a second, at best of several. */
function machine(): { bytesPerSecond: number; flops: { f32: number; bf16: number } } {
  const best = (work: number, f: () => tf.Tensor) => {
    let seconds = Infinity;
    for (let i = 0; i < 6; i++) {
      const begin = performance.now();
      f().dispose();
      seconds = Math.min(seconds, (performance.now() - begin) / 1000);
    }
    return work / seconds;
  };
  const n = 1024;
  return tf.tidy(() => {
    // Reading is what a sum does, and a product of one row with a packed matrix, which lies in larger pages.
    const large = tf.ones([2 ** 26]);
    const matrix = frozenMatrix(new Float32Array(large.size).fill(1), [2 ** 16, 2 ** 10], 'f32');
    const row = tf.ones([1, 2 ** 10]) as tf.Tensor2D;
    const read = Math.max(
      best(4 * large.size, () => tf.sum(large)),
      best(4 * large.size, () => linear({ x: row }, { frozen: matrix }).y),
    );
    matrix.dispose();
    const [x, weight] = [tf.ones([n, n]) as tf.Tensor2D, tf.ones([n, n]) as tf.Tensor2D];
    const product = (products: 'f32' | 'bf16') => best(2 * n ** 3, () => linear({ x, weight }, { products }).y);
    return {
      bytesPerSecond: read,
      flops: { f32: product('f32'), bf16: product('bf16') },
    };
  });
}
