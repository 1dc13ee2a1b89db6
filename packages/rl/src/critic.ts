import { createParameters, gatherRows, linear, type Parameter, type ParameterTree } from '@plumbline/core';
import type { PackedBatch } from '@plumbline/data';
import { joinTrees, type LocalDecoder, predictingRows } from '@plumbline/models';
import * as tf from '@tensorflow/tfjs-core';

/** A value model: what is still to come, at every token of a completion. */
export interface Critic {
  readonly parameters: ParameterTree;
  /** The value of the state in which each completion token was chosen, that is before it, [completion tokens], in points. */
  values(batch: PackedBatch): tf.Tensor1D;
  dispose(): void;
}

/**
 * A copy of a decoder's backbone with a linear head that gives one value a token; nothing is shared with `decoder`. The head (`value.weight`,
 * [1, width]) starts at 0, so that the first advantages are those of the rewards alone. Begin from the policy, or from a reward model's backbone.
 */
export function createCritic(decoder: LocalDecoder): Critic {
  const backbone = decoder.snapshot();
  const head = createParameters({ 'value.weight': { shape: [1, decoder.width], data: new Float32Array(decoder.width) } });
  const weight = head.get('value.weight') as Parameter;
  return {
    parameters: joinTrees([backbone.parameters, head], (name) => name !== 'lm_head.weight'),
    values: (batch) =>
      tf.tidy(() => {
        const states = gatherRows({ x: backbone.hidden(batch) }, { rows: predictingRows(batch).rows }).y;
        return tf.reshape(linear({ x: states, weight: weight.value as tf.Tensor2D }, {}).y, [-1]) as tf.Tensor1D;
      }),
    dispose: () => {
      backbone.dispose();
      head.dispose();
    },
  };
}
