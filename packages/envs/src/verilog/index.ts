/** Verilog: what Yosys says of a circuit. A door of its own, since it asks for nothing else of this package. */
export type { Equivalence, VerilogModule } from './equivalence.js';
export { verilogEquivalence } from './equivalence.js';
export type { YosysRun } from './yosys.js';
export { runYosys, yosysInstalled } from './yosys.js';
