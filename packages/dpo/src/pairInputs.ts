/** From a batch of pairs and two decoders to what a pair loss asks for. */
import { ConfigError, readCopy, ShapeError } from '@plumbline/core';
import { type Batches, type Decoder, joinSequence, type PackedBatch, type PairBatch, packSequences } from '@plumbline/data';
import * as tf from '@tensorflow/tfjs-core';
import type { PairInputs, PairLengths, PairLogps, PairLoss, PairNeed, PairTokenLogps } from './losses/types.js';

/** Reference log-probabilities known beforehand, by pair id, summed over the completion, in nats. */
export type ReferenceLogps = ReadonlyMap<string, { chosen: number; rejected: number }>;
export type Reference = Decoder | ReferenceLogps;

/** A batch as the trainer takes it: of a data set, or of sampled pairs, which know more. */
export type TrainingPairs = PairBatch & {
  /** 1 where the chosen completion is the sample of the reference (or of the mixture), and the rejected one that of the policy. [pairs] */
  chosenByReference?: Uint8Array;
  /** P(chosen beats rejected), [pairs]. */
  preference?: Float32Array;
  /** Sampled pairs of the batch whose weight is 0, and why. */
  dropped?: { identical: number; ties: number };
  /** A third, gold completion of each pair behind its prompt, a segment a pair (`withGold`). */
  gold?: PackedBatch;
};

/** Of the whole step, so that the split into micro-batches cannot matter. */
export type StepTotals = { pairs: number; chosenTokens: number; goldTokens?: number };

export function stepTotals(batch: TrainingPairs): StepTotals {
  const sum = (lengths: Int32Array) => lengths.reduce((a, b) => a + b, 0);
  return {
    pairs: batch.pairs,
    chosenTokens: sum(completionLengths(batch.packed).subarray(0, batch.pairs)),
    ...(batch.gold && { goldTokens: sum(completionLengths(batch.gold)) }),
  };
}

/** Completion tokens of each segment, on the host. */
export function completionLengths({ completionMask, cuSeqlens }: PackedBatch): Int32Array {
  return Int32Array.from({ length: cuSeqlens.length - 1 }, (_, s) => {
    let count = 0;
    for (let t = cuSeqlens[s]; t < cuSeqlens[s + 1]; t++) count += completionMask[t];
    return count;
  });
}

/**
 * What does not depend on the policy: reference log-probabilities, lengths, scores. Off the tape; the caller disposes it.
 * @throws ConfigError where the loss needs a reference, scores or tokens that are not there
 */
export function pairConstants(
  needs: readonly PairNeed[],
  reference: Reference | undefined,
  batch: TrainingPairs,
): Omit<PairInputs, 'policy' | 'nll'> {
  const lengths = completionLengths(batch.packed);
  const empty = lengths.subarray(0, 2 * batch.pairs).indexOf(0);
  if (empty >= 0)
    throw new ConfigError(`pair ${batch.ids[empty % batch.pairs]}: the ${empty < batch.pairs ? 'chosen' : 'rejected'} completion is empty`);
  const inputs: Omit<PairInputs, 'policy' | 'nll'> = {};
  if (needs.includes('scores')) {
    if (!batch.scores) throw new ConfigError('this loss compares rewards, and the pairs of this batch have no scores');
    inputs.scores = { chosen: tf.tensor1d(batch.scores.chosen.slice()), rejected: tf.tensor1d(batch.scores.rejected.slice()) };
  }
  if (needs.includes('preference')) {
    if (!batch.preference)
      throw new ConfigError('this loss asks how likely the chosen answer is to win; take its batches from opponentPairs');
    inputs.preference = tf.tensor1d(batch.preference.slice());
  }
  if (needs.includes('drawnBy')) {
    if (!batch.chosenByReference)
      throw new ConfigError('this loss asks which answer the reference drew; take its batches from opponentPairs');
    inputs.chosenByReference = tf.tensor1d(Float32Array.from(batch.chosenByReference));
  }
  if (needs.includes('lengths')) inputs.lengths = lengthTensors(batch, lengths);
  if (!needs.includes('reference')) return inputs;
  if (!reference) throw new ConfigError('this loss compares the policy with a reference: reference log-probs are required');
  if (isKnown(reference)) {
    if (needs.includes('tokens'))
      throw new ConfigError('this loss needs the reference token by token; known sums do not do, give the model');
    return { ...inputs, reference: knownLogps(reference, batch) };
  }
  return {
    ...inputs,
    ...sides(
      tf.tidy(() => reference.completionLogps(batch.packed)),
      batch,
      lengths,
      needs.includes('tokens') ? 'reference' : undefined,
    ),
  };
}

