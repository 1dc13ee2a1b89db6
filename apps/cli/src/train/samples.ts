/** What a run leaves to be read beside its numbers: `samples/step-N.jsonl` in its folder, one row a line. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, rng, writeFileAtomic } from '@plumbline/core';
import { generate, type LocalDecoder } from '@plumbline/models';

const fileOf = (dir: string, step: number) => join(dir, 'samples', `step-${String(step).padStart(6, '0')}.jsonl`);

/** Samples of one step, a file of its own: a resumed run writes the same again. */
export async function writeSamples(dir: string, step: number, rows: readonly object[]): Promise<void> {
  if (rows.length === 0) return;
  await makeFolder(join(dir, 'samples'));
  await writeFileAtomic(fileOf(dir, step), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

/** Writes what is thought of the held-out records after so many steps; 0 is before training. */
export type Look = (step: number) => Promise<void>;

/** @param rowsOf what is written; asked once a step, since a resumed run finds the files of the looks that it took */
export const lookAt =
  (dir: string, rowsOf: () => Promise<readonly object[]>): Look =>
  async (step) => {
    if (!existsSync(fileOf(dir, step)))
      await writeSamples(
        dir,
        step,
        (await rowsOf()).map((row) => ({ step, ...row })),
      );
  };

/** A held-out prompt, and what its record says beside it. */
export type Asked = { prompt: Int32Array; record: object };

/** Looks at how `policy` answers the first held-out prompts, each time by its likeliest tokens, so that only the weights make a difference. */
export function lookAtAnswers(
  dir: string,
  policy: LocalDecoder,
  held: readonly Asked[],
  { writtenSamples, newTokens }: { writtenSamples: number; newTokens: number },
): Look {
  const asked = held.slice(0, writtenSamples);
  return lookAt(dir, async () => {
    if (asked.length === 0) return [];
    const prompts = asked.map(({ prompt }) => prompt);
    const answers = await generate(policy, prompts, { maxTokens: newTokens, temperature: 0, rng: rng(0) });
    return asked.map(({ prompt, record }, i) => {
      const [{ text, finish, tokens }] = answers[i];
      return { prompt: policy.tokenizer.decode(prompt), completion: text, finish, tokens: tokens.length, ...record };
    });
  });
}
