/**
 * The backward walk. tfjs records; we walk what it recorded, node by node: saved tensors and spent gradients are freed as
 * the walk passes them, walks nest, and nothing is computed that no wanted parameter needs.
 */
import * as tf from '@tensorflow/tfjs-core';
import './setup.js';
import { alias, engine, internals, recording, refuseFreed, type TapeLike, type TapeNode, untaped } from './engine.js';
import { PlumblineError } from './errors.js';
import { shapesSuffice } from './gradients/register.js';
import type { Parameter } from './types.js';

/**
 * The gradients of a scalar loss with respect to parameters.
 *
 * `f` is synchronous, is run once and may leave tensors behind, which live to its end. A parameter that the loss does not
 * reach has no entry. What an inner call of `gradients` returns is a constant to the outer one.
 *
 * Call it outside `tf.tidy`, which would free the tensors in the map.
 *
 * @returns the loss, the metrics and one gradient a parameter; the caller owns all of them
 * @throws PlumblineError if f is asynchronous, if the loss is no scalar, or if a kernel on the way has no gradient
 */
export function gradients<M extends Record<string, tf.Scalar> = Record<never, never>>(
  f: () => { loss: tf.Scalar; metrics?: M },
  wrt: readonly Parameter[],
): { loss: tf.Scalar; metrics: M; grads: Map<Parameter, tf.Tensor> } {
  const values = wrt.map((parameter) => parameter.value);
  for (const value of values) refuseFreed('gradients', value);
  const tape = new Tape(values);
  try {
    const mine = scoped(() => {
      const result = recording(tape, f);
      if (result instanceof Promise)
        throw new PlumblineError('gradients: f must be synchronous, it returned a promise. Await what it needs before the call.');
      const { loss, metrics } = result;
      if (!(loss instanceof tf.Tensor) || loss.rank !== 0 || loss.dtype !== 'float32')
        throw new PlumblineError(`gradients: the loss must be a float32 scalar, got ${describe(loss)}. Take tf.sum or tf.mean of it.`);
      const taken = new Set<tf.Tensor>();
      const names = Object.keys(metrics ?? {});
      return { id: loss.id, names, tensors: [loss, ...names.map((name) => metrics![name])].map((x) => claim(x, taken)) };
    });
    const [loss, ...metrics] = mine.tensors as tf.Scalar[];
    let found: Map<number, tf.Tensor>;
    try {
      found = untaped(() => tape.walk(mine.id, tf.onesLike(loss)));
    } catch (error) {
      tf.dispose(mine.tensors);
      throw error;
    }
    const grads = new Map<Parameter, tf.Tensor>();
    wrt.forEach((parameter, i) => {
      const grad = found.get(values[i].id);
      if (grad) grads.set(parameter, grad);
    });
    return { loss, metrics: Object.fromEntries(mine.names.map((name, i) => [name, metrics[i]])) as M, grads };
  } finally {
    tape.dispose();
  }
}

/**
 * `f(...x)`, of which only the inputs are kept for the backward pass, where f is run a second time.
 *
 * f is synchronous and repeatable, and returns one tensor. It may close over parameters and over kept tensors (`tf.keep`);
 * any other tensor goes through x.
 *
 * @throws PlumblineError if f is asynchronous or uses a tensor that may be gone, or would go without a gradient, when f is run again
 */
export function checkpoint<T extends tf.Tensor>(f: (...x: tf.Tensor[]) => T, ...x: tf.Tensor[]): T {
  for (const input of x) refuseFreed('checkpoint', input);
  const outer = engine().isTapeOn() ? engine().state.activeTape : null;
  const scout = new Scout(x, outer);
  const y = scoped(() => {
    const result = outer ? recording(scout, () => f(...x)) : f(...x);
    if (!(result instanceof tf.Tensor))
      throw new PlumblineError(`checkpoint: f must return one tensor, and not a promise; got ${describe(result)}.`);
    return [claim(result, new Set())];
  })[0] as T;
  if (!outer) return y;
  const inputs = [...x, ...scout.closedOver.values()];
  if (outer.reaches?.(inputs) === false) return y;
  const saved = untaped(() => x.map((input) => engine().keep(alias(input))));
  const closedOver = [...scout.closedOver.values()];
  const backward = (dys: (tf.Tensor | null)[], needs: ReadonlySet<string>): Record<string, tf.Tensor | undefined> => {
    const leaves = saved.map((input) => alias(input));
    const wanted = [...leaves, ...closedOver].filter((_, i) => needs.has(String(i)));
    const tape = new Tape(wanted);
    try {
      const id = scoped(() => {
        const again = recording(tape, () => f(...leaves));
        return { id: again.id, tensors: [] };
      }).id;
      const found = tape.walk(id, alias(dys[0]!));
      return Object.fromEntries([...leaves, ...closedOver].map((input, i) => [String(i), found.get(input.id)]));
    } finally {
      tape.dispose();
      tf.dispose(leaves);
    }
  };
  outer.push(ownNode('Checkpoint', Object.fromEntries(inputs.map((input, i) => [String(i), input])), [y], saved, backward));
  return y;
}

