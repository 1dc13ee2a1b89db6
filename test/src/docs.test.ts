/** The reference pages that are made from the code agree with it. `PLUMB_WRITE_DOCS=1` writes them anew. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { knownSymptoms, metrics } from '@plumbline/core';
import { describe, expect, it } from 'vitest';
import { root } from './install.js';

function metricsPage(): string {
  const rows = Object.entries(metrics).map(
    ([name, { unit, formula, healthy, ...more }]) =>
      `| \`${name}\` | ${unit} | ${formula} | ${healthy} | ${'trl' in more ? `\`${more.trl}\`` : ''} |`,
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
});
