import { gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import { packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { addLora } from '../lora/lora.js';
import { tinyDecoder } from '../testing/tinyDecoder.js';
import { createAttributeScorer, createPairScorer, createStepScorer, createTokenValues, type LocalHead, stepRows } from './heads.js';
import { createScorer } from './scorer.js';

const pack = (rows: number[][], completionStart = 2) =>
  packSequences(rows.map((ids, row) => ({ tokens: Int32Array.from(ids), completionStart, row })));
const batch = pack([
  [1, 2, 3, 9, 5, 9, 7],
  [6, 7, 8, 4],
]);
const read = async (x: tf.Tensor) => {
  const values = (await readCopy(x)) as Float32Array;
  x.dispose();
  return values;
};
const headRow = async (head: LocalHead, row: number) => {
  const all = await readCopy((head.parameters.get('score.weight') as Parameter).value);
  return all.subarray(18 * row, 18 * row + 18) as Float32Array;
};
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
const decoder = tinyDecoder();
const hidden = async () => (await readCopy(decoder.hidden(batch))) as Float32Array;

describe('an attribute scorer', () => {
  it('gives each attribute its own score, and a weighted sum as one', async () => {
    const scorer = createAttributeScorer(decoder, { attributes: ['helpful', 'safe'], pooling: 'last', rng: rng(1) });
    const scores = await read(scorer.scores(batch));
    const states = await hidden();
    for (const [segment, row] of [6, 10].entries())
      for (const label of [0, 1])
        expect(scores[2 * segment + label]).toBeCloseTo(dot(states.subarray(18 * row, 18 * row + 18), await headRow(scorer, label)), 4);
    const both = await read(scorer.weighted({ helpful: 2, safe: -1 }).scores(batch));
    both.forEach((score, i) => void expect(score).toBeCloseTo(2 * scores[2 * i] - scores[2 * i + 1], 5));
    expect(() => scorer.weighted({ honest: 1 })).toThrow(/no attribute honest; there are helpful, safe/);
    expect(() => createAttributeScorer(decoder, { attributes: ['a', 'a'], pooling: 'mean', rng: rng(1) })).toThrow(/each once; got a, a/);
  });
});

describe('a head on an adapter with dropout', () => {
  const adapted = () => addLora(tinyDecoder(), { r: 2, dropout: 0.5 }, { rng: rng(5) });
  const kinds = {
    'of several numbers': async () =>
      createAttributeScorer(await adapted(), { attributes: ['helpful', 'safe'], pooling: 'mean', rng: rng(1), shareBackbone: true }),
    'of one number': async () => createScorer(await adapted(), { pooling: 'mean', rng: rng(1), shareBackbone: true }),
  };
  it.each(Object.entries(kinds))('%s goes on from its checkpoint with the masks that it would have drawn', async (_, make) => {
    const pass = async (head: Awaited<ReturnType<(typeof kinds)[keyof typeof kinds]>>) => {
      const { loss, grads } = gradients(() => ({ loss: tf.sum(head.scores(batch)) as tf.Scalar }), head.parameters.trainable());
      const all = (await Promise.all([...grads.values()].map(readCopy))).flatMap((grad) => Array.from(grad));
      tf.dispose([loss, ...grads.values()]);
      return all;
    };
    const straight = await make();
    const first = await pass(straight);
    const saved = await straight.parameters.save();
    const second = await pass(straight);
    expect(second).not.toEqual(first);
    const resumed = await make();
    await resumed.parameters.load(saved);
    expect(await pass(resumed)).toEqual(second);
  });
});

describe('token values', () => {
  it('are 0 at first, one for each completion token, read in the state before it', async () => {
    expect([...(await read(createTokenValues(decoder).values(batch)))]).toEqual(new Array(7).fill(0));
    const head = rng(3).normal(18);
    const values = await read(createTokenValues(decoder, { head: { weight: head } }).values(batch));
    const states = await hidden();
    const before = [1, 2, 3, 4, 5, 8, 9];
    values.forEach((value, i) => void expect(value).toBeCloseTo(dot(states.subarray(18 * before[i], 18 * before[i] + 18), head), 4));
  });
});

describe('a step scorer', () => {
  it('reads each step at its last token as the difference of two labels', async () => {
    const rows = stepRows(batch, 9);
    expect([...rows]).toEqual([3, 5, 6, 10]);
    const scorer = createStepScorer(decoder, { rng: rng(1) });
    const logits = await read(scorer.logits(batch, rows));
    const states = await hidden();
    const [wrong, right] = [await headRow(scorer, 0), await headRow(scorer, 1)];
    rows.forEach((row, i) => {
      const state = states.subarray(18 * row, 18 * row + 18);
      expect(logits[i]).toBeCloseTo(dot(state, right) - dot(state, wrong), 4);
    });
    expect(scorer.parameters.names).toContain('score.bias');
  });
});

describe('a pair scorer', () => {
  it('turns its sign where the answers are swapped, and is 0 for equal ones', async () => {
    const scorer = createPairScorer(decoder, { rng: rng(1) });
    const [ab, ba] = [
      [1, 5, 6, 2, 7, 8],
      [1, 7, 8, 2, 5, 6],
    ];
    const [forth] = await read(scorer.logits(pack([ab, ba])));
    const [back] = await read(scorer.logits(pack([ba, ab])));
    expect(forth).not.toBe(0);
    expect(back).toBe(-forth);
    expect([...(await read(scorer.logits(pack([ab, ab]))))]).toEqual([0]);
    expect(() => scorer.logits(pack([ab]))).toThrow(/1 texts; each pair has two/);
  });
});

describe('every head', () => {
  it('on an adapted decoder trains the adapter and itself, and leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    const adapted = await addLora(decoder, { r: 2 }, { rng: rng(1) });
    const scorer = createStepScorer(adapted, { rng: rng(2), shareBackbone: true });
    expect(scorer.parameters.names).toEqual([...adapted.parameters.names, 'score.weight', 'score.bias']);
    const { loss, grads } = gradients(
      () => ({ loss: tf.mean(tf.softplus(scorer.logits(batch, stepRows(batch, 9)))) as tf.Scalar }),
      scorer.parameters.trainable(),
    );
    expect(grads.size).toBe(scorer.parameters.names.length);
    tf.dispose([loss, ...grads.values()]);
    scorer.dispose();
    adapted.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('refuses a head that does not fit', () => {
    expect(() => createTokenValues(decoder, { head: { weight: new Float32Array(5) } })).toThrow(/5 numbers; \[1, 18\] \(value\) needs 18/);
    expect(() => createStepScorer(decoder, {})).toThrow(/give rng for a new head, or the head/);
  });
});
