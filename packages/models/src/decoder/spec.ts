import { ConfigError } from '@plumbline/core';

/** Llama 3's stretching of low rotary frequencies (the `llama3` entry of `rope_parameters`). */
export type Llama3Rope = { factor: number; lowFreqFactor: number; highFreqFactor: number; originalContextLength: number };

/**
 * All that tells one decoder from another. `specFromConfig` and `configFromSpec` translate from and to `config.json`; a family's own wiring and
 * names are in layout.ts.
 *
 * Grouped key-value heads: `heads` is a multiple of `kvHeads`. `windows[layer]` is how many tokens a query sees, itself included; 0 is all.
 */
export type DecoderSpec = {
  family: keyof typeof families;
  vocabSize: number;
  width: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  mlpWidth: number;
  contextLength: number;
  /** Rotary embeddings' base; 0 for learned positions (GPT-2). */
  ropeTheta: number;
  ropeScaling?: Llama3Rope;
  /** Rotary frequencies are divided by these, [headDim / 2]: other scalings, and what GGUF files carry. */
  ropeFactors?: readonly number[];
  /** Of RMSNorm, or of GPT-2's LayerNorm. */
  rmsNormEps: number;
  tiedEmbeddings: boolean;
  /** Biases on the query, key and value projections (Qwen2), and on the output projection too (`all`). */
  attentionBias?: 'qkv' | 'all';
  mlpBias?: boolean;
  /** RMSNorm over each query and key head before the rotation (Qwen3). */
  qkNorm?: boolean;
  windows?: readonly number[];
  /** What multiplies `q·k`, where it is not 1 / sqrt(headDim). */
  attentionScale?: number;
  /** Scores and logits become `cap · tanh(x / cap)` (Gemma 2). */
  attentionSoftcap?: number;
  logitSoftcap?: number;
  /** Standard deviation of the first weights. */
  initializerRange?: number;
};

/** What a new decoder needs at least; the rest follows from it. */
export type DecoderShape = Pick<DecoderSpec, 'vocabSize' | 'width' | 'layers' | 'heads'> & Partial<DecoderSpec>;

/** Fills in a Llama: one key-value head a head, heads of `width / heads`, tied embeddings, theta 10,000. */
export function decoderSpec(shape: DecoderShape): DecoderSpec {
  const spec: DecoderSpec = {
    family: 'llama',
    kvHeads: shape.heads,
    headDim: shape.width / shape.heads,
    mlpWidth: Math.ceil((shape.width * 8) / 3 / 8) * 8,
    contextLength: 256,
    ropeTheta: 10_000,
    rmsNormEps: 1e-5,
    tiedEmbeddings: true,
    ...shape,
  };
  return checked(spec, 'decoder');
}

const families = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  gemma2: 'Gemma2ForCausalLM',
  phi3: 'Phi3ForCausalLM',
  gpt2: 'GPT2LMHeadModel',
} as const;

/**
 * Reads Hugging Face's `config.json` as transformers 5 writes it (`rope_parameters`) or as transformers 4 did (`rope_theta`, `rope_scaling`).
 * @param name what to call the file in errors
 * @throws ConfigError naming the missing or unsupported field and what is allowed
 */
export function specFromConfig(config: Record<string, unknown>, name = 'config.json'): DecoderSpec {
  const family = config.model_type;
  if (typeof family !== 'string' || !Object.hasOwn(families, family)) {
    throw new ConfigError(`${name}: model_type is ${JSON.stringify(family)}; supported are ${Object.keys(families).join(', ')}`);
  }
  const read = configReader(config, name);
  return checked(
    family === 'gpt2' ? gpt2Spec(read) : llamaSpec(family as Exclude<DecoderSpec['family'], 'gpt2'>, config, read, name),
    name,
  );
}

/** Fields of a `config.json`, each with an error that names it and what it may hold. */
export type ConfigReader = {
  number(key: string, fallback?: number): number;
  oneOf(key: string, allowed: readonly unknown[], fallback: unknown): void;
  /** The activation of an encoder's MLP. */
  activation(key: string): 'gelu' | 'gelu_new' | 'relu';
};

