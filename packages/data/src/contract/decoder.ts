import type { ParameterTree, Rng, Saved } from '@plumbline/core';
import { gradients, readCopy, rng } from '@plumbline/core';
import * as tf from '@tensorflow/tfjs-core';
import type { Decoder, PackedBatch, Scorer } from '../interfaces.js';
import { packSequences, packShared, type Sequence, takeSegments } from '../pack.js';
import { type ContractCase, ensure, ensureClose } from './case.js';

type Options = {
  /** Relative to `1 + |value|`. */
  tolerance?: number;
  /** Sequences of other lengths than these; ids below the vocabulary's size. */
  sequences?: readonly Sequence[];
};

/** Random sequences of 2, 7, 12 and 5 tokens, one with a completion of one token. */
export function contractSequences(vocabSize: number, random: Rng): Sequence[] {
  return [
    { length: 2, completionStart: 1 },
    { length: 7, completionStart: 3 },
    { length: 12, completionStart: 4 },
    { length: 5, completionStart: 4 },
  ].map(({ length, completionStart }, i) => {
    const draw = random.fork('sequence', i);
    return { tokens: Int32Array.from({ length }, () => draw.below(vocabSize)), completionStart };
  });
}

const pack = (sequences: readonly Sequence[]): PackedBatch => packSequences(sequences.map((sequence, row) => ({ ...sequence, row })));

/** Three completions of each prompt but the first, which has one: side by side, and with shared prompts. */
function sharing(sequences: readonly Sequence[]): { apart: PackedBatch; shared: PackedBatch } {
  const items = sequences.flatMap(({ tokens, completionStart }, row) => {
    const [prompt, completion] = [tokens.slice(0, completionStart), tokens.slice(completionStart)];
    const one = { prompt, completion, row };
    return row === 0 ? [one] : [one, { ...one, completion: completion.slice(0, 1) }, { ...one, completion: completion.slice().reverse() }];
  });
  const joined = items.map(({ prompt, completion, row }) => ({
    tokens: Int32Array.of(...prompt, ...completion),
    completionStart: prompt.length,
    row,
  }));
  return { apart: packSequences(joined), shared: packShared(items) };
}

/** Values of a tensor that is disposed. */
async function drain(x: tf.Tensor): Promise<Float32Array> {
  const values = (await readCopy(x)) as Float32Array;
  x.dispose();
  return values;
}

async function logpsOf(decoder: Decoder, batch: PackedBatch) {
  const { tokens, sums, lengths, ...more } = decoder.completionLogps(batch);
  tf.dispose(more);
  return { tokens: await drain(tokens), sums: await drain(sums), lengths: await drain(lengths) };
}

/**
 * What every `Decoder` keeps: a sequence's values do not depend on what is packed beside it, how the batch is split or what comes after;
 * log-probabilities are those of a distribution; gradients agree with central differences; nothing is leaked; a snapshot stands apart.
 *
 * @param make       a fresh decoder with random weights and a small vocabulary (every token is tried once)
 * @param snapshotOf the decoder's own snapshot, where it has one
 */
