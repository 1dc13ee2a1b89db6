import { ConfigError } from '@plumbline/core';
import { type ConfigReader, configReader } from '../decoder/spec.js';
import type { Activation, StackSpec } from './stack.js';

/**
 * All that tells one text encoder from another (Devlin et al. 2019, arXiv:1810.04805; Liu et al. 2019, arXiv:1907.11692; Sanh et al. 2019,
 * arXiv:1910.01108). Their dropout is left out: outputs are those of evaluation, in training too.
 */
export type EncoderSpec = Omit<StackSpec, 'normFirst'> & {
  family: EncoderFamily;
  vocabSize: number;
  /** Tokens of a sequence, at most. */
  contextLength: number;
  /** The position of a sequence's first token (RoBERTa counts from 2). */
  firstPosition: number;
  /** Kinds of segments; 0 where the model knows none. */
  tokenTypes: number;
  padId?: number;
  /** Standard deviation of the first weights. */
  initializerRange: number;
  outputs: EncoderOutputs;
};
/** What stands on the layers. */
export type EncoderOutputs = {
  /** tanh of a projection of the first token. */
  pooler?: boolean;
  /** Logits over the vocabulary; their matrix is the embeddings. */
  maskedLm?: boolean;
  /** Whether the second segment follows the first: two logits, from the pooler. */
  nextSentence?: boolean;
  /** Labels of a sequence classifier. */
  labels?: number;
};
export type EncoderFamily = keyof typeof architectures;

const architectures = { bert: 'Bert', roberta: 'Roberta', distilbert: 'DistilBert' } as const;

/** What a new encoder needs at least; the rest is BERT's. */
export type EncoderShape = Pick<EncoderSpec, 'vocabSize' | 'width' | 'layers' | 'heads'> & Partial<EncoderSpec>;

export function encoderSpec(shape: EncoderShape): EncoderSpec {
  return checked(
    {
      family: 'bert',
      mlpWidth: 4 * shape.width,
      layerNormEps: 1e-12,
      activation: 'gelu',
      contextLength: 512,
      firstPosition: 0,
      tokenTypes: shape.family === 'distilbert' ? 0 : 2,
      initializerRange: 0.02,
      outputs: {},
      ...shape,
    },
    'encoder',
  );
}

/**
 * Reads the `config.json` of a BERT, RoBERTa or DistilBERT. What stands on the layers is not all in there: `has` says which tensors the weights hold.
 * @throws ConfigError naming the missing or unsupported field and what is allowed
 */
export function encoderSpecFromConfig(
  config: Record<string, unknown>,
  has: (tensor: string) => boolean,
  name = 'config.json',
): EncoderSpec {
  const family = config.model_type;
  if (family !== 'bert' && family !== 'roberta' && family !== 'distilbert')
    throw new ConfigError(
      `${name}: model_type is ${JSON.stringify(family)}; supported encoders are ${Object.keys(architectures).join(', ')}`,
    );
  const read = configReader(config, name);
  read.oneOf('is_decoder', [false], false);
  read.oneOf('position_embedding_type', ['absolute'], 'absolute');
  const sizes = family === 'distilbert' ? distilSizes(read) : bertSizes(read, family);
  const padId = typeof config.pad_token_id === 'number' ? config.pad_token_id : undefined;
  const maskedLm = has('cls.predictions.transform.dense.weight') || has('lm_head.dense.weight') || has('vocab_transform.weight');
  const labels = has('classifier.weight') || has('classifier.out_proj.weight') ? labelCount(config) : undefined;
  return checked(
    {
      family,
      vocabSize: read.number('vocab_size'),
      ...sizes,
      ...(padId !== undefined && { padId }),
      initializerRange: read.number('initializer_range', 0.02),
      outputs: {
        ...(has('pooler.dense.weight') && { pooler: true }),
        ...(maskedLm && { maskedLm }),
        ...(has('cls.seq_relationship.weight') && { nextSentence: true }),
        ...(labels !== undefined && { labels }),
      },
    },
    name,
  );
}

