import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collect, openRecords, type RecordOptions, readRecords } from './read.node.js';
import type { RecordKind } from './records.js';
import { checkRecord } from './schemas.js';

const shared = join(process.env.PLUMB_SHARED ?? resolve(import.meta.dirname, '../../../../shared'), 'data');
const here = existsSync(shared);
if (!here) console.log('skipped: there is no ../shared/data or $PLUMB_SHARED/data');

/** File, kind, records, rows that hold none (ties, equal or empty answers, error places beyond the steps), rows that cannot be read. */
const files: [string, RecordKind, number, number?, number?, RecordOptions?][] = [
  ['agent-process-bench/hotpotqa.jsonl', 'trajectory', 160],
  ['agent-trajectories/agentbench_alfworld_react.jsonl', 'messages', 6],
  ['agent-trajectories/react_alfworld_trajectories.jsonl', 'text', 36],
  ['agent-trajectories/spa_intercode_sql_icl.jsonl', 'messages', 3],
  ['agent-trajectories/webshop_goal_queries.jsonl', 'prompt', 1506],
  ['alpaca-eval/annotations_gemma-7b-it.jsonl.gz', 'preference', 801, 1],
  ['alpaca-eval/instructions.csv.gz', 'prompt', 805],
  ['alpaca-farm/multisamples_sft.jsonl', 'completion', 32],
  ['alpaca-farm/outputs_rlhf.jsonl', 'completion', 252],
  [
    'anthropics-evals/persona.jsonl',
    'preference',
    2400,
    0,
    0,
    { columns: { chosen: 'answer_matching_behavior', rejected: 'answer_not_matching_behavior' } },
  ],
  ['arena-hard/v0.1_answers_gpt-4-0314.jsonl', 'messages', 250],
  ['auto-j/testdata_pairwise.jsonl', 'preference', 1015, 375],
  ['auto-j/testdata_critique.jsonl', 'completion', 232],
  ['bigbench-mistake/word_sorting.jsonl', 'stepwise', 300],
  ['biggen-bench-rubrics/tasks.jsonl', 'prompt', 764],
  [
    'constitutional-harmlessness/438HHHEvaluations.jsonl',
    'preference',
    433,
    0,
    0,
    { columns: { chosen: 'text_correct', rejected: 'text_incorrect' } },
  ],
  ['constitutional-harmlessness/samples_with_pm_scores.jsonl', 'multiscore', 3419],
  ['constitutional-harmlessness/prompts_RLMadisonInstructions.json', 'text', 16],
  ['dbbench/dev.jsonl', 'prompt', 60],
  ['diffusion-prompts/PartiPrompts.tsv', 'prompt', 1632, 0, 0, { columns: { prompt: 'Prompt' } }],
  ['diffusion-prompts/drawbench_test.txt', 'prompt', 1000, 0, 0, { columns: { prompt: 'text' } }],
  ['diffusion-prompts/spo_4k_training_prompts.jsonl', 'prompt', 3950],
  ['fine-grained-rlhf/dev_feedback.jsonl', 'preference', 2604, 11],
  ['geofact-x/geofact_x_test.jsonl', 'prompt', 1000],
  ['gsm8k/test.jsonl', 'completion', 1319],
  [
    'gsm8k/example_model_solutions.jsonl',
    'unpaired',
    1319,
    0,
    0,
    { columns: { completion: '6b_finetuning.solution', label: '6b_finetuning.is_correct' } },
  ],
  ['hh-rlhf-harmless/harmless_base_test.jsonl.gz', 'preference', 2286, 4],
  ['hh-single-turn', 'preference', 1995, 5, 0, { split: 'test' }],
  ['hh-single-turn', 'preference', 1998, 2, 0, { split: 'train_w2s' }],
  ['humaneval/HumanEval.jsonl.gz', 'completion', 164],
  ['ifeval/responses_en_o1-mini-2024-09-12.jsonl', 'completion', 512, 21],
  [
    'ifeval/responses_en_o1-mini-2024-09-12.jsonl',
    'unpaired',
    512,
    21,
    0,
    { columns: { completion: 'response', label: 'follow_all_instructions' } },
  ],
  ['imagereward/test.jsonl', 'ranked', 465],
  ['instructgpt-samples/real_toxicity_samples.csv', 'multiscore', 3597],
  ['instructgpt-samples/tldr_samples.csv', 'completion', 1175],
  ['intermt-crucial-step/crucial_step.jsonl', 'messages', 180],
  ['judgebench/pairs_claude-3-5-sonnet-20240620.jsonl', 'preference', 269, 1],
  ['llama-factory-demos/alpaca_en_demo.jsonl', 'completion', 998],
  ['llama-factory-demos/c4_demo.jsonl', 'text', 300],
  ['llama-factory-demos/dpo_zh_demo.jsonl', 'preference', 300],
  ['llama-factory-demos/kto_en_demo.jsonl', 'unpaired', 300],
  ['llama-factory-demos/reason_tool_use_demo_50.jsonl', 'messages', 50],
  ['llama-factory-demos/v1_dpo_demo.jsonl', 'preference', 10],
  ['llmbar/processed_llmeval2.jsonl', 'preference', 195, 2],
  ['math-prompts/math500.jsonl', 'completion', 500],
  ['math-prompts/samples_math-shepherd.jsonl', 'stepwise', 7],
  ['math-prompts/samples_prm800k.jsonl', 'stepwise', 6],
  [
    'mbpp-reflexion/mbpp_py_simple_vs_reflexion.jsonl',
    'unpaired',
    397,
    0,
    0,
    { columns: { completion: 'simple_solution', label: 'simple_is_solved' } },
  ],
  ['medicalgpt-dpo-zh/toolcall_dpo_zh_demo.jsonl', 'preference', 11],
  ['mgsm', 'completion', 2750, 0, 0, { header: ['question', 'answer'] }],
  ['moderation-1680/moderation_samples.jsonl.gz', 'prompt', 1423],
  ['mr-gsm8k-wrong/mr_gsm8k_wrong.jsonl', 'stepwise', 590],
  ['mt-bench/mt_bench_questions.jsonl', 'prompt', 80],
  ['pandalm-testset/testset-v1.jsonl', 'preference', 855, 138, 6],
  ['plan-rewardbench/planning_multi_hard.jsonl', 'preference', 30],
  ['prmbench/test_p1_all_classes.jsonl', 'stepwise', 697, 21],
  ['reasoneval/mr_math_invalid_errors.jsonl', 'stepwise', 159],
  ['reasoneval/mr_math_redundant_errors.jsonl', 'stepwise', 300],
  ['rm-bench/chat_filtered.jsonl', 'preference', 1161],
  ['rtllm/design_descriptions.jsonl', 'prompt', 50],
  ['safe-rlhf-mini/saferlhf_sample.jsonl', 'preference', 32],
  ['socratic-prmbench/socratic_prmbench_24_each.jsonl', 'stepwise', 466, 14],
  ['spider/dev.jsonl', 'completion', 1034, 0, 0, { columns: { completion: 'query' } }],
  ['tifa-human/human_annotations_with_scores.jsonl', 'prompt', 800, 0, 0, { columns: { prompt: 'text' } }],
  ['time-sensitive-qa/human_annotated_test.jsonl', 'prompt', 110, 0, 0, { columns: { prompt: 'questions.0.0' } }],
  ['tiny-corpora/seed_tasks.jsonl', 'prompt', 175],
  ['tulu-human-eval/annotations.jsonl', 'preference', 773, 377],
  ['verilog-eval/v2_spec_to_rtl_prompts.jsonl', 'prompt', 156, 0, 0, { columns: { prompt: 'spec_to_rtl_prompt' } }],
  ['videgothink/final_rm_critique.jsonl', 'completion', 600],
  ['video-prompts/vbench_full_info.jsonl', 'prompt', 946, 0, 0, { columns: { prompt: 'prompt_en' } }],
  ['vlrmbench/location_error.jsonl', 'stepwise', 126],
  ['writing-quality/lamp_r_test.jsonl', 'messages', 130],
  ['writing-quality/wq_style_mimic.jsonl', 'preference', 300, 0, 0, { columns: { prompt: 'text_input' } }],
  ['writing-quality/llm_edited_full.jsonl', 'preference', 101, 0, 0, { columns: { chosen: 'postedit', rejected: 'preedit' } }],
];

