import * as tf from '@tensorflow/tfjs-core';
import { createParameters, type TensorTree } from '../parameters.js';
import { rng } from '../rng.js';
import { readCopy } from '../scope.js';
import type { Optimizer, Parameter } from '../types.js';
import { type ContractCase, copyOf, ensure, ensureThrows, savedDifference } from './case.js';

/**
 * What every `Optimizer` keeps. `make` builds it anew, without weight decay.
 *
 * @param learningRate one at which a hundred steps lower x²/2 from a start near 1
 */
export function optimizerContract(make: () => Optimizer, { learningRate = 0.05 }: { learningRate?: number } = {}): ContractCase[] {
  const start = () =>
    createParameters({ matrix: { shape: [3, 2], data: rng(1).normal(6) }, vector: { shape: [5], data: rng(2).normal(5) } });
  /** The gradients of x²/2: x itself, in tensors of their own. */
  const gradients = (tree: TensorTree, factor = 1) =>
    new Map<Parameter, tf.Tensor>(tree.all().map((parameter) => [parameter, tf.mul(parameter.value, factor)]));
  const stepped = (
    optimizer: Optimizer,
    tree: TensorTree,
    steps: number,
    o: { scale: number; learningRate: number } = { scale: 1, learningRate },
  ) => {
    for (let i = 0; i < steps; i++) {
      const grads = gradients(tree);
      optimizer.apply(grads, o);
      tf.dispose([...grads.values()]);
    }
  };
  /** The sum of x²/2 over all parameters. */
  const half = async (tree: TensorTree) => {
    let sum = 0;
    for (const { data } of Object.values((await tree.save()).tensors)) for (const x of data) sum += (x * x) / 2;
    return sum;
  };
  const run = (f: (optimizer: Optimizer, tree: TensorTree) => Promise<void>) => async () => {
    const [optimizer, tree] = [make(), start()];
    try {
      await f(optimizer, tree);
    } finally {
      optimizer.dispose();
      tree.dispose();
    }
  };
  return [
    {
      name: 'descends',
      run: run(async (optimizer, tree) => {
        const before = await half(tree);
        stepped(optimizer, tree, 100);
        const after = await half(tree);
        ensure(after < before / 2, `100 steps on x²/2 lead from ${before} to ${after}`);
      }),
    },
    {
      name: 'takes the gradient by its scale',
      run: run(async (optimizer, tree) => {
        stepped(optimizer, tree, 3, { scale: 0.25, learningRate });
        const [other, same] = [make(), start()];
        for (let i = 0; i < 3; i++) {
          const grads = gradients(same, 0.25);
          other.apply(grads, { scale: 1, learningRate });
          tf.dispose([...grads.values()]);
        }
        const difference = savedDifference(await tree.save(), await same.save());
        other.dispose();
        same.dispose();
        ensure(difference === undefined, `a scale of 1/4 is not a quarter of the gradient: ${difference}`);
      }),
    },
    {
      name: 'moves nothing at a learning rate of 0',
      run: run(async (optimizer, tree) => {
        const before = copyOf(await tree.save());
        stepped(optimizer, tree, 2, { scale: 1, learningRate: 0 });
        const difference = savedDifference(before, await tree.save());
        ensure(difference === undefined, `parameters move: ${difference}`);
      }),
    },
    {
      name: 'leaves alone what has no gradient, and the gradients themselves',
      run: run(async (optimizer, tree) => {
        const before = copyOf(await tree.save());
        const grad = tf.ones([5]);
        optimizer.apply(new Map([[tree.get('vector'), grad]]), { scale: 0.5, learningRate });
        ensure(!grad.isDisposed, 'the gradient is disposed; it is the caller’s');
        const gradNow = await readCopy(grad);
        ensure(
          gradNow.every((x) => x === 1),
          'the gradient is changed; it is the caller’s',
        );
        grad.dispose();
        const after = await tree.save();
        ensure(
          savedDifference(
            { ...before, tensors: { matrix: before.tensors.matrix } },
            { ...after, tensors: { matrix: after.tensors.matrix } },
          ) === undefined,
          'a parameter without a gradient moves',
        );
        ensure(savedDifference(before, after) !== undefined, 'a parameter with a gradient does not move');
      }),
    },
    {
      name: 'goes on from its saved state bit for bit',
      run: run(async (optimizer, tree) => {
        stepped(optimizer, tree, 4);
        const [resumed, other] = [make(), start()];
        await resumed.load(copyOf(await optimizer.save()));
        await other.load(copyOf(await tree.save()));
        stepped(optimizer, tree, 4);
        stepped(resumed, other, 4);
        const difference =
          savedDifference(await tree.save(), await other.save()) ?? savedDifference(await optimizer.save(), await resumed.save());
        resumed.dispose();
        other.dispose();
        ensure(difference === undefined, `4 + 4 steps are not 8: ${difference}`);
      }),
    },
    {
      name: 'saves copies, and keeps none of the arrays that it loads',
      run: run(async (optimizer, tree) => {
        stepped(optimizer, tree, 2);
        const saved = await optimizer.save();
        const before = copyOf(saved);
        for (const { data } of Object.values(saved.tensors)) data.fill(1);
        ensure(savedDifference(before, await optimizer.save()) === undefined, 'writing into what was saved changes the optimizer');
        const loaded = copyOf(before);
        await optimizer.load(loaded);
        for (const { data } of Object.values(loaded.tensors)) data.fill(1);
        ensure(savedDifference(before, await optimizer.save()) === undefined, 'writing into what was loaded changes the optimizer');
      }),
    },
    {
      name: 'changes no clone of a parameter',
      run: run(async (optimizer, tree) => {
        const held = tf.clone(tree.get('vector').value);
        const before = await readCopy(held);
        stepped(optimizer, tree, 1);
        const after = await readCopy(held);
        ensure(
          before.every((x, i) => x === after[i]),
          'a clone of a parameter changes with the step',
        );
        held.dispose();
      }),
    },
    {
      name: 'refuses gradients of another shape and rates that are no numbers, and then changes nothing',
      run: run(async (optimizer, tree) => {
        const before = copyOf(await tree.save());
        const wrong = tf.ones([4]);
        const right = tf.ones([3, 2]);
        const message = await ensureThrows(
          () =>
            optimizer.apply(
              new Map([
                [tree.get('matrix'), right],
                [tree.get('vector'), wrong],
              ]),
              { scale: 1, learningRate },
            ),
          'a gradient of another shape',
        );
        ensure(message.includes('vector'), `the message "${message}" does not name the parameter`);
        await ensureThrows(
          () => optimizer.apply(new Map([[tree.get('matrix'), right]]), { scale: 1, learningRate: Number.NaN }),
          'a learning rate of NaN',
        );
        await ensureThrows(
          () => optimizer.apply(new Map([[tree.get('matrix'), right]]), { scale: Number.NaN, learningRate }),
          'a scale of NaN',
        );
        tf.dispose([wrong, right]);
        ensure(savedDifference(before, await tree.save()) === undefined, 'parameters move by an update that is refused');
      }),
    },
    {
      name: 'leaves no tensor behind once it is disposed',
      run: async () => {
        const before = tf.memory().numTensors;
        await run(async (optimizer, tree) => stepped(optimizer, tree, 2))();
        ensure(tf.memory().numTensors === before, `${tf.memory().numTensors - before} tensors are left`);
      },
    },
  ];
}