export function decoderContract(
  make: () => Decoder | Promise<Decoder>,
  { tolerance = 1e-4, sequences, snapshotOf }: Options & { snapshotOf?: (decoder: Decoder) => Decoder } = {},
): ContractCase[] {
  const using = async (f: (decoder: Decoder, sequences: Sequence[]) => Promise<void>) => {
    const decoder = await make();
    try {
      await f(decoder, [...(sequences ?? contractSequences(decoder.tokenizer.vocabSize, rng(11)))]);
    } finally {
      decoder.parameters.dispose();
    }
  };
  return [
    {
      name: 'gives hidden states of [tokens, width] that do not depend on what is packed beside a sequence',
      run: () =>
        using(async (decoder, all) => {
          const batch = pack(all);
          const hidden = decoder.hidden(batch);
          ensure(hidden.shape.join() === `${batch.tokens.length},${decoder.width}`, `hidden is [${hidden.shape}]`);
          const together = await drain(hidden);
          for (const [s, sequence] of all.entries()) {
            const alone = await drain(decoder.hidden(pack([sequence])));
            const [from, to] = [batch.cuSeqlens[s] * decoder.width, batch.cuSeqlens[s + 1] * decoder.width];
            ensureClose(together.subarray(from, to), alone, tolerance, `hidden states of sequence ${s}`);
          }
        }),
    },
    {
      name: 'gives a completion the same log-probabilities however the batch is split and ordered',
      run: () =>
        using(async (decoder, all) => {
          const batch = pack(all);
          const together = await logpsOf(decoder, batch);
          const halves = [
            takeSegments(batch, [0, 1]),
            takeSegments(
              batch,
              all.slice(2).map((_, i) => i + 2),
            ),
          ];
          const parts = await Promise.all(halves.map((half) => logpsOf(decoder, half)));
          ensureClose([...parts[0].tokens, ...parts[1].tokens], together.tokens, tolerance, 'log-probabilities in two halves');
          const order = all.map((_, i) => all.length - 1 - i);
          const turned = await logpsOf(decoder, takeSegments(batch, order));
          ensureClose(
            order.map((i) => turned.sums[i]),
            together.sums,
            tolerance,
            'sums in reverse order',
          );
        }),
    },
    {
      name: 'gives completions that share their prompt the log-probabilities and gradients that they have apart',
      run: () =>
        using(async (decoder, all) => {
          const { apart, shared } = sharing(all);
          const [before, after] = [await logpsOf(decoder, apart), await logpsOf(decoder, shared)];
          const n = apart.rows.length;
          ensureClose(after.tokens, before.tokens, tolerance, 'log-probabilities after a shared prompt');
          ensureClose(after.sums, [...before.sums, ...Array.from({ length: after.sums.length - n }, () => 0)], tolerance, 'sums');
          const gradient = async (batch: PackedBatch) => {
            const { loss, grads } = gradients(() => {
              const { tokens, sums, ...rest } = decoder.completionLogps(batch);
              tf.dispose([sums, rest]);
              return { loss: tf.sum(tf.square(tokens)) as tf.Scalar };
            }, decoder.parameters.trainable());
            loss.dispose();
            const drained: [string, Float32Array][] = [];
            for (const [parameter, grad] of grads) drained.push([parameter.name, await drain(grad)]);
            return new Map(drained);
          };
          const [ours, theirs] = [await gradient(shared), await gradient(apart)];
          ensure(ours.size === theirs.size, `${ours.size} parameters have a gradient, ${theirs.size} apart`);
          for (const [name, values] of theirs) ensureClose(ours.get(name)!, values, 10 * tolerance, `gradient of ${name}`);
        }),
    },
    {
      name: 'does not look at later tokens, be they garbage',
      run: () =>
        using(async (decoder, all) => {
          const clean = pack(all);
          const before = await drain(decoder.hidden(clean));
          const garbage = { ...clean, tokens: clean.tokens.slice() };
          const random = rng(13);
          const kept: number[] = [];
          for (let s = 0; s < all.length; s++) {
            const [from, to] = [clean.cuSeqlens[s], clean.cuSeqlens[s + 1]];
            const cut = from + Math.ceil((to - from) / 2);
            for (let t = from; t < cut; t++) kept.push(t);
            for (let t = cut; t < to; t++) garbage.tokens[t] = random.below(decoder.tokenizer.vocabSize);
          }
          const after = await drain(decoder.hidden(garbage));
          const rows = (values: Float32Array) => kept.flatMap((t) => [...values.subarray(t * decoder.width, (t + 1) * decoder.width)]);
          ensureClose(rows(after), rows(before), tolerance, 'hidden states before the garbage');
          ensure(
            after.some((value, i) => value !== before[i]),
            'the garbage changed nothing at all',
          );
        }),
    },
    {
      name: 'gives sums and lengths that agree with the log-probabilities of the tokens',
      run: () =>
        using(async (decoder, all) => {
          const { tokens, sums, lengths } = await logpsOf(decoder, pack(all));
          const counts = all.map((sequence) => sequence.tokens.length - Math.max(1, sequence.completionStart));
          ensureClose(lengths, counts, 0, 'lengths');
          const ends = counts.map((_, s) => counts.slice(0, s + 1).reduce((a, b) => a + b, 0));
          const added = counts.map((n, s) => tokens.subarray(ends[s] - n, ends[s]).reduce((a, b) => a + b, 0));
          ensure(tokens.length === ends.at(-1), `${tokens.length} log-probabilities for ${ends.at(-1)} completion tokens`);
          ensureClose(sums, added, tolerance, 'sums');
          ensure(
            tokens.every((logp) => logp <= 1e-5),
            'a log-probability is above 0',
          );
        }),
    },
    {
      name: 'gives the log-probabilities of a distribution over the vocabulary, with its entropy and sum of squares',
      run: () =>
        using(async (decoder, all) => {
          const { vocabSize } = decoder.tokenizer;
          const prompt = all[1].tokens;
          for (const temperature of [1, 0.5]) {
            const next = Array.from({ length: vocabSize }, (_, v) => ({
              tokens: Int32Array.of(...prompt, v),
              completionStart: prompt.length,
            }));
            const logps: number[] = [];
            for (let from = 0; from < vocabSize; from += 64) {
              const { tokens, sums, lengths } = decoder.completionLogps(pack(next.slice(from, from + 64)), { temperature });
              tf.dispose([sums, lengths]);
              logps.push(...(await drain(tokens)));
            }
            ensureClose(
              [logps.reduce((sum, logp) => sum + Math.exp(logp), 0)],
              [1],
              tolerance,
              `probabilities at temperature ${temperature}`,
            );
            const one = decoder.completionLogps(pack([next[0]]), { temperature, entropy: true, squaredSum: true });
            const { tokens, sums, lengths, entropy, squaredSum } = one;
            tf.dispose([tokens, sums, lengths]);
            ensure(entropy !== undefined && squaredSum !== undefined, 'entropy and squaredSum are given when asked for');
            ensureClose(await drain(entropy), [-logps.reduce((sum, logp) => sum + Math.exp(logp) * logp, 0)], tolerance, 'entropy');
            ensureClose(
              await drain(squaredSum),
              [Math.log(logps.reduce((sum, logp) => sum + Math.exp(2 * logp), 0))],
              tolerance,
              'squaredSum',
            );
          }
        }),
    },
    {
      name: 'has gradients that agree with central differences along a random direction',
      run: () =>
        using(async (decoder, all) => {
          const batch = pack(all);
          await ensureGradient(decoder.parameters, () => {
            const { sums, ...rest } = decoder.completionLogps(batch);
            const loss = tf.neg(tf.mean(sums)) as tf.Scalar;
            tf.dispose([sums, rest]);
            return loss;
          });
        }),
    },
    {
      name: 'leaves no tensor behind beside what it returns',
      run: () =>
        using(async (decoder, all) => {
          const batch = pack(all);
          decoder.hidden(batch).dispose(); // what is kept from a first call, such as tables of angles, is not a leak
          tf.dispose(decoder.completionLogps(batch, { entropy: true, squaredSum: true }));
          const before = tf.memory().numTensors;
          decoder.hidden(batch).dispose();
          ensure(tf.memory().numTensors === before, `hidden leaves ${tf.memory().numTensors - before} tensors`);
          tf.dispose(decoder.completionLogps(batch, { entropy: true, squaredSum: true }));
          ensure(tf.memory().numTensors === before, `completionLogps leaves ${tf.memory().numTensors - before} tensors`);
        }),
    },
    ...parametersCases(using, (decoder, all) => drain(decoder.hidden(pack(all))), snapshotOf),
  ];
}

