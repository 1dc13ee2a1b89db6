import { build } from '@plumbline/tools/tsup';

export default build(['src/index.ts', 'src/index.node.ts', 'src/testing/index.ts']);