/** The same data, to which no gradient flows. The caller owns it. */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  refuseFreed('stopGradient', x);
  return alias(x);
}

/** A node of ours, which tfjs's walk can run too. */
export function ownNode(
  kernelName: string,
  inputs: TapeNode['inputs'],
  outputs: tf.Tensor[],
  saved: tf.Tensor[],
  backward: NonNullable<TapeNode['backward']>,
): TapeNode {
  const gradient: TapeNode['gradient'] = (dys) => {
    const names = Object.keys(inputs).filter((name) => inputs[name]?.dtype === 'float32');
    const all = backward(dys, new Set(names));
    return Object.fromEntries(Object.keys(inputs).map((name) => [name, () => all[name] ?? tf.zerosLike(inputs[name]!)]));
  };
  return { id: engine().state.nextTapeNodeId++, kernelName, inputs, outputs, saved, gradient, backward };
}

class Tape implements TapeLike {
  private nodes: TapeNode[] = [];
  /** Ids of the tensors that a wanted one reaches, the wanted ones among them. */
  private readonly reached: Set<number>;
  private readonly wanted: ReadonlySet<number>;

  constructor(wanted: readonly tf.Tensor[]) {
    this.wanted = new Set(wanted.map((x) => x.id));
    this.reached = new Set(this.wanted);
  }

  wants(x: tf.Tensor): boolean {
    return this.wanted.has(x.id);
  }

  depends(x: tf.Tensor): boolean {
    return this.reached.has(x.id);
  }

  reaches(inputs: Iterable<tf.Tensor | null | undefined>): boolean {
    for (const x of inputs) if (x && this.reached.has(x.id)) return true;
    return false;
  }

  push(node: TapeNode): void {
    // A saved tensor puts a clone node of its own on the tape, just before the node that saved it; the walk has no use for it.
    while (node.saved.length > 0 && this.nodes.length > 0 && node.saved.some((s) => s.id === this.nodes.at(-1)!.outputs[0].id))
      this.nodes.pop();
    const floats = node.outputs.filter((y) => y.dtype === 'float32'); // whole numbers and truth values carry no gradient
    if (floats.length === 0 || !this.reaches(Object.values(node.inputs))) {
      tf.dispose(node.saved);
      return;
    }
    for (const y of floats) this.reached.add(y.id);
    if (shapesSuffice(node.kernelName)) tf.dispose(node.saved); // a freed tensor still knows its shape
    this.nodes.push(node);
  }

  /** Gradients of the wanted tensors by id, from the gradient `seed` of the tensor `id`; takes `seed` over. */
  walk(id: number, seed: tf.Tensor): Map<number, tf.Tensor> {
    const grads = new Map<number, tf.Tensor>([[id, seed]]);
    try {
      untaped(() => {
        for (let node = this.nodes.pop(); node; node = this.nodes.pop()) {
          const { outputs, saved } = node;
          try {
            if (outputs.some((y) => grads.has(y.id))) this.step(node, grads);
          } finally {
            tf.dispose(saved);
          }
          for (const y of outputs) {
            if (this.wanted.has(y.id)) continue;
            grads.get(y.id)?.dispose();
            grads.delete(y.id);
          }
        }
      });
    } catch (error) {
      tf.dispose([...grads.values()]);
      throw error;
    }
    for (const [key, grad] of grads) {
      if (this.wanted.has(key)) continue;
      grad.dispose(); // the loss itself, where it came from nothing wanted
      grads.delete(key);
    }
    return grads;
  }

