export { default } from '@plumbline/tools/vitest';
