import { build } from '@plumbline/tools/tsup';

export default build(['src/index.ts', 'src/verilog/index.ts']);
