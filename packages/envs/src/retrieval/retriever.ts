/** Finding texts: what an agent's search tool answers, by words or by embeddings. */

export type Passage = { id: string; text: string };
export type Found = { id: string; score: number };
export interface Retriever {
  readonly name: string;
  /** The k best passages, the best first; of equal ones the earlier. Fewer where fewer match at all. */
  search(query: string, k: number): Promise<Found[]>;
}

/**
 * Okapi BM25: `Σ_w idf(w) · f(w) · (k1 + 1) / (f(w) + k1 · (1 − b + b · length / mean length))` over the query's words, with `idf(w) = ln(1 + (N − n(w) + ½) / (n(w) + ½))`, which is never negative.
 * Robertson and Zaragoza 2009. Words are runs of letters and runs of digits in lower case, so that it needs no tokenizer; scripts without spaces are cut into single characters. Passages without a word of
 * the query are not found.
 *
 * @param options k1, how soon a repeated word stops counting, 1.2 unless given; b, how much length counts, 0.75 unless given
 * @throws RangeError for no passages, an id that is there twice, k1 below 0, or b outside [0, 1]
 */
export function bm25(passages: readonly Passage[], { k1 = 1.2, b = 0.75 } = {}): Retriever {
  if (!(k1 >= 0)) throw new RangeError(`bm25: k1 must be at least 0, got ${k1}`);
  if (!(b >= 0 && b <= 1)) throw new RangeError(`bm25: b must be in [0, 1], got ${b}`);
  checkPassages('bm25', passages);
  const texts = passages.map(({ text }) => wordsOf(text));
  const meanLength = texts.reduce((sum, { length }) => sum + length, 0) / texts.length || 1;
  /** Passages that hold a word, and how often. */
  const postings = new Map<string, Map<number, number>>();
  for (const [passage, words] of texts.entries())
    for (const word of words) {
      const posting = postings.get(word) ?? new Map<number, number>();
      posting.set(passage, (posting.get(passage) ?? 0) + 1);
      postings.set(word, posting);
    }
  return {
    name: 'bm25',
    async search(query, k) {
      checkK('bm25', k);
      const scores = new Map<number, number>();
      for (const word of wordsOf(query)) {
        const posting = postings.get(word);
        if (!posting) continue;
        const idf = Math.log(1 + (texts.length - posting.size + 0.5) / (posting.size + 0.5));
        for (const [passage, f] of posting) {
          const norm = f + k1 * (1 - b + (b * texts[passage].length) / meanLength);
          scores.set(passage, (scores.get(passage) ?? 0) + (idf * f * (k1 + 1)) / norm);
        }
      }
      return best([...scores], passages, k);
    },
  };
}

/** Vectors of texts, such as `asEmbeddingModel(encoder).embed` or a server's. */
export type Embed = (texts: readonly string[]) => Promise<readonly ArrayLike<number>[]>;

/**
 * By the cosine of embeddings. The passages are embedded once, here; each query when it is asked.
 *
 * @throws RangeError as `bm25`, and for vectors that are missing, of unlike widths, not finite, or all 0, by the passage's id
 */
export async function embeddingRetriever(passages: readonly Passage[], embed: Embed): Promise<Retriever> {
  checkPassages('embeddingRetriever', passages);
  const vectors = await embed(passages.map(({ text }) => text));
  if (vectors.length !== passages.length)
    throw new RangeError(`embeddingRetriever: ${passages.length} passages were given ${vectors.length} vectors`);
  const width = vectors[0].length;
  const unit = vectors.map((vector, i) => normalised(vector, width, `passage ${passages[i].id}`));
  return {
    name: 'embeddings',
    async search(query, k) {
      checkK('embeddingRetriever', k);
      const [vector] = await embed([query]);
      const own = normalised(vector, width, 'the query');
      const scores = unit.map((passage, i): [number, number] => [i, passage.reduce((sum, x, j) => sum + x * own[j], 0)]);
      return best(scores, passages, k);
    },
  };
}

function best(scores: [number, number][], passages: readonly Passage[], k: number): Found[] {
  return scores
    .sort(([i, a], [j, b]) => b - a || i - j)
    .slice(0, k)
    .map(([i, score]) => ({ id: passages[i].id, score }));
}

function normalised(vector: ArrayLike<number> | undefined, width: number, whose: string): Float64Array {
  const values = Float64Array.from(vector ?? []);
  const norm = Math.hypot(...values);
  if (values.length !== width || !(norm > 0 && norm < Infinity))
    throw new RangeError(
      `embeddingRetriever: the vector of ${whose} has ${values.length} numbers of length ${norm}; ${width} numbers that are finite and not all 0 were expected`,
    );
  return values.map((x) => x / norm);
}

/** Runs of letters with their marks, runs of digits, and single characters of scripts that are written without spaces. */
function wordsOf(text: string): string[] {
  return text.normalize('NFKC').toLowerCase().match(word) ?? [];
}
const unspaced = String.raw`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}`;
const word = new RegExp(String.raw`[${unspaced}]|(?:[^\P{L}${unspaced}]\p{M}*)+|\p{N}+`, 'gu');

function checkPassages(who: string, passages: readonly Passage[]): void {
  if (passages.length === 0) throw new RangeError(`${who}: there are no passages`);
  const seen = new Set<string>();
  for (const { id } of passages) {
    if (seen.has(id)) throw new RangeError(`${who}: two passages have the id "${id}"`);
    seen.add(id);
  }
}

function checkK(who: string, k: number): void {
  if (!(Number.isInteger(k) && k > 0)) throw new RangeError(`${who}: k must be a whole number above 0, got ${k}`);
}
