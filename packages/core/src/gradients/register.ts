import type * as tf from '@tensorflow/tfjs-core';
import { registerGradient } from '@tensorflow/tfjs-core';

type Thunks = Record<string, () => tf.Tensor>;
type Rule = {
  /** Inputs that the gradient reads, in order; before `y`. */
  saves?: string[];
  /** For kernels whose inputs are an array. */
  savesAll?: true;
  /** Whether it reads the first output, which comes last in `saved`. */
  savesOutput?: true;
  /** It reads the shapes of what it saves and no values: our walk frees these at once. */
  shapesOnly?: true;
};

const byShape = new Set<string>();
export const shapesSuffice = (kernelName: string): boolean => byShape.has(kernelName);

/** Registers a gradient with tfjs, on the engine that the whole process shares. */
export function gradient<A = object>(
  kernelName: string,
  { saves = [], savesAll, savesOutput, shapesOnly }: Rule,
  rule: (dy: tf.Tensor, saved: tf.Tensor[], attrs: A) => Thunks,
): void {
  if (shapesOnly) byShape.add(kernelName);
  registerGradient({
    kernelName,
    ...(savesAll ? { saveAllInputs: true } : { inputsToSave: saves }),
    ...(savesOutput && { outputsToSave: [true] }),
    gradFunc: (dy, saved, attrs) => rule(dy as tf.Tensor, saved, attrs as A),
  });
}
