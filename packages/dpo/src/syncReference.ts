import { ConfigError, type ParameterTree } from '@plumbline/core';
import type { Decoder } from '@plumbline/data';

/**
 * Moves the reference towards the policy: `reference ← mixup·policy + (1 − mixup)·reference`, number by number; 1 replaces it.
 *
 * Gorbatovski et al. 2024 (TR-DPO), arXiv:2404.09656; TRL `sync_ref_model`. Of adapters it is the factors that are mixed, which is
 * the mixture of the updates only at `mixup` 1.
 *
 * @param reference a model of its own with the policy's parameters: `policy.snapshot()`, taken before training
 * @throws ConfigError where the two have different parameters, or share them
 */
export async function synchroniseReference(policy: Decoder, reference: Decoder, mixup: number): Promise<void> {
  if (!(mixup > 0 && mixup <= 1)) throw new RangeError(`synchroniseReference: mixup must be in (0, 1], got ${mixup}`);
  checkSynchronisable(policy.parameters, reference.parameters);
  const [ours, theirs] = [await policy.parameters.save(), await reference.parameters.save()];
  const tensors = Object.entries(theirs.tensors).map(([name, { shape, data }]) => {
    const from = ours.tensors[name]?.data;
    if (!(data instanceof Float32Array) || !(from instanceof Float32Array)) return [name, ours.tensors[name] ?? { shape, data }] as const;
    return [name, { shape, data: Float32Array.from(data, (x, i) => mixup * from[i] + (1 - mixup) * x) }] as const;
  });
  await reference.parameters.load({ tensors: Object.fromEntries(tensors), json: ours.json });
}

/** @throws ConfigError saying what is in the way */
export function checkSynchronisable(policy: ParameterTree, reference: ParameterTree): void {
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
