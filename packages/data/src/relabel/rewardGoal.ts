/**
 * Reward-augmented preference data. Zhang et al. 2024, arXiv:2410.08067, section 4: a pair says which answer is better, not how good either is.
 * Put the score that is wanted into the prompt and judge an answer with score r under the goal g by `-(g - r)²`: the chosen answer wins under its own
 * score, the rejected one under its own. So each pair becomes two, the second reversed, and a policy trained on both is asked for the highest
 * score when used. With a pessimistic objective the paper bounds the suboptimality at that goal by O(N^-1/2).
 */
import type { Rng } from '@plumbline/core';
import { ConfigError } from '@plumbline/core';
import type { Message, Prompt, Tokenizer } from '../interfaces.js';
import { swapSides } from '../pairs/relabel.js';
import { isMessages, type PreferenceRecord } from '../records.js';

/** One score, or one for each attribute. */
export type Goal = number | Readonly<Record<string, number>>;
/** `text` has the slot `{goal}`, or `{goal.NAME}` for each attribute; `separator` stands between it and the text it precedes. */
export type GoalTemplate = { text: string; separator?: string };

export type GoalPromptOptions = {
  template?: GoalTemplate;
  /** A system message, or text before the first user turn (or before a plain prompt). */
  placement: 'system' | 'userPrefix';
  /** With `placement: 'system'`, checked for a chat template that has a system role. */
  tokenizer?: Tokenizer;
};

/** After the official wording: answer the instruction while implicitly reaching the target score. */
export const overallScoreTemplate: GoalTemplate = {
  text: 'You are an assistant that answers the instruction while implicitly reaching the following target score, on a scale from 1 to 10, where 10 is the best:\nOverall score: {goal}.',
};

/** One line for each attribute; the goal is then a record from attribute to score. */
export function multiAttributeTemplate(names: readonly string[]): GoalTemplate {
  if (names.length === 0) throw new ConfigError('multiAttributeTemplate: there are no attributes');
  const lines = names.map((name) => `${name[0].toUpperCase()}${name.slice(1)}: {goal.${name}}.`);
  return {
    text: `You are an assistant that answers the instruction while implicitly reaching the following target scores, on a scale from 1 to 10, where 10 is the best:\n${lines.join('\n')}`,
  };
}

/** Without decimals where the score is whole: 9, 8.5. */
export function formatGoal(goal: number): string {
  if (!Number.isFinite(goal)) throw new RangeError(`formatGoal: a goal must be finite, got ${goal}`);
  return String(goal);
}

/**
 * The prompt that asks for this score, for training and for use alike. A system message that is already there keeps its text, with the goal after it;
 * of several turns only the first changes.
 *
 * @throws ConfigError for a template without a slot for the goal, and for a system message where prompt or chat template has no place for one
 */
export function goalPrompt(
  prompt: Prompt,
  goal: Goal,
  { template = overallScoreTemplate, placement, tokenizer }: GoalPromptOptions,
): Prompt {
  const text = fill(template, goal);
  const separator = template.separator ?? '\n\n';
  if (!isMessages(prompt)) {
    if (placement === 'system') throw new ConfigError("goalPrompt: a plain-text prompt has no system message; use placement: 'userPrefix'");
    return text + separator + prompt;
  }
  if (placement === 'system') {
    if (tokenizer && !hasSystemRole(tokenizer)) {
      throw new ConfigError(`goalPrompt: the chat template of ${tokenizer.name} has no system role; use placement: 'userPrefix'`);
    }
    const [first, ...rest] = prompt;
    if (first?.role === 'system') return [{ ...first, content: first.content + separator + text }, ...rest];
    return [{ role: 'system', content: text }, ...prompt];
  }
  const user = prompt.findIndex(({ role }) => role === 'user');
  if (user < 0) throw new ConfigError('goalPrompt: the prompt has no user turn to put the goal before');
  return prompt.map((message, i): Message => (i === user ? { ...message, content: text + separator + message.content } : message));
}

export type GoalAugmentOptions = GoalPromptOptions & {
  /** Equal scores: the two new pairs contradict each other under one prompt, with no gradient at the reference. */
  ties?: 'drop' | 'keep' | 'error';
  /** Share of the pairs that are augmented, drawn without replacement; the others are left out. 0.5 gives as many pairs as came in. */
  fraction?: number;
  rng: Rng;
  /** Scores outside are an error, or are moved to its ends by `clampScores`. */
  scale?: readonly [low: number, high: number];
  clampScores?: boolean;
  /** Receives what was kept but looks odd, with its count. */
  warn?: (message: string) => void;
};

