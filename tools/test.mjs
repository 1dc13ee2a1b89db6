// Runs every package's tests through turbo and ends with what failed and one line: `N passed, N failed`. `--full` adds the slow checks.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const full = process.argv.includes('--full');
const folders = ['packages', 'apps']
  .flatMap((group) => readdirSync(new URL(group, root)).map((name) => `${group}/${name}`))
  .concat('test')
  .filter((folder) => existsSync(new URL(`${folder}/package.json`, root)))
  .filter((folder) => JSON.parse(readFileSync(new URL(`${folder}/package.json`, root), 'utf8')).scripts?.test);
const firstLines = (text) =>
  text
    .split('\n')
    .slice(0, 12)
    .map((line) => `  ${line}`)
    .join('\n');
const resultOf = (folder) => new URL(`${folder}/.results/vitest.json`, root);

for (const folder of folders) rmSync(resultOf(folder), { force: true });
const turbo = spawnSync(
  process.execPath,
  ['tools/pnpm.mjs', 'exec', 'turbo', 'run', 'test', '--continue', '--concurrency=1', '--env-mode=loose', '--output-logs=new-only'],
  { stdio: 'inherit', cwd: root, env: { ...process.env, ...(full && { PLUMB_FULL: '1' }) } },
);

let [passed, failed, skipped] = [0, 0, 0];
for (const folder of folders) {
  if (!existsSync(resultOf(folder))) {
    console.log(`${folder}: no test result was written`);
    failed++;
    continue;
  }
  const result = JSON.parse(readFileSync(resultOf(folder), 'utf8'));
  passed += result.numPassedTests;
  skipped += result.numPendingTests + result.numTodoTests;
  const broken = result.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((one) => one.status === 'failed'),
  );
  failed += result.numFailedTests + broken.length; // a file that could not be loaded counts as one
  for (const file of result.testResults) {
    const path = relative(fileURLToPath(root), file.name);
    for (const { fullName, failureMessages } of file.assertionResults.filter(({ status }) => status === 'failed'))
      console.log(`FAILED ${path} > ${fullName}\n${firstLines(failureMessages.join('\n'))}`);
    if (broken.includes(file)) console.log(`FAILED ${path} could not be run\n${firstLines(file.message)}`);
  }
}
if (turbo.status !== 0 && failed === 0) failed = 1;
if (skipped > 0) console.log(`${skipped} skipped, each for the reason in its name${full ? '' : ' (slow ones run with npm run test:full)'}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
