import { initBackend } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { benchCases } from './cases.js';
import { openOperation } from './operations.js';
import { pacedTraining } from './training.js';

for (const backend of ['native', 'wasm', 'cpu']) {
  const absent = await initBackend({ backend }).then(
    () => '',
    (error: Error) => error.message,
  );
  describe.skipIf(absent)(`on ${backend}${absent && `, skipped: ${absent}`}`, () => {
    beforeAll(async () => void (await initBackend({ backend })));

    for (const suite of ['kernels', 'train'] as const)
      for (const { name, operation, work } of benchCases(suite, true))
        it.skipIf(backend !== 'native' && name.startsWith('copy'))(`times ${name} and leaves no tensor behind`, async () => {
          const before = tf.memory().numTensors;
          const opened = openOperation(operation);
          const seconds = await opened.time(2);
          expect(seconds).toBeGreaterThan(0);
          expect(work / seconds).toBeLessThan(Infinity);
          await opened.close();
          expect(tf.memory().numTensors).toBe(before);
        });
  });
}

describe('products in bfloat16', () => {
  it('are timed wherever a case has them', async () => {
    await initBackend({ backend: 'native' }).catch(() => initBackend({ backend: 'cpu' }));
    const cases = [...benchCases('kernels', true), ...benchCases('train', true)].filter(({ bf16 }) => bf16);
    expect(cases.length).toBeGreaterThan(10);
    for (const { operation } of cases) {
      const opened = openOperation(operation, 'bf16');
      expect(await opened.time(1)).toBeGreaterThan(0);
      await opened.close();
    }
  });
});

describe('a paced training', () => {
  const size = { model: { vocabSize: 64, width: 16, layers: 1, heads: 2, mlpWidth: 24 }, sequences: 2, tokens: 8 };

  it('begins at the loss of a uniform guess and goes one step a call', async () => {
    const training = pacedTraining(size);
    const losses = [await training.step(), await training.step(), await training.step()].map(({ loss }) => loss);
    expect(losses[0]).toBeCloseTo(Math.log(64), 1);
    expect(new Set(losses).size).toBe(3);
    await training.dispose();
  });

  it('says why a step could not be made', async () => {
    const training = pacedTraining({ ...size, sequencesPerMicroBatch: -1 });
    await expect(training.step()).rejects.toThrow('sequencesPerMicroBatch');
  });
});
