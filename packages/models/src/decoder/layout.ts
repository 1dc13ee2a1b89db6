/** Which parameters a decoder has, under Hugging Face's names, and what each is for: the families differ here and nowhere else. */
import type { DecoderSpec } from './spec.js';

export type Norm = { weight: string; bias?: string; width: number };
/** One matrix, whose outputs may hold several parts side by side. `transposed`: stored [inputs, outputs], as GPT-2's Conv1D. */
export type Projection = { weight: string; bias?: string; inputs: number; outputs: readonly number[]; transposed?: boolean };
export type LayerLayout = {
  attentionNorm: Norm;
  /** Queries, keys and values, in three matrices or in one. */
  qkv: Projection[];
  qNorm?: Norm;
  kNorm?: Norm;
  o: Projection;
  afterAttention?: Norm;
  mlpNorm: Norm;
  /** Gate and up, in two matrices or in one; or up alone. */
  up: Projection[];
  down: Projection;
  afterMlp?: Norm;
};
export type Layout = {
  embeddings: string;
  /** Learned positions, added to the embeddings. */
  positions?: string;
  layers: LayerLayout[];
  finalNorm: Norm;
  /** Absent where the embeddings are the head. */
  head?: string;
};

export function layoutOf(spec: DecoderSpec): Layout {
  return spec.family === 'gpt2' ? gpt2(spec) : llama(spec);
}

/** Name and shape of every parameter. */
export function parameterShapes(spec: DecoderSpec): Record<string, readonly number[]> {
  const { embeddings, positions, layers, finalNorm, head } = layoutOf(spec);
  const shapes: Record<string, readonly number[]> = { [embeddings]: [spec.vocabSize, spec.width] };
  if (positions) shapes[positions] = [spec.contextLength, spec.width];
  const norm = (n: Norm | undefined) => {
    if (!n) return;
    shapes[n.weight] = [n.width];
    if (n.bias) shapes[n.bias] = [n.width];
  };
  const projection = ({ weight, bias, inputs, outputs, transposed }: Projection) => {
    const out = outputs.reduce((a, b) => a + b, 0);
    shapes[weight] = transposed ? [inputs, out] : [out, inputs];
    if (bias) shapes[bias] = [out];
  };
  for (const layer of layers) {
    norm(layer.attentionNorm);
    layer.qkv.forEach(projection);
    norm(layer.qNorm);
    norm(layer.kNorm);
    projection(layer.o);
    norm(layer.afterAttention);
    norm(layer.mlpNorm);
    layer.up.forEach(projection);
    projection(layer.down);
    norm(layer.afterMlp);
  }
  norm(finalNorm);
  if (head) shapes[head] = [spec.vocabSize, spec.width];
  return shapes;
}

/** Llama and all that is named like it: Mistral, Qwen2, Qwen3, Gemma 2, Phi-3. */
function llama(spec: DecoderSpec): Layout {
  const { width, mlpWidth, headDim, family } = spec;
  const [q, kv] = [spec.heads * headDim, spec.kvHeads * headDim];
  const fused = family === 'phi3';
  const sandwich = family === 'gemma2'; // norms before and after attention and MLP
  return {
    embeddings: 'model.embed_tokens.weight',
    layers: Array.from({ length: spec.layers }, (_, layer) => {
      const at = `model.layers.${layer}`;
      const norm = (name: string, of = width): Norm => ({ weight: `${at}.${name}.weight`, width: of });
      const project = (name: string, inputs: number, outputs: number[], biased = false): Projection => ({
        weight: `${at}.${name}.weight`,
        ...(biased && { bias: `${at}.${name}.bias` }),
        inputs,
        outputs,
      });
      const { attentionBias, mlpBias } = spec;
      const biased = attentionBias !== undefined;
      return {
        attentionNorm: norm('input_layernorm'),
        qkv: fused
          ? [project('self_attn.qkv_proj', width, [q, kv, kv])]
          : [
              project('self_attn.q_proj', width, [q], biased),
              project('self_attn.k_proj', width, [kv], biased),
              project('self_attn.v_proj', width, [kv], biased),
            ],
        ...(spec.qkNorm && { qNorm: norm('self_attn.q_norm', headDim), kNorm: norm('self_attn.k_norm', headDim) }),
        o: project('self_attn.o_proj', q, [width], attentionBias === 'all'),
        ...(sandwich && { afterAttention: norm('post_attention_layernorm') }),
        mlpNorm: norm(sandwich ? 'pre_feedforward_layernorm' : 'post_attention_layernorm'),
        up: fused
          ? [project('mlp.gate_up_proj', width, [mlpWidth, mlpWidth])]
          : [project('mlp.gate_proj', width, [mlpWidth], mlpBias), project('mlp.up_proj', width, [mlpWidth], mlpBias)],
        down: project('mlp.down_proj', mlpWidth, [width], mlpBias),
        ...(sandwich && { afterMlp: norm('post_feedforward_layernorm') }),
      };
    }),
    finalNorm: { weight: 'model.norm.weight', width },
    ...(!spec.tiedEmbeddings && { head: 'lm_head.weight' }),
  };
}

function gpt2(spec: DecoderSpec): Layout {
  const { width, mlpWidth } = spec;
  const norm = (name: string): Norm => ({ weight: `transformer.${name}.weight`, bias: `transformer.${name}.bias`, width });
  const conv = (name: string, inputs: number, outputs: number[]): Projection => ({
    weight: `transformer.${name}.weight`,
    bias: `transformer.${name}.bias`,
    inputs,
    outputs,
    transposed: true,
  });
  return {
    embeddings: 'transformer.wte.weight',
    positions: 'transformer.wpe.weight',
    layers: Array.from({ length: spec.layers }, (_, layer) => ({
      attentionNorm: norm(`h.${layer}.ln_1`),
      qkv: [conv(`h.${layer}.attn.c_attn`, width, [width, width, width])],
      o: conv(`h.${layer}.attn.c_proj`, width, [width]),
      mlpNorm: norm(`h.${layer}.ln_2`),
      up: [conv(`h.${layer}.mlp.c_fc`, width, [mlpWidth])],
      down: conv(`h.${layer}.mlp.c_proj`, mlpWidth, [width]),
    })),
    finalNorm: norm('ln_f'),
    ...(!spec.tiedEmbeddings && { head: 'lm_head.weight' }),
  };
}
