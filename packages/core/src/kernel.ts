/** Fused kernels: one definition gives the op, its composite in plain ops, and its gradient as a kernel of its own. */
import * as tf from '@tensorflow/tfjs-core';
import { alias, engine, insideKernel, untaped } from './engine.js';
import { PlumblineError } from './errors.js';
import { claim, ownNode, scoped } from './tape.js';
import type { Tensors } from './types.js';

/** Named tensors, of which some may be left out. */
export type Some = Record<string, tf.Tensor | undefined>;

type Saved<I, O, R> = keyof (I & O & R) & string;

export type KernelDefinition<I extends Some, A extends object, O extends Some, R extends Some> = {
  /** The name under which a backend may register a faster version; its gradient is `${name}Grad`. */
  name: string;
  outputs: (keyof O & string)[];
  /** Results that only the backward pass sees. */
  residuals?: (keyof R & string)[];
  /** What the backward pass reads, of inputs, outputs and residuals; as a function, of the inputs that need a gradient. */
  saves: Saved<I, O, R>[] | ((needs: ReadonlySet<keyof I & string>, attrs: A) => Saved<I, O, R>[]);
  /** Checks the arguments, whatever the backend, and may complete the attributes; throws an error that names the argument. */
  prepare?(inputs: I, attrs: A): A;
  /** Which outputs and residuals there are under these attributes: all of them, unless this says otherwise. */
  present?(attrs: A): (keyof (O & R) & string)[];
  /** The composite. Absent inputs are left out. */
  forward(inputs: I, attrs: A): O & R;
  backward(dy: Partial<O>, saved: I & O & R, attrs: A, needs: ReadonlySet<keyof I & string>): Partial<I>;
};

export type Kernel<I extends Some, A extends object, O extends Some, R extends Some = Some> = ((inputs: I, attrs: A) => O) & {
  readonly definition: KernelDefinition<I, A, O, R>;
};

/**
 * A kernel with several named outputs, residuals and a backward pass that computes just the gradients that are needed.
 *
 * A backend that registers `name` receives `inputs` by name (those that exist) and `attrs`, and returns the outputs, then
 * the residuals, in the order of the definition (those that `present` names). One that registers `${name}Grad` receives the
 * inputs `dy:<output>` (those that exist) and the saved tensors by name, the attributes `{ attrs, needs }`, and returns
 * gradients in the order of `needs`. What no backend offers runs as the composite, whose ops stay off the tape.
 *
 * Either may return an input, a saved tensor or a dy: it is aliased.
 */
// biome-ignore lint/complexity/noBannedTypes: `{}` is "no residuals", as in the contract
export function defineKernel<I extends Some, A extends object, O extends Some, R extends Some = {}>(
  definition: KernelDefinition<I, A, O, R>,
): Kernel<I, A, O, R> {
  const { name, outputs, residuals = [], saves, prepare, present } = definition;
  const gradName = `${name}Grad`;
  const order: string[] = [...outputs, ...residuals];
  const results = (attrs: A): string[] => (present ? order.filter((key) => present(attrs).includes(key as keyof (O & R) & string)) : order);

  const composite: tf.KernelFunc = ({ inputs, attrs }) =>
    scoped(() => {
      const made: Some = definition.forward(inputs as I, attrs as A);
      const taken = new Set<tf.Tensor>();
      return results(attrs as A).map((key) => {
        if (!made[key]) throw new PlumblineError(`${name}: the composite gave no ${key}.`);
        return claim(made[key]!, taken);
      });
    });
  const compositeGrad: tf.KernelFunc = ({ inputs, attrs: packed }) => {
    const { attrs, needs } = packed as unknown as { attrs: A; needs: string[] };
    const dy: Tensors = {};
    const saved: Tensors = {};
    for (const [key, x] of Object.entries(inputs as Tensors)) {
      if (key.startsWith('dy:')) dy[key.slice(3)] = x;
      else saved[key] = x;
    }
    return scoped(() => {
      const made = definition.backward(dy as Partial<O>, saved as I & O & R, attrs, new Set(needs)) as Some;
      const taken = new Set<tf.Tensor>();
      return needs.map((key) => {
        if (!made[key]) throw new PlumblineError(`${gradName} gave no gradient for ${key}.`);
        return claim(made[key]!, taken);
      });
    });
  };

  const run = (kernelName: string, fallback: tf.KernelFunc, inputs: Tensors, attrs: object): tf.Tensor[] => {
    const { backend, backendName } = engine();
    if (!backend || !backendName) throw new PlumblineError(`${kernelName}: no backend is set up.`);
    if (!tf.getKernel(kernelName, backendName)) tf.registerKernel({ kernelName, backendName, kernelFunc: fallback });
    const made = insideKernel(() => engine().runKernel(kernelName, inputs, attrs));
    return Array.isArray(made) ? made : [made];
  };

  const call = (given: I, givenAttrs: A): O => {
    const inputs = Object.fromEntries(Object.entries(given).filter(([, x]) => x)) as I;
    for (const [key, x] of Object.entries(inputs))
      if (!(x instanceof tf.Tensor)) throw new PlumblineError(`${name}: ${key} must be a tensor, got ${typeof x}.`);
    const attrs = prepare ? prepare(inputs, givenAttrs) : givenAttrs;
    const keys = results(attrs);
    const made = run(name, composite, inputs as Tensors, attrs);
    if (made.length !== keys.length) {
      tf.dispose(made);
      throw new PlumblineError(`${name} gave ${made.length} results on ${engine().backendName}, not ${keys.length} (${keys.join(', ')}).`);
    }
    const all = Object.fromEntries(keys.map((key, i) => [key, made[i]]));
    const outs = keys.filter((key) => outputs.includes(key as keyof O & string));
    const tape = engine().isTapeOn() ? engine().state.activeTape : null;
    if (tape && tape.reaches?.(Object.values(inputs)) !== false) {
      const reached = (key: string) => tape.reaches?.([inputs[key]]) !== false;
      const asked = typeof saves === 'function' ? saves(new Set(Object.keys(inputs).filter(reached)), attrs) : saves;
      const names = asked.filter((key) => inputs[key as keyof I] ?? all[key]);
      const saved = untaped(() => names.map((key) => engine().keep(alias((inputs[key] ?? all[key])!))));
      const backward = (dys: (tf.Tensor | null)[], needs: ReadonlySet<string>) => {
        const gradInputs: Tensors = {};
        outs.forEach((key, i) => {
          if (dys[i]) gradInputs[`dy:${key}`] = dys[i];
        });
        names.forEach((key, i) => {
          gradInputs[key] = saved[i];
        });
        const wanted = [...needs];
        const grads = run(gradName, compositeGrad, gradInputs, { attrs, needs: wanted });
        if (grads.length !== wanted.length)
          throw new PlumblineError(
            `${gradName} gave ${grads.length} gradients on ${engine().backendName}, not ${wanted.length} (${wanted.join(', ')}).`,
          );
        return Object.fromEntries(wanted.map((key, i) => [key, grads[i]]));
      };
      tape.push(
        ownNode(
          name,
          inputs,
          outs.map((key) => all[key]),
          saved,
          backward,
        ),
      );
    }
    for (const key of residuals) all[key]?.dispose();
    return Object.fromEntries(outs.map((key) => [key, all[key]])) as O;
  };
  return Object.assign(call, { definition });
}
