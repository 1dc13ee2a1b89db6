/** Brings up what a server serves: used by the worker, and in this thread where there is none. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, initBackend } from '@plumbline/core';
import type { RewardFunction } from '@plumbline/data';
import { type AttributeScorer, loadHead, type StepScorer } from '@plumbline/models';
import {
  type HeadedModel,
  type HttpRewardOptions,
  httpReward,
  modelReward,
  processReward,
  rewardFromSpec,
  stepwiseToOutcome,
  verifierOf,
  verifiers,
} from '@plumbline/rewards';
import * as tf from '@tensorflow/tfjs-core';
import { openDecoder, openScorer, rewardPath } from '../models.js';
import { readYaml } from '../yaml.js';
import { namedReward, rewardNames } from './rewards.js';
import { localService, type Service } from './service.js';

export type ServeSettings = {
  model?: string;
  reward?: string;
  name?: string;
  backend?: string;
  threads?: number;
  storage?: 'f32' | 'bf16' | 'int8';
  products?: 'f32' | 'bf16';
  maxRows?: number;
  cacheBytes?: number;
};

export async function loadService({ model, reward, backend, threads, storage, products, ...rest }: ServeSettings): Promise<Service> {
  await initBackend({ ...(backend && { backend }), ...(threads && { threads }) });
  const decoder = model === undefined ? undefined : await openDecoder(model, { storage, products });
  return localService(decoder, reward === undefined ? undefined : await loadReward(reward), rest);
}

/**
 * The folder of a scorer or of a scorer's adapter, a reward function or a verifier (with its defaults) by name, a verifier specification (`.yaml`, `.json`), or the URL of a
 * reward server, which is shown the token of $PLUMB_REWARD_TOKEN.
 */
export async function loadReward(nameOrPath: string, http: HttpRewardOptions = {}): Promise<RewardFunction> {
  const named = namedReward(nameOrPath);
  if (named) return named;
  if (Object.hasOwn(verifiers, nameOrPath)) return verifierOf(nameOrPath);
  if (/^https?:\/\//.test(nameOrPath)) return httpReward(nameOrPath, { token: process.env.PLUMB_REWARD_TOKEN, ...http });
  if (/\.(ya?ml|json)$/i.test(nameOrPath)) {
    if (!existsSync(nameOrPath)) throw new ConfigError(`${nameOrPath}: there is no such file`);
    return rewardFromSpec(readYaml(nameOrPath));
  }
  let path: string;
  try {
    path = rewardPath(nameOrPath);
  } catch (error) {
    throw new ConfigError(
      `${nameOrPath} is no reward: ${(error as Error).message}; or a name: ${[...rewardNames, ...Object.keys(verifiers)].join(', ')}`,
    );
  }
  return (await headReward(path)) ?? modelReward(await openScorer(path));
}

/**
 * A model that `plumb train reward` left behind with more than one score: of attributes their mean, of ODIN's two heads the quality, of a process model its least certain step.
 * @throws ConfigError for a classifier of pairs, which has no score of one answer
 */
async function headReward(path: string): Promise<RewardFunction | undefined> {
  const config = join(path, 'config.json');
  const { head } =
    (existsSync(config) ? (JSON.parse(readFileSync(config, 'utf8')) as { plumbline?: { head?: string } }).plumbline : undefined) ?? {};
  if (head !== 'attributes' && head !== 'steps') return undefined;
  const loaded = await loadHead(path);
  if (head === 'steps') {
    const { logits } = loaded as StepScorer;
    const { tokenizer, contextLength } = loaded.backbone;
    const stepOutputs: HeadedModel['stepOutputs'] = (...of) => tf.tidy(() => tf.reshape(logits(...of), [-1, 1]) as tf.Tensor2D);
    return stepwiseToOutcome(processReward({ name: loaded.name, tokenizer, contextLength, heads: 1, stepOutputs } as HeadedModel), 'min');
  }
  const { labels, weighted } = loaded as AttributeScorer;
  if (labels.join() === 'first,second')
    throw new ConfigError(
      `${path} says which of two answers is better and has no score of one; it is a judge (plumb train dpo --online pairs --judge)`,
    );
  const weights =
    labels.join() === 'quality,length' ? { quality: 1 } : Object.fromEntries(labels.map((label) => [label, 1 / labels.length]));
  return modelReward(weighted(weights));
}
