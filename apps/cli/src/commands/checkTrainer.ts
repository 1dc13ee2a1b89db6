/** `plumb check trainer`: the invariants of training over our trainers, a user's, or as far as a log of TRL tells. */
import { existsSync } from 'node:fs';
import { dirname, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '@plumbline/core';
import type { TrainerUnderTest } from '@plumbline/data/contract';
import { type PolicyTrainerUnderTest, policyTrainerContract } from '@plumbline/rl/contract';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { casesNamed, casesOf, type SuiteCase, trainerNames } from '../check/trainers.js';
import { checkTrlLog, readTrlLog, trlStateIn } from '../check/trlLog.js';
import { checkTrlWeights } from '../check/trlWeights.js';

export type CaseResult = { name: string; outcome: 'holds' | 'broken' | 'left out'; why?: string };

/** What each case comes to. */
export async function runCases(cases: readonly SuiteCase[]): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for (const { name, run, leftOut } of cases) {
    if (leftOut) results.push({ name, outcome: 'left out', why: 'the trainer does not have it' });
    else
      try {
        await run();
        results.push({ name, outcome: 'holds' });
      } catch (error) {
        results.push({ name, outcome: 'broken', why: error instanceof Error ? error.message : String(error) });
      }
  }
  return results;
}

export async function checkTrainer(which: string, options: BackendFlags & { json?: boolean }): Promise<void> {
  const code = ['.js', '.mjs', '.ts'].includes(extname(which));
  const state = code ? undefined : trlStateIn(which);
  if (state) {
    const log = readTrlLog(state);
    const findings = [...checkTrlLog(log), ...(await checkTrlWeights(dirname(state)))];
    if (options.json) console.log(JSON.stringify({ ...log, steps: log.steps.length, findings }, null, 2));
    else {
      console.log(`${log.file}: ${log.steps.length} logged steps, up to step ${log.steps.at(-1)!.step}`);
      for (const { holds, text } of findings) console.log(`${holds ? pc.green('✓') : pc.yellow('!')} ${text}`);
      if (log.unknown.length > 0) console.log(pc.dim(`Not read: ${log.unknown.join(', ')}`));
    }
    if (findings.some(({ holds }) => !holds)) process.exitCode = 1;
    return;
  }
  const named = which === 'all' ? trainerNames.filter((name) => !['reward', 'dpo', 'kto', 'rl'].includes(name)) : [which];
  const suites = code ? [await casesOfModule(which)] : named.map(casesNamed); // an error now
  await startBackend(options);
  const found: Record<string, CaseResult[]> = {};
  for (const [i, name] of named.entries()) {
    const results = await runCases(suites[i]);
    found[name] = results;
    if (options.json) continue;
    console.log(pc.bold(name));
    for (const { name: what, outcome, why } of results) {
      const mark = outcome === 'holds' ? pc.green('✓') : outcome === 'broken' ? pc.red('✗') : pc.dim('-');
      console.log(`${mark} ${what}${why ? pc.dim(`: ${why}`) : ''}`);
    }
  }
  if (options.json) console.log(JSON.stringify(found, null, 2));
  if (Object.values(found).some((results) => results.some(({ outcome }) => outcome === 'broken'))) process.exitCode = 1;
}

/**
 * The suite over what a module exports by default: a `TrainerUnderTest` of `@plumbline/data/contract`, or for online training a `PolicyTrainerUnderTest` of
 * `@plumbline/rl/contract`; or a function that makes one.
 */
export async function casesOfModule(path: string): Promise<SuiteCase[]> {
  if (!existsSync(path)) throw new ConfigError(`${path}: there is no such file`);
  const { default: exported } = (await import(pathToFileURL(resolve(path)).href).catch((error: Error) => {
    const older = extname(path) === '.ts' ? '; TypeScript is read by Node.js 22.18 and newer' : '';
    throw new ConfigError(`${path} cannot be loaded: ${error.message}${older}`);
  })) as { default?: unknown };
  const made = (typeof exported === 'function' ? await exported() : exported) as
    | Partial<TrainerUnderTest & PolicyTrainerUnderTest>
    | undefined;
  if (typeof made?.update === 'function' && typeof made.start === 'function' && typeof made.vocabSize === 'number')
    return policyTrainerContract(() => made as PolicyTrainerUnderTest);
  if (typeof made?.step !== 'function' || typeof made.vocabSize !== 'number' || !(made.completions === 1 || made.completions === 2))
    throw new ConfigError(
      `${path}: expected a default export with name, vocabSize, completions (1 or 2) and step(rows, options), as TrainerUnderTest of @plumbline/data/contract, or with vocabSize, start() and update(batch, options), as PolicyTrainerUnderTest of @plumbline/rl/contract`,
    );
  return casesOf(() => made as TrainerUnderTest);
}
