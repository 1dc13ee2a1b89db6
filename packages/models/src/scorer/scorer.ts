import {
  CheckpointError,
  ConfigError,
  createParameters,
  gatherRows,
  linear,
  type Parameter,
  type ParameterTree,
  type Rng,
  type Saved,
  segmentMean,
} from '@plumbline/core';
import type { PackedBatch, Scorer } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LocalDecoder } from '../decoder/decoder.js';

/**
 * `mean`: over the final hidden states of the completion's tokens (of the whole segment where it has none).
 * `last`: the segment's last token that is not `padId`, as transformers' sequence classifiers read it: where the pad token is also the
 * end token, the score comes from the token before it.
 */
export type Pooling = 'mean' | 'last';

export interface LocalScorer extends Scorer {
  readonly backbone: LocalDecoder;
  readonly pooling: Pooling;
  readonly padId?: number;
  snapshot(): LocalScorer;
  dispose(): void;
}

export type ScorerOptions = {
  pooling: Pooling;
  padId?: number;
  name?: string;
  /** Uses the decoder itself instead of a copy, for a scorer whose backbone is not trained (an adapter's base). The decoder stays the caller's to dispose. */
  shareBackbone?: boolean;
} & ({ rng: Rng } | { head: Float32Array });

/**
 * A copy of a decoder's backbone with a linear head that gives one score a segment; nothing is shared with `decoder` unless `shareBackbone` says so.
 *
 * A new head is N(0, 1 / sqrt(width + 1)) (InstructGPT's and summarize-from-feedback's), without bias; `score.weight` [1, width] as in transformers. Mean pooling over
 * the completion learns from a few hundred pairs where the last token does not yet.
 *
 * @throws ConfigError where the given head does not fit
 */
export function createScorer(decoder: LocalDecoder, options: ScorerOptions): LocalScorer {
  const { width } = decoder;
  const data =
    'head' in options
      ? options.head
      : options.rng
          .fork('head')
          .normal(width)
          .map((z) => z / Math.sqrt(width + 1));
  if (data.length !== width)
    throw new ConfigError(`createScorer: the head has ${data.length} numbers, but the backbone's width is ${width}`);
  const { pooling, padId, name = `${decoder.name}-scorer`, shareBackbone = false } = options;
  const backbone = shareBackbone ? decoder : decoder.snapshot();
  return ownScorer(backbone, createParameters({ [headName]: { shape: [1, width], data } }), { pooling, padId, name }, shareBackbone);
}

export const headName = 'score.weight';

type Reading = { pooling: Pooling; padId?: number; name: string };

function ownScorer(backbone: LocalDecoder, head: ParameterTree, reading: Reading, shared: boolean): LocalScorer {
  const parameters = joinTrees([backbone.parameters, head], (name) => name !== 'lm_head.weight');
  return {
    ...scorerOf(backbone, head.get(headName) as Parameter, reading, parameters),
    snapshot: () => ownScorer(shared ? backbone : backbone.snapshot(), head.snapshot(), reading, shared),
    dispose() {
      if (!shared) backbone.dispose();
      head.dispose();
    },
  };
}

/** The same scorer through an adapted backbone, with the adapter's own head where it has one. The base keeps what is its own. */
export function adaptedScorer(
  { pooling, padId, name, parameters }: LocalScorer,
  backbone: LocalDecoder,
  adapter: ParameterTree,
): Omit<LocalScorer, 'snapshot'> {
  const weight = (adapter.names.includes(headName) ? adapter : parameters).get(headName) as Parameter;
  return { ...scorerOf(backbone, weight, { pooling, padId, name: `${name}-lora` }, adapter), dispose: () => backbone.dispose() };
}

function scorerOf(
  backbone: LocalDecoder,
  weight: Parameter,
  { pooling, padId, name }: Reading,
  parameters: ParameterTree,
): Omit<LocalScorer, 'snapshot' | 'dispose'> {
  return {
    name,
    backbone,
    pooling,
    padId,
    parameters,
    tokenizer: backbone.tokenizer,
    contextLength: backbone.contextLength,
    activationBytes: backbone.activationBytes,
    scores(batch) {
      return tf.tidy(() => {
        const hidden = backbone.hidden(batch);
        const pooled =
          pooling === 'mean'
            ? segmentMean({ x: hidden }, { cuSeqlens: batch.cuSeqlens, mask: pooledTokens(batch) }).y
            : gatherRows({ x: hidden }, { rows: lastTokens(batch, padId) }).y;
        return tf.reshape(linear({ x: pooled, weight: weight.value as tf.Tensor2D }, {}).y, [-1]) as tf.Tensor1D;
      });
    },
  };
}

