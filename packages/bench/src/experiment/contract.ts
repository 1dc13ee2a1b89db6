/** What every experiment holds, as checks without a test framework: run each `run()`, which throws where it does not. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { papers } from '../papers.js';
import { runExperiment } from './run.js';
import type { BedMakers, Experiment, ExperimentResult, Progress } from './types.js';

/**
 * @param dir    the experiment's folder
 * @param beds   smaller test beds, where the real ones are not at hand
 * @param listed whether it is one of the papers; an experiment of one's own need not be
 */
export function experimentContract(
  experiment: Experiment,
  { dir, beds, listed = true }: { dir: string; beds?: Partial<BedMakers>; listed?: boolean },
): { name: string; run(): Promise<void> }[] {
  const inTemporary = async (f: (outDir: string) => Promise<void>) => {
    const outDir = mkdtempSync(join(tmpdir(), 'plumbline-experiment-'));
    try {
      await f(outDir);
    } finally {
      rmSync(outDir, { recursive: true, force: true });
    }
  };
  const once = (outDir: string, onProgress?: (p: Progress) => void) =>
    runExperiment(experiment, { seeds: [0], quick: true, outDir, experimentDir: dir, beds, onProgress });
  const check = (condition: boolean, message: string) => {
    if (!condition) throw new Error(`experiment "${experiment.id}": ${message}`);
  };
  return [
    {
      name: listed ? 'is one of the papers, under its own folder' : 'lies in a folder of its name',
      run: async () => {
        check(!listed || papers.some(({ id }) => id === experiment.id), 'is not in the list of papers');
        check(dir.replace(/\/+$/, '').endsWith(experiment.id), `lies in ${dir}, not in a folder of its name`);
      },
    },
    {
      name: 'has a README of at most a page that names the command',
      run: async () => {
        const file = join(dir, 'README.md');
        check(existsSync(file), 'has no README.md');
        const text = readFileSync(file, 'utf8');
        check(text.split('\n').length <= 60, `its README has ${text.split('\n').length} lines; a page is 60`);
        check(text.includes('plumb reproduce '), 'its README does not say how to run it');
      },
    },
    {
      name: 'fixes the smallest effect of interest, or the margin, of every claim',
      run: async () => {
        const open = experiment.claims.filter(
          ({ test }) => typeof test === 'object' && !test.smallestEffect && !('margin' in test && test.margin),
        );
        check(open.length === 0, `the claims ${open.map(({ id }) => `"${id}"`).join(', ')} name no smallestEffect`);
      },
    },
    {
      name: 'refuses a key that it does not have',
      run: async () => {
        const parsed = experiment.config.safeParse({ noSuchKey: 1 });
        check(!parsed.success, 'its config takes keys that it does not have; use z.strictObject');
        check(experiment.config.safeParse({}).success, 'its config has no defaults');
      },
    },
    {
      name: 'runs for two steps, the same twice, and leaves no tensor behind',
      run: () =>
        inTemporary(async (outDir) => {
          const numbers = ({ arms, statistics, claims }: ExperimentResult) => JSON.stringify({ arms, statistics, claims });
          const first = await once(join(outDir, 'a'));
          const before = tf.memory().numTensors;
          const second = await once(join(outDir, 'b'));
          check(tf.memory().numTensors === before, `left ${tf.memory().numTensors - before} tensors behind`);
          check(numbers(first.result) === numbers(second.result), 'gave different numbers for the same seed');
          check(existsSync(first.reportPath) && existsSync(first.resultPath), 'wrote no report or result');
          const states: string[] = [];
          await once(join(outDir, 'a'), (p) => p.kind === 'seed' && states.push(p.state));
          check(states.join() === 'kept', `a finished seed was run again (${states.join()})`);
        }),
    },
  ];
}
