/** Low-rank adapters on a base that stays as it is: several on one base, each a model of its own, and the base is the reference. */
import {
  ConfigError,
  createParameters,
  linear,
  lowRankLinear,
  type Parameter,
  type ParameterTree,
  type Rng,
  readCopy,
  type Saved,
  stopGradient,
} from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Adaptation, BackboneAdapter } from '../decoder/backbone.js';
import { type DecoderWeights, decoderOf, type LocalDecoder } from '../decoder/decoder.js';
import { parameterShapes } from '../decoder/layout.js';
import { asHead, isFrozen, type Matrix, multiply } from '../decoder/matrix.js';
import { adaptedScorer, headName, type LocalScorer } from '../scorer/scorer.js';
import { endsWith, type LoraConfig, moduleOf, type ResolvedLora, resolveLora, type Target, targetsOf } from './config.js';

export type Adapter = {
  readonly config: ResolvedLora;
  readonly targets: readonly Target[];
  /**
   * `MODULE.lora_A.weight` [r, in], `MODULE.lora_B.weight` [out, r], with DoRA `MODULE.lora_magnitude_vector` [out], and the modules to save
   * under their own names: PEFT's names without its prefix.
   */
  readonly parameters: ParameterTree;
};

/**
 * A decoder with an adapter. `parameters` are the adapter's alone, so that trainers train and save nothing else. The base is shared: it is the
 * reference, as it is, and stays the caller's to dispose.
 */
export interface AdaptedDecoder extends LocalDecoder {
  readonly base: LocalDecoder;
  readonly adapter: Adapter;
  /** A copy of the adapter, on the same base. */
  snapshot(): AdaptedDecoder;
}
export interface AdaptedScorer extends LocalScorer {
  readonly base: LocalScorer;
  readonly adapter: Adapter;
  snapshot(): AdaptedScorer;
}
export type LoraSource = { rng: Rng; weights?: DecoderWeights };

/**
 * Puts a new adapter on a decoder or a scorer, which is neither copied nor changed. Hu et al. 2021, arXiv:2106.09685: `W x + (alpha / r) B A x`;
 * rsLoRA's `alpha / sqrt(r)` is Kalajdzievski 2023, arXiv:2312.03732; DoRA (Liu et al. 2024, arXiv:2402.09353) multiplies each output row of
 * `W + s B A` by `m / |W + s B A|`, where the norm is a constant to the gradient.
 *
 * A is uniform within 1 / sqrt(in) and B is 0, as PEFT begins, so that the adapter first gives the base's numbers. On a scorer, `score` is among the
 * modules to save unless the configuration names others. Dropout acts where gradients are recorded, and nowhere else; its masks follow from `rng`
 * and the number of passes so far, which a checkpoint keeps.
 *
 * @param source.weights in place of new ones, under the names of `Adapter.parameters`
 * @throws ConfigError naming the option that is wrong, or the weights that do not fit
 */
export async function addLora(base: LocalDecoder, config: LoraConfig, source: LoraSource): Promise<AdaptedDecoder>;
export async function addLora(base: LocalScorer, config: LoraConfig, source: LoraSource): Promise<AdaptedScorer>;
export async function addLora(
  base: LocalDecoder | LocalScorer,
  config: LoraConfig,
  source: LoraSource,
): Promise<AdaptedDecoder | AdaptedScorer> {
  if (isAdapted(base)) throw new ConfigError(`${base.name} has an adapter already; put another one on its base, or merge it first`);
  const scorer = 'backbone' in base;
  const ownHead = scorer && !config.modulesToSave?.length && (!source.weights || headName in source.weights);
  const resolved = resolveLora({ ...config, ...(ownHead && { modulesToSave: ['score'] }) });
  const decoder = scorer ? base.backbone : base;
  const targets = targetsOf(resolved, decoder.spec);
  const entries = { ...(await newEntries(targets, resolved, decoder, source.rng)), ...(await savedModules(resolved, base)) };
  const tree = createParameters(source.weights ? fitted(entries, source.weights) : entries);
  const adapter = adapterOf(resolved, targets, tree, source.rng);
  return scorer ? onScorer(base, adapter) : onDecoder(base, adapter);
}

