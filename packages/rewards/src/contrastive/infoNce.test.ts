import { createParameters, gradients, type Parameter, readCopy, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { infoNce } from './infoNce.js';

const matrix = (rows: number[][]) => tf.tensor2d(rows);
const eye = (n: number) => Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => Number(i === j)));
const transposed = (rows: number[][]) => rows[0].map((_, j) => rows.map((row) => row[j]));
/** The losses of pairs whose similarities are these. */
async function losses(S: number[][], options?: Parameters<typeof infoNce>[1], negatives?: number[][]) {
  const out = tf.tidy(() =>
    infoNce(
      { left: matrix(eye(S.length)), right: matrix(transposed(S)), ...(negatives && { negatives: matrix(transposed(negatives)) }) },
      options,
    ),
  );
  const values = [...(await readCopy(out))];
  out.dispose();
  return values;
}
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const S = [
  [0.8, 0.2, 0.1],
  [0.3, 0.7, 0.2],
  [0, 0.1, 0.9],
];
const lse = (values: number[]) => Math.log(values.reduce((sum, x) => sum + Math.exp(x / 0.07), 0));

describe('infoNce', () => {
  it('has the value done by hand at temperature 0.07', async () => {
    expect(mean(await losses(S))).toBeCloseTo(0.001028, 6);
    const rows = mean(S.map((row, i) => lse(row) - row[i] / 0.07));
    const columns = mean(transposed(S).map((column, i) => lse(column) - column[i] / 0.07));
    expect(rows).toBeCloseTo(0.001443, 6);
    expect(columns).toBeCloseTo(0.000612, 6);
  });
  it('is ln(pairs) where all are alike, and nothing where only the pairs are', async () => {
    expect(mean(await losses([[1, 1, 1], [1, 1, 1], [1, 1, 1]]))).toBeCloseTo(1.098612, 5); // biome-ignore format: a matrix
    expect(mean(await losses(eye(3), { temperature: 0.001 }))).toBeCloseTo(0, 6);
  });
  it('adds negatives to the rows alone', async () => {
    const N = [[0.75], [0.1], [0.2]];
    const expected = S.map((row, i) => {
      const column = S.map((other) => other[i]);
      return (lse([...row, ...N[i]]) + lse(column)) / 2 - row[i] / 0.07;
    });
    (await losses(S, {}, N)).forEach((value, i) => void expect(value).toBeCloseTo(expected[i], 5));
  });
  it('leaves pairs that mean the same out of the denominators', async () => {
    const twice = [[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.2, 0.2, 0.8]]; // biome-ignore format: a matrix
    const alike = [1, 1, 0, 1, 1, 0, 0, 0, 1];
    const [first, second] = await losses(twice, { alike });
    const once = await losses([[0.9, 0.1], [0.2, 0.8]]); // biome-ignore format: a matrix
    expect(first).toBeCloseTo(once[0], 6);
    expect(second).toBeCloseTo(once[0], 6);
  });
  it('has the gradients of central differences', async () => {
    const data = { left: rng(0).normal(6), right: rng(1).normal(6), negatives: rng(2).normal(4) };
    const f = (x: Record<string, tf.Tensor>) =>
      tf.sum(
        infoNce(x as { left: tf.Tensor2D; right: tf.Tensor2D; negatives: tf.Tensor2D }, {
          temperature: 0.5,
          alike: [1, 0, 1, 0, 1, 0, 1, 0, 1],
        }),
      ) as tf.Scalar;
    const shape = (name: string): [number, number] => [name === 'negatives' ? 2 : 3, 2];
    const tree = createParameters(
      Object.fromEntries(Object.entries(data).map(([name, values]) => [name, { shape: shape(name), data: values }])),
    );
    const parameters = Object.keys(data).map((name) => tree.get(name) as Parameter);
    const { loss, grads } = gradients(() => ({ loss: f(Object.fromEntries(parameters.map((p) => [p.name, p.value]))) }), parameters);
    const at = async (changed: typeof data) => {
      const out = tf.tidy(() =>
        f(Object.fromEntries(Object.entries(changed).map(([name, values]) => [name, tf.tensor2d(values, shape(name))]))),
      );
      const [value] = await readCopy(out);
      out.dispose();
      return value;
    };
    for (const parameter of parameters) {
      const own = await readCopy(grads.get(parameter)!);
      const name = parameter.name as keyof typeof data;
      for (let i = 0; i < own.length; i++) {
        const moved = (by: number) => at({ ...data, [name]: data[name].map((x, j) => (j === i ? x + by : x)) });
        expect(own[i]).toBeCloseTo(((await moved(1e-2)) - (await moved(-1e-2))) / 2e-2, 2);
      }
    }
    tree.dispose();
    tf.dispose([loss, ...grads.values()]);
  });
  it('names what does not fit', () => {
    const left = matrix(eye(2));
    expect(() => infoNce({ left, right: left }, { temperature: 0 })).toThrow('temperature must be > 0, got 0');
    expect(() => infoNce({ left, right: matrix([[1, 0]]) })).toThrow('left is [2,2], right [1,2]');
    expect(() => infoNce({ left, right: left }, { alike: [1] })).toThrow('alike has 1 entries; 2 pairs have 4');
    tf.disposeVariables();
    left.dispose();
  });
});
