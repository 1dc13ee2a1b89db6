/** The words bed's fixed gold reward model: larger than the policies, trained on its own prompts, and never changed by an experiment. */
import { readCopy } from '@plumbline/core';
import {
  type Candidate,
  encodeCompletion,
  encodePrompt,
  joinSequence,
  packSequences,
  type RewardFunction,
  type Scorer,
  type Scores,
} from '@plumbline/data';
import { type LocalDecoder, loadScorer } from '@plumbline/models';
import { guardedSentiment } from './sentiment.js';

export type GoldModelOptions = {
  /** Where given, the components of `guardedSentiment` under this base are reported beside the score, and `guarded`, its value. */
  base?: LocalDecoder;
  /** Tokens in one forward pass. */
  batchTokens?: number;
};

/**
 * A scorer as a gold reward, in its own units (`zoo:gold-words`: standard deviations of what `zoo:words-1m` writes). It reads text with its own tokenizer; a candidate's
 * score does not depend on its neighbours. An empty completion gets the score of the prompt alone.
 */
export function goldModel(scorer: Scorer, { base, batchTokens = 4096 }: GoldModelOptions = {}): RewardFunction {
  const guarded = base && guardedSentiment({ base, batchTokens });
  return {
    name: scorer.name,
    async score(batch, ctx) {
      const scores = await scoresOf(scorer, batch, batchTokens, ctx.signal);
      if (!guarded) return { scores };
      const beside: Scores = await guarded.score(batch, ctx);
      return { scores, components: { ...beside.components, guarded: beside.scores } };
    },
  };
}

/** `zoo:gold-words`, or another scorer, as a gold reward; the caller disposes it. */
export async function loadGoldModel(
  name = 'zoo:gold-words',
  options: GoldModelOptions = {},
): Promise<{ reward: RewardFunction; dispose(): void }> {
  const scorer = await loadScorer(name);
  return { reward: goldModel(scorer, options), dispose: () => scorer.dispose() };
}

async function scoresOf(scorer: Scorer, batch: readonly Candidate[], batchTokens: number, signal?: AbortSignal): Promise<Float32Array> {
  const { tokenizer, contextLength } = scorer;
  const sequences = batch.map(({ prompt, completion }) => {
    const sequence = joinSequence(encodePrompt(tokenizer, prompt), encodeCompletion(tokenizer, prompt, completion));
    if (sequence.tokens.length > contextLength)
      throw new RangeError(`goldModel: a candidate has ${sequence.tokens.length} tokens; ${scorer.name} reads ${contextLength}`);
    return sequence;
  });
  const scores = new Float32Array(batch.length);
  for (let from = 0; from < sequences.length; ) {
    signal?.throwIfAborted();
    let [to, tokens] = [from, 0];
    while (to < sequences.length && (to === from || tokens + sequences[to].tokens.length <= batchTokens))
      tokens += sequences[to++].tokens.length;
    const values = scorer.scores(packSequences(sequences.slice(from, to).map((sequence, i) => ({ ...sequence, row: from + i }))));
    scores.set(await readCopy(values), from);
    values.dispose();
    from = to;
  }
  return scores;
}
