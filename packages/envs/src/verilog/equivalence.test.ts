import { describe, expect, it } from 'vitest';
import { runYosys, type VerilogModule, verilogEquivalence, yosysInstalled } from './index.js';

/** Without its limit on time, which a busy machine may reach. */
const compare = (reference: VerilogModule, other: VerilogModule, { cycles }: { cycles?: number } = {}) =>
  verilogEquivalence(reference, other, { ...(cycles && { cycles }), timeoutSeconds: 600 });

const flipFlop = {
  top: 'reference',
  source: 'module reference(input clk, input d, output reg q);\n  always @(posedge clk) q <= d;\nendmodule\n',
};
const candidate = (body: string, ports = 'input clk, input d, output reg q') => ({
  top: 'candidate',
  source: `module candidate(${ports});\n  ${body}\nendmodule\n`,
});

describe.skipIf(!yosysInstalled())('Yosys (skipped where @yowasp/yosys is not installed)', () => {
  it('proves circuits without memory equal for all inputs, whatever they look like', async () => {
    const adder = {
      top: 'a',
      source: 'module a(input [3:0] x, y, z, input s, output [3:0] o);\n  assign o = s ? x + z : y + z;\nendmodule\n',
    };
    const other = (expression: string) => ({
      top: 'b',
      source: `module b(input [3:0] x, y, z, input s, output [3:0] o);\n  assign o = ${expression};\nendmodule\n`,
    });
    expect(await compare(adder, other('(s ? x : y) + z'))).toEqual({ verdict: 'equal' });
    expect(await compare(adder, other('(s ? x : y) - z'))).toMatchObject({ verdict: 'different' });
    // one of 2^13 inputs
    expect(await compare(adder, other("(s ? x : y) + z + ({x, y, z, s} == 13'h0f0f)"))).toMatchObject({
      verdict: 'different',
    });
  });
  it('compares circuits with memory over the cycles of their clock, by edge and by what is stored', async () => {
    expect(await compare(flipFlop, candidate('always @(posedge clk) q <= d;'), { cycles: 4 })).toEqual({
      verdict: 'equal',
      cycles: 4,
    });
    expect(await compare(flipFlop, candidate('always @(posedge clk) q <= !d;'), { cycles: 4 })).toMatchObject({
      verdict: 'different',
    });
    expect(await compare(flipFlop, candidate('always @(negedge clk) q <= d;'), { cycles: 4 })).toMatchObject({
      verdict: 'different',
    });
    // where the reference is undefined, anything is right
    expect(await compare(flipFlop, candidate('initial q = 0;\n  always @(posedge clk) q <= d;'), { cycles: 4 })).toMatchObject({
      verdict: 'equal',
    });
  });
  it('sees a counter that wraps too early only where enough cycles are compared', async () => {
    const counter = (top: string, last: number) => ({
      top,
      source: `module ${top}(input clk, input reset, output reg [2:0] q);\n  always @(posedge clk) if (reset || q == ${last}) q <= 0; else q <= q + 1;\nendmodule\n`,
    });
    const compared = (cycles: number) => compare(counter('good', 4), counter('bad', 3), { cycles });
    expect(await compared(3)).toEqual({ verdict: 'equal', cycles: 3 });
    expect(await compared(7)).toMatchObject({ verdict: 'different' });
  });
  it('tells what cannot be read or built from what is wrong, and a reference that cannot be built', async () => {
    const broken = (body: string, ports?: string) => compare(flipFlop, candidate(body, ports));
    expect(await broken('always @(posedge clk) q <= d')).toEqual({
      verdict: 'broken',
      why: 'candidate.sv:3: ERROR: syntax error, unexpected TOK_ENDMODULE',
    });
    const wires = 'input clk, input d, output q';
    expect(await broken('assign q = d; assign q = clk;', wires)).toMatchObject({
      verdict: 'broken',
      why: expect.stringContaining("'check -assert'"),
    });
    expect(await broken('part p(d, q);', wires)).toMatchObject({ verdict: 'broken' });
    expect(await broken('always @(posedge clk) q <= e;', 'input clk, input e, output reg q')).toMatchObject({ verdict: 'different' });
    expect(await compare({ top: 'missing', source: flipFlop.source }, candidate('always @(posedge clk) q <= d;'))).toMatchObject({
      verdict: 'undecided',
      why: expect.stringContaining('of the reference'),
    });
  });
  it('ends what takes too long, and goes on with the next run', async () => {
    // the factors of a product of two primes of 48 bits
    const factors =
      "module m(input [47:0] a, b, output y);\n  assign y = a > 1 && b > 1 && a * b == 96'd50668735533102531785624545187;\nendmodule\n";
    const late = await runYosys('read_verilog -sv m.sv; sat -prove y 0 m', { 'm.sv': factors }, { timeoutSeconds: 1 });
    expect(late).toMatchObject({ ok: false, timedOut: true, error: 'Yosys ran longer than 1 s' });
    const next = await runYosys('read_verilog -sv m.sv; proc; write_json m.json', { 'm.sv': flipFlop.source }, { timeoutSeconds: 600 });
    expect(next.ok && Object.keys(JSON.parse(next.files['m.json']).modules)).toEqual(['reference']);
    const stopped = AbortSignal.abort(new Error('stopped'));
    await expect(runYosys('stat', {}, { signal: stopped })).rejects.toThrow('stopped');
  });
});
