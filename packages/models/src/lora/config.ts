import { ConfigError } from '@plumbline/core';
import { z } from 'zod';
import { layoutOf, type Projection } from '../decoder/layout.js';
import type { DecoderSpec } from '../decoder/spec.js';

export const LoraConfig = z.strictObject({
  r: z.int().positive().default(8).describe('Rank of the update'),
  alpha: z.number().positive().default(16).describe('The update is scaled by alpha / r'),
  rslora: z.boolean().default(false).describe('Scales by alpha / sqrt(r) instead, so that the rank does not change the size of a step'),
  dropout: z.number().min(0).lt(1).default(0).describe('Share of the inputs of the update that is dropped while training'),
  targetModules: z
    .union([z.string(), z.array(z.string()).min(1)])
    .default('all-linear')
    .describe('Names that modules end with, or a regular expression for whole names; "all-linear" is every projection'),
  excludeModules: z.array(z.string()).default([]).describe('Names of modules that are left alone'),
  layers: z.array(z.int().min(0)).optional().describe('Only these layers, counted from 0'),
  rankPattern: z.record(z.string(), z.int().positive()).default({}).describe('Other ranks, by the end of a name or a regular expression'),
  alphaPattern: z.record(z.string(), z.number().positive()).default({}).describe('Other alphas, in the same way'),
  dora: z.boolean().default(false).describe('Learns the length of each output row apart from its direction'),
  modulesToSave: z
    .array(z.string())
    .default([])
    .describe('Modules that are trained whole, such as lm_head; of a reward model its head, score, unless others are named'),
});
export type LoraConfig = z.input<typeof LoraConfig>;
export type ResolvedLora = z.output<typeof LoraConfig>;

/** @throws ConfigError naming the option, what it held and what it may hold */
export function resolveLora(config: LoraConfig): ResolvedLora {
  const parsed = LoraConfig.safeParse(config);
  if (!parsed.success) throw new ConfigError(`lora: ${z.prettifyError(parsed.error)}`);
  const { targetModules: names, ...rest } = parsed.data;
  const isWord = typeof names === 'string' && /^\w+$/.test(names); // no expression for whole names, which have dots
  return { ...rest, targetModules: isWord ? [names] : names };
}

/** A module of a layer that is updated: `y = x·Wᵀ + scale · x·Aᵀ·Bᵀ`, with A [r, inputs] and B [outputs, r]. */
export type Target = { module: string; layer: number; projection: Projection; inputs: number; outputs: number; r: number; scale: number };

/**
 * The modules of a decoder that a configuration names, as PEFT reads it: a list matches whole names and ends after a dot, one string is a
 * regular expression for whole names. Patterns of ranks and alphas match ends too.
 *
 * @throws ConfigError where nothing matches, or a listed name matches nothing, with the names that there are
 */
export function targetsOf(config: ResolvedLora, spec: DecoderSpec): Target[] {
  const projections = layoutOf(spec).layers.flatMap((layer, index) =>
    [...layer.qkv, layer.o, ...layer.up, layer.down].map((projection) => ({ projection, index, module: moduleOf(projection.weight) })),
  );
  const ends = [...new Set(projections.map(({ module }) => module.split('.').at(-1)!))];
  const { targetModules: names, excludeModules, layers } = config;
  const wanted = matcher(names);
  if (Array.isArray(names)) {
    const idle = names.filter((name) => !projections.some(({ module }) => endsWith(module, name)));
    if (idle.length > 0) throw new ConfigError(`lora: targetModules names ${list(idle)}, which matches nothing; there are ${list(ends)}`);
  }
  const beyond = layers?.find((layer) => layer >= spec.layers);
  if (beyond !== undefined) throw new ConfigError(`lora: layers names ${beyond}; the model has layers 0 to ${spec.layers - 1}`);
  const chosen = projections.filter(
    ({ module, index }) =>
      wanted(module) && !excludeModules.some((name) => endsWith(module, name)) && (layers === undefined || layers.includes(index)),
  );
  if (chosen.length === 0 && config.modulesToSave.length === 0)
    throw new ConfigError(`lora: targetModules ${JSON.stringify(names)} matches no module; there are ${list(ends)}`);
  return chosen.map(({ module, index, projection }) => {
    const r = patterned(config.rankPattern, module) ?? config.r;
    const alpha = patterned(config.alphaPattern, module) ?? config.alpha;
    return {
      module,
      layer: index,
      projection,
      inputs: projection.inputs,
      outputs: projection.outputs.reduce((a, b) => a + b, 0),
      r,
      scale: alpha / (config.rslora ? Math.sqrt(r) : r),
    };
  });
}

export const moduleOf = (parameter: string): string => parameter.replace(/\.(weight|bias)$/, '');
export const endsWith = (module: string, name: string): boolean => module === name || module.endsWith(`.${name}`);

function matcher(names: string | readonly string[]): (module: string) => boolean {
  if (typeof names !== 'string') return (module) => names.some((name) => endsWith(module, name));
  if (names === 'all-linear') return () => true;
  const pattern = expression(names, `^(?:${names})$`);
  return (module) => pattern.test(module);
}

function patterned<T>(patterns: Record<string, T>, module: string): T | undefined {
  return Object.entries(patterns).find(([name]) => expression(name, `^(?:.*\\.)?(?:${name})$`).test(module))?.[1];
}

function expression(given: string, source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw new ConfigError(`lora: ${JSON.stringify(given)} is not a regular expression: ${(error as Error).message}`);
  }
}

const list = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(', ');
