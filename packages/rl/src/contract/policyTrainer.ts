/** What every trainer of policies keeps, whatever its loss: cases that any trainer can be run through, ours or a user's. */
import { type ContractCase, ensure, ensureClose, ensureThrows } from '@plumbline/data/contract';

/** Completions that were recorded, with their rewards: nothing is sampled. */
export type RecordedBatch = {
  groups: {
    prompt: Int32Array;
    completions: { tokens: Int32Array; reward: number /** It did not end by itself. */; truncated?: boolean }[];
  }[];
};

export type UpdateOptions = {
  /** Samples in memory at once; all unless given. */
  samplesPerMicroBatch?: number;
  /** Truncated completions are left out of the loss. */
  maskTruncated?: boolean;
  /** Weight of the KL to the reference, which is a copy of the policy that begins; 0 unless given. */
  klCoef?: number;
};

/** One update from the same start. Numbers that the trainer does not report are left out, and what is said of them is not checked. */
export type UpdateOutcome = {
  gradNorm: number;
  loss?: number;
  /** Mean of exp(logps - oldLogps) over tokens. */
  ratio?: number;
  clipFraction?: number;
  /** To the reference, before the update. */
  kl?: number;
  /** All trained weights after the update, in one order. */
  weights: Float32Array;
};

export type PolicyTrainerUnderTest = {
  /** What the policy reads: ids are below it, and 0 is never drawn. At least 8. */
  vocabSize: number;
  /** Always from the same weights, on-policy: one update for this batch. */
  update(batch: RecordedBatch, options?: UpdateOptions): Promise<UpdateOutcome>;
  /** Weights before any update, as in `UpdateOutcome`. */
  start(): Promise<Float32Array>;
  /**
   * All trained weights after so many batches that the trainer samples itself, from the same weights; `stopAfter` saves there, and goes on in what would be another process. Without
   * it what is said of resuming is not checked.
   */
  train?(options: { steps: number; seed: number; stopAfter?: number }): Promise<Float32Array>;
  /** What the trainer cannot do: the cases that need it are left out. */
  lacks?: readonly ('maskTruncated' | 'microBatches')[];
  /** Relative to 1 + |value|: rounding of sums in another order. Gradients and losses 1e-4 unless given. */
  tolerance?: number;
};

