/** Completions that are known before they are sampled. */
import type { Rollout } from '../rollout/generate.js';

/** The text of ids under `plainTokenizer`. */
export const letters = (...ids: number[]): string => ids.map((id) => String.fromCodePoint(id + 33)).join('');

/** Sample j of prompt i is empty where `empty` says so, else the two tokens j + 1 and i + 2. */
export const twoTokens =
  (empty: (j: number) => boolean): Rollout =>
  async ({ prompts, n }) =>
    prompts.flatMap((prompt, group) =>
      Array.from({ length: n }, (_, j) => {
        const tokens = Int32Array.from(empty(j) ? [] : [j + 1, group + 2]);
        return { prompt, group, tokens, text: letters(...tokens), samplingLogps: new Float32Array(tokens.length), finish: 'stop' as const };
      }),
    );