export function configReader(config: Record<string, unknown>, name: string): ConfigReader {
  const oneOf: ConfigReader['oneOf'] = (key, allowed, fallback) => {
    const value = config[key] ?? fallback;
    if (!allowed.includes(value))
      throw new ConfigError(
        `${name}: ${key} is ${JSON.stringify(value)}; supported is ${allowed.map((x) => JSON.stringify(x)).join(' or ')}`,
      );
  };
  return {
    number(key, fallback) {
      const value = config[key] ?? fallback;
      if (typeof value !== 'number' || !Number.isFinite(value))
        throw new ConfigError(`${name}: ${key} must be a number, found ${value === undefined ? 'nothing' : JSON.stringify(value)}`);
      return value;
    },
    oneOf,
    activation(key) {
      oneOf(key, ['gelu', 'gelu_new', 'gelu_pytorch_tanh', 'relu'], 'gelu');
      const value = config[key] ?? 'gelu';
      return value === 'gelu_pytorch_tanh' ? 'gelu_new' : (value as 'gelu' | 'gelu_new' | 'relu');
    },
  };
}

function llamaSpec(
  family: Exclude<DecoderSpec['family'], 'gpt2'>,
  config: Record<string, unknown>,
  { number, oneOf }: ConfigReader,
  name: string,
): DecoderSpec {
  const gemma = family === 'gemma2';
  if (gemma) oneOf('hidden_activation', ['gelu_pytorch_tanh'], 'gelu_pytorch_tanh');
  else oneOf('hidden_act', ['silu'], 'silu');
  const layers = number('num_hidden_layers');
  const heads = number('num_attention_heads');
  const width = number('hidden_size');
  const rope = (config.rope_parameters ?? { ...(config.rope_scaling as object | null), rope_theta: config.rope_theta }) as Record<
    string,
    unknown
  >;
  const partial = rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1;
  if (partial !== 1) throw new ConfigError(`${name}: partial_rotary_factor is ${JSON.stringify(partial)}; supported is 1`);
  const bias = config.attention_bias === true ? 'all' : undefined;
  return {
    family,
    vocabSize: number('vocab_size'),
    width,
    layers,
    heads,
    kvHeads: number('num_key_value_heads', heads),
    headDim: number('head_dim', gemma ? 256 : width / heads),
    mlpWidth: number('intermediate_size'),
    contextLength: number('max_position_embeddings', 2048),
    ropeTheta: typeof rope.rope_theta === 'number' ? rope.rope_theta : 10_000,
    ropeScaling: ropeScaling(rope, name),
    ropeFactors: ropeFactors(rope, number('head_dim', gemma ? 256 : width / heads), name),
    rmsNormEps: number('rms_norm_eps', 1e-6),
    tiedEmbeddings: (config.tie_word_embeddings ?? gemma) === true,
    attentionBias: family === 'qwen2' ? 'qkv' : bias,
    mlpBias: config.mlp_bias === true,
    qkNorm: family === 'qwen3',
    windows: windows(config, family, layers),
    ...(gemma && {
      attentionScale: number('query_pre_attn_scalar', 256) ** -0.5,
      attentionSoftcap: config.attn_logit_softcapping === null ? undefined : number('attn_logit_softcapping', 50),
      logitSoftcap: config.final_logit_softcapping === null ? undefined : number('final_logit_softcapping', 30),
    }),
    initializerRange: number('initializer_range', 0.02),
  };
}

function gpt2Spec({ number, oneOf }: ConfigReader): DecoderSpec {
  oneOf('activation_function', ['gelu_new', 'gelu_pytorch_tanh'], 'gelu_new');
  oneOf('scale_attn_weights', [true], true);
  oneOf('scale_attn_by_inverse_layer_idx', [false], false);
  oneOf('tie_word_embeddings', [true], true);
  const width = number('n_embd');
  const heads = number('n_head');
  return {
    family: 'gpt2',
    vocabSize: number('vocab_size'),
    width,
    layers: number('n_layer'),
    heads,
    kvHeads: heads,
    headDim: width / heads,
    mlpWidth: number('n_inner', 4 * width),
    contextLength: number('n_positions', 1024),
    ropeTheta: 0,
    rmsNormEps: number('layer_norm_epsilon', 1e-5),
    tiedEmbeddings: true,
    initializerRange: number('initializer_range', 0.02),
  };
}

