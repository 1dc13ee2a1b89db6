/** The pairs that a run saw, kept and shown again: in order, shuffled, or shuffled within windows. Tang et al. 2024, arXiv:2405.08448. */
import { ConfigError, FormatError, type Rng } from '@plumbline/core';
import { type Batches, type EncodedPair, type PairBatch, pairBatch } from '@plumbline/data';
import type { RecordableBatches } from './onlinePairs.js';

/** Pairs by step. `model` names the tokenizer that the ids belong to. */
export type PairStream = { model: string; steps: EncodedPair[][] };

/** The same batches; what each step showed is kept in `stream`. */
export function recordStream(batches: RecordableBatches, model: string): Batches<PairBatch> & { readonly stream: PairStream } {
  const stream: PairStream = { model, steps: [] };
  return {
    steps: batches.steps,
    stream,
    async at(step) {
      const pairs = await batches.pairsAt(step);
      stream.steps[step] = pairs;
      return pairBatch(pairs);
    },
  };
}

/**
 * A recorded stream as a data source. `exact` shows it as it was: with the same start, loss and settings the run is repeated bit for bit. `shuffled` breaks the order between pairs and
 * the policy that wrote them; a window of w steps shuffles within each w steps (1 is exact).
 *
 * @throws ConfigError where steps are missing, unlike in size, or written by another model's tokenizer than `model`
 */
export function replayStream(
  { model: written, steps }: PairStream,
  { order, rng, model = written }: { order: 'exact' | 'shuffled' | { window: number }; rng: Rng; model?: string },
): Batches<PairBatch> {
  if (model !== written) throw new ConfigError(`replayStream: the stream was written by ${written}, and is read by ${model}`);
  const size = steps[0]?.length ?? 0;
  if (size === 0) throw new ConfigError('replayStream: the stream has no pairs');
  for (let step = 0; step < steps.length; step++)
    if (steps[step]?.length !== size)
      throw new ConfigError(
        `replayStream: step ${step} has ${steps[step]?.length ?? 'no'} pairs, and step 0 has ${size}; was the recorded run resumed?`,
      );
  const window = order === 'exact' ? 1 : order === 'shuffled' ? steps.length : order.window;
  if (!(Number.isInteger(window) && window >= 1))
    throw new ConfigError(`replayStream: window must be a whole number of steps above 0, got ${window}`);
  const pairs = steps.flat();
  const at = Array.from(pairs, (_, i) => i);
  if (window > 1)
    for (let from = 0; from < pairs.length; from += window * size) {
      const block = at.slice(from, from + window * size);
      rng
        .fork('window', from)
        .permutation(block.length)
        .forEach((to, i) => {
          at[from + i] = block[to];
        });
    }
  return {
    steps: steps.length,
    at: async (step) => pairBatch(at.slice(step * size, (step + 1) * size).map((i) => pairs[i])),
  };
}

/** One line of JSON for the header and one for each step. */
export function writeStream({ model, steps }: PairStream): string {
  const plain = (pair: EncodedPair) => ({ ...pair, prompt: [...pair.prompt], chosen: [...pair.chosen], rejected: [...pair.rejected] });
  return [{ format: 1, model, steps: steps.length }, ...steps.map((pairs) => pairs.map(plain))]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join('');
}

/** @throws FormatError naming the line that is not one of `writeStream` */
export function readStream(text: string): PairStream {
  const [header, ...lines] = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line, i): unknown => {
      try {
        return JSON.parse(line);
      } catch (error) {
        throw new FormatError(
          `readStream: line ${i + 1} is not JSON (${error instanceof Error ? error.message : error}); was the file cut short?`,
        );
      }
    });
  const { format, model, steps } = (header ?? {}) as { format?: number; model?: string; steps?: number };
  if (format !== 1 || typeof model !== 'string')
    throw new FormatError('readStream: the first line is not the header of a stream of pairs, format 1');
  if (lines.length !== steps)
    throw new FormatError(`readStream: ${lines.length} steps, but the header says ${steps}; was the file cut short?`);
  type Plain = Omit<EncodedPair, 'prompt' | 'chosen' | 'rejected'> & { prompt: number[]; chosen: number[]; rejected: number[] };
  return {
    model,
    steps: (lines as Plain[][]).map((pairs) =>
      pairs.map((pair) => ({
        ...pair,
        prompt: Int32Array.from(pair.prompt),
        chosen: Int32Array.from(pair.chosen),
        rejected: Int32Array.from(pair.rejected),
      })),
    ),
  };
}
