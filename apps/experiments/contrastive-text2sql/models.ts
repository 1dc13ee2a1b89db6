/** The models of the experiment: the encoder of questions and queries, which `plumb apply` trains too, and the start of the policies. */
import { pretrainDecoder } from '@plumbline/bench';
import type { Rng, Run } from '@plumbline/core';
import { joinSequence, type Tokenizer } from '@plumbline/data';
import { extractSql, normalizeSql, type SqlTask } from '@plumbline/envs';
import { createEncoder, encoderSpec, type LocalDecoder, type LocalEncoder, tokenizerFromJson, trainByteBpe } from '@plumbline/models';
import { contrastBatches, trainEncoder } from '@plumbline/rewards';

/** The query of a completion in the form in which the encoder reads it: without comments and names of aliases, in which words of the question could be repeated. */
export function queryOf({ completion }: { completion: unknown }): string | null {
  const sql = extractSql(String(completion));
  return sql === null ? null : normalizeSql(sql);
}

/** A new encoder of about a third of a million parameters. */
export const newEncoder = (tokenizer: Tokenizer, rng: Rng): LocalEncoder =>
  createEncoder(encoderSpec({ vocabSize: tokenizer.vocabSize, width: 96, layers: 2, heads: 4, contextLength: 128 }), {
    tokenizer,
    name: 'questions and queries',
    rng,
  });

/** Trains it on questions and their queries, with wrong queries as hard negatives. */
export async function trainSqlEncoder(
  encoder: LocalEncoder,
  tasks: readonly { id: string; question: string; query: string; negatives: readonly string[] }[],
  { steps, negatives: negativesPerPair, temperature, learningRate, rng, run }: { steps: number; negatives: number; temperature: number; learningRate: number; rng: Rng; run: Run }, // biome-ignore format: one line
): Promise<void> {
  const pairs = tasks.map(({ id, question, query, negatives }) => ({
    id,
    left: question,
    right: normalizeSql(query),
    negatives: negatives.map(normalizeSql),
  }));
  const batches = contrastBatches(pairs, { pairsPerStep: Math.min(32, pairs.length), negativesPerPair, steps, rng });
  const schedule = { kind: 'cosine' as const, warmupSteps: Math.ceil(steps / 10) };
  await trainEncoder({ steps, temperature, learningRate, schedule }, { encoder, batches, run });
}

type Config = { width: number; vocabulary: number; startSteps: number; startLearningRate: number };

/** A small decoder that learned to read a schema and to write queries, without having seen a database of the themes. */
export async function trainStart(tasks: readonly SqlTask[], config: Config, { rng, run }: { rng: Rng; run: Run }): Promise<LocalDecoder> {
  const { width, vocabulary: vocabSize, startSteps: steps, startLearningRate: learningRate } = config;
  const json = trainByteBpe(
    tasks.map(({ prompt, query }) => prompt + query),
    { vocabSize, specialTokens: ['<|endoftext|>'], splitDigits: true },
  );
  const tokenizer = tokenizerFromJson(json, { name: 'sql', eos_token: '<|endoftext|>' });
  const sequences = tasks.map(({ prompt, query }) =>
    joinSequence(tokenizer.encode(prompt), Int32Array.of(...tokenizer.encode(query), tokenizer.eosId!)),
  );
  return pretrainDecoder(
    { vocabSize, width, contextLength: 256 },
    { tokenizer, name: 'start', sequences, sequencesPerStep: 16, steps, learningRate, rng, run },
  );
}
