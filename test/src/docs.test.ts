/** The reference pages that are made from the code agree with it. `PLUMB_WRITE_DOCS=1` writes them anew. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { knownSymptoms, metrics } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { root } from './install.js';

function metricsPage(): string {
  const rows = Object.entries(metrics).map(
    ([name, { unit, formula, healthy, ...more }]) =>
      `| \`${name}\` | ${unit} | ${formula.replaceAll('|', '\\|')} | ${healthy} | ${'trl' in more ? `\`${more.trl}\`` : ''} |`,
  );
  return [
    '# Metrics',
    '',
    'Every number that a trainer logs to `metrics.jsonl`, from the one record in `@plumbline/core` that also gives the names their type. The last column',
    "is TRL's name for it, where it has one.",
    '',
    '| metric | unit | formula | healthy | TRL |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    '## Hints',
    '',
    'A run says so, once, where its numbers are a known symptom for some steps in a row; `plumb runs show` and `plumb report` say it of any run folder.',
    '',
    '| symptom | steps | what is said |',
    '|---|---|---|',
    ...knownSymptoms.map(({ name, steps, hint }) => `| ${name} | ${steps} | ${hint} |`),
    '',
  ].join('\n');
}

describe('docs/metrics.md', () => {
  it('is what the record of metrics says', () => {
    const file = join(root, 'docs/metrics.md');
    if (process.env.PLUMB_WRITE_DOCS) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, metricsPage());
    }
    expect(readFileSync(file, 'utf8')).toBe(metricsPage());
  });

  const sources = ['core', 'dpo', 'models', 'rewards', 'rl'].flatMap((pkg) => sourcesUnder(join(root, 'packages', pkg, 'src')));
  const commands = sourcesUnder(join(root, 'apps'));
  it('has no metric that nobody logs', () => {
    const logged = (name: string) =>
      [...sources, ...commands].some((text) => (name.includes('/') ? text.includes(`'${name}'`) : new RegExp(`\\b${name}\\b`).test(text)));
    // these two are components of a reward, logged under its name
    expect(Object.keys(metrics).filter((name) => !logged(name) && !['reward/gold', 'reward/learned'].includes(name))).toEqual([]);
  });
  it('has every metric that a trainer logs', () => {
    const areas = new Set(Object.keys(metrics).flatMap((name) => (name.includes('/') ? [name.split('/')[0]] : [])));
    const used = sources.flatMap((text) => [...text.matchAll(/'([a-z]+\/[a-zA-Z0-9]+)':/g)].map(([, name]) => name));
    expect(used.length).toBeGreaterThan(40);
    expect(used.filter((name) => areas.has(name.split('/')[0]) && !(name in metrics))).toEqual([]);
  });
  it('explains each with a formula, a unit and what healthy looks like', () => {
    const poor = Object.entries(metrics).filter(([, { unit, formula, healthy }]) =>
      [unit, formula, healthy].some((text) => text.trim() === ''),
    );
    expect(poor).toEqual([]);
  });
});

/** Texts of the sources below a folder, without tests and without the record itself. */
function sourcesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(
      (entry) =>
        entry.isFile() &&
        /\.ts$/.test(entry.name) &&
        !/\.test\.ts$|^(metrics|symptoms)\.ts$/.test(entry.name) &&
        !/node_modules|dist/.test(entry.parentPath),
    )
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'));
}
