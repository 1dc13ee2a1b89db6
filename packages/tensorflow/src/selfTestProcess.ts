/** The self-test in a process of its own, for setup: what it does to the process, a crash included, stays there. */
import { messageOf } from './errors.js';
import { selfTest } from './selfTest.js';

const options = JSON.parse(process.argv[2] ?? '{}') as Parameters<typeof selfTest>[0];
selfTest(options).then(
  (result) => process.stdout.write(`${JSON.stringify(result)}\n`),
  (error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exitCode = 1;
  },
);
