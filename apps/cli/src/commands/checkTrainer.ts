/** `plumb check trainer`: the invariants of training over our trainers, a user's, or as far as a log of TRL tells. */
import { existsSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '@plumbline/core';
import { lacksFor, type TrainerUnderTest, trainerContract } from '@plumbline/data/contract';
import pc from 'picocolors';
import { type BackendFlags, startBackend } from '../backend.js';
import { trainerNamed, trainerNames } from '../check/trainers.js';
import { checkTrlLog, readTrlLog, trlStateIn } from '../check/trlLog.js';

export type CaseResult = { name: string; outcome: 'holds' | 'broken' | 'left out'; why?: string };

/** Every case of the suite on one trainer. */
export async function checkOne(make: () => TrainerUnderTest | Promise<TrainerUnderTest>): Promise<CaseResult[]> {
  const trainer = await make();
  const results: CaseResult[] = [];
  for (const one of trainerContract(make)) {
    if (lacksFor(trainer, one)) results.push({ name: one.name, outcome: 'left out', why: `the trainer does not have it` });
    else
      try {
        await one.run();
        results.push({ name: one.name, outcome: 'holds' });
      } catch (error) {
        results.push({ name: one.name, outcome: 'broken', why: error instanceof Error ? error.message : String(error) });
      }
  }
  return results;
}

export async function checkTrainer(which: string, options: BackendFlags & { json?: boolean }): Promise<void> {
  const code = ['.js', '.mjs', '.ts'].includes(extname(which));
  const state = code ? undefined : trlStateIn(which);
  if (state) {
    const log = readTrlLog(state);
    const findings = checkTrlLog(log);
    if (options.json) console.log(JSON.stringify({ ...log, steps: log.steps.length, findings }, null, 2));
    else {
      console.log(`${log.file}: ${log.steps.length} logged steps, up to step ${log.steps.at(-1)!.step}`);
      for (const { holds, text } of findings) console.log(`${holds ? pc.green('✓') : pc.yellow('!')} ${text}`);
      if (log.unknown.length > 0) console.log(pc.dim(`Not read: ${log.unknown.join(', ')}`));
    }
    if (findings.some(({ holds }) => !holds)) process.exitCode = 1;
    return;
  }
  const named = which === 'all' ? trainerNames.filter((name) => !['dpo', 'kto'].includes(name)) : [which];
  if (!code) for (const name of named) trainerNamed(name); // an error now
  await startBackend(options);
  const found: Record<string, CaseResult[]> = {};
  for (const name of named) {
    const make = code ? await ofModule(which) : () => trainerNamed(name);
    const results = await checkOne(make);
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

/** The adapter that a module exports by default: a `TrainerUnderTest`, or a function that makes one. */
async function ofModule(path: string): Promise<() => TrainerUnderTest | Promise<TrainerUnderTest>> {
  if (!existsSync(path)) throw new ConfigError(`${path}: there is no such file`);
  const { default: exported } = (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
  const made = (typeof exported === 'function' ? await exported() : exported) as Partial<TrainerUnderTest> | undefined;
  if (typeof made?.step !== 'function' || typeof made.vocabSize !== 'number' || !(made.completions === 1 || made.completions === 2))
    throw new ConfigError(
      `${path}: expected a default export with name, vocabSize, completions (1 or 2) and step(rows, options), as TrainerUnderTest of @plumbline/data/contract`,
    );
  return typeof exported === 'function' ? (exported as () => TrainerUnderTest) : () => made as TrainerUnderTest;
}
