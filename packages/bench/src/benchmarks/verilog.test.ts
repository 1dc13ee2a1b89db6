import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LanguageModel } from '@plumbline/data';
import { yosysInstalled } from '@plumbline/envs/verilog';
import { dataPath } from '@plumbline/tools/fixtures';
import { afterAll, describe, expect, it } from 'vitest';
import { evaluate, readItems } from './evaluate.js';
import { isInstalled, runPrograms } from './programs.js';
import { benchmarkRows } from './rows.js';
import type { AnswerBenchmark, AnswerItem } from './types.js';
import { verilogEval, verilogEval2 } from './verilog.js';

const icarus = isInstalled('iverilog') && isInstalled('vvp');
const root = mkdtempSync(join(tmpdir(), 'plumbline-verilog-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const ports = '(input a, input b, output y)';
/** A bench in the form of the official ones: all inputs, the module beside the reference, and the line that the harness looks for. */
const bench = (reference: string, top: string) => `
module stimulus_gen(output reg a, output reg b);
  initial begin
    {a, b} = 0;
    repeat (8) #5 {a, b} = {a, b} + 1;
    $finish;
  end
endmodule
module tb();
  wire a, b, y_ref, y_dut;
  integer errors = 0, samples = 0;
  stimulus_gen stim1(.a(a), .b(b));
  ${reference} good1(.a(a), .b(b), .y(y_ref));
  ${top} top_module1(.a(a), .b(b), .y(y_dut));
  always #2 begin
    samples = samples + 1;
    if (y_ref !== y_dut) errors = errors + 1;
  end
  final $display("Mismatches: %1d in %1d samples", errors, samples);
endmodule
`;
const referenceOf = (name: string) => `module ${name}${ports};\n  assign y = a ^ b;\nendmodule\n`;

const first = join(root, 'VerilogEval_Human.jsonl');
const descriptions = join(root, 'VerilogDescription_Human.jsonl');
writeFileSync(
  first,
  `${JSON.stringify({ task_id: 'xor', prompt: `module top_module${ports};\n`, test: referenceOf('reference_module') + bench('reference_module', 'top_module') })}\n`,
);
writeFileSync(descriptions, `${JSON.stringify({ task_id: 'xor', detail_description: 'Exclusive or.' })}\n`);
const second = join(root, 'dataset_spec-to-rtl');
mkdirSync(second);
const problem = (ending: string, content: string) => writeFileSync(join(second, `Prob001_xor_${ending}`), content);
problem('prompt.txt', 'I would like you to implement a module named TopModule: the exclusive or of a and b.\n');
problem('ref.sv', referenceOf('RefModule'));
problem('test.sv', bench('RefModule', 'TopModule'));

const read = async <T>(benchmark: AnswerBenchmark<T>, paths: readonly string[]) =>
  (await readItems(benchmark, benchmark.rows!(paths))) as AnswerItem<T>[];
const fenced = (code: string) => `Here it is.\n\n\`\`\`verilog\n${code}\n\`\`\``;
const answers = (top: string) => ({
  right: fenced(`module ${top}${ports};\n  assign y = (a & ~b) | (~a & b);\nendmodule`),
  wrong: fenced(`module ${top}${ports};\n  assign y = a | b;\nendmodule`),
  hanging: fenced(`module ${top}${ports};\n  reg q = 0;\n  initial #1 q = 1;\n  always @(q) q <= ~q;\n  assign y = a ^ b;\nendmodule`),
  broken: fenced(`module ${top}${ports};\n  assign y = a ^ ;\nendmodule`),
  none: 'I cannot do that.',
});

describe('VerilogEval', () => {
  it('reads the official files of both versions: two files joined by task, a folder of three files a problem', async () => {
    const [one] = await read(verilogEval, [first, descriptions]);
    expect(one).toMatchObject({
      id: 'VerilogEval_Human/xor',
      subset: 'VerilogEval_Human',
      prompt: expect.stringContaining('Exclusive or.'),
    });
    await expect(read(verilogEval, [first])).rejects.toThrow('"detail_description" must be a text');
    const [two] = await read(verilogEval2, [second]);
    expect(two).toMatchObject({ id: 'spec-to-rtl/Prob001_xor', subset: 'spec-to-rtl', target: { header: '' } });
    expect(two.prompt).toContain('the exclusive or of a and b');
  });
  it('names what it needs before a model is asked', () => {
    expect(() => verilogEval.prepare!([], { command: 'verilator' })).toThrow('checked by iverilog or yosys');
    const { PATH } = process.env;
    process.env.PATH = root;
    try {
      expect(() => verilogEval.prepare!([], { command: 'iverilog' })).toThrow('iverilog is not installed here');
    } finally {
      process.env.PATH = PATH;
    }
  });

  describe.skipIf(!icarus)('by Icarus Verilog (skipped where it is not installed)', () => {
    it.each([
      ['version 1', verilogEval, [first, descriptions], 'top_module'],
      ['version 2', verilogEval2, [second], 'TopModule'],
    ] as const)('passes what simulates as the reference does, and nothing else: %s', async (_, benchmark, paths, top) => {
      const [item] = await read(benchmark, paths);
      const { right, wrong, broken, none } = answers(top);
      const check = (answer: string) => benchmark.check(item, answer, { command: 'iverilog' });
      expect(await check(right)).toEqual({ passed: 1, compiles: 1 });
      expect(await check(wrong)).toEqual({ passed: 0, compiles: 1 });
      expect(await check(broken)).toEqual({ passed: 0, compiles: 0 });
      expect(await check(none)).toEqual({ passed: 0, compiles: 0 });
    });
    it('fails one that hangs when its time is over, and gives no verdict where the evaluation is stopped', async () => {
      const source = 'module tb;\n  reg q = 0;\n  initial #1 q = 1;\n  always @(q) q <= ~q;\nendmodule\n';
      const steps = [
        ['iverilog', '-o', 'test.vvp', 'test.sv'],
        ['vvp', '-n', 'test.vvp'],
      ];
      const [compiled, simulated] = await runPrograms({ 'test.sv': source }, steps, { timeoutSeconds: 5 });
      expect([compiled.code, simulated.code, simulated.timedOut]).toEqual([0, null, true]);
      const [item] = await read(verilogEval, [first, descriptions]);
      const stopped = verilogEval.check(item, answers('top_module').hanging, { command: 'iverilog', signal: AbortSignal.timeout(1000) });
      await expect(stopped).rejects.toThrow('timeout');
    });
    it('leaves out a problem whose own files do not fit, and asks for no answer twice', async () => {
      const folder = join(root, 'dataset_code-complete-iccad2023');
      mkdirSync(folder);
      for (const [name, reference] of [
        ['Prob001_xor', 'a'],
        ['Prob002_xor', 'other'],
      ]) {
        writeFileSync(join(folder, `${name}_prompt.txt`), `Exclusive or.\n\nmodule TopModule${ports};\n`);
        writeFileSync(
          join(folder, `${name}_ref.sv`),
          `module RefModule(input ${reference}, input b, output y);\n  assign y = ${reference} ^ b;\nendmodule\n`,
        );
        writeFileSync(join(folder, `${name}_test.sv`), bench('RefModule', 'TopModule'));
      }
      let asked = 0;
      const model: LanguageModel = {
        name: 'writer',
        can: { score: false, embed: false, logps: false },
        generate: async (prompts) =>
          prompts.map(() => {
            asked++;
            return [
              {
                text: '  assign y = a ^ b;\nendmodule',
                tokens: new Int32Array(1),
                samplingLogps: new Float32Array(1),
                finish: 'stop' as const,
              },
            ];
          }),
      };
      const items = await read(verilogEval2, [folder]);
      const { result, reportPath } = await evaluate(verilogEval2, {
        items,
        subject: { kind: 'model', model },
        dir: join(root, 'eval'),
        command: 'iverilog',
      });
      expect(asked).toBe(2);
      expect(result).toMatchObject({ items: 1, missing: 1, firstError: expect.stringContaining('not a port of good1') });
      expect(result.numbers[0]).toMatchObject({ name: 'pass@1', value: 1, n: 1 });
      expect(readFileSync(reportPath, 'utf8')).toContain('1 of 2 items have no outcome');
    });
    const machine = dataPath('verilog-eval/verilogeval_v1_machine.jsonl');
    it.skipIf(!machine)('passes the official solutions, and not the empty module (skipped where the real data is missing)', async () => {
      const items = (await read(verilogEval, [machine!])).slice(0, 6);
      const solutions: string[] = [];
      for await (const { row } of benchmarkRows([machine!])) solutions.push(row.canonical_solution as string);
      for (const [i, item] of items.entries()) {
        expect(await verilogEval.check(item, fenced(solutions[i]), { command: 'iverilog' }), item.id).toEqual({ passed: 1, compiles: 1 });
        expect(await verilogEval.check(item, fenced('endmodule'), { command: 'iverilog' }), item.id).toMatchObject({ passed: 0 });
      }
    });
  });

  describe.skipIf(!yosysInstalled())('by Yosys (skipped where @yowasp/yosys is not installed)', () => {
    it.each([
      ['version 1', verilogEval, [first, descriptions], 'top_module'],
      ['version 2', verilogEval2, [second], 'TopModule'],
    ] as const)('compares with the reference, under another name than pass@1: %s', async (_, benchmark, paths, top) => {
      const [item] = await read(benchmark, paths);
      const { right, wrong, broken, none } = answers(top);
      const check = (answer: string) => benchmark.check(item, answer, { command: 'yosys' });
      const passed = await check(right);
      expect(passed).toEqual({ equivalent: 1, compiles: 1 });
      expect(await check(wrong)).toEqual({ equivalent: 0, compiles: 1 });
      expect(await check(broken)).toEqual({ equivalent: 0, compiles: 0 });
      expect(await check(none)).toEqual({ equivalent: 0, compiles: 0 });
      const numbers = benchmark.report([item], [{ response: right, passed }]);
      expect(numbers.map(({ name, value }) => [name, value])).toEqual([
        ['equivalent to the reference, by Yosys', 1],
        [item.subset, 1],
        ['compiles', 1],
      ]);
    });
  });
});