/** The `config.json` of a spec, in the form of transformers 5 with the keys that transformers 4 reads beside it. */
export function configFromSpec(spec: DecoderSpec, ids: { bosId?: number; eosId?: number; padId?: number } = {}): Record<string, unknown> {
  return {
    architectures: [families[spec.family]],
    model_type: spec.family,
    vocab_size: spec.vocabSize,
    ...(spec.family === 'gpt2' ? gpt2Config(spec) : llamaConfig(spec)),
    tie_word_embeddings: spec.tiedEmbeddings,
    initializer_range: spec.initializerRange ?? 0.02,
    bos_token_id: ids.bosId ?? null,
    eos_token_id: ids.eosId ?? null,
    pad_token_id: ids.padId ?? null,
    torch_dtype: 'float32',
  };
}

function llamaConfig(spec: DecoderSpec): Record<string, unknown> {
  const { ropeScaling } = spec;
  const gemma = spec.family === 'gemma2';
  const factors = spec.ropeFactors && {
    rope_type: 'longrope',
    short_factor: [...spec.ropeFactors],
    long_factor: [...spec.ropeFactors],
    original_max_position_embeddings: spec.contextLength,
    attention_factor: 1,
  };
  const scaling =
    (ropeScaling && {
      rope_type: 'llama3',
      factor: ropeScaling.factor,
      low_freq_factor: ropeScaling.lowFreqFactor,
      high_freq_factor: ropeScaling.highFreqFactor,
      original_max_position_embeddings: ropeScaling.originalContextLength,
    }) ??
    factors;
  const window = spec.windows?.find((w) => w > 0);
  return {
    hidden_size: spec.width,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.kvHeads,
    head_dim: spec.headDim,
    intermediate_size: spec.mlpWidth,
    max_position_embeddings: spec.contextLength,
    rms_norm_eps: spec.rmsNormEps,
    rope_theta: spec.ropeTheta,
    ...(scaling && { rope_scaling: scaling }),
    rope_parameters: { rope_type: 'default', ...scaling, rope_theta: spec.ropeTheta },
    ...(gemma ? { hidden_activation: 'gelu_pytorch_tanh' } : { hidden_act: 'silu' }),
    attention_bias: spec.attentionBias === 'all',
    mlp_bias: spec.mlpBias === true,
    ...(window && {
      sliding_window: window,
      use_sliding_window: true,
      layer_types: spec.windows!.map((w) => (w > 0 ? 'sliding_attention' : 'full_attention')),
    }),
    ...(gemma && {
      query_pre_attn_scalar: Math.round((spec.attentionScale ?? spec.headDim ** -0.5) ** -2 * 1e6) / 1e6,
      attn_logit_softcapping: spec.attentionSoftcap ?? null,
      final_logit_softcapping: spec.logitSoftcap ?? null,
    }),
  };
}

function gpt2Config(spec: DecoderSpec): Record<string, unknown> {
  return {
    n_embd: spec.width,
    n_layer: spec.layers,
    n_head: spec.heads,
    n_inner: spec.mlpWidth,
    n_positions: spec.contextLength,
    layer_norm_epsilon: spec.rmsNormEps,
    activation_function: 'gelu_new',
  };
}

