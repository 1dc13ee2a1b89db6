/** Learning rates as functions of the step: linear warm-up, then constant, linear, cosine or warm-up-stable-decay. */
import { z } from 'zod';
import { ConfigError } from './errors.js';

const warmupSteps = z.int().min(0).default(0).describe('Steps over which the rate rises linearly from 0 to its peak');
const finalShare = z.number().min(0).max(1).default(0).describe('Share of the peak rate that is left at the end');

export const ScheduleConfig = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmupSteps }),
  z.strictObject({ kind: z.literal('linear'), warmupSteps, finalShare }),
  z.strictObject({
    kind: z.literal('cosine'),
    warmupSteps,
    finalShare,
    cycles: z.number().positive().default(0.5).describe('Periods of the cosine after warm-up; 0.5 ends at the bottom'),
  }),
  z.strictObject({
    kind: z.literal('wsd'),
    warmupSteps,
    finalShare,
    decaySteps: z.int().positive().describe('Steps of the decay, the last of the run'),
    decay: z.enum(['linear', 'cosine']).default('cosine').describe('Shape of the decay'),
    warmupFrom: z.number().min(0).max(1).default(0).describe('Share of the peak rate at which warm-up starts'),
  }),
]);
export type ScheduleConfig = z.infer<typeof ScheduleConfig>;

/**
 * The learning rate of each step, counted from 0; `steps` and beyond have the final rate. As `transformers.get_scheduler`, except
 * that its cosine rises again after the last step. Warm-up starts at 0, so that the first step moves no parameter (the moments move).
 *
 * wsd: Hu et al. 2024 (MiniCPM), arXiv:2404.06395: constant between warm-up and the last `decaySteps`.
 *
 * @param peak  the rate after warm-up
 * @param steps optimizer steps of the run
 * @throws ConfigError where peak or steps are out of range, or warm-up and decay do not fit into the run
 */
export function learningRateSchedule(config: z.input<typeof ScheduleConfig> & { peak: number; steps: number }): (step: number) => number {
  const { peak, steps, ...rest } = config;
  const parsed = ScheduleConfig.safeParse(rest);
  if (!parsed.success) throw new ConfigError(`learningRateSchedule: ${z.prettifyError(parsed.error)}`);
  const schedule = parsed.data;
  if (!(peak >= 0 && peak < Infinity)) throw new ConfigError(`learningRateSchedule: peak must be a finite number, at least 0, got ${peak}`);
  if (!Number.isSafeInteger(steps) || steps < 1)
    throw new ConfigError(`learningRateSchedule: steps must be a whole number, at least 1, got ${steps}`);
  const warmup = schedule.warmupSteps;
  const decaySteps = schedule.kind === 'wsd' ? schedule.decaySteps : 0;
  if (warmup + decaySteps > steps)
    throw new ConfigError(
      `learningRateSchedule: ${warmup} warm-up steps${decaySteps > 0 ? ` and ${decaySteps} steps of decay` : ''} do not fit into ${steps} steps`,
    );
  const share = shapeOf(schedule, steps);
  const from = schedule.kind === 'wsd' ? schedule.warmupFrom : 0;
  return (step) => {
    if (!(step >= 0)) throw new RangeError(`learning rate schedule: steps count from 0, got ${step}`);
    return peak * (step < warmup ? from + (1 - from) * (step / warmup) : share(Math.min(step, steps)));
  };
}

/** The share of the peak rate after warm-up. */
function shapeOf(schedule: ScheduleConfig, steps: number): (step: number) => number {
  const progress = (step: number, start: number) => (steps > start ? (step - start) / (steps - start) : 1);
  const warmup = schedule.warmupSteps;
  switch (schedule.kind) {
    case 'constant':
      return () => 1;
    case 'linear':
      return (step) => lerp(schedule.finalShare, 1 - progress(step, warmup));
    case 'cosine':
      return (step) => lerp(schedule.finalShare, 0.5 * (1 + Math.cos(2 * Math.PI * schedule.cycles * progress(step, warmup))));
    case 'wsd': {
      const start = steps - schedule.decaySteps;
      const down = schedule.decay === 'linear' ? (t: number) => 1 - t : (t: number) => 0.5 * (1 + Math.cos(Math.PI * t));
      return (step) => (step < start ? 1 : lerp(schedule.finalShare, down(progress(step, start))));
    }
    default:
      return schedule satisfies never;
  }
}

const lerp = (low: number, share: number) => low + (1 - low) * share;