export function pooledTokens({ completionMask, cuSeqlens }: PackedBatch): Uint8Array {
  const mask = completionMask.slice();
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const span = mask.subarray(cuSeqlens[s], cuSeqlens[s + 1]);
    if (!span.includes(1)) span.fill(1);
  }
  return mask;
}

export function lastTokens({ tokens, cuSeqlens, prefixOf }: PackedBatch, padId: number | undefined): Int32Array {
  const lastOf = (s: number): number => {
    let t = cuSeqlens[s + 1] - 1;
    while (t > cuSeqlens[s] && tokens[t] === padId) t--;
    const prefix = prefixOf?.[s] ?? -1;
    return tokens[t] === padId && prefix >= 0 ? lastOf(prefix) : t;
  };
  return Int32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => lastOf(s));
}

/**
 * Several trees as one, for trainers and checkpoints; parameters that `keep` refuses are left out. Names must differ. What a tree notes beside its tensors is
 * kept too: of an adapter with dropout, how many passes have drawn a mask.
 */
export function joinTrees(trees: readonly ParameterTree[], keep: (name: string) => boolean = () => true): ParameterTree {
  const owner = new Map(trees.flatMap((tree) => tree.names.filter(keep).map((name) => [name, tree] as const)));
  const names = [...owner.keys()];
  return {
    names,
    get(name) {
      const tree = owner.get(name);
      if (!tree)
        throw new RangeError(
          `no parameter "${name}"; there are ${names.length}, such as ${names.slice(0, 3).join(', ')} and ${names.at(-1)}`,
        );
      return tree.get(name);
    },
    trainable: () => trees.flatMap((tree) => tree.trainable().filter(({ name }) => keep(name))),
    freeze(pattern) {
      return trees.reduce((sum, tree) => sum + tree.freeze(pattern), 0);
    },
    snapshot: () =>
      joinTrees(
        trees.map((tree) => tree.snapshot()),
        keep,
      ),
    async save() {
      const parts = await Promise.all(trees.map((tree) => tree.save()));
      const tensors = Object.fromEntries(parts.flatMap((part) => Object.entries(part.tensors).filter(([name]) => keep(name))));
      return { tensors, json: { kind: 'parameters', version: 1, parts: parts.map(({ json }) => json) } };
    },
    async load(saved: Saved) {
      const missing = names.filter((name) => !saved.tensors[name]);
      const unknown = Object.keys(saved.tensors).filter((name) => !owner.has(name));
      const unlike = names.filter(
        (name) => saved.tensors[name] && saved.tensors[name].shape.join() !== owner.get(name)!.get(name).shape.join(),
      );
      if (missing.length + unknown.length + unlike.length > 0) {
        const list = (what: string, found: string[]) => (found.length > 0 ? [`${what} ${found.slice(0, 6).join(', ')}`] : []);
        throw new CheckpointError(
          `saved parameters do not fit: ${[...list('missing', missing), ...list('unknown', unknown), ...list('misshapen', unlike)].join('; ')}`,
        );
      }
      const { parts = [] } = saved.json as { parts?: Saved['json'][] };
      for (const [i, tree] of trees.entries()) {
        const rest = await leftOut(tree, keep); // a tree's load wants all of its parameters
        const own = Object.fromEntries(tree.names.filter(keep).map((name) => [name, saved.tensors[name]]));
        await tree.load({ tensors: { ...rest, ...own }, json: parts[i] ?? { kind: 'parameters', version: 1 } });
      }
    },
    dispose() {
      for (const tree of trees) tree.dispose();
    },
  };
}

async function leftOut(tree: ParameterTree, keep: (name: string) => boolean): Promise<Saved['tensors']> {
  if (tree.names.every(keep)) return {};
  const { tensors } = await tree.save();
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => !keep(name)));
}
