/**
 * docs/methods.md against the code and the reference numbers: every exported function of the packages that train and judge is a method with a row, or a tool that is
 * listed here; every row has its function, tests that name it, and cases that the reference numbers have; every file of reference numbers has a row.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fixturePath } from '@plumbline/tools/fixtures';
import { describe, expect, it } from 'vitest';
import { root } from './install.js';

type Row = { name: string; pkg: string; called: string[]; paper: string; numbers: { file: string; cases: string[] }[]; tests: string[] };
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const quoted = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, inner]) => inner);
const rows: Row[] = read('docs/methods.md')
  .split('\n')
  .flatMap((line): Row[] => {
    const cells = line.split('|').map((cell) => cell.trim());
    const name = /^`(\w+)`$/.exec(cells[1] ?? '')?.[1];
    if (!name) return [];
    const numbers = [...cells[5].matchAll(/((?:losses|training)\/\w+\.json)([^;]*)/g)].map(([, file, cases]) => ({
      file,
      cases: quoted(cases),
    }));
    const tests = [...cells[6].matchAll(/\]\(\.\.\/([^)]+)\)/g)].map(([, test]) => test);
    return [{ name, pkg: cells[2], called: quoted(cells[3]), paper: cells[4], numbers, tests }];
  });

/** Values that a package's face exports from its own files. */
function exportsOf(pkg: string): string[] {
  const source = read(`packages/${pkg}/src/index.ts`).replaceAll(/\/\*[\s\S]*?\*\//g, '');
  return [...source.matchAll(/export \{([^}]*)\} from '\./g)].flatMap(([, names]) =>
    names
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== '' && !name.startsWith('type '))
      .map((name) => name.split(' as ').at(-1)!),
  );
}
/** Names of a record such as `pairLosses`. */
function namesIn(file: string, record: string): string[] {
  const body = new RegExp(`export const ${record} = \\{(.*?)\\n?\\} as const`, 's').exec(read(file))![1].replaceAll(/\/\/.*$/gm, '');
  return body
    .split(',')
    .map((entry) => entry.split(':')[0].trim())
    .filter(Boolean);
}
/** What a test file does, without what it imports. */
const bodyOf = (test: string) => read(test).replaceAll(/^import [\s\S]*?from '[^']+';/gm, '');
const named = (word: string, body: string) => new RegExp(`(?<![\\w-])${word.replaceAll('+', '\\+')}(?![\\w-])`).test(body);

/** Functions around the methods: configuration, records of names, batches, bookkeeping, parsing, templates. What is neither here nor in a row fails. */
const tools: Record<string, string> = {
  dpo: `dpo pairLoss pairLosses startingLosses onlinePairLosses withOptions Divergence evaluatePairs withoutIdentical precomputeReference withGold memoryLogpCache referenceLogps
    referenceRowLogps PairTrainConfig readStream recordStream replayStream writeStream evaluateRows UnpairedTrainConfig encodeRows unpairedBatch unpairedBatches unpairedLoss
    unpairedLosses referencePoint`,
  rl: `policyLoss policyLosses noReward AdvantageConfig PolicyTrainConfig episodeReturn observationText countOf rollout toolCall toolPrompt DistillationConfig regularisationPath
    OfflineAlgorithm OfflineConfig DecisionConfig windowsOf DynamicsConfig
    DiscriminatorConfig`,
  rewards: `batched cached checkScores forgiving timeLimited returnRange standardise answerDistances contrastiveSimilarity contrastBatches EncoderTrainConfig fromAiSdk
    promptfooAssertion rewardMatchers createGate GateTrainConfig promptStates createHeads scoreOutputs stepScorer RewardServerError encodeSteps encodeTargets stepBatch stepBatches
    targetBatch targetBatches withPairLabels JudgeError modelFromFunction parseChecklist parseRanking parseRating parseVerdict parseYesNo checkRubric formatRubric parseRubric rubricFrom
    checklistTemplate pairLetterTemplate pairTemplate pointTemplate promptText rankingTemplate stepTemplate yesNoTemplate rewardLoss rewardLosses presentWeight
    ascendingThresholds rawThresholds symmetricThresholds rewardAccuracy scoreMoments scoreReferences RewardTrainConfig runCode runTests detectLanguage dominantScript languageShare
    lengthOf rewardFromSpec verifierOf verifiers Abstain verifier objectKeypoints
    parsePlan RewardProgramError`,
};
const toolsOf = (pkg: string) => new Set(tools[pkg].split(/\s+/));

