/** Which parameters a text encoder has, under Hugging Face's names: the families differ here and nowhere else. */
import type { Norm, Projection } from '../decoder/layout.js';
import type { EncoderSpec } from './spec.js';
import { type EncoderLayer, shapeCollector } from './stack.js';

export type EncoderLayout = {
  /** What the names of a model with heads begin with; a bare model's file has them without it. */
  prefix: string;
  words: string;
  positions: string;
  tokenTypes?: string;
  embeddingNorm: Norm;
  layers: EncoderLayer[];
  pooler?: Projection;
  maskedLm?: { transform: Projection; norm: Norm; bias: string };
  nextSentence?: Projection;
  /** `dense` comes before `out` where there is no pooler. */
  classifier?: { dense?: Projection; activation?: 'tanh' | 'relu'; out: Projection };
};

export function encoderLayout(spec: EncoderSpec): EncoderLayout {
  const { width, mlpWidth, outputs, family } = spec;
  const prefix = `${family}.`;
  const distil = family === 'distilbert';
  const projection = (name: string, inputs = width, out = width): Projection => ({
    weight: `${name}.weight`,
    bias: `${name}.bias`,
    inputs,
    outputs: [out],
  });
  const norm = (name: string): Norm => ({ weight: `${name}.weight`, bias: `${name}.bias`, width });
  const layer = (index: number): EncoderLayer => {
    const at = distil ? `${prefix}transformer.layer.${index}` : `${prefix}encoder.layer.${index}`;
    return distil
      ? {
          q: projection(`${at}.attention.q_lin`),
          k: projection(`${at}.attention.k_lin`),
          v: projection(`${at}.attention.v_lin`),
          o: projection(`${at}.attention.out_lin`),
          attentionNorm: norm(`${at}.sa_layer_norm`),
          up: projection(`${at}.ffn.lin1`, width, mlpWidth),
          down: projection(`${at}.ffn.lin2`, mlpWidth, width),
          mlpNorm: norm(`${at}.output_layer_norm`),
        }
      : {
          q: projection(`${at}.attention.self.query`),
          k: projection(`${at}.attention.self.key`),
          v: projection(`${at}.attention.self.value`),
          o: projection(`${at}.attention.output.dense`),
          attentionNorm: norm(`${at}.attention.output.LayerNorm`),
          up: projection(`${at}.intermediate.dense`, width, mlpWidth),
          down: projection(`${at}.output.dense`, mlpWidth, width),
          mlpNorm: norm(`${at}.output.LayerNorm`),
        };
  };
  const maskedLm = {
    bert: {
      transform: projection('cls.predictions.transform.dense'),
      norm: norm('cls.predictions.transform.LayerNorm'),
      bias: 'cls.predictions.bias',
    },
    roberta: { transform: projection('lm_head.dense'), norm: norm('lm_head.layer_norm'), bias: 'lm_head.bias' },
    distilbert: { transform: projection('vocab_transform'), norm: norm('vocab_layer_norm'), bias: 'vocab_projector.bias' },
  }[family];
  const labels = outputs.labels ?? 0;
  const classifier = {
    bert: { out: projection('classifier', width, labels) },
    roberta: { dense: projection('classifier.dense'), activation: 'tanh' as const, out: projection('classifier.out_proj', width, labels) },
    distilbert: { dense: projection('pre_classifier'), activation: 'relu' as const, out: projection('classifier', width, labels) },
  }[family];
  return {
    prefix,
    words: `${prefix}embeddings.word_embeddings.weight`,
    positions: `${prefix}embeddings.position_embeddings.weight`,
    ...(spec.tokenTypes > 0 && { tokenTypes: `${prefix}embeddings.token_type_embeddings.weight` }),
    embeddingNorm: norm(`${prefix}embeddings.LayerNorm`),
    layers: Array.from({ length: spec.layers }, (_, i) => layer(i)),
    ...(outputs.pooler && { pooler: projection(`${prefix}pooler.dense`) }),
    ...(outputs.maskedLm && { maskedLm }),
    ...(outputs.nextSentence && { nextSentence: projection('cls.seq_relationship', width, 2) }),
    ...(labels > 0 && { classifier }),
  };
}

/** Name and shape of every parameter. */
export function encoderShapes(spec: EncoderSpec): Record<string, readonly number[]> {
  const layout = encoderLayout(spec);
  const { shapes, norm, projection, layer } = shapeCollector();
  shapes[layout.words] = [spec.vocabSize, spec.width];
  shapes[layout.positions] = [spec.contextLength + spec.firstPosition, spec.width];
  if (layout.tokenTypes) shapes[layout.tokenTypes] = [spec.tokenTypes, spec.width];
  norm(layout.embeddingNorm);
  layout.layers.forEach(layer);
  if (layout.pooler) projection(layout.pooler);
  if (layout.maskedLm) {
    projection(layout.maskedLm.transform);
    norm(layout.maskedLm.norm);
    shapes[layout.maskedLm.bias] = [spec.vocabSize];
  }
  if (layout.nextSentence) projection(layout.nextSentence);
  if (layout.classifier) {
    if (layout.classifier.dense) projection(layout.classifier.dense);
    projection(layout.classifier.out);
  }
  return shapes;
}
