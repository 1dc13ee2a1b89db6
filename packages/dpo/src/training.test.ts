/** What surrounds the pair trainer: moving references, known log-probabilities, evaluation, early stopping, opponents. */
import { mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryRun, rng, synchroniseReference } from '@plumbline/core';
import { type PairwiseJudge, pairBatches } from '@plumbline/data';
import { addLora, type LocalDecoder } from '@plumbline/models';
import { tinyDecoder } from '@plumbline/models/testing';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, describe, expect, it } from 'vitest';
import { evaluatePairs, withoutIdentical } from './evaluatePairs.js';
import { evaluateRows } from './evaluateRows.js';
import { fileLogpCache } from './logpCache.node.js';
import { dpo } from './losses/dpo.js';
import { pairLosses } from './losses/index.js';
import { nashMd } from './losses/nashMd.js';
import { xpo } from './losses/xpo.js';
import { sampleMixture } from './online/mixture.js';
import { opponentPairs } from './online/opponentPairs.js';
import { memoryLogpCache, referenceLogps } from './referenceLogps.js';
import { separablePairs } from './testing/encoded.js';
import { trainPairs } from './trainPairs.js';
import { unpairedLoss } from './unpaired/index.js';

const pairs = separablePairs(24);
const folder = mkdtempSync(join(tmpdir(), 'plumbline-logps-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const first = async (decoder: LocalDecoder) => Object.values((await decoder.parameters.save()).tensors)[0].data[0] as number;
const batchesOf = (steps: number) => pairBatches(pairs, { pairsPerStep: 8, steps, rng: rng(2) });

describe('synchroniseReference', () => {
  it('mixes number by number, and 1 replaces', async () => {
    const [policy, reference] = [tinyDecoder({ seed: 1 }), tinyDecoder({ seed: 2 })];
    const [p, r] = [await first(policy), await first(reference)];
    await synchroniseReference(policy, reference, 0.6);
    expect(await first(reference)).toBeCloseTo(0.6 * p + 0.4 * r, 6);
    await synchroniseReference(policy, reference, 1);
    expect((await reference.parameters.save()).tensors).toEqual((await policy.parameters.save()).tensors);
    await expect(synchroniseReference(policy, policy, 1)).rejects.toThrow(/the reference is the policy itself/);
    await expect(synchroniseReference(policy, (await addLora(tinyDecoder(), {}, { rng: rng(1) })) as never, 1)).rejects.toThrow(
      /it lacks .*Take policy.snapshot\(\)/,
    );
  });

  it('puts the loss back to ln 2 after each replacement, and a resumed run equals an uninterrupted one', async () => {
    const settings = { steps: 6, pairsPerStep: 8, learningRate: 3e-3, referenceSync: { every: 2, mixup: 1 } };
    const train = async (steps: number, run = memoryRun({ seed: 3, saveEvery: 3 })) => {
      const policy = tinyDecoder();
      await trainPairs({ ...settings, steps }, { policy, reference: policy.snapshot(), batches: batchesOf(6), loss: dpo, run });
      return run;
    };
    const losses = (await train(6)).history.map(({ loss }) => loss!);
    for (const step of [0, 2, 4]) expect(losses[step]).toBeCloseTo(Math.LN2, 5);
    for (const step of [1, 3, 5]) expect(losses[step]).toBeLessThan(Math.LN2 - 1e-3);
    const run = memoryRun({ seed: 3, saveEvery: 3 });
    await train(3, run);
    await train(6, run);
    expect(run.history.map(({ loss }) => loss)).toEqual(losses);
  });

  it('refuses log-probabilities that are known beforehand', async () => {
    const { logps } = await referenceLogps(tinyDecoder(), pairs);
    await expect(
      trainPairs(
        { steps: 1, referenceSync: {} },
        { policy: tinyDecoder(), reference: logps, batches: batchesOf(1), loss: dpo, run: memoryRun({ seed: 1 }) },
      ),
    ).rejects.toThrow(/referenceSync moves a model/);
  });
});

describe('referenceLogps', () => {
  it('gives the steps that the reference itself gives', async () => {
    const train = async (known: boolean) => {
      const reference = tinyDecoder({ seed: 9 });
      const run = memoryRun({ seed: 3 });
      const of = known ? (await referenceLogps(reference, pairs, { sharePrompts: false })).logps : reference;
      await trainPairs({ steps: 2, learningRate: 1e-3 }, { policy: tinyDecoder(), reference: of, batches: batchesOf(2), loss: dpo, run });
      return run.history.map(({ loss }) => loss!);
    };
    const [ours, theirs] = [await train(true), await train(false)];
    for (const step of [0, 1]) expect(ours[step]).toBeCloseTo(theirs[step], 6);
  });

  it('computes nothing twice, by content and whatever the ids, also from a file that was cut short', async () => {
    const identity = { reference: 'abc', storage: 'f32' };
    const before = tf.memory().numTensors;
    const reference = tinyDecoder();
    const cache = await fileLogpCache(folder, identity);
    const made = await referenceLogps(reference, pairs, { cache });
    expect(made).toMatchObject({ computed: 24, cached: 0 });
    const renamed = pairs.map((pair, i) => ({ ...pair, id: `other-${i}` }));
    const again = await referenceLogps(reference, renamed, { cache: await fileLogpCache(folder, identity) });
    expect(again).toMatchObject({ computed: 0, cached: 24 });
    expect([...again.logps.values()]).toEqual([...made.logps.values()]);
    expect(
      await referenceLogps(reference, pairs.slice(0, 1), { cache: await fileLogpCache(folder, { ...identity, storage: 'bf16' }) }),
    ).toMatchObject({ computed: 1 });
    truncateSync(cache.path, readFileSync(cache.path).length - 3); // the last side of the last pair
    const mended = await referenceLogps(reference, pairs, { cache: await fileLogpCache(folder, identity) });
    expect(mended).toMatchObject({ computed: 1, cached: 23 });
    expect(await referenceLogps(reference, pairs, { cache: await fileLogpCache(folder, identity) })).toMatchObject({ computed: 0 });
    expect([...mended.logps.keys()]).toEqual(pairs.map(({ id }) => id));
    reference.dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(memoryLogpCache().get(Int32Array.of(1), Int32Array.of(2))).toBeUndefined();
  });
});

describe('evaluatePairs', () => {
  it('is ln 2, one half and 0 where the policy is its reference, for any split, and leaks nothing', async () => {
    const [policy, reference] = [tinyDecoder(), tinyDecoder()];
    const before = tf.memory().numTensors;
    for (const pairsPerMicroBatch of [3, 8, 24]) {
      const { loss, accuracy, margin, margins } = await evaluatePairs({ policy, reference, loss: dpo }, pairs, { pairsPerMicroBatch });
      expect(loss).toBeCloseTo(Math.LN2, 6);
      expect([accuracy, margin, margins.length]).toEqual([0.5, 0, 24]);
    }
    expect(tf.memory().numTensors).toBe(before);
    const of = (pairsPerMicroBatch: number) =>
      evaluatePairs({ policy: tinyDecoder({ seed: 3 }), reference, loss: pairLosses.aot }, pairs, { pairsPerMicroBatch });
    expect((await of(5)).loss).toBeCloseTo((await of(24)).loss, 5);
  });

  it('stops a training early and goes back to the best weights', async () => {
    const policy = tinyDecoder();
    const losses = [0.5, 0.4, 0.6, 0.7, 0.1];
    const kept: number[] = [];
    const result = await trainPairs(
      { steps: 5, learningRate: 1e-3, evaluateEvery: 1, earlyStopping: { patience: 2 } },
      {
        policy,
        reference: tinyDecoder(),
        batches: batchesOf(5),
        loss: dpo,
        run: memoryRun({ seed: 1 }),
        evaluate: async (_, step) => {
          kept.push(await first(policy));
          return { 'eval/loss': losses[step - 1] };
        },
      },
    );
    expect(result).toEqual({ steps: 4, best: { step: 2, value: 0.4 } });
    expect(await first(policy)).toBe(kept[1]);
  });

  it('leaves identical pairs out by name', () => {
    const same = { ...pairs[0], id: 'same', rejected: pairs[0].chosen.slice() };
    expect(withoutIdentical([pairs[0], same])).toEqual({ pairs: [pairs[0]], identical: ['same'] });
  });
});

describe('evaluateRows', () => {
  const rows = pairs.map(({ id, prompt, chosen }, i) => ({ id, prompt, completion: chosen, desirable: i % 3 === 0 }));
  it('is the closed form where the policy is its reference, whatever the split, and leaks nothing', async () => {
    const [policy, reference] = [tinyDecoder(), tinyDecoder()];
    const before = tf.memory().numTensors;
    for (const [name, expected] of [
      ['kto', 0.5],
      ['apo_zero_unpaired', 0.5],
      ['bco', Math.LN2],
    ] as const)
      for (const rowsPerMicroBatch of [5, 24]) {
        const { loss, rewards } = await evaluateRows({ policy, reference, loss: unpairedLoss(name) }, rows, { rowsPerMicroBatch });
        expect(loss).toBeCloseTo(expected, 6);
        expect(rewards).toEqual(new Float32Array(24));
      }
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('losses of an opponent', () => {
  const t = (...x: number[]) => tf.tensor1d(x);
  const A = { policy: { chosen: t(-10), rejected: t(-12) }, reference: { chosen: t(-11), rejected: t(-11.5) } };

  it('XPO: the DPO or IPO term plus alpha times the log-probability of the reference sample', async () => {
    const of = (theirs: number, o = {}) =>
      xpo.apply({ ...A, chosenByReference: t(theirs) }, xpo.options.parse({ alpha: 0.01, ...o })).loss.dataSync()[0];
    // Of the pair, the policy's sample is the chosen one and the reference's the rejected (−12); then the other way round.
    expect(of(0)).toBeCloseTo(0.620957 - 0.12, 5);
    expect(of(1)).toBeCloseTo(0.620957 - 0.1, 5);
    expect(of(0, { term: 'ipo' })).toBeCloseTo(12.25 - 0.12, 4);
  });

  it('Nash-MD: the value of the reference table on the policy’s own sample', () => {
    const side = { policy: t(-1, -2), reference: t(-1.2, -1.7), lengths: Int32Array.of(2) };
    const of = (p: number) =>
      nashMd.apply({ ...A, tokens: { chosen: side, rejected: side }, preference: t(p) }, { beta: 0.1 }).loss.dataSync()[0];
    expect(of(0.7)).toBeCloseTo(0.64, 5);
    expect(of(0.2)).toBeCloseTo(-0.86, 5);
  });

  it('name what is missing on pairs of a data set', async () => {
    const train = (loss: never) =>
      trainPairs(
        { steps: 1 },
        { policy: tinyDecoder(), reference: tinyDecoder(), batches: batchesOf(1), loss, run: memoryRun({ seed: 1 }) },
      );
    await expect(train(xpo as never)).rejects.toThrow(/take its batches from opponentPairs/);
    await expect(train(nashMd as never)).rejects.toThrow(/take its batches from opponentPairs/);
  });
});

describe('opponentPairs', () => {
  /** Prefers the answer with more even ids. */
  const judge: PairwiseJudge = {
    name: 'even',
    compare: async (batch) =>
      batch.map(({ a, b }) => {
        const share = (x: unknown) =>
          [...String(x)].filter((c) => (c.codePointAt(0)! - 33) % 2 === 0).length / Math.max(1, String(x).length);
        const probA = 1 / (1 + Math.exp(-8 * (share(a) - share(b))));
        return { winner: probA > 0.5 ? 'a' : probA < 0.5 ? 'b' : 'tie', probA, parsed: true } as const;
      }),
  };
  const prompts = Array.from({ length: 8 }, (_, i) => ({ id: `p${i}`, prompt: String.fromCodePoint(34 + i, 40) }));
  const make = (kind: 'reference' | 'mixture', policy: LocalDecoder, model: LocalDecoder, steps: number) =>
    opponentPairs({ policy, prompts, judge, pairsPerStep: 8, steps, rng: rng(5), maxTokens: 6, opponent: { kind, model } });

  for (const [kind, loss, learningRate] of [
    ['reference', xpo, 5e-3],
    ['mixture', nashMd, 5e-3],
  ] as const)
    it(`${kind}: trains to what the judge prefers, and splits without a difference`, async () => {
      const run = async (pairsPerMicroBatch: number, steps: number) => {
        const [policy, model] = [tinyDecoder(), tinyDecoder()];
        const made = memoryRun({ seed: 1 });
        const batches = make(kind, policy, model, steps);
        await trainPairs(
          { steps, pairsPerStep: 8, pairsPerMicroBatch, learningRate, lossOptions: { beta: 0.02 } },
          { policy, reference: model, batches, loss, run: made },
        );
        const probe = await make('reference', policy, tinyDecoder(), 1).at(0);
        return { history: made.history, wins: probe.chosenByReference!.reduce((sum, x) => sum + 1 - x, 0) };
      };
      const [whole, split] = [await run(8, 2), await run(2, 2)];
      whole.history.forEach((step, i) => {
        expect(Math.abs(split.history[i].gradNorm! - step.gradNorm!) / (1 + step.gradNorm!)).toBeLessThan(1e-3);
      });
      expect((await run(8, 25)).wins).toBeGreaterThanOrEqual(6);
    });

  it('the mixture at 0 and at 1 is the policy and the reference, greedily', async () => {
    const [policy, reference] = [tinyDecoder({ seed: 1 }), tinyDecoder({ seed: 2 })];
    const sample = async (mixtureCoef: number, a = policy, b = reference) => [
      ...(await sampleMixture(a, b, [Int32Array.of(3, 4)], { maxTokens: 6, temperature: 0, mixtureCoef, rng: rng(1) }))[0][0].tokens,
    ];
    expect(await sample(0)).toEqual(await sample(0.5, policy, policy));
    expect(await sample(1)).toEqual(await sample(0.5, reference, reference));
    expect(await sample(0)).not.toEqual(await sample(1));
  });
});
