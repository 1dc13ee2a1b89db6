export type { Equivalence, VerilogModule } from './equivalence.js';
export { verilogEquivalence } from './equivalence.js';
export type { YosysRun } from './yosys.js';
export { runYosys, yosysInstalled } from './yosys.js';
