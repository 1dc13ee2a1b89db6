import { rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type {
  Batches,
  Candidate,
  Generation,
  KvCache,
  LanguageModel,
  PairwiseJudge,
  RewardFunction,
  StepRewardFunction,
} from '../interfaces.js';
import { textOf } from '../records.js';
import { byteTokenizer } from '../testing/byteTokenizer.js';
import { type Fault, toyDecoder, toyScorer } from '../testing/toyDecoder.js';
import {
  batchesContract,
  type ContractCase,
  decoderContract,
  groupRewardFunctionContract,
  type KvCacheShape,
  kvCacheContract,
  languageModelContract,
  pairwiseJudgeContract,
  rewardFunctionContract,
  scorerContract,
  stepRewardFunctionContract,
} from './index.js';

/** Names of the cases that fail. */
async function failures(suite: ContractCase[]): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of suite) {
    try {
      await run();
    } catch (error) {
      expect((error as Error).message).toMatch(/contract broken|refused/);
      failed.push(name);
    }
  }
  return failed;
}
const noticed = async (suite: ContractCase[], by: RegExp) => expect((await failures(suite)).join('\n')).toMatch(by);

const candidates: Candidate[] = [
  { prompt: 'a', completion: 'one' },
  { prompt: 'b', completion: 'three' },
  { prompt: 'a', completion: '' },
];
/** The number of characters; it abstains on nothing written. */
const lengthReward: RewardFunction = {
  name: 'length',
  score: async (batch) => ({
    scores: Float32Array.from(batch, ({ completion }) => textOf(completion).length),
    abstained: Uint8Array.from(batch, ({ completion }) => (completion === '' ? 1 : 0)),
    components: { squared: Float32Array.from(batch, ({ completion }) => textOf(completion).length ** 2) },
  }),
};
const reward = (score: RewardFunction['score']): RewardFunction => ({ name: 'broken', score });

describe('the contract of reward functions', () => {
  for (const { name, run } of rewardFunctionContract(() => lengthReward, { candidates })) it(name, run);
  for (const { name, run } of groupRewardFunctionContract(
    () => ({
      name: 'above the mean',
      async scoreGroup(group) {
        const lengths = group.map(({ completion }) => textOf(completion).length);
        return { scores: Float32Array.from(lengths, (n) => n - lengths.reduce((a, b) => a + b, 0) / lengths.length) };
      },
    }),
    { group: candidates },
  ))
    it(name, run);
  it.each<[string, RewardFunction, RegExp]>([
    ['a score too few', reward(async () => ({ scores: new Float32Array(2) })), /one finite score/],
    ['NaN without abstaining', reward(async (batch) => ({ scores: new Float32Array(batch.length).fill(NaN) })), /one finite score/],
    [
      'a component of another length',
      reward(async (batch) => ({ scores: new Float32Array(batch.length), components: { x: new Float32Array(1) } })),
      /one finite score/,
    ],
    [
      'randomness from elsewhere',
      reward(async (batch) => ({ scores: Float32Array.from(batch, Math.random) })),
      /alike under equal contexts/,
    ],
    ['the place in the batch', reward(async (batch) => ({ scores: Float32Array.from(batch, (_, i) => i) })), /whatever stands beside it/],
    [
      'changed candidates',
      reward(async (batch) => {
        (batch[0] as Candidate).meta = { seen: Math.random() };
        return { scores: new Float32Array(batch.length) };
      }),
      /leaves the candidates/,
    ],
  ])('notices %s', (_, broken, by) =>
    noticed(
      rewardFunctionContract(() => broken, { candidates: structuredClone(candidates) }),
      by,
    ),
  );
  it('notices a group reward that goes by place', () =>
    noticed(
      groupRewardFunctionContract(
        () => ({ name: 'place', scoreGroup: async (group) => ({ scores: Float32Array.from(group, (_, i) => i) }) }),
        { group: candidates },
      ),
      /wherever it stands/,
    ));
});

describe('the contract of step rewards', () => {
  const solutions = [
    { prompt: 'p', steps: ['a', 'bb'] },
    { prompt: 'q', steps: ['ccc'] },
  ];
  const steps = (f: (steps: string[]) => number[]): StepRewardFunction => ({
    name: 'steps',
    scoreSteps: async (batch) => batch.map((solution) => Float32Array.from(f(solution.steps))),
  });
  for (const { name, run } of stepRewardFunctionContract(() => steps((all) => all.map((step) => 1 / step.length)), { solutions }))
    it(name, run);
  it.each<[string, (all: string[]) => number[], RegExp]>([
    ['scores outside of [0, 1]', (all) => all.map((step) => step.length), /in \[0, 1\]/],
    ['a score too few', (all) => all.slice(1).map(() => 0), /in \[0, 1\]/],
    ['a look at later steps', (all) => all.map(() => 1 / all.length), /what came before/],
  ])('notices %s', (_, f, by) =>
    noticed(
      stepRewardFunctionContract(() => steps(f), { solutions }),
      by,
    ),
  );
});

