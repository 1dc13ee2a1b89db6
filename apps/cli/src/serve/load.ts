/** Brings up what a server serves: used by the worker, and in this thread where there is none. */
import { existsSync, readFileSync } from 'node:fs';
import { ConfigError, initBackend } from '@plumbline/core';
import type { RewardFunction } from '@plumbline/data';
import { loadDecoder, loadScorer, modelPath } from '@plumbline/models';
import { type HttpRewardOptions, httpReward, modelReward, rewardFromSpec, verifierOf, verifiers } from '@plumbline/rewards';
import { parse as parseYaml } from 'yaml';
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
  const decoder = model === undefined ? undefined : await loadDecoder(model, { storage, products });
  return localService(decoder, reward === undefined ? undefined : await loadReward(reward), rest);
}

/** A scorer's folder, a reward function or a verifier (with its defaults) by name, a verifier specification (`.yaml`, `.json`), or the URL of a reward server. */
export async function loadReward(nameOrPath: string, http: HttpRewardOptions = {}): Promise<RewardFunction> {
  const named = namedReward(nameOrPath);
  if (named) return named;
  if (Object.hasOwn(verifiers, nameOrPath)) return verifierOf(nameOrPath);
  if (/^https?:\/\//.test(nameOrPath)) return httpReward(nameOrPath, http);
  if (/\.(ya?ml|json)$/i.test(nameOrPath)) {
    if (!existsSync(nameOrPath)) throw new ConfigError(`${nameOrPath}: there is no such file`);
    return rewardFromSpec(parseYaml(readFileSync(nameOrPath, 'utf8')));
  }
  let path: string;
  try {
    path = modelPath(nameOrPath);
  } catch (error) {
    throw new ConfigError(
      `${nameOrPath} is no reward: ${(error as Error).message}; or a name: ${[...rewardNames, ...Object.keys(verifiers)].join(', ')}`,
    );
  }
  return modelReward(await loadScorer(path));
}