/**
 * Two records for each pair, next to each other: under the goal `chosen_score` as it was, under the goal `rejected_score` reversed. `meta` gains
 * `goal`, `origin` (index in `records`) and `reversed`. The records given are not changed.
 *
 * @throws RangeError naming record and field for scores that are missing, not finite or off the scale
 */
export function augmentWithRewardGoals(records: readonly PreferenceRecord[], options: GoalAugmentOptions): PreferenceRecord[] {
  const { ties = 'drop', fraction = 1, rng, scale = [1, 10], clampScores = false, warn = console.warn, ...prompting } = options;
  if (records.length === 0) throw new RangeError('augmentWithRewardGoals: there are no records');
  if (!(fraction > 0 && fraction <= 1)) throw new RangeError(`augmentWithRewardGoals: fraction must be in (0, 1], got ${fraction}`);
  const template = prompting.template ?? overallScoreTemplate;
  const scoreOf = (record: PreferenceRecord, index: number, field: 'chosen_score' | 'rejected_score'): number => {
    const score = record[field];
    const where = `augmentWithRewardGoals: ${field} of record ${record.id ?? index}`;
    if (score === undefined) throw new RangeError(`${where} is missing; the template ${JSON.stringify(template.text.slice(-40))} needs it`);
    if (!Number.isFinite(score)) throw new RangeError(`${where} is ${score}`);
    if (clampScores) return Math.min(scale[1], Math.max(scale[0], score));
    if (score < scale[0] || score > scale[1]) {
      throw new RangeError(`${where} is ${score}, outside of [${scale.join(', ')}]; rescale the scores or set clampScores`);
    }
    return score;
  };
  const taken = Array.from(rng.permutation(records.length).subarray(0, Math.round(fraction * records.length))).sort((a, b) => a - b);
  let inverted = 0;
  const augmented = taken.flatMap((origin) => {
    const record = records[origin];
    const [chosenScore, rejectedScore] = [scoreOf(record, origin, 'chosen_score'), scoreOf(record, origin, 'rejected_score')];
    if (chosenScore === rejectedScore && ties === 'error') {
      throw new RangeError(`augmentWithRewardGoals: both scores of record ${record.id ?? origin} are ${chosenScore}, and ties is 'error'`);
    }
    if (chosenScore === rejectedScore && ties === 'drop') return [];
    if (chosenScore < rejectedScore) inverted++;
    const scored = { ...record, chosen_score: chosenScore, rejected_score: rejectedScore };
    return [scored, swapSides(scored)].map((side, i): PreferenceRecord => {
      const goal = side.chosen_score!;
      return {
        ...side,
        id: `${record.id ?? origin}@${formatGoal(goal)}${i === 1 ? ' reversed' : ''}`,
        prompt: goalPrompt(side.prompt, goal, prompting),
        meta: { ...record.meta, goal, origin, reversed: i === 1 },
      };
    });
  });
  if (inverted > 0)
    warn(
      `augmentWithRewardGoals: ${inverted} of ${taken.length} pairs score the rejected answer above the chosen one; they are kept, since each answer wins under its own score`,
    );
  return augmented;
}

function fill({ text }: GoalTemplate, goal: Goal): string {
  if (typeof goal === 'number') {
    if (!text.includes('{goal}')) throw new ConfigError(`goalPrompt: the template ${JSON.stringify(text.slice(0, 60))} has no slot {goal}`);
    return text.replaceAll('{goal}', formatGoal(goal));
  }
  return Object.entries(goal).reduce((filled, [name, score]) => {
    if (!filled.includes(`{goal.${name}}`)) throw new ConfigError(`goalPrompt: the template has no slot {goal.${name}}`);
    return filled.replaceAll(`{goal.${name}}`, formatGoal(score));
  }, text);
}

function hasSystemRole(tokenizer: Tokenizer): boolean {
  const probe = 'does this text survive';
  try {
    return tokenizer
      .renderChat([
        { role: 'system', content: probe },
        { role: 'user', content: 'hello' },
      ])
      .includes(probe);
  } catch {
    return false;
  }
}
