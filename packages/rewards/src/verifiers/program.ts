/** Rewards that are programs, written by a model or a grammar, in the sandbox. */
import { ConfigError, PlumblineError } from '@plumbline/core';
import { type CodeLimits, type CodeRun, runCode } from './code.js';

/** A program that does not run, or does not give numbers. `kind` is why. */
export class RewardProgramError extends PlumblineError {
  constructor(
    message: string,
    readonly kind: 'error' | 'timeout' | 'memory' | 'stack' | 'value',
  ) {
    super(message);
  }
}
export type ProgramShape = {
  /** Names of the state's numbers, in their order: what the program calls them. */
  observations: readonly string[];
  /** Numbers of an action. */
  actions: number;
};
export interface RewardProgram {
  readonly code: string;
  /** Components that the program names, in its order; none where it gives the reward alone. */
  readonly names: readonly string[];
  /** Rewards of rows of states [rows · observations] and actions [rows · actions]. @throws RewardProgramError naming the first row that does not come to a finite number */
  batch(states: ArrayLike<number>, actions: ArrayLike<number>): Promise<{ total: Float32Array; components: Record<string, Float32Array> }>;
}

/**
 * Compiles JavaScript that defines `reward(state, action)` and tries it on a state of zeros. `state` is an object with the observations by name, `action` an array. It gives a number, or an object of
 * components whose sum is the reward, or one that has a `total` of its own. Ma et al. 2023 (Eureka), arXiv:2310.12931; Yu et al. 2023, arXiv:2306.08647.
 *
 * A program runs in QuickJS without file system, network or clock, and is stopped by time and memory; each batch is one run, so that nothing is kept between batches.
 *
 * @param limits for a batch; a second and 64 MiB unless given
 * @throws ConfigError for no observations or a name that is no identifier; RewardProgramError where the code does not compile, has no `reward`, runs too long, or gives no number
 */
export async function compileRewardProgram(code: string, shape: ProgramShape, limits: CodeLimits = {}): Promise<RewardProgram> {
  const { observations, actions } = shape;
  if (observations.length === 0) throw new ConfigError('compileRewardProgram: there are no observations');
  const odd = observations.find((name) => !/^[A-Za-z_$][\w$]*$/.test(name));
  if (odd !== undefined) throw new ConfigError(`compileRewardProgram: "${odd}" is no name of an observation`);
  if (!(Number.isInteger(actions) && actions >= 0))
    throw new ConfigError(`compileRewardProgram: actions must be a whole number from 0 on, got ${actions}`);
  const run = async (rows: number[][]): Promise<unknown[]> => valuesOf(await runCode(script(code, observations, rows), limits));
  const [first] = await run([new Array<number>(observations.length + actions).fill(0)]);
  const names = typeof first === 'object' && first !== null ? Object.keys(first).filter((name) => name !== 'total') : [];
  partsOf(first, names, 0);
  return {
    code,
    names,
    async batch(states, taken) {
      const rows = states.length / observations.length;
      if (!Number.isInteger(rows) || taken.length !== rows * actions)
        throw new RangeError(
          `RewardProgram: ${states.length} numbers of states and ${taken.length} of actions; a row has ${observations.length} and ${actions}`,
        );
      const table = Array.from({ length: rows }, (_, i) => [
        ...Array.from({ length: observations.length }, (_, k) => states[i * observations.length + k]),
        ...Array.from({ length: actions }, (_, k) => taken[i * actions + k]),
      ]);
      const total = new Float32Array(rows);
      const components = Object.fromEntries(names.map((name) => [name, new Float32Array(rows)]));
      (await run(table)).forEach((value, i) => {
        const parts = partsOf(value, names, i);
        total[i] = parts.total;
        names.forEach((name, k) => {
          components[name][i] = parts.values[k];
        });
      });
      return { total, components };
    },
  };
}

/** The program, then its values of all rows as text: JSON has no NaN, which is then told by its name. */
function script(code: string, observations: readonly string[], rows: number[][]): string {
  const width = observations.length;
  return `${code}
;(() => {
  if (typeof reward !== 'function') throw new TypeError('there is no function reward(state, action)');
  const names = ${JSON.stringify(observations)};
  const plain = (x) => (typeof x === 'number' && !Number.isFinite(x) ? String(x) : x);
  return JSON.stringify(${JSON.stringify(rows)}.map((row) => {
    const state = {};
    for (let k = 0; k < ${width}; k++) state[names[k]] = row[k];
    const value = reward(state, row.slice(${width}));
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([k, x]) => [k, plain(x)])) : plain(value);
  }));
})()`;
}

function valuesOf({ value, error }: CodeRun): unknown[] {
  if (error) throw new RewardProgramError(`RewardProgram: ${error.message}`, error.kind);
  return JSON.parse(String(value)) as unknown[];
}

function partsOf(value: unknown, names: readonly string[], row: number): { total: number; values: number[] } {
  const wrong = (what: string) => new RewardProgramError(`RewardProgram: row ${row}: ${what}`, 'value');
  const number = (x: unknown, what: string): number => {
    if (typeof x !== 'number') throw wrong(`${what} is ${JSON.stringify(x) ?? 'undefined'}, not a finite number`);
    return x;
  };
  if (typeof value !== 'object' || value === null) return { total: number(value, 'the reward'), values: [] };
  const record = value as Record<string, unknown>;
  const extra = Object.keys(record).find((name) => name !== 'total' && !names.includes(name));
  if (extra !== undefined) throw wrong(`the component "${extra}" was not there before; there were ${names.join(', ') || 'none'}`);
  const values = names.map((name) => number(record[name], `the component "${name}"`));
  return { total: 'total' in record ? number(record.total, 'the total') : values.reduce((a, b) => a + b, 0), values };
}