/** What every `Scorer` keeps: one score a segment, whatever is packed beside it; gradients, leaks and snapshots as for a decoder. */
export function scorerContract(
  make: () => Scorer | Promise<Scorer>,
  { tolerance = 1e-4, sequences, snapshotOf }: Options & { snapshotOf?: (scorer: Scorer) => Scorer } = {},
): ContractCase[] {
  const using = async (f: (scorer: Scorer, sequences: Sequence[]) => Promise<void>) => {
    const scorer = await make();
    try {
      await f(scorer, [...(sequences ?? contractSequences(scorer.tokenizer.vocabSize, rng(11)))]);
    } finally {
      scorer.parameters.dispose();
    }
  };
  return [
    {
      name: 'gives each sequence one score that does not depend on its batch neighbours',
      run: () =>
        using(async (scorer, all) => {
          const together = await drain(scorer.scores(pack(all)));
          ensure(together.length === all.length, `${together.length} scores for ${all.length} sequences`);
          for (const [s, sequence] of all.entries()) {
            ensureClose(
              await drain(scorer.scores(pack([sequence]))),
              together.subarray(s, s + 1),
              tolerance,
              `score of sequence ${s} alone`,
            );
          }
          const turned = await drain(scorer.scores(pack([...all].reverse())));
          ensureClose(turned.reverse(), together, tolerance, 'scores in reverse order');
        }),
    },
    {
      name: 'gives completions that share their prompt the scores that they have apart',
      run: () =>
        using(async (scorer, all) => {
          const { apart, shared } = sharing(all);
          const [before, after] = [await drain(scorer.scores(apart)), await drain(scorer.scores(shared))];
          ensure(after.length === shared.rows.length, `${after.length} scores for ${shared.rows.length} segments`);
          ensureClose(after.subarray(0, before.length), before, tolerance, 'scores after a shared prompt');
        }),
    },
    {
      name: 'gives other scores for other completions',
      run: () =>
        using(async (scorer, all) => {
          const { vocabSize } = scorer.tokenizer;
          const other = all.map(({ tokens, completionStart }) => ({
            tokens: tokens.map((token, i) => (i >= completionStart ? (token + 1) % vocabSize : token)),
            completionStart,
          }));
          const [before, after] = [await drain(scorer.scores(pack(all))), await drain(scorer.scores(pack(other)))];
          ensure(
            before.every((score, i) => score !== after[i]),
            'a score does not change with the completion',
          );
        }),
    },
    {
      name: 'has gradients that agree with central differences along a random direction',
      run: () =>
        using(async (scorer, all) => {
          const batch = pack(all);
          await ensureGradient(scorer.parameters, () => tf.tidy(() => tf.mean(tf.square(scorer.scores(batch))) as tf.Scalar));
        }),
    },
    {
      name: 'leaves no tensor behind beside what it returns',
      run: () =>
        using(async (scorer, all) => {
          scorer.scores(pack(all)).dispose();
          const before = tf.memory().numTensors;
          scorer.scores(pack(all)).dispose();
          ensure(tf.memory().numTensors === before, `scores leaves ${tf.memory().numTensors - before} tensors`);
        }),
    },
    ...parametersCases(using, (scorer, all) => drain(scorer.scores(pack(all))), snapshotOf),
  ];
}

