import { dirname } from 'node:path';
import { dataPath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { codeOf, completed, humanEval } from './code.js';
import { readItems } from './evaluate.js';
import { answersRight, gsm8k, math, mgsm } from './maths.js';
import { benchmarkRows } from './rows.js';
import type { AnswerItem } from './types.js';

const place = { path: 'f.jsonl', file: 'f', line: 1 };

describe('benchmarks of maths', () => {
  it('find the answer in a box, behind a mark, or last, and compare it exactly', () => {
    expect(answersRight('So we get \\boxed{\\frac{1}{2}}.', '1/2')).toBe(true);
    expect(answersRight('6 times 7 is #### 42', '42')).toBe(true);
    expect(answersRight('that makes 1,250 dollars', '1250')).toBe(true);
    expect(answersRight('that makes 1,251 dollars', '1250')).toBe(false);
    expect(answersRight('no idea', '1250')).toBe(false);
  });
  it('read their rows, and name the ones without an answer', async () => {
    const item = gsm8k.read({ question: 'q', answer: 'a <<1+1=2>>2\n#### 1,002' }, place)!;
    expect(item).toMatchObject({ id: '1', target: '1,002' });
    expect(await gsm8k.check(item, 'The answer is 1002.', {})).toEqual({ right: 1 });
    expect(() => gsm8k.read({ question: 'q', answer: '2' }, place)).toThrow('a solution that ends in "#### ANSWER"');
    expect(math.read({ problem: 'p', solution: 'is \\boxed{x^2}', type: 'Algebra', level: 'Level 1' }, place)).toMatchObject({
      subset: 'Algebra',
      target: 'x^2',
    });
    expect(mgsm.read({ question: 'q', answer: '1,234' }, { path: 'mgsm_de.tsv', file: 'mgsm_de', line: 4 })).toMatchObject({
      id: 'de/4',
      subset: 'de',
    });
    expect(() => mgsm.read({ question: 'q', answer: 'viele' }, place)).toThrow('"answer" must be a number');
  });

  const recorded = dataPath('gsm8k/example_model_solutions.jsonl');
  it.skipIf(!recorded)(
    "agree with GSM8K's recorded verdicts on four models' solutions (skipped where the real data is missing)",
    async () => {
      const solved = ['6b_finetuning', '6b_verification', '175b_finetuning', '175b_verification'];
      let [checked, differ, sum] = [0, 0, 0];
      for await (const { row } of benchmarkRows([recorded!])) {
        const known = String(row.ground_truth)
          .split('\n')
          .at(-1)!
          .replace(/^A:\s*/, '');
        for (const name of solved) {
          const { is_correct, solution } = row[name] as { is_correct: boolean; solution: string };
          const answer = /(?:####|^A:)\s*(.+)\s*$/m.exec(solution)?.[1] ?? '';
          checked++;
          if (is_correct) sum++;
          if (answersRight(`#### ${answer}`, known) !== is_correct) differ++;
        }
      }
      expect(checked).toBe(5276);
      expect(sum).toBeGreaterThan(1500);
      expect(differ).toBe(0);
    },
  );
  const maths500 = dataPath('math-prompts/math500.jsonl');
  it.skipIf(!maths500)(
    'accept the solutions that come with MATH-500 and MGSM reads eleven languages (skipped where the real data is missing)',
    async () => {
      const items = (await readItems(math, benchmarkRows([maths500!]))) as AnswerItem<string>[];
      const solutions: string[] = [];
      for await (const { row } of benchmarkRows([maths500!])) solutions.push(row.solution as string);
      const refused = items.filter(({ target }, i) => !answersRight(solutions[i], target));
      expect(items).toHaveLength(500);
      expect(refused.map(({ id }) => id)).toEqual([]);
      const languages = await readItems(mgsm, benchmarkRows([dirname(dataPath('mgsm/mgsm_de.tsv')!)], { header: mgsm.header }));
      expect(languages).toHaveLength(2750);
      expect(new Set(languages.map(({ subset }) => subset)).size).toBe(11);
    },
  );
});

describe('benchmarks of programs', () => {
  const js = humanEval.read(
    {
      task_id: 'JavaScript/0',
      prompt: '/* adds */\nconst add = (a, b) => {\n',
      test: 'const test = () => { console.assert(add(1, 2) === 3); };\ntest();',
    },
    place,
  )!;
  it('take the rest of a function or the function anew', () => {
    expect(codeOf('Sure:\n```js\nlet x = 1;\n```\nbye')).toBe('let x = 1;\n');
    expect(completed({ prompt: 'def f(x):\n', entry: 'f' }, '    return x')).toBe('def f(x):\n    return x');
    expect(completed({ prompt: 'def f(x):\n', entry: 'f' }, 'def f(x):\n    return x')).toBe('def f(x):\n    return x');
    const head = 'from typing import List\n\n\ndef helper(x):\n    return x\n\n\n';
    const task = { prompt: `${head}def f(x: List[int]):\n    """ What f( does. """\n`, entry: 'f' };
    expect(completed(task, '```python\ndef f(x: List[int]):\n    return helper(x)\n```')).toBe(
      `${head}def f(x: List[int]):\n    return helper(x)\n`,
    );
    expect(completed(task, '    return x')).toBe(`${task.prompt}    return x`);
    const script = { prompt: '/* sums */\nconst half = (x) => x / 2\nconst f = (x) => {\n', entry: 'f' };
    expect(completed(script, 'const f = (x) => half(x)')).toBe('/* sums */\nconst half = (x) => x / 2\nconst f = (x) => half(x)');
    const whole = 'const half = (x) => x / 2\nconst f = (x) => half(x)';
    expect(completed(script, whole)).toBe(whole);
  });
  it('run JavaScript in the sandbox', async () => {
    expect(js.target.entry).toBe('add');
    expect(await humanEval.check(js, '```js\nconst add = (a, b) => a + b;\n```', {})).toEqual({ passed: 1 });
    expect(await humanEval.check(js, '  return a + b;\n}', {})).toEqual({ passed: 1 });
    expect(await humanEval.check(js, '```js\nconst add = (a, b) => a - b;\n```', {})).toEqual({ passed: 0 });
    expect(await humanEval.check(js, '```js\nconst add = () => { for (;;); };\n```', {})).toEqual({ passed: 0 });
  });
  it('run other languages by the program that the user names, and by none else', async () => {
    const python = {
      task_id: 'HumanEval/0',
      prompt: 'def add(a, b):\n',
      entry_point: 'add',
      test: 'def check(f):\n    assert f(1, 2) == 3\n',
    };
    const item = humanEval.read(python, place)!;
    expect(() => humanEval.prepare!([item], {})).toThrow('name the program with --command');
    expect(() => humanEval.prepare!([js], {})).not.toThrow();
    await expect(humanEval.check(item, 'x', { command: 'no-such-program {file}' })).rejects.toThrow(
      '"no-such-program" is not installed here',
    );
    const node = `${process.execPath} -e 'process.exit(require("fs").readFileSync(process.argv[1], "utf8").includes("a + b") ? 0 : 1)' {file}`;
    expect(await humanEval.check(item, '    return a + b', { command: node })).toEqual({ passed: 1 });
    expect(await humanEval.check(item, '    return a - b', { command: node })).toEqual({ passed: 0 });
  });
});
