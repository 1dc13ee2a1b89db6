import { rng } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { pairwiseFromPointwise, rewardFromText } from './adapters.js';
import { type AnnotatorOptions, asyncAnnotator, labelsByPairs, labelsByReward } from './annotator.js';

type Options = Partial<AnnotatorOptions<string, number>>;
/** Calls as they are made; the label of an item is its number. */
function scripted(options: Options = {}) {
  const calls: string[][] = [];
  const annotate = async (items: readonly string[]) => {
    calls.push([...items]);
    return items.map(Number);
  };
  return { calls, annotator: asyncAnnotator<string, number>({ annotate, rng: rng(0), latencySteps: 0, ...options }) };
}

describe('asyncAnnotator', () => {
  it('serves the newest list first, then fills up from older ones', async () => {
    for (const [order, expected] of [
      [
        'lifo',
        [
          ['4', '5', '1'],
          ['2', '3'],
        ],
      ],
      [
        'fifo',
        [
          ['1', '2', '3'],
          ['4', '5'],
        ],
      ],
    ] as const) {
      // biome-ignore format: two orders
      const { calls, annotator } = scripted({ batch: 3, order });
      annotator.submit(['1', '2', '3']);
      annotator.submit(['4', '5']);
      for (let now = 0; now < 4; now++) await annotator.poll(now);
      expect(calls).toEqual(expected);
    }
  });
  it('asks about nothing twice', async () => {
    const { calls, annotator } = scripted();
    annotator.submit(['1', '2', '1']);
    await annotator.poll(0);
    annotator.submit(['2', '3']);
    expect(await annotator.poll(1)).toEqual([{ item: '1', label: 1 }, { item: '2', label: 2 }]); // biome-ignore format: two labels
    expect(await annotator.poll(2)).toEqual([{ item: '3', label: 3 }]);
    expect(calls.flat()).toEqual(['1', '2', '3']);
    expect(annotator.counts).toMatchObject({ submitted: 5, repeated: 2, labelled: 3 });
    expect(annotator.waiting).toBe(0);
  });
  it('gives labels exactly after the latency, one call at a time', async () => {
    const { calls, annotator } = scripted({ latencySteps: 3, batch: 1 });
    annotator.submit(['1', '2']);
    const came: Record<number, string[]> = {};
    for (let now = 0; now < 8; now++) {
      const labels = await annotator.poll(now);
      if (labels.length > 0) came[now] = labels.map(({ item }) => item);
    }
    expect(came).toEqual({ 3: ['1'], 6: ['2'] });
    expect(calls.length).toBe(2);
  });
  it('never waits for an annotator without a latency, nor gives what an endless one owes', async () => {
    const { annotator } = scripted({ latencySteps: undefined, annotate: () => new Promise(() => {}) });
    annotator.submit(['1']);
    for (let now = 0; now < 3; now++) expect(await annotator.poll(now)).toEqual([]);
    expect(annotator.waiting).toBe(1);
    const quick = scripted({ latencySteps: undefined }).annotator;
    quick.submit(['7']);
    await quick.poll(0);
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(await quick.poll(0)).toEqual([{ item: '7', label: 7 }]);
  });
  it('asks again after a failure, and stops after too many in a row', async () => {
    let fails = 2;
    const annotate = async (items: readonly string[]) => {
      if (fails-- > 0) throw new Error('no connection');
      return items.map(Number);
    };
    const { annotator } = scripted({ annotate });
    annotator.submit(['1']);
    for (let now = 0; now < 3; now++) expect(await annotator.poll(now)).toEqual([]);
    expect(await annotator.poll(3)).toEqual([{ item: '1', label: 1 }]);
    expect(annotator.counts.failures).toBe(2);
    const broken = scripted({ annotate: () => Promise.reject(new Error('no connection')), maxFailures: 2 }).annotator;
    broken.submit(['1']);
    await broken.poll(0);
    await broken.poll(1);
    await expect(broken.poll(2)).rejects.toThrow('failed 2 times in a row; the last time: no connection');
  });
  it('counts what cannot be read, and stops where that is most of it', async () => {
    const annotate = async (items: readonly string[]) => items.map((item) => (item === '0' ? null : 1));
    const kept = scripted({ annotate, unreadable: 0 }).annotator;
    kept.submit(['0', '1']);
    await kept.poll(0);
    expect((await kept.poll(1)).map(({ label }) => label)).toEqual([0, 1]);
    const left = scripted({ annotate }).annotator;
    left.submit(['0', '1']);
    await left.poll(0);
    expect((await left.poll(1)).map(({ item }) => item)).toEqual(['1']);
    const none = scripted({ annotate: async (items: readonly string[]) => items.map(() => null), unreadable: 0 }).annotator;
    none.submit(Array.from({ length: 20 }, (_, i) => String(i)));
    await none.poll(0);
    await expect(none.poll(1)).rejects.toThrow('20 of 20 answers could not be read');
  });
  it('drops the oldest beyond its limit, which may come again', async () => {
    const { calls, annotator } = scripted({ limit: 2, order: 'fifo' });
    annotator.submit(['1', '2', '3']);
    expect(annotator.counts.dropped).toBe(1);
    await annotator.poll(0);
    annotator.submit(['1']);
    await annotator.poll(1);
    expect(calls).toEqual([['2', '3'], ['1']]);
  });
  it('goes on from its checkpoint, and asks again about what it had asked', async () => {
    const first = scripted({ batch: 2, latencySteps: 10 });
    first.annotator.submit(['1', '2', '3']);
    await first.annotator.poll(0);
    const saved = JSON.parse(JSON.stringify(await first.annotator.save()));
    const second = scripted({ batch: 2 });
    await second.annotator.load(saved);
    second.annotator.submit(['1', '4']);
    for (let now = 0; now < 3; now++) await second.annotator.poll(now);
    expect(second.calls.flat().sort()).toEqual(['1', '2', '3', '4']);
    await expect(second.annotator.load({ tensors: {}, json: {} })).rejects.toThrow('no state of an annotator');
  });
  it('names what does not fit', async () => {
    expect(() => scripted({ batch: 0 })).toThrow('batch must be a whole number above 0, got 0');
    expect(() => scripted({ latencySteps: -1 })).toThrow('latencySteps must be at least 0, got -1');
    const { annotator } = scripted({ annotate: async () => [1] });
    annotator.submit(['1', '2']);
    await annotator.poll(5);
    await expect(annotator.poll(6)).rejects.toThrow('2 items were given 1 labels');
    await expect(annotator.poll(4)).rejects.toThrow('step 4 comes after step 6');
  });
});

describe('labels by judges', () => {
  const long = rewardFromText('long', (text) => text.length / 10);
  it('are 1 above the threshold, and 1, 0.5 and 0 of pairs', async () => {
    expect(await labelsByReward(long, 'Does it help?')(['a', 'a long one'], rng(0))).toEqual([0, 1]);
    const compare = labelsByPairs(pairwiseFromPointwise(long), 'Which helps?');
    expect(await compare([['longer', 'a'], ['b', 'a'], ['a', 'longer']], rng(0))).toEqual([1, 0.5, 0]); // biome-ignore format: pairs
  });
});
