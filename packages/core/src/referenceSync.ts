/** A reference that follows the policy while it is trained, as the trainers of pairs and of policies do it. */
import { z } from 'zod';
import { ConfigError } from './errors.js';
import type { ParameterTree } from './types.js';

/** TRL `sync_ref_model`, `ref_model_sync_steps`, `ref_model_mixup_alpha`. */
export const ReferenceSync = z.strictObject({
  every: z.int().positive().default(512).describe('Steps between two synchronisations'),
  mixup: z.number().gt(0).max(1).default(0.6).describe("The policy's share in the new reference; 1 replaces it"),
});
export type ReferenceSync = z.infer<typeof ReferenceSync>;

type Model = { readonly parameters: ParameterTree };

/**
 * Moves the reference towards the policy: `reference ← mixup·policy + (1 − mixup)·reference`, number by number; 1 replaces it.
 *
 * Gorbatovski et al. 2024 (TR-DPO), arXiv:2404.09656; TRL `sync_ref_model`. Of adapters it is the factors that are mixed, which is
 * the mixture of the updates only at `mixup` 1.
 *
 * @param reference a model of its own with the policy's parameters: `policy.snapshot()`, taken before training
 * @throws ConfigError where the two have different parameters, or share them
 */
export async function synchroniseReference(policy: Model, reference: Model, mixup: number): Promise<void> {
  if (!(mixup > 0 && mixup <= 1)) throw new RangeError(`synchroniseReference: mixup must be in (0, 1], got ${mixup}`);
  checkSynchronisable(policy, reference);
  const [ours, theirs] = [await policy.parameters.save(), await reference.parameters.save()];
  const tensors = Object.entries(theirs.tensors).map(([name, { shape, data }]) => {
    const from = ours.tensors[name]?.data;
    if (!(data instanceof Float32Array) || !(from instanceof Float32Array)) return [name, ours.tensors[name] ?? { shape, data }] as const;
    return [name, { shape, data: Float32Array.from(data, (x, i) => mixup * from[i] + (1 - mixup) * x) }] as const;
  });
  await reference.parameters.load({ tensors: Object.fromEntries(tensors), json: ours.json });
}

/** Before the first step. @throws ConfigError saying what is in the way */
export function checkSynchronisable({ parameters: policy }: Model, { parameters: reference }: Model): void {
  if (policy === reference) throw new ConfigError('the reference is the policy itself; a synchronised reference is a snapshot of it');
  const names = (tree: ParameterTree) =>
    tree
      .trainable()
      .map(({ name, shape }) => `${name} [${shape}]`)
      .sort();
  const [ours, theirs] = [names(policy), names(reference)];
  const missing = ours.filter((name) => !theirs.includes(name));
  if (missing.length > 0)
    throw new ConfigError(
      `a synchronised reference has the policy's parameters; it lacks ${missing.slice(0, 3).join(', ')}${missing.length > 3 ? ` and ${missing.length - 3} more` : ''}. Take policy.snapshot() as the reference`,
    );
}
