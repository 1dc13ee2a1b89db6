/** Ensembles of reward models: training their members, and one model of their weights. */
import { ConfigError, type ParameterTree, type Rng, type Run } from '@plumbline/core';
import type { EncodedGroup, EncodedPair } from '@plumbline/data';
import { createScorer, type LocalDecoder, type LocalScorer, type Pooling } from '@plumbline/models';
import { type RewardEpochsConfig, trainRewardEpochs } from './trainEpochs.js';

/** `rng` decides the head's first weights and the order of the data: a fine-tuning seed. Another `pretrained` decoder is another pretraining seed. */
export type EnsembleMember = { name: string; pretrained: LocalDecoder; rng: Rng };

/**
 * One reward model for each member, all on the same labels: Eisenstein et al. 2023, arXiv:2312.09244. Members of one pretrained decoder differ in their fine-tuning seed alone; members of
 * decoders pretrained apart differ far more. Their scores are put together (`aggregateEnsemble`) only on one scale, for which `centerCoefficient` (0.01) settles each prompt's constant.
 *
 * @param config of `trainRewardEpochs`
 * @param run    the run folder of each member
 * @returns the trained scorers in the members' order; the caller disposes them
 * @throws ConfigError for no members, or two of one name
 */
export async function trainEnsemble(
  config: RewardEpochsConfig,
  {
    members,
    groups,
    pooling = 'mean',
    run,
  }: {
    members: readonly EnsembleMember[];
    groups: readonly (EncodedGroup | EncodedPair)[];
    pooling?: Pooling;
    run(name: string): Promise<Run>;
  },
): Promise<LocalScorer[]> {
  if (members.length === 0) throw new ConfigError('trainEnsemble: there are no members');
  const twice = members.find(({ name }, i) => members.findIndex((other) => other.name === name) < i);
  if (twice)
    throw new ConfigError(`trainEnsemble: two members are called "${twice.name}"; the same seeds give the same model, which adds nothing`);
  const trained: LocalScorer[] = [];
  try {
    for (const { name, pretrained, rng } of members) {
      const scorer = createScorer(pretrained, { pooling, name, rng: rng.fork('head') });
      trained.push(scorer);
      await trainRewardEpochs(config, { scorer, groups, rng: rng.fork('order'), run: await run(name) });
    }
    return trained;
  } catch (error) {
    for (const scorer of trained) scorer.dispose();
    throw error;
  }
}

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
