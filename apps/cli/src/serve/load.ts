/** Brings up what a server serves: used by the worker, and in this thread where there is none. */
import { initBackend } from '@plumbline/core';
import type { RewardFunction } from '@plumbline/data';
import { loadDecoder, loadScorer, modelPath } from '@plumbline/models';
import { modelReward } from '@plumbline/rewards';
import { namedReward } from './rewards.js';
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

/** A scorer's folder, or a reward function by name. */
export async function loadReward(nameOrPath: string): Promise<RewardFunction> {
  const named = namedReward(nameOrPath);
  if (named) return named;
  return modelReward(await loadScorer(modelPath(nameOrPath)));
}
