import { ConfigError } from '@plumbline/core';
import { z } from 'zod';
import type { AppliedArm, ApplyContext, ApplySpec, ExperimentSpec } from './types.js';

/**
 * An experiment: a paper's method beside its baseline, and the claims that decide whether it did what the paper says.
 * The arms differ in the one thing that the claim is about.
 *
 * @throws ConfigError naming what does not fit: an arm or metric that a claim names and the experiment does not have, a config that is not strict
 */
export function defineExperiment<C extends z.ZodType, const A extends string>(experiment: ExperimentSpec<C, A>): ExperimentSpec<C, A> {
  const problem = (what: string) => new ConfigError(`experiment "${experiment.id}": ${what}`);
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(experiment.id)) throw problem('an id is lower-case words joined by hyphens');
  if (experiment.arms.length === 0) throw problem('needs at least one arm');
  if (new Set(experiment.arms).size !== experiment.arms.length) throw problem(`two arms have one name: ${experiment.arms.join(', ')}`);
  if (experiment.claims.length === 0) throw problem('needs at least one claim');
  if (new Set(experiment.claims.map((claim) => claim.id)).size !== experiment.claims.length) throw problem('two claims have one id');
  for (const { id, test } of experiment.claims) {
    if (test === 'full scale only') continue;
    if ('statistic' in test) {
      if ((test.above === undefined) === (test.below === undefined)) throw problem(`claim "${id}" needs either above or below`);
      continue;
    }
    if (!Object.hasOwn(experiment.metrics, test.metric))
      throw problem(`claim "${id}" is about the metric "${test.metric}"; there are ${Object.keys(experiment.metrics).join(', ')}`);
    for (const arm of [test.better, test.than])
      if (!experiment.arms.includes(arm)) throw problem(`claim "${id}" names the arm "${arm}"; there are ${experiment.arms.join(', ')}`);
    if (test.better === test.than) throw problem(`claim "${id}" compares "${test.better}" with itself`);
    if (test.margin !== undefined && test.smallestEffect !== undefined)
      throw problem(`claim "${id}" has both a margin ("not worse") and a smallest effect ("better"); keep one`);
  }
  return experiment;
}

/** How a method is applied to a user's own model and data, with its settings by their types. Its own module, `apply.ts`: what it does changes no stored result. */
export function defineApply<C extends z.ZodType>(
  spec: Omit<ApplySpec, 'config' | 'work' | 'run'> & {
    config: C;
    work(config: z.infer<C>): ReturnType<ApplySpec['work']>;
    run(ctx: Omit<ApplyContext, 'config'> & { config: z.infer<C> }): Promise<Record<string, AppliedArm>>;
  },
): ApplySpec {
  return spec;
}

/**
 * Config with defaults from what the user gave. @throws ConfigError naming each key, what it holds and what it may hold
 */
export function parseConfig<C extends z.ZodType>(id: string, schema: C, given: Record<string, unknown>): z.infer<C> {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const known = schema instanceof z.ZodObject ? ` Keys: ${Object.keys(schema.shape).join(', ')}.` : '';
  const issues = parsed.error.issues
    .map((issue) => (issue.path.length > 0 ? `${issue.path.join('.')}: ${issue.message}` : issue.message))
    .join('; ');
  throw new ConfigError(`config of "${id}": ${issues}.${known}`);
}
