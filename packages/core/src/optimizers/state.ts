/** What the optimizers share: named state tensors of each parameter, their count of steps, and how both are saved and restored. */
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError, ShapeError } from '../errors.js';
import { ownedTensor, replaceValue } from '../parameters.js';
import { readCopy } from '../scope.js';
import type { Checkpointable, Json, Optimizer, Parameter, Saved, SavedTensor } from '../types.js';
import { updateInPlace } from '../updateInPlace.js';

/** The state of one parameter: how often it was stepped, and tensors such as its moments, which the optimizer owns. */
export type Slots = { steps: number; tensors: Record<string, tf.Tensor> };

export type OptimizerState = Checkpointable & {
  /** The slots of a parameter; zeros of the given shapes where it has none yet. */
  of(parameter: Parameter, shapes: Record<string, readonly number[]>): Slots;
  dispose(): void;
};

/** State keyed by parameter name, saved as `<parameter>/<slot>`. `kind` keeps the state of one optimizer from being loaded into another. */
export function optimizerState(kind: string): OptimizerState {
  const state = new Map<string, Slots>();
  const owners = new Map<string, Parameter>();
  const clear = () => {
    for (const { tensors } of state.values()) for (const tensor of Object.values(tensors)) tensor.dispose();
    state.clear();
    owners.clear();
  };
  return {
    of: (parameter, shapes) => {
      const { name } = parameter;
      const owner = owners.get(name);
      if (owner && owner !== parameter) throw new RangeError(`${kind}: two parameters are named "${name}"; one optimizer steps one tree`);
      owners.set(name, parameter);
      let slots = state.get(name);
      if (!slots) {
        const zeros = Object.entries(shapes).map(([slot, shape]) => [slot, ownedTensor(new Float32Array(sizeOf(shape)), shape)]);
        slots = { steps: 0, tensors: Object.fromEntries(zeros) };
        state.set(name, slots);
      }
      for (const [slot, shape] of Object.entries(shapes)) {
        const found = slots.tensors[slot];
        if (found?.shape.join() !== shape.join())
          throw new CheckpointError(
            `${kind}: the state "${name}/${slot}" is ${found ? `[${found.shape}]` : 'missing'} where [${shape}] belongs`,
          );
      }
      return slots;
    },
    save: async () => {
      const entries = [...state].flatMap(([name, { tensors }]) =>
        Object.entries(tensors).map(([slot, tensor]) => ({ key: `${name}/${slot}`, tensor })),
      );
      const steps = Object.fromEntries([...state].map(([name, slots]) => [name, slots.steps]));
      const copies = await Promise.all(entries.map(({ tensor }) => readCopy(tensor)));
      return {
        tensors: Object.fromEntries(entries.map(({ key, tensor }, i) => [key, { shape: [...tensor.shape], data: copies[i] }])),
        json: { kind, version: 1, steps },
      };
    },
    load: async (saved) => {
      const loaded = checkState(kind, saved);
      clear();
      for (const [name, { steps, slots }] of loaded) {
        const tensors = slots.map(([slot, { shape, data }]) => [slot, ownedTensor(data.slice() as Float32Array, shape)]);
        state.set(name, { steps, tensors: Object.fromEntries(tensors) });
      }
    },
    dispose: clear,
  };
}

/** What a rule sees of one parameter. `grad` is scaled already; `step` counts from 1. */
export type RuleInput = {
  value: tf.Tensor;
  grad: tf.Tensor;
  slots: Record<string, tf.Tensor>;
  step: number;
  learningRate: number;
  decay: number;
};
export type RuleOutput = { value: tf.Tensor; slots: Record<string, tf.Tensor> };

/** Weight decay, and to which parameters it applies: by default all. */
export type Decay = { weightDecay?: number; decays?: (name: string) => boolean };

/** An optimizer that updates each parameter from its own gradient by a rule in plain ops; the rule's tensors replace value and slots. */
export function perParameter(
  kind: string,
  { weightDecay = 0, decays = () => true }: Decay,
  shapes: (shape: readonly number[]) => Record<string, readonly number[]>,
  rule: (input: RuleInput) => RuleOutput,
): Optimizer {
  checkRange(kind, { weightDecay }, 0, Infinity);
  const state = optimizerState(kind);
  return {
    apply: (grads, { scale, learningRate }) => {
      checkApply(kind, grads, scale, learningRate);
      for (const [parameter, grad] of grads) {
        const slots = state.of(parameter, shapes(parameter.shape));
        const decay = decays(parameter.name) ? weightDecay : 0;
        step(parameter, grad, slots, scale, (scaled) =>
          rule({ value: parameter.value, grad: scaled, slots: slots.tensors, step: slots.steps + 1, learningRate, decay }),
        );
      }
    },
    save: state.save,
    load: state.load,
    dispose: state.dispose,
  };
}

