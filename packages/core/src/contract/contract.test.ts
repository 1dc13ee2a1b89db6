import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  adafactor,
  adagrad,
  adam,
  adamW,
  createParameters,
  ema,
  initBackend,
  lion,
  memoryRun,
  openRun,
  readCopy,
  rmsProp,
  rng,
  sgd,
} from '../index.node.js';
import { backendsHere } from '../testing/backends.js';
import type { Optimizer, Parameter, ParameterTree, Rng, Run, Saved } from '../types.js';
import { type ContractCase, checkpointableContract, optimizerContract, parameterTreeContract, rngContract, runContract } from './index.js';

const tree = () =>
  createParameters({
    'a.weight': { shape: [2, 3], data: rng(1).normal(6) },
    'a.bias': { shape: [2], data: rng(2).normal(2), trainable: false },
    scale: { shape: [], data: Float32Array.of(3) },
  });

const { present } = await backendsHere();
const keeps = (name: string, cases: ContractCase[]) =>
  describe.each(present)(`${name} on %s`, (backend) => {
    beforeAll(async () => void (await initBackend({ backend })));
    for (const { name: sentence, run } of cases) it(sentence, run);
  });

/** The sentences that an implementation breaks. */
async function broken(cases: ContractCase[]): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of cases) await run().catch(() => failed.push(name));
  return failed;
}

describe('checkpointableContract', () => {
  const optimizerWithTree = () => ({ optimizer: adamW(), parameters: tree() });
  const part = () => {
    const { optimizer, parameters } = optimizerWithTree();
    const change = () => {
      const grads = new Map<Parameter, tf.Tensor>(parameters.all().map((p) => [p, tf.ones([...p.shape])]));
      optimizer.apply(grads, { scale: 1, learningRate: 0.1 });
      tf.dispose([...grads.values()]);
    };
    return { save: optimizer.save, load: optimizer.load, change };
  };
  keeps(
    'adamW',
    checkpointableContract(part, ({ change }) => change()),
  );
  keeps(
    'ema',
    checkpointableContract(
      () => {
        const parameters = tree();
        const average = ema(parameters, { decay: 0.5 });
        const change = async () => {
          const { tensors, json } = await average.save();
          for (const { data } of Object.values(tensors)) for (let i = 0; i < data.length; i++) data[i] += 1;
          await parameters.load({ tensors, json }); // so that the average has somewhere to go, from wherever it is
          average.update();
        };
        return { save: average.save, load: average.load, change };
      },
      ({ change }) => change(),
    ),
  );

  it('fails for a part that hands out its own array, and for one that forgets', async () => {
    const live = () => {
      const data = Float32Array.of(1, 2);
      return {
        save: async (): Promise<Saved> => ({ tensors: { x: { shape: [2], data } }, json: null }),
        load: async ({ tensors }: Saved) => data.set(tensors.x.data),
        change: () => void data.set([data[0] * 2]),
      };
    };
    expect(await broken(checkpointableContract(live, ({ change }) => change()))).toEqual([
      'saves copies, and keeps none of the arrays that it loads',
      'refuses tensors whose data does not fill their shape, and then changes nothing',
    ]);
    const forgetful = () => ({ ...live(), load: async () => {} });
    expect(await broken(checkpointableContract(forgetful, ({ change }) => change()))).toContain(
      'brings its state back bit for bit, through JSON',
    );
  });
});

describe('parameterTreeContract', () => {
  keeps('createParameters', parameterTreeContract(tree));
  keeps(
    'snapshot',
    parameterTreeContract(() => {
      const parameters = tree();
      const snapshot = parameters.snapshot();
      parameters.dispose();
      return snapshot;
    }),
  );

  it('fails where a snapshot is the tree itself, a load checks nothing, or freezing forgets', async () => {
    const sharing = (): ParameterTree => {
      const real = tree();
      const view: ParameterTree = { ...real, snapshot: () => ({ ...real, dispose: () => {} }) };
      return view;
    };
    expect(await broken(parameterTreeContract(sharing))).toEqual(['makes snapshots that share nothing']);
    const trusting = (): ParameterTree => {
      const real = tree();
      const load = async (saved: Saved) => {
        const now = await real.save();
        await real.load({
          ...now,
          tensors: {
            ...now.tensors,
            ...Object.fromEntries(Object.entries(saved.tensors).filter(([name, t]) => now.tensors[name]?.data.length === t.data.length)),
          },
        });
      };
      return { ...real, load };
    };
    expect(await broken(parameterTreeContract(trusting))).toEqual([
      'refuses tensors whose data does not fill their shape, and then changes nothing',
      'refuses to load what lacks a tensor or has one too many, and names it',
    ]);
    expect(await broken(parameterTreeContract(() => ({ ...tree(), freeze: () => 1 })))).toEqual([
      'freezes what matches, and trains the rest',
    ]);
  });
});

