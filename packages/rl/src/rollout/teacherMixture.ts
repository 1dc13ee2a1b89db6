/** Samples of student and teacher together: MiniLLM's teacher-mixed sampling. */
import { ConfigError, type Rng } from '@plumbline/core';
import type { LocalDecoder } from '@plumbline/models';
import type { RolloutSample } from './generate.js';

/**
 * One completion of each prompt, every token of it drawn from `share·T + (1 − share)·S`, both at `temperature`. Gu et al. 2023 (MiniLLM), arXiv:2306.08543, section 2.2. All prompts are
 * decoded side by side; where the signal fires, what is under way ends as `'aborted'`. `samplingLogps` are those of the mixture.
 *
 * @param rng prompt i draws from `rng.fork(i)`
 * @throws ConfigError where a prompt fills the context of one of the two
 */
export async function teacherMixture(
  { student, teacher }: { student: LocalDecoder; teacher: LocalDecoder },
  prompts: readonly Int32Array[],
  { share, maxTokens, temperature, rng, signal }: { share: number; maxTokens: number; temperature: number; rng: Rng; signal?: AbortSignal },
): Promise<RolloutSample[]> {
  const context = Math.min(student.contextLength, teacher.contextLength);
  const { tokenizer, spec } = student;
  const rooms = prompts.map(({ length }, i) => {
    if (length > 0 && length < context) return Math.min(maxTokens, context - length);
    throw new ConfigError(
      `prompt ${i} has ${length} tokens, and a context of ${context} ${length === 0 ? 'begins with at least one' : 'leaves no room to continue'}`,
    );
  });
  const longest = Math.max(...prompts.map(({ length }, i) => length + rooms[i]));
  const sequences = prompts.map((prompt, row) => ({
    row,
    next: prompt,
    tokens: [] as number[],
    logps: [] as number[],
    rng: rng.fork(row),
  }));
  const stopped = ({ row, tokens }: (typeof sequences)[number]) =>
    tokens.length === rooms[row] || (tokens.length > 0 && tokens.at(-1) === tokenizer.eosId);
  const caches = [student, teacher].map((model) => model.cache({ rows: prompts.length, maxTokens: longest }));
  try {
    for (let live = sequences; live.length > 0 && !signal?.aborted; live = live.filter((one) => !stopped(one))) {
      const step = nextOf(live, prompts);
      const [ours, theirs] = [(await student.next(step, caches[0])).slice(), await teacher.next(step, caches[1])];
      live.forEach((one, i) => {
        const [s, t] = [ours, theirs].map((logits) => softmax(logits.subarray(i * spec.vocabSize, (i + 1) * spec.vocabSize), temperature));
        const mixed = s.map((p, token) => share * t[token] + (1 - share) * p);
        const token = one.rng.categorical(mixed);
        one.tokens.push(token);
        one.logps.push(Math.log(mixed[token]));
        one.next = Int32Array.of(token);
      });
    }
  } finally {
    for (const cache of caches) cache.dispose();
  }
  return sequences.map((one) => ({
    prompt: prompts[one.row],
    group: one.row,
    tokens: Int32Array.from(one.tokens),
    text: tokenizer.decode(one.tokens, { skipSpecial: true }),
    samplingLogps: Float32Array.from(one.logps),
    finish: !stopped(one) ? 'aborted' : one.tokens.at(-1) === tokenizer.eosId ? 'stop' : 'length',
  }));
}

/** What each sequence has that the caches lack: its prompt, or its newest token. */
function nextOf(live: readonly { row: number; next: Int32Array; tokens: readonly number[] }[], prompts: readonly Int32Array[]) {
  const flat = live.flatMap(({ row, next, tokens }) => {
    const from = tokens.length === 0 ? 0 : prompts[row].length + tokens.length - 1;
    return Array.from(next, (token, t) => ({ token, row, position: from + t, last: t === next.length - 1 }));
  });
  return {
    tokens: Int32Array.from(flat, ({ token }) => token),
    positions: Int32Array.from(flat, ({ position }) => position),
    rows: Int32Array.from(flat, ({ row }) => row),
    wanted: Int32Array.from(flat.flatMap(({ last }, i) => (last ? [i] : []))),
  };
}

function softmax(logits: Float32Array, temperature: number): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(logits, (z) => Math.exp((z - largest) / temperature));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / total);
}
