import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initBackend, rng } from '@plumbline/core';
import { loadScorer } from '@plumbline/models';
import { modelReward } from '@plumbline/rewards';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadReward } from '../serve/load.js';
import { runReward } from '../train/reward.js';
import { RewardSettings } from '../train/rewardConfig.js';
import { judge } from './judge.js';
import { score } from './score.js';

const dir = mkdtempSync(join(tmpdir(), 'plumb-rewards-'));
const file = (name: string, rows: object[]): string => {
  writeFileSync(join(dir, name), rows.map((row) => JSON.stringify(row)).join('\n'));
  return join(dir, name);
};
const folder = (name: string): string => {
  mkdirSync(join(dir, name), { recursive: true });
  return join(dir, name);
};
const read = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
let printed: string[] = [];
let server: Server;
let url = '';
beforeAll(async () => {
  await initBackend();
  vi.spyOn(console, 'log').mockImplementation((line) => void printed.push(String(line)));
  vi.spyOn(console, 'error').mockImplementation(() => {});
  // A judge that prefers the answer with more letters, and does not answer about "odd".
  server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const content = (JSON.parse(text).messages as { content: string }[]).at(-1)!.content;
      const [a, b] = ['A', 'B'].map((side) => content.split(`<answer ${side}>`)[1].split('</answer')[0].trim().length);
      const answer = content.includes('odd') ? 'hm' : a > b ? '[[A]]' : '[[B]]';
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          choices: [{ index: 0, message: { role: 'assistant', content: answer }, finish_reason: 'stop' }],
          usage: { prompt_tokens: 1, completion_tokens: 1 },
        }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
afterAll(() => {
  server.close();
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

describe('plumb score', () => {
  it('writes what a verifier gives beside each row, null where it abstains', async () => {
    writeFileSync(join(dir, 'numeric.yaml'), 'verifier: numeric\n');
    const rows = [
      { prompt: 'p', completion: '#### 4', answer: 4 },
      { prompt: 'p', completion: '#### 5', answer: 4 },
      { prompt: 'p', completion: 'none' },
    ];
    printed = [];
    await score(file('answers.jsonl', rows), { reward: join(dir, 'numeric.yaml'), out: join(dir, 'scored.jsonl'), batch: '2', json: true });
    expect(read(join(dir, 'scored.jsonl'))).toEqual(rows.map((row, i) => ({ ...row, score: [1, 0, null][i] })));
    expect(JSON.parse(printed.join('\n'))).toMatchObject({ rows: 3, scored: 2, abstained: 1, mean: 0.5 });
  });
  it('scores both sides of preference pairs, and says how often the chosen one is higher', async () => {
    writeFileSync(join(dir, 'short.json'), '[{ "verifier": "length", "max": 2, "slack": 4 }]');
    printed = [];
    await score(file('pairs.jsonl', [{ prompt: 'p', chosen: 'a b', rejected: 'a b c d' }]), {
      reward: join(dir, 'short.json'),
      out: join(dir, 'pairs.out.jsonl'),
      batch: '8',
      json: true,
    });
    expect(read(join(dir, 'pairs.out.jsonl'))[0]).toMatchObject({ chosen_score: 1, rejected_score: 0.5 });
    expect(JSON.parse(printed.join('\n'))).toMatchObject({ accuracy: { mean: 1, pairs: 1 } });
  });
  it('names a verifier or an option that there is not', async () => {
    const given = (text: string) => {
      writeFileSync(join(dir, 'wrong.yaml'), text);
      return score(join(dir, 'answers.jsonl'), { reward: join(dir, 'wrong.yaml'), out: join(dir, 'x.jsonl'), batch: '8' });
    };
    await expect(given('verifier: numerics')).rejects.toThrow(/there is no verifier "numerics"; there are exact, numeric/);
    await expect(given('verifier: numeric\ntol: 1')).rejects.toThrow(/verifier numeric: .*tol/);
    await expect(given('- 3')).rejects.toThrow('part 1 of the reward is 3');
  });
});

describe('plumb judge', () => {
  const flags = { model: 'stub', votes: '1', maxTokens: '64', seed: '0', verdict: 'text' as const };
  const rows = Array.from({ length: 12 }, (_, i) => ({
    prompt: i === 3 ? 'odd' : `p${i}`,
    chosen: `longer answer ${i}`,
    rejected: 'short',
  }));
  it('writes a verdict for each pair, whatever the order in which it was shown, and counts what has none', async () => {
    printed = [];
    await judge(file('judged.jsonl', rows), { ...flags, url, out: join(dir, 'verdicts.jsonl'), json: true });
    const verdicts = read(join(dir, 'verdicts.jsonl')) as { winner: string; parsed: boolean; shownSwapped?: boolean }[];
    expect(verdicts.map(({ winner }) => winner)).toEqual(rows.map((_, i) => (i === 3 ? 'tie' : 'a')));
    expect(verdicts.some(({ shownSwapped }) => shownSwapped)).toBe(true);
    expect(verdicts.some(({ shownSwapped }) => !shownSwapped)).toBe(true);
    expect(JSON.parse(printed.join('\n'))).toMatchObject({
      pairs: 12,
      a: 11,
      b: 0,
      unparsed: 1,
      agreement: { mean: 1, pairs: 11 },
      report: { unparsed: 1 },
    });
  });
  it('measures the judge against labels', async () => {
    printed = [];
    const labelled = rows.map(({ prompt, chosen, rejected }, i) => ({ prompt, a: chosen, b: rejected, label: i % 3 === 0 ? 'b' : 'a' }));
    await judge(file('labels.jsonl', labelled), { ...flags, url, swap: true, calibrate: true });
    expect(printed.join('\n')).toMatch(/both orders against people\n.*12, of which 11 were judged and 1 were not/);
    await expect(
      judge(
        file(
          'none.jsonl',
          labelled.map(({ label: _, ...row }) => row),
        ),
        { ...flags, url, calibrate: true },
      ),
    ).rejects.toThrow('no row says which answer people prefer');
  });
});

describe('plumb train reward', () => {
  it('leaves a sequence classifier with the scores that were measured, and an adapter', async () => {
    const words = ['joy', 'woe'];
    const rows = Array.from({ length: 60 }, (_, i) => ({
      prompt: `Once ${i} there was`,
      chosen: ` much ${words[0]} and sun.`,
      rejected: ` much ${words[1]} and rain.`,
    }));
    const run = folder('run');
    const settings = RewardSettings.parse({ steps: 12, learningRate: 5e-3, lora: { r: 4 }, heldOut: 0.2 });
    const { signal } = new AbortController();
    const summary = await runReward({ settings, model: 'zoo:words-1m', dataset: file('train.jsonl', rows), seed: 1, dir: run, signal });
    expect(summary).toMatchObject({
      data: { read: 60, train: 48, heldOut: 12, leftOut: 0 },
      steps: 12,
      heldOut: { after: { accuracy: { mean: 1 } } },
    });
    expect(summary.heldOut!.after.loss).toBeLessThan(0.4);
    const saved = await loadScorer(summary.output.model);
    const candidates = rows
      .slice(0, 1)
      .flatMap(({ prompt, chosen, rejected }) => [chosen, rejected].map((completion) => ({ prompt, completion })));
    const { scores } = await modelReward(saved).score(candidates, { rng: rng(0) });
    expect(scores[0] - scores[1]).toBeGreaterThan(0.5);
    saved.dispose();
    expect(JSON.parse(readFileSync(join(summary.output.model, 'config.json'), 'utf8')).architectures).toEqual([
      'LlamaForSequenceClassification',
    ]);
    expect(JSON.parse(readFileSync(join(summary.output.adapter!, 'adapter_config.json'), 'utf8'))).toMatchObject({ peft_type: 'LORA' });
  });
  it('skips pairs of one answer twice and says so, also where there are no others', async () => {
    const pair = (i: number, rejected: string) => ({ prompt: `Once ${i} there was`, chosen: ' much joy.', rejected });
    const rows = Array.from({ length: 8 }, (_, i) => pair(i, i < 3 ? ' much joy.' : ' much woe.'));
    const settings = RewardSettings.parse({ steps: 1, lora: { r: 2 }, heldOut: 0 });
    const job = { settings, model: 'zoo:words-1m', seed: 1, signal: new AbortController().signal };
    const { data } = await runReward({ ...job, dataset: file('twice.jsonl', rows), dir: folder('twice') });
    expect(data).toMatchObject({ train: 5, skipped: 3, why: expect.stringMatching(/line 1: .*chosen.*rejected/) });
    await expect(runReward({ ...job, dataset: file('all-twice.jsonl', rows.slice(0, 3)), dir: folder('all-twice') })).rejects.toThrow(
      /nothing to learn from \(line 1/,
    );
  });
  it('learns outcomes from labels, and refuses labels of one class', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({
      prompt: `Once ${i} there was`,
      completion: i % 2 ? ' much joy.' : ' much woe.',
      label: i % 2 === 1,
    }));
    const settings = RewardSettings.parse({ loss: 'outcome', steps: 12, learningRate: 5e-3, lora: { r: 4 }, heldOut: 0.2 });
    const { signal } = new AbortController();
    const job = { settings, model: 'zoo:words-1m', seed: 1, signal };
    const summary = await runReward({ ...job, dataset: file('outcomes.jsonl', rows), dir: folder('outcome') });
    expect(summary.heldOut!.after.accuracy!.mean).toBe(1);
    await expect(
      runReward({
        ...job,
        dataset: file(
          'one.jsonl',
          rows.map((row) => ({ ...row, label: true })),
        ),
        dir: folder('one'),
      }),
    ).rejects.toThrow('every label is true');
  });

  describe('under every loss, with the records that it needs', () => {
    const word = (good: boolean) => (good ? ' much joy and sun.' : ' much woe and rain.');
    const many = <T>(make: (i: number) => T) => Array.from({ length: 40 }, (_, i) => make(i));
    const prompt = (i: number) => `Once ${i} there was`;
    const pair = (i: number) => ({ prompt: prompt(i), chosen: word(true), rejected: word(false) });
    const scored = (i: number) => ({ prompt: prompt(i), completion: word(i % 2 === 0), scores: { joy: i % 2 === 0 ? 4 : 0, calm: 2 } });
    const cases: Record<string, { rows: object[]; flags?: object; head: 'score' | 'attributes' | 'steps'; rewards?: false }> = {
      bradley_terry: {
        rows: many((i) => ({ ...pair(i), chosen_score: 2, rejected_score: 1 })),
        flags: { margin: 'scores', centerCoefficient: 0.01 },
        head: 'score',
      },
      odin: {
        // Neither side is the longer one as a rule: what goes with length is no quality to it.
        rows: many((i) => ({
          prompt: prompt(i),
          chosen: `${word(true)}${i % 2 ? ' The day was long.' : ''}`,
          rejected: `${word(false)}${i % 2 ? '' : ' The day was long.'}`,
        })),
        flags: { steps: 30 },
        head: 'attributes',
      },
      rao_kupper: {
        rows: many((i) => ({
          ...pair(i),
          ...(i % 10 === 0 && { chosen: word(false), rejected: ' much woe and storm.' }),
          tie: i % 10 === 0,
        })),
        head: 'score',
      },
      davidson: {
        rows: many((i) => ({ ...pair(i), even: i % 10 === 0 })),
        flags: { labelColumn: 'even', lossOptions: { nu: 0.5 } },
        head: 'score',
      },
      pairwise_ordinal: { rows: many((i) => ({ ...pair(i), grade: 2 })), flags: { grades: 3 }, head: 'score' },
      pairwise: { rows: many(pair), flags: { steps: 30 }, head: 'attributes', rewards: false },
      regression: { rows: many(scored), flags: { steps: 40 }, head: 'attributes' },
      ordinal: { rows: many(scored), flags: { attributes: 'joy', grades: 5 }, head: 'score' },
      outcome: { rows: many(pair), head: 'score' },
      step: {
        rows: many((i) => ({ prompt: prompt(i), completions: [word(true), word(i % 2 === 0)], labels: [true, i % 2 === 0] })),
        flags: { steps: 30 },
        head: 'steps',
      },
    };
    const written: Record<string, string[]> = {
      bradley_terry: ['prompt', 'chosen', 'rejected', 'chosenScore', 'rejectedScore', 'margin'],
      pairwise: ['prompt', 'completion', 'first', 'second', 'better'],
      regression: ['prompt', 'completion', 'scores', 'targets'],
      ordinal: ['prompt', 'completion', 'scores', 'targets'],
      outcome: ['prompt', 'completion', 'score', 'label'],
      step: ['solution', 'scores', 'labels'],
    };
    for (const [loss, { rows, flags, head, rewards }] of Object.entries(cases))
      it(loss, async () => {
        const settings = RewardSettings.parse({ loss, steps: 16, learningRate: 5e-3, lora: { r: 4 }, heldOut: 0.2, ...flags });
        const { signal } = new AbortController();
        const dataset = file(`${loss}.jsonl`, rows);
        const summary = await runReward({ settings, model: 'zoo:words-1m', dataset, seed: 1, dir: folder(`under-${loss}`), signal });
        const { before, after, change } = summary.heldOut!;
        if (loss === 'regression') {
          expect(after.loss!).toBeLessThan(before.loss! / 2);
          expect(after.attributes!.joy.spearman).toBeGreaterThan(0.7);
        } else expect(after.accuracy!.mean, JSON.stringify(summary.heldOut)).toBeGreaterThan(0.9);
        expect(Number.isFinite(change!.mean)).toBe(true);
        const last = read(join(folder(`under-${loss}`), 'samples', `step-${String(settings.steps).padStart(6, '0')}.jsonl`));
        expect(last).toHaveLength(loss === 'pairwise' ? 8 : 4); // both orders of a pair
        for (const row of last) {
          expect(Object.keys(row)).toEqual(['step', ...(written[loss] ?? written.bradley_terry)]);
          if ('margin' in row && head === 'score') expect(row.margin).toBeGreaterThan(0);
          if (loss === 'outcome') expect((row.score as number) > 0).toBe(row.label);
        }
        const config = JSON.parse(readFileSync(join(summary.output.model, 'config.json'), 'utf8'));
        expect(config.plumbline.head ?? 'score').toBe(head);
        expect(existsSync(join(summary.output.model, 'loss.json'))).toBe(loss === 'ordinal' || loss === 'pairwise_ordinal');
        if (rewards === false) return void (await expect(loadReward(summary.output.model)).rejects.toThrow('it is a judge'));
        const reward = await loadReward(summary.output.model);
        const { scores } = await reward.score(
          [true, false].map((good) => ({ prompt: prompt(3), completion: word(good) })),
          { rng: rng(0) },
        );
        expect(scores[0]).toBeGreaterThan(scores[1]);
      });

    it('and says which records a loss takes, and which setting it does not look at', async () => {
      const { signal } = new AbortController();
      const go = (settings: object, rows: object[]) =>
        runReward({
          settings: RewardSettings.parse(settings),
          model: 'zoo:words-1m',
          dataset: file('wrong.jsonl', rows),
          seed: 1,
          dir: folder('wrong'),
          signal,
        });
      await expect(go({ loss: 'step' }, many(pair))).rejects.toThrow(
        /holds preference records; --loss step learns from stepwise records \(try --loss bradley_terry\)/,
      );
      await expect(go({ loss: 'outcome' }, many(scored))).rejects.toThrow(/holds multiscore records.*try --loss regression/);
      await expect(go({ loss: 'ordinal' }, many(scored))).rejects.toThrow('--loss ordinal learns one attribute; choose one of joy, calm');
      await expect(go({ loss: 'ordinal', attributes: 'joy', grades: 3 }, many(scored))).rejects.toThrow(
        /joy is 4; --loss ordinal learns whole grades from 0 to 2/,
      );
      await expect(go({ loss: 'regression', attributes: ['wit'] }, many(scored))).rejects.toThrow('no record has wit; there are joy, calm');
      await expect(go({ loss: 'pairwise_ordinal' }, many(pair))).rejects.toThrow('its column "grade" holds nothing');
      await expect(go({ loss: 'outcome', labelSmoothing: 0.1 }, many(pair))).rejects.toThrow(
        '--loss outcome does not look at the setting labelSmoothing',
      );
      const same = many((i) => ({ prompt: prompt(i), completions: [word(true)], labels: [true] }));
      await expect(go({ loss: 'step' }, same)).rejects.toThrow('every label is true; a process model learns from both');
    });
  });
});
