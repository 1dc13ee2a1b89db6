import { build } from '../../tools/tsup.base.js';

export default build(['src/main.ts']);