describe('docs/methods.md', () => {
  it('has for each row a function that is exported, a paper or what it is, and tests of which one names it', () => {
    const bad = rows.flatMap(({ name, pkg, called, paper, tests }) => {
      if (!exportsOf(pkg).includes(name)) return [`${name} is not exported by ${pkg}`];
      if (paper === '') return [`${name} has no paper`];
      const missing = tests.find((test) => !existsSync(join(root, test)));
      if (tests.length === 0 || missing) return [`${name}: there is no test ${missing ?? ''}`];
      return tests.some((test) => [name, ...called].some((word) => named(word, bodyOf(test))))
        ? []
        : [`${name} is not named in ${tests.join(', ')}`];
    });
    expect(bad).toEqual([]);
    expect(rows.length).toBeGreaterThan(250);
  });

  it('has a row for each function that is exported and no mere tool, and one only', () => {
    const there = rows.map(({ name, pkg }) => `${pkg} ${name}`);
    const missing = Object.keys(tools).flatMap((pkg) =>
      exportsOf(pkg)
        .filter((name) => !toolsOf(pkg).has(name) && !there.includes(`${pkg} ${name}`))
        .map((name) => `${name} of ${pkg} has no row; if it is no method, list it among the tools`),
    );
    expect(missing).toEqual([]);
    expect(there.filter((row, i) => there.indexOf(row) !== i)).toEqual([]);
  });

  it('lists as tools only what is exported and has no row', () => {
    const there = new Set(rows.map(({ name, pkg }) => `${pkg} ${name}`));
    const stale = Object.keys(tools).flatMap((pkg) =>
      [...toolsOf(pkg)].filter((name) => !exportsOf(pkg).includes(name) || there.has(`${pkg} ${name}`)).map((name) => `${name} of ${pkg}`),
    );
    expect(stale).toEqual([]);
  });

  it('has a row for each loss, advantage and verifier that configuration can name', () => {
    const called = new Set(rows.flatMap((row) => row.called.map((name) => `${row.pkg} ${name}`)));
    const records = [
      ['dpo', 'packages/dpo/src/losses/index.ts', 'pairLosses'],
      ['dpo', 'packages/dpo/src/losses/index.ts', 'onlinePairLosses'],
      ['dpo', 'packages/dpo/src/unpaired/index.ts', 'unpairedLosses'],
      ['rl', 'packages/rl/src/losses/index.ts', 'policyLosses'],
      ['rewards', 'packages/rewards/src/losses/index.ts', 'rewardLosses'],
      ['models', 'packages/models/src/sft/losses.ts', 'sftLosses'],
    ] as const;
    const missing = records.flatMap(([pkg, file, record]) =>
      namesIn(file, record).flatMap((name) => (called.has(`${pkg} ${name}`) ? [] : [`${record}.${name}`])),
    );
    expect(missing).toEqual([]);
    const advantages = [...read('packages/rl/src/config.ts').matchAll(/kind: z\.literal\('([^']+)'\)/g)].map(([, kind]) => kind);
    expect(advantages.filter((kind) => !called.has(`rl ${kind}`))).toEqual([]);
    expect(advantages.length).toBeGreaterThan(10);
  });

  it('compares with reference numbers in a test that reads their file', () => {
    const bad = rows.flatMap(({ name, numbers, tests }) =>
      numbers
        .filter(({ file }) => !tests.some((test) => replays(test, file)))
        .map(({ file }) => `${name}: none of ${tests.map((test) => basename(test)).join(', ')} reads ${file}`),
    );
    expect(bad).toEqual([]);
  });

  const losses = fixturePath('losses/dpo.json');
  it.skipIf(!losses)(
    `names cases that there are, and every file of losses and runs${losses ? '' : ' (skipped: the reference numbers are not here)'}`,
    () => {
      const folder = dirname(dirname(losses!));
      const named = new Set(rows.flatMap(({ numbers }) => numbers.map(({ file }) => file)));
      const bad = rows.flatMap(({ name, numbers }) =>
        numbers.flatMap(({ file, cases }) => {
          if (!existsSync(join(folder, file))) return [`${name}: there is no ${file}`];
          const titles = Object.keys((JSON.parse(readFileSync(join(folder, file), 'utf8')) as { cases?: object }).cases ?? {});
          return cases
            .filter(
              (one) =>
                !titles.some((title) => title === one || title.includes(`${one}/`) || title.startsWith(one) || title.includes(`/${one}`)),
            )
            .map((one) => `${name}: ${file} has no case ${one}`);
        }),
      );
      expect(bad).toEqual([]);
      const files = ['losses', 'training'].flatMap((kind) =>
        readdirSync(join(folder, kind))
          .filter((file) => file.endsWith('.json') && !['manifest.json', 'tokenizer.json'].includes(file))
          .map((file) => `${kind}/${file}`),
      );
      expect(files.filter((file) => !named.has(file))).toEqual([]);
    },
  );
});

/** A test reads a file by its whole name, or by its name within a folder that it reads. */
function replays(test: string, file: string): boolean {
  const body = bodyOf(test);
  const name = basename(file, '.json');
  return (
    body.includes(file) ||
    body.includes(`${dirname(file)}/${name}`) ||
    (body.includes(`${dirname(file)}/\${`) && named(name, body)) ||
    body.includes(`fixtures/${dirname(file)}`) ||
    ownCopy(test, name, body)
  );
}
/** Small files that always run are copied beside the package: `test/fixtures/reward-loss.json` holds `losses/reward.json`, `trl-reward` the run. */
function ownCopy(test: string, name: string, body: string): boolean {
  const folder = join(root, test.split('/src/')[0], 'test/fixtures');
  return existsSync(folder) && readdirSync(folder).some((file) => file.includes(name) && body.includes(file));
}
