/** Rewards as assertions of promptfoo, by their shape. */
import { rng } from '@plumbline/core/light';
import type { RewardFunction } from '@plumbline/data/light';

/** What promptfoo gives a JavaScript assertion beside the output. */
export type PromptfooContext = { prompt?: string | null; vars?: Record<string, unknown> };
export type PromptfooResult = { pass: boolean; score: number; reason: string; namedScores?: Record<string, number> };

/**
 * A reward as a JavaScript assertion of promptfoo: `assert: [{ type: 'javascript', value: 'file://assert.mjs' }]` with `export default promptfooAssertion(reward, { threshold: 0.5 })`. The test's
 * `vars` are the candidate's `meta`, so that `numericAnswer()` finds `vars.answer`. Where the reward abstains, the assertion passes with a score of 1 and says so, unless `onAbstain` is 'fail'.
 */
export function promptfooAssertion(
  reward: RewardFunction,
  { threshold = 0.5, onAbstain = 'pass', seed = 0 }: { threshold?: number; onAbstain?: 'pass' | 'fail'; seed?: number } = {},
): (output: string, context?: PromptfooContext) => Promise<PromptfooResult> {
  return async (output, context = {}) => {
    const candidate = {
      prompt: context.prompt ?? '',
      completion: typeof output === 'string' ? output : JSON.stringify(output),
      meta: context.vars ?? {},
    };
    const { scores, abstained, components } = await reward.score([candidate], { rng: rng(seed) });
    if (abstained?.[0] === 1) {
      const pass = onAbstain === 'pass';
      return { pass, score: pass ? 1 : 0, reason: `${reward.name} cannot judge this output` };
    }
    const pass = scores[0] >= threshold;
    return {
      pass,
      score: scores[0],
      reason: `${reward.name}: ${round(scores[0])} is ${pass ? 'at least' : 'below'} ${threshold}`,
      ...(components && { namedScores: Object.fromEntries(Object.entries(components).map(([name, values]) => [name, values[0]])) }),
    };
  };
}

const round = (x: number) => Number(x.toFixed(4));