  private step(node: TapeNode, grads: Map<number, tf.Tensor>): void {
    const dys = node.outputs.map((y) => grads.get(y.id) ?? null);
    const names = Object.keys(node.inputs).filter((name) => {
      const x = node.inputs[name];
      return x && this.reached.has(x.id);
    });
    const { tensors } = scoped(() => {
      const taken = new Set<tf.Tensor>();
      return { tensors: compute(node, dys, names).map((g) => (g ? claim(g, taken) : null)) };
    });
    names.forEach((name, i) => {
      const x = node.inputs[name]!;
      const grad = tensors[i];
      if (!grad) return;
      if (grad.dtype !== 'float32' || grad.shape.length !== x.shape.length || grad.shape.some((n, axis) => n !== x.shape[axis]))
        throw new PlumblineError(`The gradient of ${node.kernelName} for ${name} is ${describe(grad)}; its input is ${describe(x)}.`);
      const before = grads.get(x.id);
      grads.set(x.id, before ? tf.add(before, grad) : grad);
      if (before) tf.dispose([before, grad]);
    });
  }

  dispose(): void {
    for (const node of this.nodes) tf.dispose(node.saved);
    this.nodes = [];
  }
}

function compute(node: TapeNode, dys: (tf.Tensor | null)[], names: string[]): (tf.Tensor | undefined)[] {
  if (node.backward) {
    const found = node.backward(dys, new Set(names));
    return names.map((name) => found[name]);
  }
  if (!node.gradient)
    throw new PlumblineError(
      `There is no gradient for ${node.kernelName}. Keep it off the way from the parameters to the loss (stopGradient), or write it with other ops.`,
    );
  const thunks = node.gradient(dys);
  return names.map((name) => {
    const thunk = thunks[name];
    if (!thunk) throw new PlumblineError(`${node.kernelName} has no gradient for its input ${name}. Pass that through stopGradient.`);
    return thunk();
  });
}

/** Runs a checkpointed function forward: keeps nothing but the tensors from outside that it used. */
class Scout implements TapeLike {
  readonly closedOver = new Map<number, tf.Tensor>();
  private readonly inside = new Set<number>();
  private readonly firstId: number;

  constructor(
    x: readonly tf.Tensor[],
    private readonly outer: TapeLike | null,
  ) {
    for (const input of x) this.inside.add(input.id);
    const mark = tf.scalar(0);
    this.firstId = mark.id; // ids only grow: whatever has a higher one was made inside
    mark.dispose();
  }

  wants(x: tf.Tensor): boolean {
    return (this.outer instanceof Tape || this.outer instanceof Scout) && this.outer.wants(x);
  }

  depends(x: tf.Tensor): boolean {
    return (this.outer instanceof Tape || this.outer instanceof Scout) && this.outer.depends(x);
  }

  reaches(inputs: Iterable<tf.Tensor | null | undefined>): boolean {
    for (const x of inputs) if (x) this.note(x);
    return false;
  }

  push(node: TapeNode): void {
    tf.dispose(node.saved);
    for (const x of Object.values(node.inputs)) if (x) this.note(x);
  }

  private note(x: tf.Tensor): void {
    if (x.id > this.firstId || this.inside.has(x.id) || this.closedOver.has(x.id)) return;
    if (this.wants(x)) this.closedOver.set(x.id, x);
    else if (this.depends(x) || !internals(x).kept)
      throw new PlumblineError(
        `checkpoint: f uses a tensor of shape [${x.shape}] from outside, which is neither a parameter nor kept. Pass it as an argument, so that it is there, and gets its gradient, when f is run again.`,
      );
  }
}

/** Runs `f` in an engine scope of its own, and keeps of it what it returns as `tensors` (or as an array). */
export function scoped<R extends (tf.Tensor | null)[] | { tensors: (tf.Tensor | null)[] }>(f: () => R): R {
  let result: R;
  engine().tidy(() => {
    result = f();
    return (Array.isArray(result) ? result : result.tensors) as tf.TensorContainer;
  });
  return result!;
}

/** `x` where the open scope made it and nobody took it yet, otherwise an alias: so that whoever gets the result owns it. */
export function claim<T extends tf.Tensor>(x: T, taken: Set<tf.Tensor>): T {
  const { kept, scopeId } = internals(x);
  const own = !kept && scopeId === engine().state.activeScope!.id && !taken.has(x) ? x : alias(x);
  taken.add(own);
  return own;
}

function describe(x: unknown): string {
  if (x instanceof tf.Tensor) return `${x.dtype} [${x.shape}]`;
  return x instanceof Promise ? 'a promise' : `${x === null ? 'null' : typeof x}`;
}