/** What depends on the policy, on the tape where there is one: log-probabilities, and by need the tokens and the chosen completions' `nll`. */
export function policyInputs(
  needs: readonly PairNeed[],
  policy: Decoder,
  batch: TrainingPairs,
  totals: StepTotals,
  constants: Omit<PairInputs, 'policy' | 'nll'>,
): PairInputs {
  const lengths = completionLengths(batch.packed);
  const out = policy.completionLogps(batch.packed, { squaredSum: needs.includes('squaredSum') });
  const { reference: logps, tokens } = sides(out, batch, lengths, needs.includes('tokens') ? 'policy' : undefined);
  const goldNll = needs.includes('gold') ? goldNllOf(policy, batch, totals) : undefined;
  return withNll(
    { ...constants, policy: logps!, ...(tokens && { tokens: mergeTokens(tokens, constants.tokens) }), ...(goldNll && { goldNll }) },
    needs,
    totals,
  );
}

function goldNllOf(policy: Decoder, { gold }: TrainingPairs, { pairs, goldTokens }: StepTotals): tf.Tensor1D {
  if (!gold || !goldTokens)
    throw new ConfigError('this loss learns a third, gold completion of each pair; put them beside the batches by withGold');
  return tf.tidy(() => tf.mul(-pairs / goldTokens, policy.completionLogps(gold).sums));
}

/**
 * The same batches with a third, gold completion of each pair, for the loss `tpo`.
 * @param goldOf of a pair's id
 * @throws ConfigError naming the pair whose gold completion is empty
 */
export function withGold(
  batches: Batches<PairBatch>,
  goldOf: (id: string) => { prompt: Int32Array; completion: Int32Array },
): Batches<TrainingPairs> {
  return { steps: batches.steps, at: async (step) => goldBatch(await batches.at(step), goldOf) };
}

export function goldBatch(batch: PairBatch, goldOf: (id: string) => { prompt: Int32Array; completion: Int32Array }): TrainingPairs {
  const golden = (part: PairBatch): TrainingPairs => ({
    ...part,
    gold: packSequences(
      part.ids.map((id, row) => {
        const { prompt, completion } = goldOf(id);
        if (completion.length === 0) throw new ConfigError(`pair ${id}: the gold completion is empty`);
        return { ...joinSequence(prompt, completion), row };
      }),
    ),
    split: (size) => part.split(size).map(golden),
  });
  return golden(batch);
}

export function withNll(inputs: PairInputs, needs: readonly PairNeed[], totals: StepTotals): PairInputs {
  if (!needs.includes('nll')) return inputs;
  return { ...inputs, nll: tf.mul(-totals.pairs / totals.chosenTokens, inputs.policy.chosen) };
}

/** Sums over a step's pairs divided by its pairs: added over micro-batches they are the step's means. */
export function pairMetrics({ chosenRewards, rejectedRewards }: PairLoss, policy: PairLogps, { pairs, chosenTokens }: StepTotals) {
  return tf.tidy(() => {
    const mean = (x: tf.Tensor): tf.Scalar => tf.div(tf.sum(x), pairs);
    const margins = tf.sub(chosenRewards, rejectedRewards);
    return {
      'rewards/chosen': mean(chosenRewards),
      'rewards/rejected': mean(rejectedRewards),
      'rewards/margin': mean(margins),
      'rewards/accuracy': mean(tf.mul(0.5, tf.add(1, tf.sign(margins)))), // a tie counts half
      'logps/chosen': mean(policy.chosen),
      'logps/rejected': mean(policy.rejected),
      'nll/chosen': tf.div(tf.sum(policy.chosen), -chosenTokens) as tf.Scalar,
    };
  });
}

/**
 * Reference log-probabilities of every pair that `batches` will show, each computed once. The reference may be disposed afterwards.
 * @throws ConfigError where two pairs share an id, but not their tokens
 */
