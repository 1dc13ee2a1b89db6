import { describe, expect, it } from 'vitest';
import { bm25, type Embed, embeddingRetriever } from './retriever.js';

const passages = [
  { id: 'cats', text: 'The cat sat. A cat purrs.' },
  { id: 'dogs', text: 'The dog sat on the mat.' },
  { id: 'long', text: 'The cat and the dog walked a very long way home in the evening rain.' },
];

describe('bm25', () => {
  it('has the scores of its formula', async () => {
    const [first, second] = await bm25(passages).search('cat', 3);
    const idf = Math.log(1 + (3 - 2 + 0.5) / 2.5);
    const mean = (6 + 6 + 15) / 3;
    const score = (f: number, length: number) => (idf * f * 2.2) / (f + 1.2 * (0.25 + (0.75 * length) / mean));
    expect([first.id, second.id]).toEqual(['cats', 'long']);
    expect(first.score).toBeCloseTo(score(2, 6), 12);
    expect(second.score).toBeCloseTo(score(1, 15), 12);
  });
  it('finds nothing where no word is there, and a rare word before a common one', async () => {
    const search = bm25(passages);
    expect(await search.search('elephant', 2)).toEqual([]);
    expect((await search.search('the mat', 1))[0].id).toBe('dogs');
    expect((await search.search('CAT, dog!', 1))[0].id).toBe('long');
  });
  it('does not count length at b = 0, nor repetitions at k1 = 0', async () => {
    const scores = async (options: object) => (await bm25(passages, options).search('cat', 3)).map(({ score }) => score);
    const [a, b] = await scores({ k1: 0 });
    expect(a).toBeCloseTo(b, 12);
    const [twice, once] = await scores({ b: 0 });
    expect(twice / once).toBeCloseTo((2 * 2.2) / (2 + 1.2) / (2.2 / 2.2), 12);
  });
  it('takes scripts without spaces by characters, and equal scores in their order', async () => {
    const search = bm25([{ id: 'b', text: '東京は雨' }, { id: 'a', text: '京都は雨' }, { id: 'c', text: 'ruhig' }]); // biome-ignore format: three
    expect((await search.search('雨', 2)).map(({ id }) => id)).toEqual(['b', 'a']);
    expect((await search.search('都', 2)).map(({ id }) => id)).toEqual(['a']);
  });
  it('names what does not fit', async () => {
    expect(() => bm25([])).toThrow('there are no passages');
    expect(() => bm25([passages[0], passages[0]])).toThrow('two passages have the id "cats"');
    expect(() => bm25(passages, { b: 2 })).toThrow('b must be in [0, 1], got 2');
    await expect(bm25(passages).search('cat', 0)).rejects.toThrow('k must be a whole number above 0, got 0');
  });
});

describe('embeddingRetriever', () => {
  const letters: Embed = async (texts) =>
    texts.map((text) => [...'abcdefghijklmnopqrstuvwxyz'].map((c) => text.toLowerCase().split(c).length - 1));
  it('ranks by the cosine', async () => {
    const search = await embeddingRetriever(passages, letters);
    const found = await search.search(passages[1].text, 3);
    expect(found.map(({ id }) => id)[0]).toBe('dogs');
    expect(found[0].score).toBeCloseTo(1, 12);
    expect(found.length).toBe(3);
  });
  it('names a vector that is missing or empty', async () => {
    await expect(embeddingRetriever(passages, async () => [[1]])).rejects.toThrow('3 passages were given 1 vectors');
    await expect(embeddingRetriever(passages, async (texts) => texts.map((_, i) => [i]))).rejects.toThrow(
      'the vector of passage cats has 1 numbers of length 0',
    );
  });
});
