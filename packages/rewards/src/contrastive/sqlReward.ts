/** Rewards by the similarity of embeddings: how near an answer comes in meaning to its question. */
import { ConfigError } from '@plumbline/core';
import { type Candidate, type RewardFunction, textOf } from '@plumbline/data';
import { gatedReward } from '../verifiers/gated.js';

/** What turns texts into vectors, such as a `LocalEncoder` or the embeddings of a server. */
export type SentenceEncoder = { readonly name: string; embed(texts: readonly string[]): Promise<readonly ArrayLike<number>[]> };

export type SimilarityOptions = {
  /** What was asked: `meta.question`, or the prompt, unless said otherwise. */
  question?: (candidate: Candidate) => string;
  /** The text of a completion that is embedded, such as its query in a normal form; null where there is none, which earns 0. The whole completion unless said otherwise. */
  answer?: (candidate: Candidate) => string | null;
  /** What the answer is compared with: its question, the right answer, or the mean of both cosines. */
  anchor?: 'question' | 'gold' | 'both';
  /** The right answer, for the anchors that need one, in the form of `answer`. */
  gold?: (candidate: Candidate) => string;
  /** Contrast with wrong answers: `σ((cos(q, y) − mean_k cos(q, neg_k)) / temperature)` instead of `(1 + cos(q, y)) / 2`. */
  margin?: { negatives: (candidate: Candidate) => readonly string[]; temperature?: number };
};

/**
 * How near an answer comes to its question: `(1 + cos(f(q), f(y))) / 2`, in [0, 1], under an encoder trained so that what belongs together is near (`trainEncoder`).
 * Kattamuri et al. 2025, arXiv:2510.13827; the formula is our reconstruction. Each text is embedded once a batch.
 *
 * @throws ConfigError for an anchor without its answers, or a temperature that is not above 0; RangeError, with the text, for a vector that has no direction
 */
export function contrastiveSimilarity(
  encoder: SentenceEncoder,
  {
    question = ({ prompt, meta }) => (typeof meta?.question === 'string' ? meta.question : textOf(prompt)),
    answer = ({ completion }) => textOf(completion),
    anchor = 'question',
    gold,
    margin,
  }: SimilarityOptions = {},
): RewardFunction {
  const name = 'similarity';
  if (anchor !== 'question' && !gold) throw new ConfigError(`contrastiveSimilarity: the anchor "${anchor}" needs the right answers (gold)`);
  const temperature = margin?.temperature ?? 0.1;
  if (!(temperature > 0)) throw new ConfigError(`contrastiveSimilarity: the margin's temperature must be > 0, got ${temperature}`);
  return {
    name,
    async score(batch) {
      const rows = batch.map((candidate) => {
        const text = answer(candidate);
        if (text === null || text.trim() === '') return undefined;
        return {
          text,
          anchors: [...(anchor === 'gold' ? [] : [question(candidate)]), ...(anchor === 'question' ? [] : [gold!(candidate)])],
          negatives: margin?.negatives(candidate) ?? [],
        };
      });
      const texts = [...new Set(rows.flatMap((row) => (row ? [row.text, ...row.anchors, ...row.negatives] : [])))];
      const vectors = texts.length > 0 ? await encoder.embed(texts) : [];
      const units = new Map(texts.map((text, i) => [text, unit(vectors[i], text, encoder.name)]));
      const cosine = (a: string, b: string) => dot(units.get(a)!, units.get(b)!);
      const scores = Float32Array.from(rows, (row) => {
        if (!row) return 0;
        const near = (text: string) => mean(row.anchors.map((other) => cosine(other, text)));
        if (!margin || row.negatives.length === 0) return (1 + near(row.text)) / 2;
        return 1 / (1 + Math.exp(-(near(row.text) - mean(row.negatives.map(near))) / temperature));
      });
      return { scores };
    },
  };
}

/**
 * The reward of text to SQL: `w_e · executes + w_s · executes · similarity`, where text that does not run earns nothing (Kattamuri et al. 2025, arXiv:2510.13827; weights and
 * gate are our reconstruction). `executes` runs the query on its database and answers 1 or 0. Components: `executes`, `similarity`.
 *
 * @param gate false: similarity counts for queries that do not run, too
 * @param weights 1 and 1 unless said; a similarity of weight 0 is the execution reward alone, and embeds nothing
 */
export function contrastiveSqlReward(
  encoder: SentenceEncoder,
  {
    executes,
    weights: { execution = 1, similarity = 1 } = {},
    gate = true,
    ...options
  }: SimilarityOptions & { executes: RewardFunction; weights?: { execution?: number; similarity?: number }; gate?: boolean },
): RewardFunction {
  const first = { reward: executes, weight: execution, ...(gate && { gate: 1 }) };
  const second = { reward: contrastiveSimilarity(encoder, options), weight: similarity };
  return gatedReward(similarity === 0 ? [first] : [first, second], 'contrastive SQL');
}

function unit(vector: ArrayLike<number> | undefined, text: string, encoder: string): Float64Array {
  const values = Float64Array.from(vector ?? []);
  const norm = Math.sqrt(dot(values, values));
  if (!(norm > 1e-12 && Number.isFinite(norm)))
    throw new RangeError(
      `contrastiveSimilarity: ${encoder} gave a vector without direction (length ${norm}) for ${JSON.stringify(text.slice(0, 200))}`,
    );
  return values.map((x) => x / norm);
}
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