export function isAdapted<T extends LocalDecoder | LocalScorer>(
  model: T,
): model is T & (T extends LocalDecoder ? AdaptedDecoder : AdaptedScorer) {
  return 'adapter' in model;
}

type SeededAdapter = Adapter & { passes: { count: number }; rng: Rng };

function adapterOf(config: ResolvedLora, targets: readonly Target[], tree: ParameterTree, rng: Rng, count = 0): SeededAdapter {
  const passes = { count };
  return { config, targets, passes, rng, parameters: config.dropout > 0 ? countingPasses(tree, passes) : tree };
}

function onDecoder(base: LocalDecoder, adapter: SeededAdapter): AdaptedDecoder {
  const { name, tokenizer, gradientCheckpointing, products } = base;
  const settings = { tokenizer, name: `${name}-lora`, gradientCheckpointing, products };
  const adapted = decoderOf(base.spec, base.parameters, settings, backboneAdapter(base, adapter));
  return Object.assign(adapted, {
    base,
    adapter,
    parameters: adapter.parameters,
    snapshot: () => onDecoder(base, copyOf(adapter)),
    dispose: () => adapter.parameters.dispose(),
  });
}

function onScorer(base: LocalScorer, adapter: SeededAdapter): AdaptedScorer {
  const backbone = onDecoder(base.backbone, adapter);
  const scorer = adaptedScorer(base, backbone, adapter.parameters);
  return Object.assign(scorer, { base, adapter, snapshot: () => onScorer(base, copyOf(adapter)) });
}

const copyOf = ({ config, targets, parameters, rng, passes }: SeededAdapter): SeededAdapter =>
  adapterOf(config, targets, parameters.snapshot(), rng, passes.count);

function backboneAdapter(
  { parameters: base, products }: LocalDecoder,
  { config, targets, parameters, passes, rng }: SeededAdapter,
): BackboneAdapter {
  const own = new Set(parameters.names);
  const value = (name: string) => (parameters.get(name) as Parameter).value;
  const byWeight = new Map(targets.map((target) => [target.projection.weight, target]));
  const heads = ['lm_head', 'score'];
  return {
    firstLayer: config.modulesToSave.every((module) => heads.includes(module)) ? Math.min(...targets.map(({ layer }) => layer)) : 0,
    replaced: (name) => (own.has(name) ? (parameters.get(name) as Parameter) : undefined),
    dropout: () => (config.dropout > 0 && recorded() ? rng.fork('dropout', passes.count++) : undefined),
    factors(projection) {
      const target = byWeight.get(projection.weight);
      if (!target) return undefined;
      const { a, b } = namesOf(target.module);
      const [first, second] = [parameters.get(a), parameters.get(b)] as [Parameter, Parameter];
      return { a: first, b: second, scale: target.scale, scaled: config.dora };
    },
    adapt(projection) {
      const target = byWeight.get(projection.weight);
      if (!target) return undefined;
      const { module, scale } = target;
      const names = namesOf(module);
      const factors = () => ({ a: value(names.a) as tf.Tensor2D, b: value(names.b) as tf.Tensor2D });
      const dropped = (x: tf.Tensor2D, dropout: Rng | undefined) => (dropout ? drop(x, config.dropout, dropout.fork(module)) : x);
      const update = (x: tf.Tensor2D): tf.Tensor2D => {
        const { a, b } = factors();
        return linear({ x: tf.mul(linear({ x, weight: a }, {}).y, scale) as tf.Tensor2D, weight: b }, {}).y;
      };
      const matrix = base.get(projection.weight);
      const bias = projection.bias === undefined ? undefined : (base.get(projection.bias) as Parameter);
      if (!config.dora) {
        const stored = !isFrozen(matrix) && projection.transposed === true; // [in, out]
        return (x, project, { dropout, apart }) => {
          if (apart || dropout || stored) return tf.add(project(x), update(dropped(x, dropout)));
          const [weight, frozen] = asHead(matrix);
          const inputs = { x, ...weight, ...(bias && { bias: bias.value as tf.Tensor1D }), ...factors() };
          return lowRankLinear(inputs, { scale, ...frozen, ...(products && { products }) }).y;
        };
      }
      const adaptation: Adaptation = (x, project, { dropout }) => {
        const input = dropped(x, dropout);
        const { a, b } = factors();
        const norm = rowNorms(matrix, projection.transposed === true, stopGradient(a), stopGradient(b), scale);
        const factor = tf.div(value(names.m), norm);
        const straight = project(x, { bias: false });
        if (input === x) {
          const y: tf.Tensor2D = tf.mul(tf.add(straight, update(x)), factor);
          return bias ? tf.add(y, bias.value) : y;
        }
        const direction = tf.sub(tf.mul(tf.add(project(input, { bias: false }), update(input)), factor), project(input, { bias: false }));
        const y = tf.add(straight, direction) as tf.Tensor2D;
        return bias ? tf.add(y, bias.value) : y;
      };
      return adaptation;
    },
  };
}

