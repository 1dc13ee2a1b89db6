/** The official files, where they are: what other programs recorded on them comes out again. */
import { dirname } from 'node:path';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { numbersOf, readItems } from './evaluate.js';
import { benchmarks } from './index.js';
import { judgeBench, rmBench } from './preference.js';
import { benchmarkRows } from './rows.js';
import { countSteps, prmBench, prmScore, socraticPatterns, socraticPrmBench, vlrmBench } from './steps.js';
import type { PreferenceItem, StepItem } from './types.js';

const folder = (file: string) => {
  const path = dataPath(file);
  return path && dirname(path);
};
/** All rows of one file as they are. */
async function rows(path: string) {
  const list = [];
  for await (const { row } of benchmarkRows([path])) list.push(row);
  return list;
}
const here = folder('judgebench/rm_scores_gpt-4o.jsonl');

describe.skipIf(!here)('official files (skipped where the real data is missing)', () => {
  it("gives JudgeBench's accuracies of five reward models from their recorded scores", async () => {
    const items = (await readItems(judgeBench, benchmarkRows([dataPath('judgebench/pairs_gpt-4o-2024-05-13.jsonl')!]))) as PreferenceItem[];
    expect(items).toHaveLength(350);
    const recorded = await rows(dataPath('judgebench/rm_scores_gpt-4o.jsonl')!);
    const accuracy = (model: string) => {
      const own = new Map(recorded.filter(({ judge_model }) => judge_model === model).map((row) => [row.pair_id, row]));
      const outcomes = items.map(({ id }) => {
        const { score_A, score_B, label } = own.get(id) as { score_A: number; score_B: number; label: string };
        return { scores: label === 'A>B' ? [score_A, score_B] : [score_B, score_A] };
      });
      return numbersOf(judgeBench, items, outcomes)[0].value;
    };
    const models = [...new Set(recorded.map(({ judge_model }) => judge_model as string))];
    expect(Object.fromEntries(models.map((model) => [model, Number((350 * accuracy(model)).toFixed(6))]))).toEqual({
      'Ray2333/GRM-Gemma-2B-rewardmodel-ft': 208,
      'Skywork/Skywork-Reward-Gemma-2-27B': 225,
      'Skywork/Skywork-Reward-Llama-3.1-8B': 218,
      'internlm/internlm2-20b-reward': 222,
      'internlm/internlm2-7b-reward': 208,
    });
  });

  it("gives RM-Bench's matrix from recorded scores", async () => {
    const recorded = await rows(dataPath('rm-bench/scores_internlm-xcomposer2.5-reward.jsonl')!);
    const items = recorded.map((_, i) => ({
      id: String(i),
      subset: 'chat',
      prompt: '',
      candidates: ['a', 'b', 'c', 'x', 'y', 'z'],
      correct: 3,
    }));
    const outcomes = recorded.map((row) => ({ scores: [...(row.score_chosen as number[]), ...(row.score_rejected as number[])] }));
    const value = (name: string) => rmBench.report(items, outcomes).find((one) => one.name === name)!.value;
    expect(items).toHaveLength(1327);
    expect(value('easy')).toBeCloseTo(0.8746546093946245, 12);
    expect(value('normal')).toBeCloseTo(0.7133885958301933, 12);
    expect(value('hard')).toBeCloseTo(0.474503893494097, 12);
    expect(value('chosen with Markdown, rejected detailed')).toBeCloseTo(0.9397136397889977, 12);
  });

  it('reads every row of the preference benchmarks that are here', async () => {
    const counts: Record<string, number> = {};
    const read = async (id: string, paths: string[]) => {
      counts[id] = (await readItems(benchmarks[id], benchmarkRows(paths))).length;
    };
    await read(
      'rm-bench',
      ['chat', 'code', 'safety-refuse', 'safety-response'].map((part) => dataPath(`rm-bench/${part}_filtered.jsonl`)!),
    );
    await read('llmbar', [folder('llmbar/natural.jsonl')!]);
    await read('plan-rewardbench', [folder('plan-rewardbench/tool_irrelevance.jsonl')!]);
    await read('writing-quality', [dataPath('writing-quality/wq_style_mimic.jsonl')!, dataPath('writing-quality/lamp_pre_val.jsonl')!]);
    expect(counts).toEqual({ 'rm-bench': 602, llmbar: 881, 'plan-rewardbench': 424, 'writing-quality': 402 });
  });

  it('has the PRM-Scores of constant and perfect predictors on Socratic-PRMBench and PRMBench', async () => {
    const items = (await readItems(
      socraticPrmBench,
      benchmarkRows([folder('socratic-prmbench/socratic_prmbench_24_each.jsonl')!]),
    )) as StepItem[];
    expect(items).toHaveLength(480);
    const all = (value: number) => items.map(({ steps }) => ({ scores: steps.map(() => value) }));
    const counts = countSteps(
      items,
      all(1).map(({ scores }) => scores.map(() => true)),
    );
    expect(counts).toEqual({ tp: 2725, fp: 1425, tn: 0, fn: 0 });
    const f1 = (2 * 2725) / (2 * 2725 + 1425);
    // precision of wrong steps is undefined (−1), their recall 0
    expect(prmScore(counts)).toMatchObject({ f1, negF1: 0, prmScore: f1 / 2 });
    const all480 = (value: number) => socraticPrmBench.report(items, all(value)).map((one) => [one.name, Number(one.value.toFixed(6))]);
    const constant = { allRight: Object.fromEntries(all480(1)), allWrong: Object.fromEntries(all480(0)) };
    expect(constant.allRight['PRM-Score, all steps together']).toBeCloseTo(f1 / 2, 6);
    expect(constant.allRight['reward bias (the first minus the second)']).toBe(1);
    expect(constant.allWrong['PRM-Score, all steps together']).toBeCloseTo(1425 / (2 * 1425 + 2725), 6);
    for (const pattern of Object.keys(socraticPatterns)) {
      expect(constant.allRight[pattern]).toBeGreaterThan(0.3);
      expect(constant.allRight[pattern]).toBeLessThan(0.46);
    }
    const oracle = items.map(({ steps, errors }) => ({ scores: steps.map((_, t) => (errors.includes(t) ? 0 : 1)) }));
    const numbers = socraticPrmBench.report(items, oracle);
    expect(numbers[0].value).toBe(1);
    expect(numbers.filter(({ level }) => level === 'group').map(({ name }) => name)).toEqual([
      'Transformation',
      'Decomposition',
      'Regather',
      'Deduction',
      'Verification',
      'Integration',
    ]);
    const prm = (await readItems(prmBench, benchmarkRows([dataPath('prmbench/test_p1_all_classes.jsonl')!]))) as StepItem[];
    expect(prm).toHaveLength(718);
    expect(
      prmBench.report(
        prm,
        prm.map(({ steps, errors }) => ({ scores: steps.map((_, t) => (errors.includes(t) ? 0 : 1)) })),
      )[0].value,
    ).toBe(1);
  });

  it("reads VLRMBench's two tasks", async () => {
    const items = (await readItems(vlrmBench, benchmarkRows([folder('vlrmbench/location_error.jsonl')!]))) as StepItem[];
    expect(items.filter(({ subset }) => subset === 'location_error')).toHaveLength(126);
    expect(items.filter(({ subset }) => subset === 'image_ref_error')).toHaveLength(58);
  });
});
