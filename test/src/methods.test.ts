/** docs/methods.md against the code: every loss, estimator and trainer has a row, and every row its function and its test. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from './install.js';

type Row = { name: string; pkg: string; called: string[]; paper: string; test: string };
const rows: Row[] = readFileSync(join(root, 'docs/methods.md'), 'utf8')
  .split('\n')
  .flatMap((line): Row[] => {
    const cells = line.split('|').map((cell) => cell.trim());
    const name = /^`(\w+)`$/.exec(cells[1] ?? '')?.[1];
    if (!name) return [];
    return [
      {
        name,
        pkg: cells[2],
        called: [...cells[3].matchAll(/`([\w-]+)`/g)].map(([, called]) => called),
        paper: cells[4],
        test: /\]\(\.\.\/(.+?)\)/.exec(cells[6])?.[1] ?? '',
      },
    ];
  });

/** Values that a package's face exports, as its source names them. */
function exportsOf(pkg: string): string[] {
  const source = readFileSync(join(root, 'packages', pkg, 'src/index.ts'), 'utf8');
  return [...source.matchAll(/export \{([^}]*)\} from/g)].flatMap(([, names]) =>
    names
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '' && !name.startsWith('type '))
      .map((name) => name.split(' as ').at(-1)!),
  );
}
/** Names of a record such as `pairLosses`. */
function namesIn(file: string, record: string): string[] {
  const source = readFileSync(join(root, file), 'utf8');
  const body = new RegExp(`export const ${record} = \\{(.*?)\\n?\\} as const`, 's').exec(source)![1].replaceAll(/\/\/.*$/gm, '');
  return body
    .split(',')
    .map((entry) => entry.split(':')[0].trim())
    .filter(Boolean);
}

describe('docs/methods.md', () => {
  it('has for each row a function that is exported, a paper, and a test that names it', () => {
    const bad = rows.flatMap(({ name, pkg, called, paper, test }) => {
      if (!exportsOf(pkg).includes(name)) return [`${name} is not exported by ${pkg}`];
      if (paper === '') return [`${name} has no paper`];
      if (test === '' || !existsSync(join(root, test))) return [`${name}: there is no test ${test}`];
      const source = readFileSync(join(root, test), 'utf8');
      return [name, ...called].some((word) => new RegExp(`\\b${word}\\b`).test(source)) ? [] : [`${name} is not named in ${test}`];
    });
    expect(bad).toEqual([]);
    expect(rows.length).toBeGreaterThan(80);
  });

  it('has a row for each loss that configuration can name', () => {
    const called = new Set(rows.flatMap((row) => row.called.map((name) => `${row.pkg} ${name}`)));
    const records = [
      ['dpo', 'packages/dpo/src/losses/index.ts', 'pairLosses'],
      ['dpo', 'packages/dpo/src/losses/index.ts', 'onlinePairLosses'],
      ['dpo', 'packages/dpo/src/unpaired/index.ts', 'unpairedLosses'],
      ['rl', 'packages/rl/src/losses/index.ts', 'policyLosses'],
      ['rewards', 'packages/rewards/src/losses/index.ts', 'rewardLosses'],
    ] as const;
    const missing = records.flatMap(([pkg, file, record]) =>
      namesIn(file, record).flatMap((name) => (called.has(`${pkg} ${name}`) ? [] : [`${record}.${name}`])),
    );
    expect(missing).toEqual([]);
  });

  it('has a row for each exported loss, estimator and trainer', () => {
    const there = new Set(rows.map(({ name, pkg }) => `${pkg} ${name}`));
    const lookups = ['pairLoss', 'unpairedLoss', 'policyLoss', 'rewardLoss']; // by name; no losses
    const missing = ['dpo', 'rl', 'rewards'].flatMap((pkg) =>
      exportsOf(pkg)
        .filter((name) => /(Loss|Advantages)$|^train[A-Z]/.test(name) && !lookups.includes(name))
        .flatMap((name) => (there.has(`${pkg} ${name}`) ? [] : [`${name} of ${pkg}`])),
    );
    expect(missing).toEqual([]);
  });
});