/** Saving, loading and snapshots, for anything with parameters and an output. */
function parametersCases<M extends { parameters: ParameterTree }>(
  using: (f: (model: M, sequences: Sequence[]) => Promise<void>) => Promise<void>,
  output: (model: M, sequences: Sequence[]) => Promise<Float32Array>,
  snapshotOf?: (model: M) => M,
): ContractCase[] {
  const cases: ContractCase[] = [
    {
      name: 'comes back bit for bit from its saved parameters',
      run: () =>
        using(async (model, all) => {
          const saved = await model.parameters.save();
          const before = await output(model, all);
          await model.parameters.load(shifted(saved, rng(17), 0.1));
          ensure(
            (await output(model, all)).some((value, i) => value !== before[i]),
            'other parameters change nothing',
          );
          await model.parameters.load(saved);
          ensureClose(await output(model, all), before, 0, 'output after loading');
        }),
    },
  ];
  if (!snapshotOf) return cases;
  return [
    ...cases,
    {
      name: 'has a snapshot that stays as it is while the original changes',
      run: () =>
        using(async (model, all) => {
          const before = await output(model, all);
          const copy = snapshotOf(model);
          await model.parameters.load(shifted(await model.parameters.save(), rng(19), 0.1));
          ensureClose(await output(copy, all), before, 0, 'output of the snapshot');
          copy.parameters.dispose();
          await output(model, all); // disposing the snapshot leaves the original usable
        }),
    },
  ];
}

/** dL along a random direction d, from gradients and from (L(p + h·d) - L(p - h·d)) / 2h. */
async function ensureGradient(parameters: ParameterTree, lossOf: () => tf.Scalar): Promise<void> {
  const saved = await parameters.save();
  const { loss, grads } = gradients(() => ({ loss: lossOf() }), parameters.trainable());
  loss.dispose();
  const direction = directionLike(saved, rng(23));
  let slope = 0;
  for (const [parameter, grad] of grads) {
    const values = await drain(grad);
    const along = direction[parameter.name] ?? (await ensureDirection(parameter.name, saved));
    for (let i = 0; i < values.length; i++) slope += values[i] * along[i];
  }
  const h = 1e-2;
  const moved: number[] = [];
  for (const sign of [1, -1]) {
    await parameters.load(added(saved, direction, sign * h));
    moved.push((await drain(lossOf()))[0]);
  }
  await parameters.load(saved);
  const difference = (moved[0] - moved[1]) / (2 * h);
  ensure(Math.abs(slope) > 1e-4, `the loss does not depend on the parameters: its slope is ${slope}`);
  const error = Math.abs(slope - difference) / (0.05 + Math.abs(difference));
  ensure(error < 0.02, `the gradient along a random direction is ${slope}, central differences give ${difference}`);
}

async function ensureDirection(name: string, saved: Saved): Promise<never> {
  throw new Error(`contract broken: parameter ${name} has a gradient but is not saved; saved are ${Object.keys(saved.tensors).join(', ')}`);
}

function directionLike(saved: Saved, random: Rng): Record<string, Float32Array> {
  const entries = Object.entries(saved.tensors).filter(([, { data }]) => data instanceof Float32Array);
  const total = entries.reduce((sum, [, { data }]) => sum + data.length, 0);
  return Object.fromEntries(
    entries.map(([name, { data }]) => [
      name,
      random
        .fork(name)
        .normal(data.length)
        .map((x) => x / Math.sqrt(total)),
    ]),
  );
}

function added(saved: Saved, direction: Record<string, Float32Array>, by: number): Saved {
  const tensors = Object.entries(saved.tensors).map(([name, { shape, data }]) => {
    const along = direction[name];
    return [name, { shape, data: along ? Float32Array.from(data, (x, i) => x + by * along[i]) : data }] as const;
  });
  return { ...saved, tensors: Object.fromEntries(tensors) };
}

function shifted(saved: Saved, random: Rng, by: number): Saved {
  const total = Object.values(saved.tensors).reduce((sum, { data }) => sum + data.length, 0);
  return added(saved, directionLike(saved, random), by * Math.sqrt(total));
}
