/** What TRL's own logs say: `log_history` of `trainer_state.json`, under our names, and what of it is a known symptom. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError, type LoggedStep, metrics, symptomsOf } from '@plumbline/core';

export type TrlLog = {
  file: string;
  steps: LoggedStep[];
  /** Names of TRL's that we have no metric for. */
  unknown: string[];
};
export type Finding = { holds: boolean; text: string };

/** The state of a checkpoint folder, of the newest checkpoint in a folder, or the file itself. */
export function trlStateIn(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  if (!statSync(path).isDirectory()) return path.endsWith('.json') ? path : undefined;
  if (existsSync(join(path, 'trainer_state.json'))) return join(path, 'trainer_state.json');
  const newest = readdirSync(path)
    .filter((name) => /^checkpoint-\d+$/.test(name) && existsSync(join(path, name, 'trainer_state.json')))
    .sort((a, b) => Number(b.slice(11)) - Number(a.slice(11)))[0];
  return newest && join(path, newest, 'trainer_state.json');
}

/** @throws FormatError where the file is no trainer state */
export function readTrlLog(file: string): TrlLog {
  let state: { log_history?: unknown };
  try {
    state = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new FormatError(`${file} is not JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(state?.log_history)) throw new FormatError(`${file} has no log_history; TRL's trainer_state.json has one`);
  const ours = new Map<string, string>(Object.entries(metrics).flatMap(([name, metric]) => ('trl' in metric ? [[metric.trl, name]] : [])));
  const unknown = new Set<string>();
  const byStep = new Map<number, Record<string, number>>();
  for (const entry of state.log_history as Record<string, unknown>[]) {
    const step = Number(entry.step);
    if (!Number.isSafeInteger(step) || 'train_runtime' in entry) continue;
    const line = byStep.get(step) ?? { step };
    for (const [name, value] of Object.entries(entry)) {
      if (typeof value !== 'number' || name === 'step' || name === 'epoch') continue;
      const alike = name.replace(/^eval_/, 'eval/');
      const known = ours.get(name) ?? (alike in metrics ? alike : undefined);
      if (known) line[known] = value;
      else if (name === 'completions/clipped_ratio') line['completions/finished'] = 1 - value;
      else unknown.add(name);
    }
    byStep.set(step, line);
  }
  const steps = [...byStep.values()].sort((a, b) => a.step - b.step) as LoggedStep[];
  if (steps.length === 0) throw new FormatError(`${file}: log_history holds no steps`);
  return { file, steps, unknown: [...unknown].sort() };
}

/** What can be said from a log alone. It is a list of means over logging steps, so that exact invariants of single steps are out of its reach. */
export function checkTrlLog({ steps }: TrlLog): Finding[] {
  const findings: Finding[] = [];
  const values = (name: keyof LoggedStep) => steps.flatMap((step) => (step[name] === undefined ? [] : [step[name] as number]));
  const bad = steps.find((step) => Object.values(step).some((value) => !Number.isFinite(value)));
  findings.push({ holds: bad === undefined, text: bad ? `a number at step ${bad.step} is not finite` : 'every number is finite' });
  const first = steps[0];
  if (first['rewards/margin'] !== undefined && first.loss !== undefined && first.step <= 1) {
    const near = Math.abs(first.loss - Math.LN2) < 0.02;
    findings.push({
      holds: near,
      text: `the first logged loss is ${first.loss.toPrecision(4)}; sigmoid DPO begins at ln 2 = 0.6931 where the policy is its reference${near ? '' : ' (other losses do not)'}`,
    });
  }
  const margins = values('rewards/margin');
  if (margins.length > 1)
    findings.push({
      holds: margins.at(-1)! > margins[0],
      text: `the margin of implicit rewards went from ${margins[0].toPrecision(3)} to ${margins.at(-1)!.toPrecision(3)}`,
    });
  const ratio = values('policy/kl');
  if (ratio.length > 0)
    findings.push({
      holds: ratio.every((kl) => kl > -1e-3),
      text: `the estimated KL is between ${Math.min(...ratio).toPrecision(3)} and ${Math.max(...ratio).toPrecision(3)} nats a token`,
    });
  const evals = values('eval/loss');
  if (evals.length > 2) {
    const best = Math.min(...evals);
    findings.push({
      holds: evals.at(-1)! < best + 0.05 * Math.abs(best),
      text: `the held-out loss ends at ${evals.at(-1)!.toPrecision(4)}, and was ${best.toPrecision(4)} at its best`,
    });
  }
  for (const { step, hint } of symptomsOf(steps)) findings.push({ holds: false, text: `up to step ${step}, ${hint}` });
  return findings;
}
