/** The main job from the command line, on settings of seconds: its results, its page, and what an interruption costs. */
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Outcome, plumb } from './plumb.js';

const tiny = [
  'groups=24',
  'reward.epochs=1',
  'reward.groupsPerStep=4',
  'dpo.steps=8',
  'dpo.pairsPerStep=4',
  'grpo.steps=6',
  'grpo.promptsPerStep=2',
  'grpo.samplesPerPrompt=4',
  'grpoOveroptimised.steps=6',
  'grpoOveroptimised.promptsPerStep=2',
  'grpoOveroptimised.samplesPerPrompt=4',
  'evaluation.prompts=8',
  'evaluation.samplesPerPrompt=2',
];
const start = ['start', '--seed', '3', ...tiny.flatMap((setting) => ['--set', setting])];
const newFolder = () => mkdtempSync(join(tmpdir(), 'plumbline-quickstart-'));
const runIn = (folder: string) => join(folder, 'runs', readdirSync(join(folder, 'runs'))[0]);
/** The summary without what a clock says. */
const summaryIn = (folder: string) => {
  const { seconds, ...rest } = JSON.parse(readFileSync(join(runIn(folder), 'summary.json'), 'utf8'));
  return { ...rest, tookTime: seconds > 0 };
};
const arms = ['base', 'bestOf8', 'dpo', 'grpo', 'grpoOveroptimised'];

describe('plumb start', () => {
  const folder = newFolder();
  let outcome: Outcome;
  beforeAll(async () => {
    outcome = await plumb(start, { cwd: folder });
  });

  it('ends with the table and the path of the page', () => {
    expect(outcome.code, outcome.stderr).toBe(0);
    for (const name of ['base', 'best of 8', 'DPO', 'GRPO', 'win rate']) expect(outcome.stdout).toContain(name);
    expect(outcome.stdout).toMatch(/report\.html/);
  });

  it('writes a summary with every arm, its gold reward with interval, and its KL', () => {
    const summary = summaryIn(folder);
    expect(Object.keys(summary.arms)).toEqual(arms);
    expect(summary).toMatchObject({ seed: 3, tookTime: true });
    for (const arm of arms) {
      const { goldReward, learnedReward, kl } = summary.arms[arm];
      expect(goldReward.ci95[0]).toBeLessThan(goldReward.mean);
      expect(goldReward.ci95[1]).toBeGreaterThan(goldReward.mean);
      expect(Number.isFinite(learnedReward) && Number.isFinite(kl)).toBe(true);
    }
    expect(summary.arms.base.kl).toBe(0);
    expect(summary.arms.dpo.winRate.mean).toBeGreaterThanOrEqual(0);
  });

  it('writes one page that needs nothing from anywhere', () => {
    const page = readFileSync(join(runIn(folder), 'report.html'), 'utf8');
    expect(page).toMatch(/<svg/);
    expect(page).not.toMatch(/(src|href)="https?:/);
  });

  it('gives the same numbers for the same seed, and others for another', async () => {
    const [again, other] = [newFolder(), newFolder()];
    expect((await plumb(start, { cwd: again })).code).toBe(0);
    expect(
      (
        await plumb(
          start.map((word) => (word === '3' ? '4' : word)),
          { cwd: other },
        )
      ).code,
    ).toBe(0);
    expect(summaryIn(again)).toEqual(summaryIn(folder));
    expect(summaryIn(other).arms.base).not.toEqual(summaryIn(folder).arms.base);
  });

  it('saves on Ctrl-C, leaves with 130, and ends with the same numbers when started again', async () => {
    const interrupted = newFolder();
    const first = await plumb(start, { cwd: interrupted, stop: { signal: 'SIGINT', printed: 'Aligning by GRPO' } });
    expect(first.code).toBe(130);
    expect(first.stderr).toMatch(/saved/);
    const second = await plumb(start, { cwd: interrupted });
    expect(second.code, second.stderr).toBe(0);
    expect(readdirSync(join(interrupted, 'runs'))).toHaveLength(1);
    expect(summaryIn(interrupted)).toEqual(summaryIn(folder));
  });

  it('ends with the same numbers after being killed outright', async () => {
    const killed = newFolder();
    const first = await plumb(start, { cwd: killed, stop: { signal: 'SIGKILL', printed: 'GRPO, too far' } });
    expect(first.signal).toBe('SIGKILL');
    expect(existsSync(join(runIn(killed), 'summary.json'))).toBe(false);
    expect((await plumb(start, { cwd: killed })).code).toBe(0);
    expect(summaryIn(killed)).toEqual(summaryIn(folder));
  });
});