export async function precomputeReference(
  reference: Decoder,
  batches: Batches<PairBatch>,
  { steps = batches.steps, pairsPerMicroBatch = 8, signal }: { steps?: number; pairsPerMicroBatch?: number; signal?: AbortSignal } = {},
): Promise<Map<string, { chosen: number; rejected: number }>> {
  const known = new Map<string, { chosen: number; rejected: number }>();
  const tokensOf = new Map<string, string>();
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    for (const micro of (await batches.at(step)).split(pairsPerMicroBatch)) {
      const keys = micro.ids.map((_, i) =>
        [i, i + micro.pairs]
          .flatMap((s) => [s, micro.packed.prefixOf?.[s] ?? -1])
          .map((s) => (s < 0 ? '' : micro.packed.tokens.slice(micro.packed.cuSeqlens[s], micro.packed.cuSeqlens[s + 1]).join()))
          .join('|'),
      );
      micro.ids.forEach((id, i) => {
        if (known.has(id) && tokensOf.get(id) !== keys[i])
          throw new ConfigError(`two pairs have the id "${id}"; ids must be unique to know their log-probabilities by`);
        tokensOf.set(id, keys[i]);
      });
      if (micro.ids.every((id) => known.has(id))) continue;
      const sums = tf.tidy(() => reference.completionLogps(micro.packed).sums);
      const values = await readCopy(sums);
      sums.dispose();
      micro.ids.forEach((id, i) => void known.set(id, { chosen: values[i], rejected: values[micro.pairs + i] }));
    }
  }
  return known;
}

/** The pairs of all micro-batches as one. The caller disposes it, and the parts. */
export function joinInputs(parts: readonly PairInputs[]): PairInputs {
  const join = <T extends object>(list: (T | undefined)[]): T | undefined => {
    const first = list[0];
    if (first === undefined) return undefined;
    const entries = Object.keys(first).map((key) => {
      const values = list.map((x) => (x as Record<string, unknown>)[key]);
      if (values[0] instanceof tf.Tensor) return [key, tf.concat(values as tf.Tensor1D[])];
      if (values[0] instanceof Int32Array) return [key, Int32Array.from((values as Int32Array[]).flatMap((x) => Array.from(x)))];
      return [key, join(values as object[])];
    });
    return Object.fromEntries(entries) as T;
  };
  return join([...parts])!;
}

function isKnown(reference: Reference): reference is ReferenceLogps {
  return !('completionLogps' in reference);
}

function knownLogps(known: ReferenceLogps, batch: PairBatch): PairLogps {
  const of = (side: 'chosen' | 'rejected') =>
    tf.tensor1d(
      batch.ids.map((id) => {
        const logps = known.get(id);
        if (!logps)
          throw new ConfigError(`pair ${id}: its reference log-probabilities are not known; were they computed for other batches?`);
        return logps[side];
      }),
    );
  return { chosen: of('chosen'), rejected: of('rejected') };
}

function lengthTensors({ packed, pairs }: PairBatch, lengths: Int32Array): PairLengths {
  const tokensOf = (s: number) => (s < 0 ? 0 : packed.cuSeqlens[s + 1] - packed.cuSeqlens[s]);
  const prompt = Float32Array.from({ length: pairs }, (_, i) => tokensOf(i) + tokensOf(packed.prefixOf?.[i] ?? -1) - lengths[i]);
  const side = (from: number) => tf.tensor1d(Float32Array.from(lengths.subarray(from, from + pairs)));
  return { chosen: side(0), rejected: side(pairs), prompt: tf.tensor1d(prompt) };
}

/** Cuts what a decoder answered into chosen and rejected, taking its tensors over. */
function sides(
  out: ReturnType<Decoder['completionLogps']>,
  { pairs }: PairBatch,
  lengths: Int32Array,
  tokensAs: 'policy' | 'reference' | undefined,
): { reference?: PairLogps; tokens?: PairTokenLogps } {
  if (out.sums.size !== lengths.length || lengths.length < 2 * pairs)
    throw new ShapeError(`a batch of ${pairs} pairs has ${out.sums.size} sums; segments are the chosen, then the rejected completions`);
  const cut = lengths.subarray(0, pairs).reduce((a, b) => a + b, 0);
  const result = {
    reference: { chosen: tf.slice(out.sums, 0, pairs), rejected: tf.slice(out.sums, pairs, pairs) },
    ...(tokensAs && {
      tokens: Object.fromEntries(
        (
          [
            ['chosen', 0, cut, lengths.slice(0, pairs)],
            ['rejected', cut, out.tokens.size - cut, lengths.slice(pairs, 2 * pairs)],
          ] as const
        ).map(([side, from, size, own]) => [
          side,
          {
            [tokensAs]: tf.slice(out.tokens, from, size),
            ...(out.squaredSum && { squaredSum: tf.slice(out.squaredSum, from, size) }),
            lengths: own,
          },
        ]),
      ) as unknown as PairTokenLogps,
    }),
  };
  tf.dispose(out);
  return result;
}

function mergeTokens(policy: PairTokenLogps, constants: PairTokenLogps | undefined): PairTokenLogps {
  if (!constants) return policy;
  return {
    chosen: { ...policy.chosen, reference: constants.chosen.reference },
    rejected: { ...policy.rejected, reference: constants.rejected.reference },
  };
}
