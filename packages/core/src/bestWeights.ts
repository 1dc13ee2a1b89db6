/** Early stopping, as every trainer does it: the best evaluation so far, and the weights that had it. */
import { z } from 'zod';
import { ConfigError } from './errors.js';
import type { MetricName } from './metrics.js';
import type { Checkpointable, ParameterTree, Saved } from './types.js';

export const EarlyStopping = z.strictObject({
  patience: z.int().positive().default(3).describe('Evaluations in a row without a better one after which training stops'),
  minDelta: z.number().min(0).default(0).describe('How much better counts as better'),
});
export type EarlyStopping = z.infer<typeof EarlyStopping>;

/** The best evaluation so far, and with early stopping the weights that had it. Part of a trainer's checkpoint where it evaluates. */
export type BestWeights = Checkpointable & {
  /** Notes what an evaluation after `step` steps answered. @throws ConfigError where early stopping was asked for and nothing watched is in it */
  look(step: number, metrics: Partial<Record<MetricName, number>>): Promise<void>;
  /** Whether `patience` evaluations in a row were no better. */
  over(): boolean;
  best(): { step: number; value: number } | undefined;
  /** Puts the best weights back into the parameters, where early stopping was asked for. */
  goBack(): Promise<void>;
};

/**
 * @param trainer whose it is, for errors
 * @param watch   metrics to look at, of which the first that an evaluation has counts
 * @param stop    without it weights are not kept and nothing ends
 */
export function bestWeights(
  parameters: ParameterTree,
  { trainer, watch, stop }: { trainer: string; watch: Partial<Record<MetricName, 'lower' | 'higher'>>; stop?: EarlyStopping },
): BestWeights {
  let best: { step: number; value: number } | undefined;
  let worse = 0;
  let kept: Saved['tensors'] = {};
  return {
    async look(step, metrics) {
      const names = Object.keys(watch) as MetricName[];
      const name = names.find((one) => metrics[one] !== undefined);
      if (name === undefined) {
        if (stop) throw new ConfigError(`${trainer}: earlyStopping looks at ${names.join(' or ')}, and evaluate answered none of it`);
        return;
      }
      const value = metrics[name]!;
      const gain =
        best === undefined ? (Number.isNaN(value) ? 0 : Infinity) : watch[name] === 'lower' ? best.value - value : value - best.value;
      if (gain > (stop?.minDelta ?? 0)) {
        best = { step, value };
        worse = 0;
        if (stop) kept = (await parameters.save()).tensors;
      } else worse++; // NaN never is better
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
