import { InterruptedError, memoryRun, type Products, type Run, rng } from '@plumbline/core';
import type { Tokenizer } from '@plumbline/data';
import { blockBatches, createDecoder, decoderSpec, type LocalDecoder, trainSft } from '@plumbline/models';
import type { DecoderSize } from './cases.js';

/** A decoder with first weights, whose tokens are no text. */
export function freshDecoder(model: DecoderSize, contextLength: number, products?: Products): LocalDecoder {
  const spec = decoderSpec({ ...model, contextLength });
  return createDecoder(spec, { tokenizer: idsOnly(spec.vocabSize), rng: rng(1), products });
}

/** Token ids without a pattern. */
export const arbitraryIds = (count: number, vocabSize: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => (Math.imul(i, 2654435761) >>> 8) % vocabSize);

/**
 * A training that goes on by one step a call, by the trainer that users have (`trainSft`): forward, backward, clipping, AdamW.
 * The time of a step does not contain the making of its batch.
 */
export function pacedTraining(o: {
  model: DecoderSize;
  sequences: number;
  tokens: number;
  sequencesPerMicroBatch?: number;
  products?: Products;
}): {
  step(): Promise<{ seconds: number; loss: number }>;
  dispose(): Promise<void>;
} {
  const policy = freshDecoder(o.model, Math.max(o.tokens, 256), o.products);
  const text = arbitraryIds(200_000, o.model.vocabSize);
  const steps = 1_000_000;
  const made = blockBatches(text, { blockTokens: o.tokens, blocksPerStep: o.sequences, steps, rng: rng(2) });
  let [asked, done] = [deferred<void>(), deferred<{ seconds: number; loss: number }>()];
  let start = 0;
  const batches: typeof made = {
    steps,
    at: async (step) => {
      const batch = await made.at(step);
      await asked.promise;
      asked = deferred();
      start = performance.now();
      return batch;
    },
  };
  const run: Run = {
    ...memoryRun({ seed: 1 }),
    log: (_step, { loss = Number.NaN }) => done.resolve({ seconds: (performance.now() - start) / 1000, loss }),
  };
  const settings = { steps, sequencesPerMicroBatch: o.sequencesPerMicroBatch, learningRate: 1e-4, schedule: { kind: 'constant' as const } };
  const ended = trainSft(settings, { policy, batches, run }).catch((error: unknown) => {
    if (!(error instanceof InterruptedError)) done.reject(error);
  });
  return {
    step: () => {
      done = deferred();
      asked.resolve();
      return done.promise;
    },
    dispose: async () => {
      asked.reject(new InterruptedError('enough was measured'));
      await ended;
      policy.parameters.dispose();
    },
  };
}

type Deferred<T> = { promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void };

function deferred<T>(): Deferred<T> {
  const made = {} as Deferred<T>;
  made.promise = new Promise<T>((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {}); // whoever awaits it hears of it
  return made;
}

/** Stands in for a tokenizer: nothing here is text. */
export function idsOnly(vocabSize: number): Tokenizer {
  const none = (): never => {
    throw new Error('there is no text here');
  };
  return { name: 'ids', vocabSize, encode: none, decode: () => '', hasChatTemplate: false, renderChat: none };
}