/** Rotary angle per position of each pair of dimensions, [headDim / 2]. Llama 3's scaling as in transformers' `_compute_llama3_parameters`. */
export function inverseFrequencies({
  headDim,
  ropeTheta,
  ropeScaling,
  ropeFactors,
}: Pick<DecoderSpec, 'headDim' | 'ropeTheta' | 'ropeScaling' | 'ropeFactors'>): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = Math.fround(1 / ropeTheta ** ((2 * i) / headDim));
    if (ropeFactors) return frequency / ropeFactors[i];
    if (!ropeScaling) return frequency;
    const { factor, lowFreqFactor, highFreqFactor, originalContextLength } = ropeScaling;
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < originalContextLength / highFreqFactor) return frequency;
    if (wavelength > originalContextLength / lowFreqFactor) return frequency / factor;
    const smooth = (originalContextLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

function ropeScaling(rope: Record<string, unknown>, name: string): Llama3Rope | undefined {
  const type = rope.rope_type ?? rope.type ?? 'default';
  if (type === 'default' || type === 'linear' || type === 'longrope') return undefined;
  if (type !== 'llama3')
    throw new ConfigError(`${name}: rope_type is ${JSON.stringify(type)}; supported are "default", "linear", "llama3" and "longrope"`);
  const value = (key: string) => {
    if (typeof rope[key] !== 'number') throw new ConfigError(`${name}: rope_type "llama3" needs a number ${key}`);
    return rope[key];
  };
  return {
    factor: value('factor'),
    lowFreqFactor: value('low_freq_factor'),
    highFreqFactor: value('high_freq_factor'),
    originalContextLength: value('original_max_position_embeddings'),
  };
}

/** Scalings that divide each frequency by a number. Of `longrope` only the kind that does not depend on the length of the text. */
function ropeFactors(rope: Record<string, unknown>, headDim: number, name: string): number[] | undefined {
  const type = rope.rope_type ?? rope.type ?? 'default';
  if (type === 'linear') {
    if (typeof rope.factor !== 'number' || !(rope.factor > 0))
      throw new ConfigError(`${name}: rope_type "linear" needs a factor above 0, found ${JSON.stringify(rope.factor ?? null)}`);
    return new Array<number>(headDim / 2).fill(rope.factor);
  }
  if (type !== 'longrope') return undefined;
  const { short_factor: short, long_factor: long } = rope as { short_factor?: number[]; long_factor?: number[] };
  if (!Array.isArray(short) || short.length !== headDim / 2 || short.join() !== long?.join() || rope.attention_factor !== 1)
    throw new ConfigError(
      `${name}: rope_type "longrope" is supported where short_factor and long_factor are the same ${headDim / 2} numbers and attention_factor is 1; ` +
        'factors that change with the length of the text are not',
    );
  return short;
}

/** More is no model, and a list as long as that no memory. */
const maxLayers = 10_000;

function windows(config: Record<string, unknown>, family: string, layers: number): number[] | undefined {
  const window = config.sliding_window;
  if (typeof window !== 'number' || (family.startsWith('qwen') && config.use_sliding_window !== true)) return undefined;
  const types = config.layer_types as string[] | undefined;
  // Without a list: Qwen's first layers see everything, every other layer of Gemma 2 does.
  const full = family.startsWith('qwen') ? Number(config.max_window_layers ?? layers) : 0;
  const sliding = (l: number) => (types ? types[l] === 'sliding_attention' : family === 'gemma2' ? l % 2 === 0 : l >= full);
  return Array.from({ length: Math.min(layers, maxLayers) }, (_, l) => (sliding(l) ? window : 0));
}

function checked(spec: DecoderSpec, name: string): DecoderSpec {
  const whole = ['vocabSize', 'width', 'layers', 'heads', 'kvHeads', 'headDim', 'mlpWidth', 'contextLength'] as const;
  for (const key of whole) {
    if (!Number.isInteger(spec[key]) || spec[key] < 1)
      throw new ConfigError(`${name}: ${key} must be a whole number above 0, got ${spec[key]}`);
  }
  if (spec.layers > maxLayers) throw new ConfigError(`${name}: layers is ${spec.layers}; at most 10,000 are allowed`);
  if (spec.heads % spec.kvHeads !== 0)
    throw new ConfigError(`${name}: heads (${spec.heads}) must be a multiple of kvHeads (${spec.kvHeads})`);
  if (spec.ropeTheta > 0 && spec.headDim % 2 !== 0)
    throw new ConfigError(`${name}: headDim must be even for rotary embeddings, got ${spec.headDim}`);
  // What is absent or off is left out, so that equal models have equal specs.
  return Object.fromEntries(
    Object.entries(spec).filter(([key, value]) => key === 'tiedEmbeddings' || (value !== undefined && value !== false)),
  ) as DecoderSpec;
}
