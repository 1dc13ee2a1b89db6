import * as tf from '@tensorflow/tfjs-core';
import { readCopy } from '../scope.js';
import type { ParameterTree } from '../types.js';
import { bitDifference, type ContractCase, copyOf, ensure, ensureThrows, savedDifference } from './case.js';
import { checkpointableContract } from './checkpointable.js';

/**
 * What every `ParameterTree` keeps, what every `Checkpointable` keeps included.
 *
 * @param make builds the tree, the same each time, with at least one trainable parameter
 */
export function parameterTreeContract(make: () => ParameterTree | Promise<ParameterTree>): ContractCase[] {
  /** Adds 1 to every number that is saved. */
  const change = async (tree: ParameterTree) => {
    const saved = copyOf(await tree.save());
    for (const { data } of Object.values(saved.tensors)) for (let i = 0; i < data.length; i++) data[i] += 1;
    await tree.load(saved);
  };
  const withTree = (f: (tree: ParameterTree) => Promise<void>) => async () => {
    const tree = await make();
    try {
      await f(tree);
    } finally {
      tree.dispose();
    }
  };
  return [
    ...checkpointableContract(make, change),
    {
      name: 'finds each parameter by its name, with a tensor of its shape',
      run: withTree(async (tree) => {
        ensure(new Set(tree.names).size === tree.names.length, 'a name is there twice');
        for (const name of tree.names) {
          const parameter = tree.get(name);
          if (!('value' in parameter)) continue;
          ensure(parameter.name === name, `get("${name}") is called "${parameter.name}"`);
          ensure(
            parameter.value.shape.join() === parameter.shape.join(),
            `"${name}" is [${parameter.shape}], its tensor [${parameter.value.shape}]`,
          );
          ensure(tree.get(name) === parameter, `get("${name}") is another object each time`);
        }
      }),
    },
    {
      name: 'names what it was asked for where there is no such parameter',
      run: withTree(async (tree) => {
        const message = await ensureThrows(() => tree.get('no.such.parameter'), 'an unknown name');
        ensure(message.includes('no.such.parameter'), `the message "${message}" does not name the parameter`);
      }),
    },
    {
      name: 'freezes what matches, and trains the rest',
      run: withTree(async (tree) => {
        const [first, ...rest] = tree.trainable().map(({ name }) => name);
        ensure(first !== undefined, 'nothing is trainable');
        const only = new RegExp(`^${first.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, 'g');
        for (const time of ['first', 'second'])
          ensure(tree.freeze(only) === 1, `freezing "${first}" alone for the ${time} time does not answer 1`);
        ensure(
          tree
            .trainable()
            .map(({ name }) => name)
            .join() === rest.join(),
          'the trainable parameters are not all but the frozen one',
        );
      }),
    },
    {
      name: 'makes snapshots that share nothing',
      run: withTree(async (tree) => {
        const snapshot = tree.snapshot();
        try {
          const before = copyOf(await tree.save());
          const difference = savedDifference(before, await snapshot.save());
          ensure(difference === undefined, `the snapshot differs: ${difference}`);
          await change(tree);
          const after = savedDifference(before, await snapshot.save());
          ensure(after === undefined, `the snapshot changes with its origin: ${after}`);
        } finally {
          snapshot.dispose();
        }
        await tree.save(); // still there
      }),
    },
    {
      name: 'refuses to load what lacks a tensor or has one too many, and names it',
      run: withTree(async (tree) => {
        const saved = copyOf(await tree.save());
        const [name] = Object.keys(saved.tensors);
        const { [name]: _, ...others } = saved.tensors;
        const lacking = await ensureThrows(() => tree.load({ ...saved, tensors: others }), `a state without "${name}"`);
        ensure(lacking.includes(name), `the message "${lacking}" does not name "${name}"`);
        const extra = { shape: [1], data: new Float32Array(1) };
        const surplus = await ensureThrows(
          () => tree.load({ ...saved, tensors: { ...saved.tensors, 'one.too.many': extra } }),
          'a state with a tensor more',
        );
        ensure(surplus.includes('one.too.many'), `the message "${surplus}" does not name "one.too.many"`);
      }),
    },
    {
      name: 'does not change under a reader that was there before a load',
      run: withTree(async (tree) => {
        const parameter = tree.trainable()[0];
        const held = tf.clone(parameter.value);
        const before = await readCopy(held);
        await change(tree);
        ensure(bitDifference(before, await readCopy(held)) < 0, `a clone of "${parameter.name}" changes when the tree is loaded`);
        ensure(bitDifference(before, await readCopy(parameter.value)) >= 0, `"${parameter.name}" does not change when the tree is loaded`);
        held.dispose();
      }),
    },
    {
      name: 'leaves no tensor behind once it is disposed',
      run: async () => {
        const before = tf.memory().numTensors;
        const tree = await make();
        await change(tree);
        tree.dispose();
        ensure(tf.memory().numTensors === before, `${tf.memory().numTensors - before} tensors are left`);
      },
    },
  ];
}
