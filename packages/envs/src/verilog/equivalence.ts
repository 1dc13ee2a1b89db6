/** Whether a Verilog module does what a reference does, proved by Yosys and its SAT solver. */
import { runYosys, type YosysRun } from './yosys.js';

export type VerilogModule = {
  source: string;
  /** Name of the module; others in the source are its parts. */
  top: string;
};
export type Equivalence =
  /** Of circuits without memory, for all inputs; of others in the first `cycles` cycles of their clock, for all inputs. */
  | { verdict: 'equal'; cycles?: number }
  | { verdict: 'different'; why: string }
  /** The module cannot be read or synthesised: an error of syntax, an undriven or twice driven wire. */
  | { verdict: 'broken'; why: string }
  /** The time was over before the first cycles had been compared, or the reference itself cannot be synthesised. */
  | { verdict: 'undecided'; why: string };

/**
 * Compares all outputs, by name, for all inputs. Where the reference's output is undefined, anything is right, as in simulation; memories and flip-flops begin
 * undefined. Latches and clocks of any number and edge are understood, since time is cut into half cycles.
 *
 * @param cycles         of the clock, for circuits with memory; 10 by default. What shows later than that is not seen
 * @param timeoutSeconds for both of Yosys's runs; 30 by default. Where it ends a comparison of circuits with memory, the cycles that were compared count, from 2 on
 * @throws ConfigError where Yosys is not installed
 */
export async function verilogEquivalence(
  reference: VerilogModule,
  candidate: VerilogModule,
  { cycles = 10, timeoutSeconds = 30, signal }: { cycles?: number; timeoutSeconds?: number; signal?: AbortSignal } = {},
): Promise<Equivalence> {
  const started = Date.now();
  const joined = await runYosys(
    joinScript(reference.top, candidate.top),
    { 'reference.sv': reference.source, 'candidate.sv': candidate.source },
    { timeoutSeconds, signal },
  );
  if (!joined.ok) return whyNotJoined(joined);
  const sequential = /^miter\//m.test(joined.log.split(line(marks.memory))[1] ?? '');
  const solved = await runYosys(
    `read_rtlil miter.il; sat -enable_undef -set-def-inputs -prove trigger 0 ${sequential ? `-set-init-undef -tempinduct-baseonly -maxsteps ${2 * cycles}` : ''} miter`,
    { 'miter.il': joined.files['miter.il'] },
    { timeoutSeconds: Math.max(1, timeoutSeconds - (Date.now() - started) / 1000), signal },
  );
  if (/: SUCCESS!$/m.test(solved.log)) return sequential ? { verdict: 'equal', cycles } : { verdict: 'equal' };
  if (/: FAIL!$/m.test(solved.log)) return { verdict: 'different', why: 'there are inputs for which an output differs' };
  // the last base case that was begun is open
  const compared = Math.floor((Number([...solved.log.matchAll(/^\[base case (\d+)\]/gm)].at(-1)?.[1] ?? 1) - 1) / 2);
  if (sequential && !solved.ok && solved.timedOut && compared >= 2) return { verdict: 'equal', cycles: compared };
  return { verdict: 'undecided', why: solved.ok ? 'the solver said neither' : solved.error };
}

/** What the log has before the reference, both together, and the list of flip-flops. */
const marks = { reference: 'plumbline: reference', both: 'plumbline: both', memory: 'plumbline: memory' };
/** A mark as it is written, not as it stands in the script, which the log repeats. */
const line = (mark: string) => new RegExp(`^${mark}$`, 'm');

/** Both modules, each with parts of its own, joined at their inputs; `trigger` is 1 where an output differs. */
const joinScript = (reference: string, candidate: string) =>
  [
    ...synthesis('candidate', candidate, ['check -assert']),
    `log ${marks.reference}`,
    ...synthesis('reference', reference),
    `log ${marks.both}`,
    `design -copy-from reference -as reference ${reference}`,
    `design -copy-from candidate -as candidate ${candidate}`,
    'opt -full; clk2fflogic; opt -full',
    'miter -equiv -ignore_gold_x -flatten reference candidate miter',
    'hierarchy -top miter; opt -full',
    `log ${marks.memory}`,
    'select -list t:$ff',
    'write_rtlil miter.il',
  ].join('; ');
const synthesis = (name: string, top: string, checks: readonly string[] = []) => [
  `read_verilog -sv ${name}.sv`,
  `hierarchy -check -top ${top}`,
  'proc',
  ...checks,
  'flatten; memory',
  `design -stash ${name}`,
];

function whyNotJoined({ log, error, timedOut }: Extract<YosysRun, { ok: false }>): Equivalence {
  if (timedOut) return { verdict: 'undecided', why: error };
  if (!line(marks.reference).test(log)) return { verdict: 'broken', why: error };
  if (!line(marks.both).test(log)) return { verdict: 'undecided', why: `of the reference: ${error}` };
  return { verdict: 'different', why: error };
}