function bertSizes({ number, activation }: ConfigReader, family: 'bert' | 'roberta') {
  const firstPosition = family === 'roberta' ? number('pad_token_id', 1) + 1 : 0;
  return {
    width: number('hidden_size'),
    layers: number('num_hidden_layers'),
    heads: number('num_attention_heads'),
    mlpWidth: number('intermediate_size'),
    layerNormEps: number('layer_norm_eps', 1e-12),
    activation: activation('hidden_act'),
    contextLength: number('max_position_embeddings', 512) - firstPosition,
    firstPosition,
    tokenTypes: number('type_vocab_size', 2),
  };
}

function distilSizes({ number, activation }: ConfigReader) {
  return {
    width: number('dim'),
    layers: number('n_layers'),
    heads: number('n_heads'),
    mlpWidth: number('hidden_dim'),
    layerNormEps: 1e-12,
    activation: activation('activation'),
    contextLength: number('max_position_embeddings', 512),
    firstPosition: 0,
    tokenTypes: 0,
  };
}

/** transformers writes a label for each class; one class alone is a score. */
function labelCount(config: Record<string, unknown>): number {
  if (typeof config.id2label === 'object' && config.id2label !== null) return Object.keys(config.id2label).length;
  return typeof config.num_labels === 'number' ? config.num_labels : 2;
}

/** The `config.json` of a spec. */
export function encoderConfig(spec: EncoderSpec): Record<string, unknown> {
  const { outputs, family } = spec;
  const kind = outputs.labels
    ? 'ForSequenceClassification'
    : outputs.maskedLm
      ? outputs.nextSentence
        ? 'ForPreTraining'
        : 'ForMaskedLM'
      : 'Model';
  const labels = Array.from({ length: outputs.labels ?? 0 }, (_, i) => `LABEL_${i}`);
  const positions = spec.contextLength + spec.firstPosition;
  return {
    architectures: [`${architectures[family]}${kind}`],
    model_type: family,
    vocab_size: spec.vocabSize,
    max_position_embeddings: positions,
    ...(family === 'distilbert'
      ? { dim: spec.width, n_layers: spec.layers, n_heads: spec.heads, hidden_dim: spec.mlpWidth, activation: spec.activation }
      : {
          hidden_size: spec.width,
          num_hidden_layers: spec.layers,
          num_attention_heads: spec.heads,
          intermediate_size: spec.mlpWidth,
          hidden_act: spec.activation,
          layer_norm_eps: spec.layerNormEps,
          type_vocab_size: spec.tokenTypes,
        }),
    initializer_range: spec.initializerRange,
    pad_token_id: spec.padId ?? (family === 'roberta' ? spec.firstPosition - 1 : 0),
    ...(labels.length > 0 && {
      id2label: Object.fromEntries(labels.map((label, i) => [i, label])),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    torch_dtype: 'float32',
  };
}

/** The activations that encoders have. */
export const activations: readonly Activation[] = ['gelu', 'gelu_new', 'relu'];

function checked(spec: EncoderSpec, name: string): EncoderSpec {
  for (const key of ['vocabSize', 'width', 'layers', 'heads', 'mlpWidth', 'contextLength'] as const) {
    if (!Number.isInteger(spec[key]) || spec[key] < 1)
      throw new ConfigError(`${name}: ${key} must be a whole number above 0, got ${spec[key]}`);
  }
  if (spec.layers > 10_000) throw new ConfigError(`${name}: layers is ${spec.layers}; at most 10,000 are allowed`);
  if (spec.width % spec.heads !== 0) throw new ConfigError(`${name}: width (${spec.width}) must be a multiple of heads (${spec.heads})`);
  if (spec.outputs.nextSentence && !spec.outputs.pooler)
    throw new ConfigError(`${name}: the next-sentence output reads the pooler, which is absent`);
  if (spec.outputs.labels && spec.family === 'bert' && !spec.outputs.pooler)
    throw new ConfigError(`${name}: BERT's classifier reads the pooler, which is absent`);
  return spec;
}
