import { build } from '../../tools/tsup.base.js';

export default build(['src/index.ts', 'src/api.ts', 'src/selfTestProcess.ts']);