describe('optimizerContract', () => {
  const all: Record<string, [() => Optimizer, number?]> = {
    adamW: [() => adamW()],
    'adamW with amsgrad': [() => adamW({ amsgrad: true })],
    adam: [() => adam()],
    sgd: [() => sgd()],
    'sgd with momentum': [() => sgd({ momentum: 0.9, nesterov: true })],
    lion: [() => lion(), 0.02],
    adafactor: [() => adafactor({ beta1: 0.9 })],
    rmsProp: [() => rmsProp({ momentum: 0.5 }), 0.02],
    adagrad: [() => adagrad(), 0.2],
  };
  for (const [name, [make, learningRate]] of Object.entries(all)) keeps(name, optimizerContract(make, { learningRate }));

  it('fails where the scale is ignored, the state is not saved, or a clone is written into', async () => {
    const unscaled = (): Optimizer => {
      const real = sgd();
      return { ...real, apply: (grads, { learningRate }) => real.apply(grads, { scale: 1, learningRate }) };
    };
    expect(await broken(optimizerContract(unscaled))).toEqual([
      'takes the gradient by its scale',
      'refuses gradients of another shape and rates that are no numbers, and then changes nothing',
    ]);
    const forgetful = (): Optimizer => ({ ...adamW(), load: async () => {} });
    expect(await broken(optimizerContract(forgetful))).toContain('goes on from its saved state bit for bit');
    const greedy = (): Optimizer => {
      const real = sgd();
      return {
        ...real,
        apply: (grads, o) => {
          real.apply(grads, o);
          tf.dispose([...grads.values()]);
        },
      };
    };
    expect(await broken(optimizerContract(greedy))).toContain('leaves alone what has no gradient, and the gradients themselves');
  });
});

describe('rngContract', () => {
  keeps('rng', rngContract(rng));

  it('fails for a fork that draws, and for an order that is not even', async () => {
    const drawing = (seed: number): Rng => {
      const real = rng(seed);
      const wrapped: Rng = { ...real, seed32: real.seed32, fork: (...path) => rng(real.below(2 ** 32)).fork(...path) };
      return wrapped;
    };
    expect(await broken(rngContract(drawing))).toEqual(['forks by seed and path alone, whatever was drawn before']);
    const uneven = (seed: number): Rng => {
      const real = rng(seed);
      const permutation = (n: number) => {
        // The classic mistake: each place exchanged with any place.
        const order = Int32Array.from({ length: n }, (_, i) => i);
        for (let i = 0; i < n; i++) {
          const j = real.below(n);
          [order[i], order[j]] = [order[j], order[i]];
        }
        return order;
      };
      return { ...real, seed32: real.seed32, permutation };
    };
    expect(await broken(rngContract(uneven))).toEqual(['draws whole numbers, orders and categories evenly']);
  });
});

describe('runContract', () => {
  keeps(
    'memoryRun',
    runContract(async (seed) => {
      const run = memoryRun({ seed });
      return { run, reopen: async () => run, close: async () => {} };
    }),
  );
  const onDisk = async (seed: number) => {
    const dir = mkdtempSync(join(tmpdir(), 'plumbline-contract-'));
    let run = await openRun({ dir, config: {}, seed });
    const reopen = async (): Promise<Run> => {
      await run.close();
      run = await openRun({ dir, config: {}, seed });
      return run;
    };
    const close = async () => {
      await run.close();
      rmSync(dir, { recursive: true });
    };
    return { run, reopen, close };
  };
  keeps('openRun', runContract(onDisk));

  it('fails for a run that keeps the first checkpoint, or loads part by part', async () => {
    const first = async (seed: number) => {
      const run = memoryRun({ seed });
      let saved = false;
      const wrapped: Run = {
        ...run,
        save: async (step, parts) => {
          if (!saved) await run.save(step, parts);
          saved = true;
        },
      };
      return { run: wrapped, reopen: async () => wrapped, close: async () => {} };
    };
    expect(await broken(runContract(first))).toEqual(['goes on from the newest checkpoint, with its parts as they were saved']);
    const piecemeal = async (seed: number) => {
      const run = memoryRun({ seed });
      const restore: Run['restore'] = async (parts) => {
        const [step, saved] = [...run.checkpoints].at(-1) ?? [0, {}];
        for (const [name, part] of Object.entries(parts)) if (saved[name]) await part.load(saved[name]);
        return step;
      };
      const wrapped: Run = { ...run, restore };
      return { run: wrapped, reopen: async () => wrapped, close: async () => {} };
    };
    expect(await broken(runContract(piecemeal))).toEqual(['loads all parts or none, and names the one that does not fit']);
  });
});

it('reads what it wrote here through the public door', async () => {
  expect([...(await readCopy(tree().get('scale').value))]).toEqual([3]);
});