/**
 * One parameter's update by a rule. Value and slots keep their tensors and change what those hold, as `updateInPlace` says, so that a step
 * takes no more than one parameter's temporary results; where something else shares the data they are replaced. The count goes up.
 */
export function step(parameter: Parameter, grad: tf.Tensor, slots: Slots, scale: number, rule: (grad: tf.Tensor) => RuleOutput): void {
  const next = tf.tidy(() => {
    const { value, slots: tensors } = rule(scale === 1 ? grad : tf.mul(grad, scale));
    return { value: tf.keep(value), slots: Object.fromEntries(Object.entries(tensors).map(([slot, tensor]) => [slot, tf.keep(tensor)])) };
  });
  replaceValue(parameter, next.value);
  for (const [slot, now] of Object.entries(next.slots)) {
    if (updateInPlace(slots.tensors[slot], now)) continue;
    slots.tensors[slot].dispose();
    slots.tensors[slot] = now;
  }
  slots.steps++;
}

/** Checks an update before anything changes. */
export function checkApply(kind: string, grads: ReadonlyMap<Parameter, tf.Tensor>, scale: number, learningRate: number): void {
  if (!(scale >= 0 && scale < Infinity)) throw new RangeError(`${kind}: scale must be finite and at least 0, got ${scale}`);
  if (!(learningRate >= 0 && learningRate < Infinity))
    throw new RangeError(`${kind}: learningRate must be finite and at least 0, got ${learningRate}`);
  for (const [{ name, shape }, grad] of grads)
    if (grad.shape.join() !== shape.join())
      throw new ShapeError(`${kind}: the gradient of "${name}" is [${grad.shape}], the parameter [${shape}]`);
}

/** @throws RangeError naming the setting that is not in [low, below) */
export function checkRange(kind: string, settings: Record<string, number>, low: number, below: number): void {
  for (const [name, value] of Object.entries(settings))
    if (!(value >= low && value < below)) throw new RangeError(`${kind}: ${name} must be in [${low}, ${below}), got ${value}`);
}

type LoadedSlots = Map<string, { steps: number; slots: [string, SavedTensor][] }>;

/** Takes saved state apart, checking all of it. */
function checkState(kind: string, { tensors, json }: Saved): LoadedSlots {
  const record = json !== null && typeof json === 'object' && !Array.isArray(json) ? (json as { readonly [key: string]: Json }) : {};
  if (record.kind !== kind)
    throw new CheckpointError(`${kind}: the saved state belongs to ${JSON.stringify(record.kind ?? null)}, not to "${kind}"`);
  if (record.version !== 1)
    throw new CheckpointError(`${kind}: the saved state has version ${JSON.stringify(record.version ?? null)}; this release reads 1`);
  const steps = Object.entries((record.steps ?? {}) as Record<string, Json>);
  const loaded: LoadedSlots = new Map();
  for (const [name, count] of steps) {
    if (!Number.isSafeInteger(count) || (count as number) < 0)
      throw new CheckpointError(`${kind}: the saved steps of "${name}" are ${JSON.stringify(count)}`);
    loaded.set(name, { steps: count as number, slots: [] });
  }
  for (const [key, saved] of Object.entries(tensors)) {
    const cut = key.lastIndexOf('/');
    const slots = loaded.get(key.slice(0, cut))?.slots;
    if (!slots) throw new CheckpointError(`${kind}: the saved tensor "${key}" belongs to no parameter of the saved state`);
    if (!(saved.data instanceof Float32Array) || saved.data.length !== sizeOf(saved.shape))
      throw new CheckpointError(
        `${kind}: the saved tensor "${key}" has ${saved.data.length} numbers of ${saved.data.constructor.name} for float32 [${saved.shape}]`,
      );
    slots.push([key.slice(cut + 1), saved]);
  }
  return loaded;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
