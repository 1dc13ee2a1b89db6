import { build } from '@plumbline/tools/tsup';

export default build([
  'src/index.ts',
  'src/metrics/index.ts',
  'src/benchmarks/index.ts',
  'src/perf/index.ts',
  'src/perf/worker.ts',
  'src/perf/generationWorker.ts',
  'src/perf/trlWorker.ts',
]);
