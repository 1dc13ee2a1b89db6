import { build } from '@plumbline/tools/tsup';

export default build([
  'src/index.ts',
  'src/index.node.ts',
  'src/light.ts',
  'src/statistics/index.ts',
  'src/tabular/index.ts',
  'src/contract/index.ts',
]);
