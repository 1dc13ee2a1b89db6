import type { ParameterTree } from '@plumbline/core';

/**
 * WARM: one model whose weights are the mean of several that began from the same pretrained ones. Ramé et al. 2024, arXiv:2401.12187.
 * For models that are linear in what differs (heads on one frozen backbone) it is exactly the mean of their scores.
 *
 * @returns a snapshot of the first model with the averaged weights; the caller disposes it
 * @throws CheckpointError where the models' parameters differ in name or shape
 */
export async function averageWeights<M extends { readonly parameters: ParameterTree; snapshot(): M }>(models: readonly M[]): Promise<M> {
  if (models.length === 0) throw new RangeError('averageWeights: there are no models');
  const saved = await Promise.all(models.map(({ parameters }) => parameters.save()));
  const merged = models[0].snapshot();
  try {
    for (const other of saved) await merged.parameters.load(other); // refuses what does not fit
    const tensors = Object.entries(saved[0].tensors).map(([name, { shape, data }]) => {
      const mean = Float32Array.from(data, (_, i) => saved.reduce((sum, { tensors }) => sum + tensors[name].data[i], 0) / saved.length);
      return [name, { shape, data: mean }] as const;
    });
    await merged.parameters.load({ ...saved[0], tensors: Object.fromEntries(tensors) });
    return merged;
  } catch (error) {
    merged.parameters.dispose();
    throw error;
  }
}