describe('the contract of pairwise judges', () => {
  const pairs = [
    { prompt: 'p', a: 'xx', b: 'x' },
    { prompt: 'p', a: 'x', b: 'xxx' },
  ];
  const judge = (probA: (a: string, b: string) => number, more = {}): PairwiseJudge => ({
    name: 'judge',
    compare: async (batch) =>
      batch.map(({ a, b }) => {
        const p = probA(textOf(a), textOf(b));
        return { winner: p > 0.5 ? 'a' : p < 0.5 ? 'b' : 'tie', probA: p, parsed: true, ...more };
      }),
  });
  const fair = judge((a, b) => a.length / (a.length + b.length));
  for (const { name, run } of pairwiseJudgeContract(() => fair, { pairs, symmetric: true })) it(name, run);
  it.each<[string, PairwiseJudge, RegExp]>([
    ['a winner that is less likely', judge(() => 0.3, { winner: 'a' }), /larger probability/],
    ['a verdict that was not parsed', judge(() => 0.3, { parsed: false }), /larger probability/],
    ['a preference for the first', judge(() => 0.8), /add up to 1/],
    ['moods', judge(() => Math.random()), /alike under equal contexts/],
  ])('notices %s', (_, broken, by) =>
    noticed(
      pairwiseJudgeContract(() => broken, { pairs, symmetric: true }),
      by,
    ),
  );
});

describe('the contract of batches', () => {
  const batches =
    (at: (step: number, seed: number) => number[]) =>
    (seed: number): Batches<{ ids: Int32Array }> => ({
      steps: 3,
      at: async (step) => {
        if (step < 0 || step >= 3) throw new RangeError(`step ${step} is not in 0 to 2`);
        return { ids: Int32Array.from(at(step, seed)) };
      },
    });
  for (const { name, run } of batchesContract(batches((step, seed) => [step, seed]))) it(name, run);
  it('notices a position that moves on', () => {
    let position = 0;
    return noticed(batchesContract(batches(() => [position++])), /same batch for the same seed and step/);
  });
  it('notices a seed without effect', () => noticed(batchesContract(batches((step) => [step])), /other batches for another seed/));
  it('notices a missing end', () =>
    noticed(
      batchesContract((seed) => ({ steps: 2, at: async (step) => ({ step, seed }) })),
      /steps that are not there/,
    ));
  it('notices a batch that is handed out twice', () => {
    const kept = Int32Array.of(1, 2);
    return noticed(
      batchesContract(() => ({ steps: 1, at: async (step) => (step === 0 ? { inner: { kept } } : Promise.reject(new Error('no'))) })),
      /its receiver may change/,
    );
  });
});

describe('the contract of decoders', () => {
  const tokenizer = byteTokenizer();
  const suite = (fault?: Fault) =>
    decoderContract(() => toyDecoder(tokenizer, fault), { snapshotOf: (decoder) => (decoder as ReturnType<typeof toyDecoder>).snapshot() });
  for (const { name, run } of suite()) it(name, run);
  it.each<[Fault, RegExp]>([
    ['looksAcross', /packed beside/],
    ['looksAhead', /later tokens/],
    ['unnormalised', /of a distribution/],
    ['wrongSums', /sums and lengths/],
    ['leaks', /no tensor behind/],
    ['wrongGradient', /central differences/],
    ['sharedSnapshot', /snapshot that stays/],
    ['forgetsPrefix', /share their prompt/],
  ])('notices one that %s', (fault, by) => noticed(suite(fault), by));
});

describe('the contract of scorers', () => {
  const tokenizer = byteTokenizer();
  const suite = (fault?: Fault) =>
    scorerContract(() => toyScorer(tokenizer, fault), { snapshotOf: (scorer) => (scorer as ReturnType<typeof toyScorer>).snapshot() });
  for (const { name, run } of suite()) it(name, run);
  it.each<[Fault, RegExp]>([
    ['centresBatch', /batch neighbours/],
    ['ignoresTokens', /other scores for other completions/],
    ['leaks', /no tensor behind/],
    ['sharedSnapshot', /snapshot that stays/],
    ['forgetsPrefix', /share their prompt/],
  ])('notices one that %s', (fault, by) => noticed(suite(fault), by));
});

describe('the contract of key-value caches', () => {
  for (const { name, run } of kvCacheContract((shape) => plainCache(shape))) it(name, run);
  it.each<[CacheFault, RegExp]>([
    ['mixesLayers', /layers apart/],
    ['sharesByReference', /by value/],
    ['freesNothing', /empties freed rows/],
    ['seesLaterTokens', /token by token/],
    ['wrongGroups', /token by token/],
    ['takesAnything', /more tokens than/],
  ])('notices one that %s', (fault, by) =>
    noticed(
      kvCacheContract((shape) => plainCache(shape, fault)),
      by,
    ),
  );
});

