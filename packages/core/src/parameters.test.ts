import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { describe, expect, it } from 'vitest';
import { ema } from './ema.js';
import { createParameters, exclusiveTensor, parameterCount, replaceValue, unshare } from './parameters.js';
import { readCopy } from './scope.js';
import type { Saved } from './types.js';

const tree = () =>
  createParameters({
    'embed.weight': { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
    'layers.0.bias': { shape: [2], data: Float32Array.of(7, 8), trainable: false },
    scale: { shape: [], data: Float32Array.of(9) },
  });

describe('createParameters', () => {
  it('copies the caller’s array', async () => {
    const data = Float32Array.of(1, 2);
    const parameters = createParameters({ w: { shape: [2], data } });
    data.fill(0);
    expect([...(await readCopy(parameters.get('w').value))]).toEqual([1, 2]);
  });

  it('keeps names in order, shapes, and what is trainable', () => {
    const parameters = tree();
    expect(parameters.names).toEqual(['embed.weight', 'layers.0.bias', 'scale']);
    expect(parameters.get('scale').shape).toEqual([]);
    expect(parameters.trainable().map(({ name }) => name)).toEqual(['embed.weight', 'scale']);
    expect(parameterCount(parameters)).toEqual({ total: 9, trainable: 7 });
  });

  it('survives a tidy around it, and leaves nothing once disposed', () => {
    const before = tf.memory().numTensors;
    let parameters: ReturnType<typeof tree> | undefined;
    tf.tidy(() => {
      parameters = tree();
    });
    expect(tf.memory().numTensors).toBe(before + 3);
    parameters!.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('names the array that does not fit its shape, and the names nearest to a wrong one', () => {
    expect(() => createParameters({ w: { shape: [2, 2], data: new Float32Array(3) } })).toThrow(
      '"w" has 3 numbers; its shape [2,2] needs 4',
    );
    expect(() => createParameters({ w: { shape: [-1], data: new Float32Array(1) } })).toThrow('the shape of "w" is [-1]');
    expect(() => tree().get('layers.0.weight')).toThrow('no parameter "layers.0.weight"; nearest: "layers.0.bias"');
  });
});

describe('freeze', () => {
  it('freezes by pattern, says how many, and is not fooled by a global pattern', () => {
    const parameters = tree();
    const pattern = /e/g;
    expect(parameters.freeze(pattern)).toBe(3);
    expect(parameters.freeze(pattern)).toBe(3);
    expect(parameters.trainable()).toEqual([]);
    expect(parameters.freeze(/^decoder/)).toBe(0);
  });
});

describe('snapshot', () => {
  it('shares nothing with its origin', async () => {
    const parameters = tree();
    const copy = parameters.snapshot();
    replaceValue(parameters.get('scale'), tf.scalar(0));
    expect((await readCopy(copy.get('scale').value))[0]).toBe(9);
    parameters.dispose();
    expect((await copy.save()).tensors['embed.weight'].data).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
  });
});

describe('save and load', () => {
  it('bring back the same bits, NaN, infinities and -0 among them', async () => {
    const data = Float32Array.of(1 / 3, -0, Number.NaN, Infinity, -Infinity, 1e-45);
    const from = createParameters({ w: { shape: [6], data } });
    const saved = await from.save();
    const to = createParameters({ w: { shape: [6], data: new Float32Array(6) } });
    await to.load(saved);
    saved.tensors.w.data.fill(0); // what was loaded is a copy
    const bits = (x: Float32Array) => [...new Uint32Array(x.buffer, x.byteOffset, x.length)];
    expect(bits((await to.save()).tensors.w.data as Float32Array)).toEqual(bits(data));
  });

  it('list all that is missing, unknown or of another shape, and then change nothing', async () => {
    const parameters = tree();
    const wrong: Saved = {
      tensors: {
        'embed.weight': { shape: [3, 2], data: new Float32Array(6) },
        'layers.0.bias': { shape: [2], data: new Int32Array(2) },
        extra: { shape: [], data: new Float32Array(1) },
      },
      json: null,
    };
    await expect(parameters.load(wrong)).rejects.toThrow(
      'saved parameters do not fit: missing "scale"; unknown "extra"; "embed.weight" is [3,2] where [2,3] belongs, "layers.0.bias" is Int32Array where Float32Array belongs',
    );
    expect((await parameters.save()).tensors).toEqual((await tree().save()).tensors);
  });
});

describe('replaceValue and unshare', () => {
  it('leave clones with the old numbers, and refuse another shape', async () => {
    const parameters = tree();
    const clone = tf.clone(parameters.get('scale').value);
    expect(() => replaceValue(parameters.get('scale'), tf.zeros([1]))).toThrow(
      'parameter "scale" is float32 []; its new value is float32 [1]',
    );
    unshare(parameters.get('scale'));
    expect(parameters.get('scale').value.dataId).not.toBe(clone.dataId);
    expect(exclusiveTensor(parameters.get('scale').value)).toBe(parameters.get('scale').value);
    replaceValue(parameters.get('scale'), tf.scalar(1));
    expect((await readCopy(clone))[0]).toBe(9);
  });
});

describe('ema', () => {
  it('averages with the weights (1 - d) d^k', async () => {
    const parameters = createParameters({ w: { shape: [1], data: Float32Array.of(8) } });
    const average = ema(parameters, { decay: 0.5 });
    for (const value of [4, 2]) {
      replaceValue(parameters.get('w'), tf.tensor([value]));
      average.update();
    }
    expect((await average.save()).tensors.w.data).toEqual(Float32Array.of(0.25 * 8 + 0.25 * 4 + 0.5 * 2));
    expect((await readCopy(parameters.get('w').value))[0]).toBe(2);
    expect(() => ema(parameters, { decay: 1.5 })).toThrow('decay must be in [0, 1], got 1.5');
  });
});