export const namesOf = (module: string) => ({
  a: `${module}.lora_A.weight`,
  b: `${module}.lora_B.weight`,
  m: `${module}.lora_magnitude_vector`,
});

/** Whether a parameter of an adapter is part of an update, and not a module that is saved whole. */
export const isUpdate = (name: string): boolean => /\.lora_(A\.weight|B\.weight|magnitude_vector)$/.test(name);

/** Whether what runs now is recorded for gradients. */
const recorded = (): boolean => (tf.engine() as unknown as { isTapeOn(): boolean }).isTapeOn();

/** Inverted dropout: what is kept is divided by the share that is. */
function drop(x: tf.Tensor2D, share: number, rng: Rng): tf.Tensor2D {
  const kept = rng.uniform(x.size).map((u) => (u < share ? 0 : 1 / (1 - share)));
  return tf.mul(x, tf.tensor2d(kept, x.shape));
}

/** `|W + s B A|` of each output row, from `|W|² + 2 s W·(B A) + s² |B A|²`, without the sum itself: [out]. No gradient flows. */
function rowNorms(matrix: Matrix, transposed: boolean, a: tf.Tensor2D, b: tf.Tensor2D, scale: number): tf.Tensor1D {
  return tf.tidy(() => {
    const wA = isFrozen(matrix) || !transposed ? multiply(a, matrix) : tf.matMul(a, matrix.value as tf.Tensor2D); // [r, out]
    const cross = tf.sum(tf.mul(tf.transpose(wA), b), 1);
    const own = tf.sum(tf.mul(tf.matMul(b, tf.matMul(a, a, false, true)), b), 1);
    const squared = tf.addN([squaredRows(matrix, transposed), tf.mul(cross, 2 * scale), tf.mul(own, scale * scale)]);
    return tf.sqrt(squared) as tf.Tensor1D;
  });
}

const rowsOfFrozen = new WeakMap<object, Float32Array>();
function squaredRows(matrix: Matrix, transposed: boolean): tf.Tensor {
  if (!isFrozen(matrix)) return tf.sum(tf.square(matrix.value), transposed ? 0 : 1);
  const known = rowsOfFrozen.get(matrix) ?? squares(matrix.unpack(), matrix.shape[0]);
  rowsOfFrozen.set(matrix, known);
  return tf.tensor1d(known.slice());
}
function squares(data: Float32Array, rows: number): Float32Array {
  const width = data.length / rows;
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let i = row * width; i < (row + 1) * width; i++) sum += data[i] * data[i];
    return sum;
  });
}

type Entries = Record<string, { shape: readonly number[]; data: Float32Array }>;

