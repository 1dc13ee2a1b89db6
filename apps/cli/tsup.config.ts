import { build } from '@plumbline/tools/tsup';

export default build(['src/main.ts', 'src/serve/worker.ts']);
