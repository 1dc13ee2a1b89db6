import type * as tf from '@tensorflow/tfjs-core';
import { getGradient, registerGradient } from '@tensorflow/tfjs-core';

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

const byShape = new Map<string, object>();

/** Whether the gradient of this kernel reads only shapes: ours, and not one that was registered over it (the package `@tensorflow/tfjs` does so). */
export function shapesSuffice(kernelName: string): boolean {
  const ours = byShape.get(kernelName);
  return ours !== undefined && getGradient(kernelName)?.gradFunc === ours;
}

/** Registers a gradient with tfjs, on the engine that the whole process shares. */
export function gradient<A = object>(
  kernelName: string,
  { saves = [], savesAll, savesOutput, shapesOnly }: Rule,
  rule: (dy: tf.Tensor, saved: tf.Tensor[], attrs: A) => Thunks,
): void {
  const gradFunc = (dy: tf.Tensor | tf.Tensor[], saved: tf.Tensor[], attrs: object) => rule(dy as tf.Tensor, saved, attrs as A);
  if (shapesOnly) byShape.set(kernelName, gradFunc);
  registerGradient({
    kernelName,
    ...(savesAll ? { saveAllInputs: true } : { inputsToSave: saves }),
    ...(savesOutput && { outputsToSave: [true] }),
    gradFunc: gradFunc as tf.GradFunc,
  });
}