async function newEntries(targets: readonly Target[], config: ResolvedLora, decoder: LocalDecoder, rng: Rng): Promise<Entries> {
  const entries: Entries = {};
  for (const { module, projection, inputs, outputs, r } of targets) {
    const { a, b, m } = namesOf(module);
    const bound = 1 / Math.sqrt(inputs);
    const draws = rng.fork('lora', module).uniform(r * inputs);
    entries[a] = { shape: [r, inputs], data: draws.map((u) => (2 * u - 1) * bound) };
    entries[b] = { shape: [outputs, r], data: new Float32Array(outputs * r) };
    if (!config.dora) continue;
    const squared = tf.tidy(() => squaredRows(decoder.parameters.get(projection.weight), projection.transposed === true));
    entries[m] = { shape: [outputs], data: ((await readCopy(squared)) as Float32Array).map(Math.sqrt) };
    squared.dispose();
  }
  return entries;
}

/** The values that modules to save begin with: the base's. */
async function savedModules({ modulesToSave }: ResolvedLora, base: LocalDecoder | LocalScorer): Promise<Entries> {
  const { spec, parameters } = 'backbone' in base ? { spec: base.backbone.spec, parameters: base.parameters } : base;
  const entries: Entries = {};
  for (const module of modulesToSave) {
    const names = parameters.names.filter((name) => endsWith(moduleOf(name), module));
    const tiedHead = module === 'lm_head' && spec.tiedEmbeddings && !('backbone' in base);
    if (names.length === 0 && !tiedHead)
      throw new ConfigError(
        `lora: modulesToSave names "${module}", which the model does not have; its modules end with ${ends(parameters)}`,
      );
    for (const name of names) {
      const one = parameters.get(name);
      entries[name] = { shape: one.shape, data: await valuesOf(one) };
    }
    if (!tiedHead) continue;
    const embeddings = Object.entries(parameterShapes(spec)).find(([name]) => /(embed_tokens|wte)\.weight$/.test(name))![0];
    entries['lm_head.weight'] = { shape: [spec.vocabSize, spec.width], data: await valuesOf(parameters.get(embeddings)) };
  }
  return entries;
}

export async function valuesOf(matrix: Matrix): Promise<Float32Array> {
  return isFrozen(matrix) ? matrix.unpack() : ((await readCopy(matrix.value)) as Float32Array);
}

const ends = (parameters: ParameterTree): string =>
  [...new Set(parameters.names.map((name) => moduleOf(name).split('.').at(-1)))].join(', ');

function fitted(entries: Entries, weights: DecoderWeights): Entries {
  const problems = [
    ...Object.entries(entries).flatMap(([name, { shape }]) => {
      const found = weights[name];
      if (!found) return [`"${name}" [${shape}] is missing`];
      return found.shape.join() === shape.join() ? [] : [`"${name}" is [${found.shape}], not [${shape}]`];
    }),
    ...Object.keys(weights)
      .filter((name) => !(name in entries))
      .map((name) => `"${name}" [${weights[name].shape}] is not part of this adapter`),
  ];
  if (problems.length > 0)
    throw new ConfigError(
      `the adapter does not fit its configuration and this base: ${problems.slice(0, 6).join('; ')}${problems.length > 6 ? `; and ${problems.length - 6} more` : ''}`,
    );
  return Object.fromEntries(Object.keys(entries).map((name) => [name, weights[name]]));
}

/** A tree whose checkpoints know how many passes have drawn dropout masks. */
function countingPasses(tree: ParameterTree, passes: { count: number }): ParameterTree {
  return {
    ...tree,
    async save() {
      const { count } = passes;
      const saved = await tree.save();
      return { ...saved, json: { ...(saved.json as object), dropoutPasses: count } };
    },
    async load(saved: Saved) {
      await tree.load(saved);
      passes.count = Number((saved.json as { dropoutPasses?: number } | null)?.dropoutPasses ?? 0);
    },
  };
}
