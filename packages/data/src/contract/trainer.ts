/** What every trainer on given rows keeps, whatever its loss: cases that any trainer can be run through, ours or a user's. */
import { rng } from '@plumbline/core';
import { type ContractCase, ensure, ensureClose } from './case.js';

/**
 * A prompt with its completions: of a pair the chosen and the rejected one, else one alone. `label` is for trainers of single completions with a thumb up or
 * down. Ids are below the trainer's `vocabSize`.
 */
export type TrainerRow = { id: string; prompt: Int32Array; completions: Int32Array[]; label?: boolean };

export type StepOptions = {
  /** Rows in memory at once; all unless given. */
  rowsPerMicroBatch?: number;
  /** Completions of a row compute their prompt once. */
  sharePrompts?: boolean;
  /**
   * Every sequence has so many more tokens, this id each, which count for nothing; the attention mask hides them. Where batches are packed: so many tokens of the batch, this id each,
   * belong to no row.
   */
  padding?: { side: 'left' | 'right'; tokens: number; id: number };
};
export type StepOutcome = { loss: number; gradNorm: number };

type Ability = 'microBatches' | 'sharePrompts' | 'padding' | 'maskedRows' | 'resume' | 'score';
export type TrainerUnderTest = {
  name: string;
  /** At least 8. */
  vocabSize: number;
  /** Completions of a row: 2 for pairs. */
  completions: 1 | 2;
  /** Loss and gradient of one step on these rows, always from the same weights, without an update. A row whose completions are empty is one that is masked. */
  step(rows: readonly TrainerRow[], options?: StepOptions): Promise<StepOutcome>;
  /** The loss where the policy still is its reference, such as ln 2 for DPO; left out where there is no such number. */
  startLoss?: number;
  /** All trained weights after `steps` updates on these rows from the same weights; `stopAfter` saves there, and goes on in what would be another process. */
  train?(rows: readonly TrainerRow[], options: { steps: number; seed: number; stopAfter?: number }): Promise<Float32Array>;
  /** Of a reward model: the score of each completion, row by row. */
  score?(rows: readonly TrainerRow[]): Promise<ArrayLike<number>>;
  /** What it cannot do: the cases that need it are left out. `train` and `score` that are not there count as well. */
  lacks?: readonly Ability[];
  /** Relative to 1 + |value|, for sums in another order; 1e-4 unless given. */
  tolerance?: number;
};

/** Eight rows of odd lengths; ids from 1 on. */
export function trainerRows({ vocabSize, completions }: Pick<TrainerUnderTest, 'vocabSize' | 'completions'>): TrainerRow[] {
  const draw = rng(41);
  const ids = (length: number) => Int32Array.from({ length }, () => 1 + draw.below(vocabSize - 1));
  return Array.from({ length: 8 }, (_, i) => ({
    id: `row-${i}`,
    prompt: ids(1 + (i % 4)),
    completions: Array.from({ length: completions }, () => ids(2 + draw.below(4))),
    label: i % 3 !== 0,
  }));
}

export function trainerContract(make: () => TrainerUnderTest | Promise<TrainerUnderTest>): (ContractCase & { needs?: Ability })[] {
  type Variant = { what: string; rows: TrainerRow[]; options?: StepOptions };
  /** A step is the same as each variant of it. */
  const same = (name: string, needs: Ability, variants: (rows: TrainerRow[], vocabSize: number) => Variant[]) => ({
    name,
    needs,
    run: async () => {
      const trainer = await make();
      const { tolerance = 1e-4 } = trainer;
      const rows = trainerRows(trainer);
      const plain = await trainer.step(rows);
      ensure(plain.gradNorm > 0, `the gradient of a first step has the norm ${plain.gradNorm}: nothing is trained`);
      for (const { what, rows: other, options } of variants(rows, trainer.vocabSize)) {
        const { loss, gradNorm } = await trainer.step(other, options);
        ensureClose([loss], [plain.loss], tolerance, `loss ${what}`);
        ensureClose([gradNorm], [plain.gradNorm], tolerance, `gradient norm ${what}`);
      }
    },
  });
  return [
    {
      name: 'starts at the loss that has a closed form while the policy is its reference',
      run: async () => {
        const trainer = await make();
        if (trainer.startLoss === undefined) return;
        const { loss } = await trainer.step(trainerRows(trainer));
        ensureClose([loss], [trainer.startLoss], trainer.tolerance ?? 1e-4, 'loss of the first step');
      },
    },
    same('splitting a batch changes nothing', 'microBatches', (rows) =>
      [1, 4].map((rowsPerMicroBatch) => ({ what: `in micro-batches of ${rowsPerMicroBatch}`, rows, options: { rowsPerMicroBatch } })),
    ),
    same('garbage in the padding changes nothing, on either side', 'padding', (rows, vocabSize) =>
      (['left', 'right'] as const).flatMap((side) =>
        [0, vocabSize - 1].map((id) => ({
          what: `with padding of ${id} on the ${side}`,
          rows,
          options: { padding: { side, tokens: 3, id } },
        })),
      ),
    ),
    same('shared prompts change nothing', 'sharePrompts', (rows) => [
      { what: 'with shared prompts', rows, options: { sharePrompts: true } },
    ]),
    same('packing changes nothing: a row among neighbours is what it is alone', 'microBatches', (rows) => [
      { what: 'with each row alone, in another order', rows: [...rows].reverse(), options: { rowsPerMicroBatch: 1 } },
    ]),
    same('a fully masked row adds nothing', 'maskedRows', (rows) => {
      const masked = { ...rows[0], id: 'masked', completions: rows[0].completions.map(() => new Int32Array(0)) };
      return [{ what: 'with a masked row', rows: [...rows, masked] }];
    }),
    {
      name: 'a score does not depend on its batch neighbours',
      needs: 'score',
      run: async () => {
        const trainer = await make();
        const rows = trainerRows(trainer);
        const together = Array.from(await trainer.score!(rows));
        const alone: number[] = [];
        for (const row of rows) alone.push(...Array.from(await trainer.score!([row])));
        ensureClose(alone, together, trainer.tolerance ?? 1e-4, 'scores alone and together');
      },
    },
    {
      name: 'a resumed run equals an uninterrupted one bit for bit, and another seed differs',
      needs: 'resume',
      run: async () => {
        const trainer = await make();
        const rows = trainerRows(trainer);
        const whole = await trainer.train!(rows, { steps: 4, seed: 1 });
        const resumed = await trainer.train!(rows, { steps: 4, seed: 1, stopAfter: 2 });
        ensureClose(resumed, whole, 0, 'weights of the resumed run');
        const other = await trainer.train!(rows, { steps: 4, seed: 2 });
        ensure(
          whole.some((value, i) => value !== other[i]),
          'another seed gives the same weights, so that this comparison says nothing',
        );
      },
    },
  ];
}

/** Whether a case is left out for a trainer, as it says itself. */
export function lacksFor({ lacks = [], train, score }: TrainerUnderTest, { needs }: { needs?: string }): boolean {
  if (needs === undefined) return false;
  return (lacks as readonly string[]).includes(needs) || (needs === 'resume' && !train) || (needs === 'score' && !score);
}
