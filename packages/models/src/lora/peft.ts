/** Adapters in PEFT's form: the fields of `adapter_config.json` and the names in `adapter_model.safetensors`. */
import { ConfigError } from '@plumbline/core';
import type { DecoderWeights } from '../decoder/decoder.js';
import type { DecoderSpec } from '../decoder/spec.js';
import { type LoraConfig, type ResolvedLora, resolveLora } from './config.js';

const prefix = 'base_model.model.';

/** PEFT 0.21's configuration of an adapter; fields that it adds by itself and that change nothing are left out. */
export function peftConfig(
  config: ResolvedLora,
  { spec, base, task }: { spec: DecoderSpec; base: string; task: 'CAUSAL_LM' | 'SEQ_CLS' },
): Record<string, unknown> {
  return {
    peft_type: 'LORA',
    task_type: task,
    base_model_name_or_path: base,
    r: config.r,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    use_rslora: config.rslora,
    use_dora: config.dora,
    target_modules: config.targetModules,
    exclude_modules: config.excludeModules.length > 0 ? config.excludeModules : null,
    layers_to_transform: config.layers ?? null,
    layers_pattern: null,
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
    modules_to_save: config.modulesToSave.length > 0 ? config.modulesToSave : null,
    bias: 'none',
    fan_in_fan_out: spec.family === 'gpt2',
    init_lora_weights: true,
    inference_mode: true,
  };
}

/** What we read. Everything else must be off. */
const known = new Set([
  'peft_type',
  'task_type',
  'base_model_name_or_path',
  'r',
  'lora_alpha',
  'lora_dropout',
  'use_rslora',
  'use_dora',
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'rank_pattern',
  'alpha_pattern',
  'modules_to_save',
  // These change nothing of a trained adapter.
  'peft_version',
  'auto_mapping',
  'revision',
  'inference_mode',
  'init_lora_weights',
  'fan_in_fan_out',
  'layers_pattern',
  'loftq_config',
  'eva_config',
  'corda_config',
  'lora_ga_config',
  'ephemeral_gpu_offload',
  'runtime_config',
  'megatron_config',
  'megatron_core',
  'qalora_group_size',
  'ensure_weight_tying',
]);
const off = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  value === 'none' ||
  (typeof value === 'object' && Object.keys(value as object).length === 0);

/**
 * An adapter's configuration from PEFT's.
 * @param name what to call the file in errors
 * @throws ConfigError naming the field that is not supported, or holds what it should not
 */
export function loraFromPeft(config: Record<string, unknown>, name = 'adapter_config.json'): LoraConfig {
  if (config.peft_type !== 'LORA') throw new ConfigError(`${name}: peft_type is ${JSON.stringify(config.peft_type)}; supported is "LORA"`);
  const strange = Object.entries(config).find(([key, value]) => !known.has(key) && !off(value));
  if (strange) throw new ConfigError(`${name}: ${strange[0]} is ${JSON.stringify(strange[1])}, which is not supported`);
  const given = {
    r: config.r,
    alpha: config.lora_alpha,
    dropout: config.lora_dropout ?? 0,
    rslora: config.use_rslora ?? false,
    dora: config.use_dora ?? false,
    targetModules: config.target_modules ?? undefined,
    excludeModules: typeof config.exclude_modules === 'string' ? [config.exclude_modules] : (config.exclude_modules ?? []),
    layers: typeof config.layers_to_transform === 'number' ? [config.layers_to_transform] : (config.layers_to_transform ?? undefined),
    rankPattern: config.rank_pattern ?? {},
    alphaPattern: config.alpha_pattern ?? {},
    // PEFT lists both names that a classifier's head may have, and saves the one that is there.
    modulesToSave: ((config.modules_to_save ?? []) as string[]).filter(
      (module) => config.task_type !== 'SEQ_CLS' || module !== 'classifier',
    ),
  } as LoraConfig;
  try {
    resolveLora(given);
  } catch (error) {
    throw new ConfigError(`${name}: ${(error as Error).message}`);
  }
  return given;
}

/** PEFT's names of an adapter's tensors. */
export const peftName = (name: string): string => prefix + name;

/** Ours, from PEFT's file names or from its names in memory (`.default`, `.modules_to_save.default`). */
export function fromPeftName(name: string): string {
  return name
    .replace(/^base_model\.model\./, '')
    .replace(/\.modules_to_save\.[^.]+\.(weight|bias)$/, '.$1')
    .replace(/\.lora_(A|B)\.[^.]+\.weight$/, '.lora_$1.weight')
    .replace(/\.lora_magnitude_vector(\.[^.]+)?(\.weight)?$/, '.lora_magnitude_vector');
}

export function fromPeft(tensors: DecoderWeights): DecoderWeights {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [fromPeftName(name), tensor]));
}