describe.skipIf(!here)('public data', () => {
  it.each(files)('is understood: %s as %s', async (name, kind, records, without = 0, bad = 0, options = {}) => {
    const opened = await openRecords(join(shared, name), options);
    expect(opened.kind).toBe(kind);
    const found = { records: 0, without: 0, bad: 0 };
    for await (const row of opened.rows) {
      if (row.problem !== undefined) found[row.bad ? 'bad' : 'without']++;
      else
        for (const record of row.records) {
          if (found.records++ % 50 === 0) checkRecord(kind, record, `${name}:${row.line}`);
        }
    }
    expect(found).toEqual({ records, without, bad });
  });
  const read = (name: string, options: RecordOptions = {}) => collect(readRecords(join(shared, name), options));
  const present = (name: string) => existsSync(join(shared, name));

  it('keeps labels that are not known apart from those that are false', async () => {
    if (!present('moderation-1680/moderation_samples.jsonl.gz')) return;
    const rows = await read('moderation-1680/moderation_samples.jsonl.gz');
    const flags = rows.map(({ meta }) => Object.keys(meta ?? {}).length);
    expect(new Set(flags).size).toBeGreaterThan(1);
    expect(rows.every(({ meta }) => Object.values(meta ?? {}).every((flag) => flag === 0 || flag === 1))).toBe(true);
  });
  it('reads numbers with separators between thousands', async () => {
    if (!present('mgsm')) return;
    const columns = { prompt: 'question', completion: 'answer', 'scores.value': 'answer' };
    const rows = await collect(
      readRecords(join(shared, 'mgsm/mgsm_en.tsv'), { header: ['question', 'answer'], columns, kind: 'multiscore' }),
    );
    expect(rows).toHaveLength(250);
    expect(rows.filter(({ completion }) => (completion as string).includes(',')).length).toBeGreaterThan(0);
    expect(rows.every(({ scores }) => Number.isFinite(scores.value))).toBe(true);
  });
  it('counts steps from 1 or from 0 as each set does, up to the first error', async () => {
    if (!present('bigbench-mistake/word_sorting.jsonl') || !present('mr-gsm8k-wrong/mr_gsm8k_wrong.jsonl')) return;
    const zero = await collect(readRecords(join(shared, 'bigbench-mistake/word_sorting.jsonl'), { kind: 'stepwise' }));
    for (const { labels, meta } of zero) {
      const at = meta!.mistake_index as number | null;
      expect(labels.indexOf(false)).toBe(at ?? -1);
    }
    const one = await collect(readRecords(join(shared, 'mr-gsm8k-wrong/mr_gsm8k_wrong.jsonl'), { kind: 'stepwise' }));
    for (const { labels, meta } of one) expect(labels.indexOf(false)).toBe(Number(meta!.model_output_solution_first_error_step) - 1);
  });
});
