/** Sequence classifiers with one label against transformers 5.24: scores, loss, gradients. */
import { gradients, logSigmoid, readCopy } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import { largestError } from '@plumbline/tools/fixtures';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { loadScorer } from '../files/load.node.js';
import { ownFixture, readJson, readTensors, sharedFixture, sharedFolder } from '../testing/fixtures.node.js';
import { plainTokenizer } from '../testing/plainTokenizer.js';

type Batch = { input_ids: number[][]; attention_mask: number[][]; scores: number[] };
type Io = Batch & {
  scores_left_padded?: number[];
  last_real_token_of_row_0_is_the_pad_id?: Omit<Batch, 'attention_mask'>;
  bradley_terry_loss: number;
};
const names = ['llama_score', 'qwen2_score'];
const folders = [
  ...names.map((name) => [`a small ${name}`, ownFixture(`models/${name}`)]),
  ...(sharedFolder ? names.map((name) => [`${name}, shared`, sharedFixture(`models/${name}`)]) : []),
];

describe.each(folders)('%s', (_, folder) => {
  const io = readJson<Io>(`${folder}/io.json`);
  const { vocab_size } = readJson<{ vocab_size: number }>(`${folder}/config.json`);
  const load = () => loadScorer(folder, { tokenizer: plainTokenizer(vocab_size) });
  const pack = ({ input_ids, attention_mask }: Batch) =>
    packSequences(
      input_ids.map((ids, row) => ({ tokens: Int32Array.from(ids.filter((__, t) => attention_mask[row][t])), completionStart: 0, row })),
    );

  it('gives the scores, from the last token that is not the pad token', async () => {
    const scorer = await load();
    const scores = await readCopy(scorer.scores(pack(io)));
    expect(largestError(scores, io.scores)).toBeLessThan(1e-4);
    if (io.scores_left_padded) expect(largestError(scores, io.scores_left_padded)).toBeLessThan(1e-4);
    const trap = io.last_real_token_of_row_0_is_the_pad_id;
    if (trap) expect(largestError(await readCopy(scorer.scores(pack({ ...io, ...trap }))), trap.scores)).toBeLessThan(1e-4);
    scorer.dispose();
  });

  it('gives the loss of chosen against rejected rows and its gradient for every parameter', async () => {
    const scorer = await load();
    const batch = pack(io);
    const { loss, grads } = gradients(
      () => ({
        loss: tf.tidy(() => {
          const [chosen, rejected] = tf.split(scorer.scores(batch), 2);
          return tf.neg(tf.mean(logSigmoid(tf.sub(chosen, rejected)))) as tf.Scalar;
        }),
      }),
      scorer.parameters.trainable(),
    );
    expect((await readCopy(loss))[0]).toBeCloseTo(io.bradley_terry_loss, 5);
    const expected = readTensors(`${folder}/grads.safetensors`);
    expect([...grads.keys()].map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
    for (const [{ name }, grad] of grads) {
      const theirs = expected[name].data;
      const largest = theirs.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
      const gap = ((await readCopy(grad)) as Float32Array).reduce((most, g, i) => Math.max(most, Math.abs(g - theirs[i])), 0);
      expect(gap, name).toBeLessThan(1e-4 * largest + 1e-7);
    }
    tf.dispose([loss, ...grads.values()]);
    scorer.dispose();
  });
});
