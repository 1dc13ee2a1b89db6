/** Direct preference alignment, with what needs files. */

export * from './index.js';

export { fileLogpCache } from './logpCache.node.js';
