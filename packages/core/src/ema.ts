import * as tf from '@tensorflow/tfjs-core';
import { replaceValue, type TensorTree } from './parameters.js';
import type { Checkpointable, ParameterTree } from './types.js';

export type Ema = Checkpointable & {
  /** The averages, under the names of the parameters. */
  readonly parameters: ParameterTree;
  /** `average ← decay·average + (1 − decay)·parameter`. */
  update(): void;
  dispose(): void;
};

/** Exponential moving average of a tree's parameters, which starts at their present values. The caller disposes it; `tree` stays the caller's. */
export function ema(tree: TensorTree, { decay = 0.999 } = {}): Ema {
  if (!(decay >= 0 && decay <= 1)) throw new RangeError(`ema: decay must be in [0, 1], got ${decay}`);
  const averages = tree.snapshot();
  return {
    parameters: averages,
    update: () => {
      for (const average of averages.all()) {
        const now = tree.get(average.name).value;
        replaceValue(
          average,
          tf.tidy(() => tf.add(tf.mul(average.value, decay), tf.mul(now, 1 - decay))),
        );
      }
    },
    save: averages.save,
    load: averages.load,
    dispose: averages.dispose,
  };
}