describe('the contract of language models', () => {
  const prompts = ['a', 'b'];
  for (const { name, run } of languageModelContract(() => parrot({}), { prompts })) it(name, run);
  it.each<[string, Partial<ParrotFaults>, RegExp]>([
    ['too many tokens', { extra: 1 }, /none longer/],
    ['a sample too few', { drops: 1 }, /n continuations/],
    ['a seed without effect', { deaf: true }, /something else for another/],
    ['a neighbour that matters', { crowd: true }, /whatever else is in the batch/],
    ['a promise that is not kept', { boasts: true }, /what it says/],
  ])('notices %s', (_, faults, by) =>
    noticed(
      languageModelContract(() => parrot(faults), { prompts }),
      by,
    ),
  );
});

type ParrotFaults = { extra: number; drops: number; deaf: boolean; crowd: boolean; boasts: boolean };
/** Letters drawn from the seed of prompt and sample. */
function parrot({ extra = 0, drops = 0, deaf = false, crowd = false, boasts = false }: Partial<ParrotFaults>): LanguageModel {
  return {
    name: 'parrot',
    can: { score: true, embed: boasts, logps: true },
    generate: async (prompts, { n = 1, maxTokens, temperature = 1, rng: random }) =>
      prompts.map((_, i) =>
        Array.from({ length: n - drops }, (_, j): Generation => {
          const stream = (deaf ? rng(0) : random).fork(i, j, crowd ? prompts.length : 0);
          const tokens = Int32Array.from({ length: maxTokens + extra }, () => (temperature === 0 ? 97 : 97 + stream.below(26)));
          return {
            text: String.fromCharCode(...tokens),
            tokens,
            samplingLogps: new Float32Array(tokens.length).fill(-Math.log(26)),
            finish: 'length',
          };
        }),
      ),
    score: async (batch) =>
      batch.map(({ completion }) => ({
        tokens: new Int32Array(textOf(completion).length),
        logps: new Float32Array(textOf(completion).length).fill(-1),
      })),
  };
}

type CacheFault = 'mixesLayers' | 'sharesByReference' | 'freesNothing' | 'seesLaterTokens' | 'wrongGroups' | 'takesAnything';
/** A cache of plain lists. */
function plainCache({ layers, rows, maxTokens, heads, kvHeads, headDim, scale }: KvCacheShape, fault?: CacheFault): KvCache {
  type Token = { k: Float32Array; v: Float32Array };
  const held: Token[][][] = Array.from({ length: layers }, () => Array.from({ length: rows }, () => []));
  const layerOf = (layer: number) => held[fault === 'mixesLayers' ? 0 : layer];
  return {
    append(layer, to, k, v) {
      const width = kvHeads * headDim;
      const [keys, values] = [k.dataSync() as Float32Array, v.dataSync() as Float32Array];
      to.forEach((row, i) => {
        if (layerOf(layer)[row].length >= maxTokens && fault !== 'takesAnything') throw new RangeError(`row ${row} is full`);
        layerOf(layer)[row].push({ k: keys.slice(i * width, (i + 1) * width), v: values.slice(i * width, (i + 1) * width) });
      });
    },
    attend(layer, of, q) {
      return tf.tidy(() => {
        const outputs = [...of].map((row, i) => {
          const later = [...of].slice(i + 1).filter((other) => other === row).length;
          const all = layerOf(layer)[row];
          const seen = fault === 'seesLaterTokens' ? all : all.slice(0, all.length - later);
          const part = (x: 'k' | 'v') =>
            tf.tensor3d(Float32Array.from(seen.flatMap((token) => [...token[x]])), [seen.length, kvHeads, headDim]);
          const group = Array.from({ length: heads }, (_, h) =>
            fault === 'wrongGroups' ? h % kvHeads : Math.floor((h * kvHeads) / heads),
          );
          const of3 = (x: tf.Tensor3D) => tf.transpose(tf.gather(x, group, 1), [1, 0, 2]);
          const query = tf.reshape(tf.slice(q, [i, 0, 0], [1, heads, headDim]), [heads, 1, headDim]);
          const weights = tf.softmax(tf.mul(scale, tf.matMul(query, of3(part('k')), false, true)));
          return tf.reshape(tf.matMul(weights, of3(part('v'))), [1, heads, headDim]);
        });
        return tf.concat(outputs) as tf.Tensor3D;
      });
    },
    share(from, to) {
      for (const layer of held) for (const row of to) layer[row] = fault === 'sharesByReference' ? layer[from] : [...layer[from]];
    },
    free(freed) {
      if (fault !== 'freesNothing') for (const layer of held) for (const row of freed) layer[row] = [];
    },
    dispose() {},
  };
}
