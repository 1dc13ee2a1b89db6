/** What a sweep runs: one command a cell, from a grid or a list of settings. */
import { createHash } from 'node:crypto';
import { ConfigError } from '@plumbline/core';

export type Settings = Record<string, string | number | boolean>;
export type Cell = { id: string; settings: Settings };

/** A sweep as it is kept in its folder: any worker can take any cell from it. */
export type Sweep = { command: string[]; cells: Cell[] };

/**
 * The settings of every cell: the product of the axes `key=a,b,c`, or the entries of a list, or each of these with each of those.
 *
 * @throws ConfigError naming the axis or entry that does not fit, or a key that is in both
 */
export function cellSettings(axes: readonly string[], list: unknown = [{}]): Settings[] {
  if (!Array.isArray(list) || list.length === 0)
    throw new ConfigError(`a list of settings is a list such as [{ steps: 40 }, { steps: 80 }], got ${JSON.stringify(list)}`);
  let cells = list.map((entry, i) => {
    const flat = entry !== null && typeof entry === 'object' && !Array.isArray(entry) ? Object.entries(entry) : undefined;
    const bad = flat?.find(([, value]) => !['string', 'number', 'boolean'].includes(typeof value));
    if (!flat || bad)
      throw new ConfigError(
        `entry ${i + 1} of the list: ${bad ? `"${bad[0]}" holds ${JSON.stringify(bad[1])}; a cell's setting is one value` : 'is not settings by name'}`,
      );
    return Object.fromEntries(flat) as Settings;
  });
  for (const axis of axes) {
    const [, key, text] = /^([^=]+)=(.+)$/s.exec(axis) ?? [];
    const values = text?.split(',').map((value) => value.trim());
    if (!key || !values || values.includes(''))
      throw new ConfigError(`--grid ${axis}: expected key=value,value, for instance dpo.beta=0.05,0.1`);
    if (new Set(values).size !== values.length) throw new ConfigError(`--grid ${axis}: a value is there twice`);
    if (cells.some((cell) => key in cell)) throw new ConfigError(`--grid ${axis}: "${key}" is already set`);
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [key]: value })));
  }
  return cells;
}

/** Cells of a command, each with an id that depends on the command and its settings alone, so that a wider sweep keeps what a narrower one has done. */
export function makeSweep(command: readonly string[], settings: readonly Settings[]): Sweep {
  if (command.length === 0)
    throw new ConfigError(
      'what is to be run goes behind --, for instance: plumb sweep --grid steps=40,80 -- plumb reproduce par --seeds 1',
    );
  const cells = settings.map((one) => {
    const sorted = Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      id: createHash('sha256')
        .update(JSON.stringify([command, sorted]))
        .digest('hex')
        .slice(0, 8),
      settings: one,
    };
  });
  const twice = cells.find(({ id }, i) => cells.findIndex((other) => other.id === id) !== i);
  if (twice) throw new ConfigError(`two cells have the same settings: ${describe(twice.settings)}`);
  return { command: [...command], cells };
}

/**
 * The words of a cell's command. `{key}` stands for a setting and `{out}` for the cell's folder; settings that no word names are given as `--set key=value` to `plumb`, and
 * its folder as `--out`.
 *
 * @throws ConfigError for another program that does not take up a setting
 */
export function cellCommand({ command }: Sweep, { settings }: Cell, out: string): string[] {
  const used = new Set<string>();
  const words = command.map((word) =>
    word.replace(/\{([^{}]+)\}/g, (whole, key: string) => {
      if (key !== 'out' && !(key in settings)) return whole;
      used.add(key);
      return key === 'out' ? out : String(settings[key]);
    }),
  );
  const left = Object.entries(settings).filter(([key]) => !used.has(key));
  if (command[0] !== 'plumb') {
    if (left.length > 0)
      throw new ConfigError(
        `"${command[0]}" does not take up ${left.map(([key]) => key).join(', ')}; write {${left[0][0]}} where the value goes`,
      );
    return words;
  }
  return [...words, ...left.flatMap(([key, value]) => ['--set', `${key}=${value}`]), ...(used.has('out') ? [] : ['--out', out])];
}

export const describe = (settings: Settings): string =>
  Object.entries(settings)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ') || 'as it is';
