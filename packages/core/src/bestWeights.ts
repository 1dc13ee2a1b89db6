import type { Checkpointable, ParameterTree, Saved } from './types.js';

/** The lowest value of an evaluation so far, and with early stopping the weights that had it. Part of a trainer's checkpoint where it stops early. */
export type BestWeights = Checkpointable & {
  /** Notes an evaluation after `step` steps; lower is better. */
  look(step: number, value: number): Promise<void>;
  /** Whether `patience` evaluations in a row were no better. */
  over(): boolean;
  best(): { step: number; value: number } | undefined;
  /** Puts the best weights back into the parameters, where early stopping was asked for. */
  goBack(): Promise<void>;
};

/**
 * @param stop patience in evaluations, and how much lower counts as better; without it weights are not kept and nothing ends
 */
export function bestWeights(parameters: ParameterTree, stop?: { patience: number; minDelta: number }): BestWeights {
  let best: { step: number; value: number } | undefined;
  let worse = 0;
  let kept: Saved['tensors'] = {};
  return {
    async look(step, value) {
      if (best === undefined || best.value - value > (stop?.minDelta ?? 0)) {
        best = { step, value };
        worse = 0;
        if (stop) kept = (await parameters.save()).tensors;
      } else worse++;
    },
    over: () => stop !== undefined && worse >= stop.patience,
    best: () => best,
    async goBack() {
      if (!stop || !best) return;
      const { json } = await parameters.save();
      await parameters.load({ tensors: kept, json });
    },
    save: async () => ({ tensors: kept, json: { best: best ?? null, worse } }),
    async load(saved) {
      const json = saved.json as { best: { step: number; value: number } | null; worse: number };
      best = json.best ?? undefined;
      worse = json.worse;
      kept = saved.tensors;
    },
  };
}
