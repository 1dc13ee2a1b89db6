/** Prompts to sample from, of any kind of record, and how a policy fares on those that were held out. */
import { ConfigError, type Rng } from '@plumbline/core';
import {
  conversionPath,
  convertRecord,
  encodePrompt,
  isMessages,
  openRecords,
  type PromptRecord,
  type RewardFunction,
} from '@plumbline/data';
import { generate, type LocalDecoder } from '@plumbline/models';

/** Its other columns, such as the answer that a verifier compares with, come along as `meta`. @throws ConfigError where there are none */
export async function readPrompts(
  dataset: string,
  { system, chat = true }: { system?: string; chat?: boolean },
  { tokenizer }: LocalDecoder,
): Promise<{ prompts: PromptRecord[]; read: number; skipped: number; why?: string }> {
  const { kind, rows } = await openRecords(dataset);
  if (kind !== 'prompt' && !conversionPath(kind, 'prompt'))
    throw new ConfigError(`${dataset} holds ${kind} records, which have no prompts`);
  const prompts: PromptRecord[] = [];
  let [read, skipped, why] = [0, 0, undefined as string | undefined];
  for await (const row of rows) {
    read++;
    if (!row.records) {
      skipped++;
      why ??= `line ${row.line}: ${row.problem}`;
      continue;
    }
    for (const record of row.records) {
      const [made] = kind === 'prompt' ? [record as PromptRecord] : (convertRecord(record as never, kind, 'prompt') as PromptRecord[]);
      if (!made) continue;
      const messages = isMessages(made.prompt)
        ? made.prompt
        : (chat && tokenizer.hasChatTemplate) || system !== undefined
          ? [{ role: 'user', content: made.prompt }]
          : undefined;
      const prompt = messages ? [...(system === undefined ? [] : [{ role: 'system', content: system }]), ...messages] : made.prompt;
      prompts.push({ ...made, id: made.id ?? String(prompts.length), prompt, meta: { ...row.row, ...made.meta } });
    }
  }
  if (prompts.length === 0) throw new ConfigError(`${dataset}: there are no prompts${why ? ` (${why})` : ''}`);
  return { prompts, read, skipped, ...(why && { why }) };
}

export type Sampling = { maxTokens: number; temperature?: number; topP?: number; topK?: number; minP?: number; repetitionPenalty?: number };

/** One completion of each prompt, as candidates, from the same random numbers whatever the policy. */
export async function heldOutCandidates(
  decoder: LocalDecoder,
  records: readonly PromptRecord[],
  sampling: Sampling,
  rng: Rng,
  signal: AbortSignal,
) {
  const prompts = records.map(({ prompt }) => encodePrompt(decoder.tokenizer, prompt));
  const samples = await generate(decoder, prompts, { ...sampling, rng: rng.fork('samples'), signal });
  signal.throwIfAborted();
  return records.map(({ prompt, meta }, i) => {
    const [{ text, finish, tokens }] = samples[i];
    const completion = isMessages(prompt) ? [{ role: 'assistant', content: text }] : text;
    return { prompt, completion, meta: { ...meta, finish, tokens: tokens.length } };
  });
}

/** The weighted reward of one completion of each prompt: [prompts]. A reward that abstains counts 0. */
export async function heldOutRewards(
  decoder: LocalDecoder,
  records: readonly PromptRecord[],
  rewards: readonly { reward: RewardFunction; weight: number }[],
  sampling: Sampling,
  rng: Rng,
  signal: AbortSignal,
): Promise<number[]> {
  const candidates = await heldOutCandidates(decoder, records, sampling, rng, signal);
  const sums = candidates.map(() => 0);
  for (const { reward, weight } of rewards) {
    const { scores, abstained } = await reward.score(candidates, { rng: rng.fork('reward', reward.name), signal });
    scores.forEach((score, i) => {
      if (abstained?.[i] !== 1) sums[i] += weight * score;
    });
  }
  return sums;
}

export type Change = { before: number; after: number; change: number; standardError: number };

export const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** Means, and the standard error of their paired difference. */
export function changeOf(before: readonly number[], after: readonly number[]): Change {
  const moved = after.map((x, i) => x - before[i]);
  const mean = meanOf(moved);
  const variance = moved.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, moved.length - 1);
  return { before: meanOf(before), after: meanOf(after), change: mean, standardError: Math.sqrt(variance / moved.length) };
}
