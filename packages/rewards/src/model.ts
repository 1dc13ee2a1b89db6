/** Models as reward functions. */
import { readCopy } from '@plumbline/core';
import {
  type Candidate,
  type Decoder,
  type EncodedPair,
  encodeSequence,
  joinSequence,
  type PackedBatch,
  packSequences,
  type RewardFunction,
  type Scorer,
  type Scores,
  type Sequence,
} from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';

export type ModelRewardOptions = {
  /** About how many tokens go through the model at once; more is faster and takes more memory. */
  batchTokens?: number;
  /** `(score - mean) / sd`, of scores of the starting policy; the raw score is then a component. */
  standardise?: { mean: number; sd: number };
  /** Candidates with more tokens are abstained on. Default: the model's context. */
  maxTokens?: number;
  appendEos?: boolean;
};

/**
 * A trained scorer as a reward. A candidate's score does not depend on the others in the batch. It abstains on candidates that are empty or too long,
 * since a cut would remove what the head reads.
 */
export function modelReward(
  scorer: Scorer,
  { batchTokens = 4096, standardise, maxTokens = scorer.contextLength, appendEos }: ModelRewardOptions = {},
): RewardFunction {
  if (standardise && !(standardise.sd > 0 && Number.isFinite(standardise.mean))) {
    throw new RangeError(
      `modelReward: standardise needs a finite mean and an sd above 0, got ${standardise.mean} and ${standardise.sd}; did all scores agree?`,
    );
  }
  return {
    name: scorer.name,
    async score(batch, { signal }) {
      const answer = await scoreCandidates(batch, scorer, { maxTokens, appendEos }, batchTokens, signal, (packed) => scorer.scores(packed));
      if (!standardise) return answer;
      const { mean, sd } = standardise;
      return { ...answer, scores: answer.scores.map((score) => (score - mean) / sd), components: { raw: answer.scores } };
    },
  };
}

/**
 * The reward that a policy trained by DPO implies, `beta · (log π - log π_ref)` of the completion, summed over its tokens, in nats times beta.
 * Rafailov et al. 2023, arXiv:2305.18290, eq. 5, up to a constant for each prompt. Exactly 0 where policy and reference are the same weights.
 */
export function implicitReward(
  policy: Decoder,
  reference: Decoder,
  beta: number,
  {
    batchTokens = 4096,
    maxTokens = Math.min(policy.contextLength, reference.contextLength),
    appendEos,
  }: Omit<ModelRewardOptions, 'standardise'> = {},
): RewardFunction {
  if (!(beta > 0)) throw new RangeError(`implicitReward: beta must be > 0, got ${beta}`);
  return {
    name: `${beta} (log ${policy.name} - log ${reference.name})`,
    score: (batch, { signal }) =>
      scoreCandidates(batch, policy, { maxTokens, appendEos }, batchTokens, signal, (packed) =>
        tf.tidy(() => tf.mul(beta, tf.sub(policy.completionLogps(packed).sums, reference.completionLogps(packed).sums))),
      ),
  };
}

/** Share of pairs whose chosen side scores higher (a tie counts as wrong), the mean margin, and each pair's margin. */
export async function rewardAccuracy(
  scorer: Scorer,
  pairs: readonly EncodedPair[],
  { batchTokens = 4096, signal }: { batchTokens?: number; signal?: AbortSignal } = {},
): Promise<{ accuracy: number; margin: number; margins: Float32Array }> {
  if (pairs.length === 0) throw new RangeError('rewardAccuracy: there are no pairs');
  const sides = pairs.flatMap(({ prompt, chosen, rejected }) => [joinSequence(prompt, chosen), joinSequence(prompt, rejected)]);
  const scores = await scoreSequences(sides, batchTokens, signal, (packed) => scorer.scores(packed));
  const margins = Float32Array.from(pairs, (_, i) => scores[2 * i] - scores[2 * i + 1]);
  const mean = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0) / pairs.length;
  return { accuracy: mean([...margins].map((margin) => (margin > 0 ? 1 : 0))), margin: mean(margins), margins };
}

/** Mean and standard deviation (n - 1) of scores, for `standardise`. */
export function scoreMoments(scores: ArrayLike<number>): { mean: number; sd: number } {
  const values = Array.from(scores);
  if (values.length < 2) throw new RangeError(`scoreMoments: a standard deviation needs at least 2 scores, got ${values.length}`);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, sd: Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1)) };
}

async function scoreCandidates(
  batch: readonly Candidate[],
  { tokenizer }: { tokenizer: Scorer['tokenizer'] },
  options: { maxTokens: number; appendEos?: boolean },
  batchTokens: number,
  signal: AbortSignal | undefined,
  f: (packed: PackedBatch) => tf.Tensor1D,
): Promise<Scores> {
  const sequences = batch.map(({ prompt, completion }) => encodeSequence(tokenizer, prompt, completion, options));
  const kept = sequences.flatMap((sequence, i) => (sequence ? [{ sequence, i }] : []));
  const found = await scoreSequences(
    kept.map(({ sequence }) => sequence),
    batchTokens,
    signal,
    f,
  );
  const scores = new Float32Array(batch.length);
  kept.forEach(({ i }, at) => {
    scores[i] = found[at];
  });
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0) throw new RangeError(`the score of candidate ${bad} is ${scores[bad]}`);
  if (kept.length === batch.length) return { scores };
  return { scores, abstained: Uint8Array.from(sequences, (sequence) => (sequence ? 0 : 1)) };
}

/** One number for each sequence. Sequences of like length go together, since attention takes them in one product. */
async function scoreSequences(
  sequences: readonly Sequence[],
  batchTokens: number,
  signal: AbortSignal | undefined,
  f: (packed: PackedBatch) => tf.Tensor1D,
): Promise<Float32Array> {
  if (!(batchTokens > 0)) throw new RangeError(`batchTokens must be > 0, got ${batchTokens}`);
  const order = sequences.map((_, i) => i).sort((a, b) => sequences[a].tokens.length - sequences[b].tokens.length || a - b);
  const scores = new Float32Array(sequences.length);
  for (let from = 0; from < order.length; ) {
    signal?.throwIfAborted();
    let [to, tokens] = [from, 0];
    while (to < order.length && (to === from || tokens + sequences[order[to]].tokens.length <= batchTokens))
      tokens += sequences[order[to++]].tokens.length;
    const rows = order.slice(from, to);
    const values = f(packSequences(rows.map((row) => ({ ...sequences[row], row }))));
    const read = await readCopy(values);
    values.dispose();
    rows.forEach((row, i) => {
      scores[row] = read[i];
    });
    from = to;
  }
  return scores;
}