/** The invariants of on-policy training with advantages that compare the samples of a prompt (GRPO, RLOO and their kin). */
export function policyTrainerContract(make: () => PolicyTrainerUnderTest | Promise<PolicyTrainerUnderTest>): ContractCase[] {
  const cases: (ContractCase & { needs?: 'maskTruncated' | 'microBatches' })[] = [
    {
      name: 'begins at ratio 1, nothing clipped, KL 0',
      run: async () => {
        const { ratio, clipFraction, kl, gradNorm } = await (await make()).update(recorded(await sizeOf(make)), { klCoef: 0.1 });
        if (ratio !== undefined) ensureClose([ratio], [1], 1e-5, 'ratio of the first on-policy step');
        if (clipFraction !== undefined)
          ensure(clipFraction === 0, `clip fraction of the first on-policy step is ${clipFraction}, expected 0`);
        if (kl !== undefined) ensureClose([kl], [0], 1e-5, 'KL to a reference that is the policy');
        ensure(gradNorm > 0, `rewards differ, and the gradient's norm is ${gradNorm}`);
      },
    },
    {
      name: 'splitting a step into micro-batches changes nothing',
      needs: 'microBatches',
      run: async () => {
        const batch = recorded(await sizeOf(make));
        const { tolerance = 1e-4, ...trainer } = await make();
        const whole = await trainer.update(batch);
        for (const samplesPerMicroBatch of [1, 2, 3]) {
          const parts = await trainer.update(batch, { samplesPerMicroBatch });
          ensureClose([parts.gradNorm], [whole.gradNorm], tolerance, `gradient norm with ${samplesPerMicroBatch} samples in memory`);
          if (whole.loss !== undefined && parts.loss !== undefined)
            ensureClose([parts.loss], [whole.loss], tolerance, `loss with ${samplesPerMicroBatch} samples in memory`);
        }
      },
    },
    {
      name: 'the order of groups changes nothing',
      run: async () => {
        const batch = recorded(await sizeOf(make));
        const { tolerance = 1e-4, ...trainer } = await make();
        const [a, b] = [await trainer.update(batch), await trainer.update({ groups: [...batch.groups].reverse() })];
        ensureClose([b.gradNorm], [a.gradNorm], tolerance, 'gradient norm with the groups in another order');
      },
    },
    {
      name: 'a fully masked row adds nothing: what its tokens are does not matter',
      needs: 'maskTruncated',
      run: async () => {
        const { tolerance = 1e-4, ...trainer } = await make();
        const size = trainer.vocabSize;
        const cut = (tokens: number[]): RecordedBatch => {
          const batch = recorded(size);
          batch.groups[0].completions[1] = { ...batch.groups[0].completions[1], tokens: Int32Array.from(tokens), truncated: true };
          return batch;
        };
        const a = await trainer.update(cut([1, 2]), { maskTruncated: true });
        const b = await trainer.update(cut([5, 4, 3, 6, 1, 2]), { maskTruncated: true });
        ensureClose([b.gradNorm], [a.gradNorm], tolerance, 'gradient norm with another text in the masked row');
        if (a.loss !== undefined && b.loss !== undefined)
          ensureClose([b.loss], [a.loss], tolerance, 'loss with another text in the masked row');
      },
    },
    {
      name: 'groups without variance add nothing',
      run: async () => {
        const trainer = await make();
        const batch = recorded(trainer.vocabSize);
        for (const group of batch.groups) for (const one of group.completions) one.reward = 0.3;
        const { gradNorm, weights } = await trainer.update(batch);
        ensureClose([gradNorm], [0], 1e-6, 'gradient norm where all rewards are equal');
        ensureClose(weights, await trainer.start(), 1e-6, 'weights where all rewards are equal');
      },
    },
    {
      name: 'rewards shifted by a constant within a group change nothing',
      run: async () => {
        const { tolerance = 1e-4, ...trainer } = await make();
        const shifted = recorded(trainer.vocabSize);
        for (const one of shifted.groups[1].completions) one.reward += 5;
        const [a, b] = [await trainer.update(recorded(trainer.vocabSize)), await trainer.update(shifted)];
        ensureClose([b.gradNorm], [a.gradNorm], Math.max(tolerance, 1e-4), 'gradient norm with shifted rewards');
      },
    },
    {
      name: 'a reward that is NaN is an error that names its row',
      run: async () => {
        const trainer = await make();
        const batch = recorded(trainer.vocabSize);
        batch.groups[1].completions[2].reward = Number.NaN;
        const { message } = await ensureThrows(() => trainer.update(batch), 'a reward of NaN');
        ensure(/NaN/.test(message) && /\d/.test(message), `the error about a reward of NaN does not say which row: ${message}`);
      },
    },
    {
      name: 'a resumed run equals an uninterrupted one bit for bit, and another seed differs',
      run: async () => {
        const trainer = await make();
        if (!trainer.train) return;
        const whole = await trainer.train({ steps: 4, seed: 1 });
        ensureClose(await trainer.train({ steps: 4, seed: 1, stopAfter: 2 }), whole, 0, 'weights of the resumed run');
        const other = await trainer.train({ steps: 4, seed: 2 });
        ensure(
          whole.some((value, i) => value !== other[i]),
          'another seed gives the same weights, so that this comparison says nothing',
        );
      },
    },
  ];
  return cases.map(({ name, needs, run }) => ({
    name,
    run: async () => {
      if (needs && (await make()).lacks?.includes(needs)) return;
      await run();
    },
  }));
}

const sizeOf = async (make: () => PolicyTrainerUnderTest | Promise<PolicyTrainerUnderTest>): Promise<number> => (await make()).vocabSize;

/** Three groups of four, of several lengths; every group has rewards that differ. */
function recorded(vocabSize: number): RecordedBatch {
  ensure(vocabSize >= 8, `a contract for policies needs at least 8 tokens, and there are ${vocabSize}`);
  const id = (i: number) => 1 + (i % (vocabSize - 1));
  return {
    groups: [0, 1, 2].map((g) => ({
      prompt: Int32Array.from({ length: 2 + g }, (_, t) => id(3 * g + 2 * t)),
      completions: [0, 1, 2, 3].map((k) => ({
        tokens: Int32Array.from({ length: 1 + ((g + k) % 4) }, (_, t) => id(5 * g + 3 * k + 2 * t + 1)),
        reward: ((g + 2 * k) % 4) / 2,
      })),
    })),
  };
}
