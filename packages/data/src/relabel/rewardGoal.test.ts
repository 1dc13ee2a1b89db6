import { rng } from '@plumbline/core';
import { describe, expect, it, vi } from 'vitest';
import { encodePrompt } from '../encode.js';
import type { PreferenceRecord } from '../records.js';
import { byteTokenizer } from '../testing/byteTokenizer.js';
import { augmentWithRewardGoals, formatGoal, type GoalAugmentOptions, goalPrompt, multiAttributeTemplate } from './rewardGoal.js';
import { ultrafeedbackPairs } from './ultrafeedback.js';

const record = (chosen_score?: number, rejected_score?: number): PreferenceRecord => ({
  id: 'r',
  prompt: 'Tell me.',
  chosen: 'good',
  rejected: 'fair',
  chosen_score,
  rejected_score,
});
const options: GoalAugmentOptions = { placement: 'userPrefix', rng: rng(1), template: { text: 'score: {goal}', separator: '\n' } };

describe('augmentWithRewardGoals', () => {
  it('turns each pair into two, the second reversed under its own score', () => {
    const given = [record(9, 8)];
    const before = structuredClone(given);
    expect(augmentWithRewardGoals(given, options)).toEqual([
      {
        id: 'r@9',
        prompt: 'score: 9\nTell me.',
        chosen: 'good',
        rejected: 'fair',
        chosen_score: 9,
        rejected_score: 8,
        meta: { goal: 9, origin: 0, reversed: false },
      },
      {
        id: 'r@8 reversed',
        prompt: 'score: 8\nTell me.',
        chosen: 'fair',
        rejected: 'good',
        chosen_score: 8,
        rejected_score: 9,
        meta: { goal: 8, origin: 0, reversed: true },
      },
    ]);
    expect(given).toEqual(before);
  });
  it('lets the chosen side win under every goal by the goal-conditioned reward', () => {
    const goalReward = (goal: number, score: number) => -((goal - score) ** 2);
    const pairs = augmentWithRewardGoals([record(9, 8), record(3, 7.5)], { ...options, warn: () => {} });
    expect(pairs).toHaveLength(4);
    for (const { chosen_score, rejected_score, meta } of pairs) {
      expect(goalReward(meta!.goal as number, chosen_score!)).toBe(-0);
      expect(goalReward(meta!.goal as number, rejected_score!)).toBe(-((chosen_score! - rejected_score!) ** 2));
    }
    expect(pairs.map(({ meta }) => meta!.origin)).toEqual([0, 0, 1, 1]);
  });
  it('keeps pairs that score the rejected answer higher, and counts them', () => {
    const warn = vi.fn();
    expect(augmentWithRewardGoals([record(3, 7), record(9, 8)], { ...options, warn })).toHaveLength(4);
    expect(warn).toHaveBeenCalledWith(expect.stringMatching(/1 of 2 pairs score the rejected answer above the chosen one/));
  });
  it('drops ties, keeps them or refuses them', () => {
    const records = [record(5, 5), record(6, 5)];
    expect(augmentWithRewardGoals(records, options)).toHaveLength(2);
    expect(augmentWithRewardGoals(records, { ...options, ties: 'keep' })).toHaveLength(4);
    expect(() => augmentWithRewardGoals(records, { ...options, ties: 'error' })).toThrow(/both scores of record r are 5/);
  });
  it('takes a share of the pairs, so that half gives as many as came in', () => {
    const records = Array.from({ length: 10 }, (_, i) => ({ ...record(9, 1 + i / 2), id: `r${i}` }));
    const half = augmentWithRewardGoals(records, { ...options, fraction: 0.5 });
    expect(half).toHaveLength(10);
    expect(new Set(half.map(({ meta }) => meta!.origin)).size).toBe(5);
  });
  it.each<[PreferenceRecord[], Partial<GoalAugmentOptions>, RegExp]>([
    [[], {}, /there are no records/],
    [[record(9)], {}, /rejected_score of record r is missing; the template "score: \{goal\}" needs it/],
    [[record(NaN, 1)], {}, /chosen_score of record r is NaN/],
    [[record(9, Infinity)], {}, /rejected_score of record r is Infinity/],
    [[record(11, 1)], {}, /chosen_score of record r is 11, outside of \[1, 10\]; rescale the scores or set clampScores/],
    [[record(9, 8)], { template: { text: 'be good' } }, /has no slot \{goal\}/],
    [[record(9, 8)], { placement: 'system' }, /plain-text prompt has no system message; use placement: 'userPrefix'/],
    [[record(9, 8)], { fraction: 0 }, /fraction must be in \(0, 1\], got 0/],
  ])('says what is wrong with %o under %o', (records, more, message) => {
    expect(() => augmentWithRewardGoals(records, { ...options, ...more })).toThrow(message);
  });
  it('moves scores to the ends of the scale if asked to', () => {
    expect(augmentWithRewardGoals([record(11, 1)], { ...options, clampScores: true }).map(({ meta }) => meta!.goal)).toEqual([10, 1]);
  });
});

describe('formatGoal', () => {
  it('writes whole numbers without decimals', () => expect([9, 8.5, 10, 7.1].map(formatGoal)).toEqual(['9', '8.5', '10', '7.1']));
});

describe('goalPrompt', () => {
  const turns = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'two' },
    { role: 'user', content: 'three' },
  ];
  it('changes the first user turn alone', () => {
    const prompt = goalPrompt(turns, 9, options);
    expect(prompt).toEqual([{ role: 'user', content: 'score: 9\none' }, ...turns.slice(1)]);
  });
  it('adds a system message, or goes into the one that is there', () => {
    expect(goalPrompt(turns, 9, { ...options, placement: 'system' })).toEqual([{ role: 'system', content: 'score: 9' }, ...turns]);
    expect(goalPrompt([{ role: 'system', content: 'Be kind.' }, ...turns], 9, { ...options, placement: 'system' })).toEqual([
      { role: 'system', content: 'Be kind.\nscore: 9' },
      ...turns,
    ]);
  });
  it('is the same to the byte in training and in use', () => {
    const tokenizer = byteTokenizer({ chat: true });
    for (const placement of ['system', 'userPrefix'] as const) {
      const [trained] = augmentWithRewardGoals(
        [
          {
            ...record(10, 8),
            prompt: turns,
            chosen: [{ role: 'assistant', content: 'a' }],
            rejected: [{ role: 'assistant', content: 'b' }],
          },
        ],
        { ...options, placement },
      );
      expect(encodePrompt(tokenizer, goalPrompt(turns, 10, { ...options, placement }))).toEqual(encodePrompt(tokenizer, trained.prompt));
    }
  });
  it('refuses a system message where the chat template has no place for it', () => {
    const tokenizer = byteTokenizer({ chat: true });
    expect(() => goalPrompt(turns, 9, { ...options, placement: 'system', tokenizer })).not.toThrow();
    const without = {
      ...tokenizer,
      name: 'narrow',
      renderChat: (messages: Parameters<typeof tokenizer.renderChat>[0]) =>
        tokenizer.renderChat(messages.filter(({ role }) => role !== 'system')),
    };
    expect(() => goalPrompt(turns, 9, { ...options, placement: 'system', tokenizer: without })).toThrow(
      /chat template of narrow has no system role; use placement: 'userPrefix'/,
    );
  });
  it('asks for several attributes, a line each', () => {
    const template = multiAttributeTemplate(['helpfulness', 'honesty']);
    expect(goalPrompt('Hi', { helpfulness: 9, honesty: 8.5 }, { placement: 'userPrefix', template })).toMatch(
      /\nHelpfulness: 9\.\nHonesty: 8\.5\.\n\nHi$/,
    );
    expect(() => goalPrompt('Hi', { wit: 9 }, { placement: 'userPrefix', template })).toThrow(/no slot \{goal\.wit\}/);
  });
});

describe('what DPO learns from the augmented pairs', () => {
  const softplus = (x: number) => Math.log1p(Math.exp(x));
  it('is nothing for a policy that ignores the goal: the two halves of a pair pull apart', () => {
    const [kept, reversed] = augmentWithRewardGoals([record(9, 8)], options);
    expect([kept.chosen, reversed.chosen]).toEqual(['good', 'fair']);
    const loss = (z: number) => 0.5 * (softplus(-z) + softplus(z)); // margins z and -z at the same parameters
    expect(loss(0.15)).toBeCloseTo(0.695957, 6);
    expect(loss(0)).toBeCloseTo(Math.LN2, 6);
    expect((loss(0.15 + 1e-5) - loss(0.15 - 1e-5)) / 2e-5).toBeCloseTo(0.03743, 5);
  });
  it('drives the better answer up under its goal and down under the other', () => {
    // A table of logits by goal and answer, started at the reference; gradient steps on -log σ(β (Δchosen - Δrejected)).
    const pairs = augmentWithRewardGoals([record(9, 3)], options);
    const logits: Record<string, Record<string, number>> = { 9: { good: 0, fair: 0 }, 3: { good: 0, fair: 0 } };
    const beta = 0.5;
    for (let step = 0; step < 200; step++) {
      for (const { chosen, rejected, meta } of pairs) {
        const row = logits[String(meta!.goal)];
        const push = beta / (1 + Math.exp(beta * (row[chosen as string] - row[rejected as string])));
        row[chosen as string] += 0.5 * push;
        row[rejected as string] -= 0.5 * push;
      }
    }
    const good = (goal: number) => 1 / (1 + Math.exp(logits[goal].fair - logits[goal].good));
    expect(good(9)).toBeGreaterThan(0.9);
    expect(good(3)).toBeLessThan(0.1);
  });
});

describe('ultrafeedbackPairs', () => {
  const completion = (response: string, overall_score: number, rating: string | number = 4) => ({
    response,
    overall_score,
    annotations: Object.fromEntries(
      ['helpfulness', 'honesty', 'instruction_following', 'truthfulness'].map((aspect) => [aspect, { Rating: String(rating) }]),
    ),
  });
  it('pairs the best with a random other, as the paper prepares the data', () => {
    const rows = [
      { instruction: 'a', source: 'sharegpt', completions: [completion('x', 6), completion('y', 9), completion('z', 8, 'N/A')] },
      { instruction: 'b', source: 'truthful_qa', completions: [completion('x', 6), completion('y', 9)] },
      { instruction: 'c', source: 'sharegpt', completions: [completion('x', 6, 5), completion('y', 9, 1)] },
    ];
    const pairs = ultrafeedbackPairs(rows, { rng: rng(1) });
    expect(pairs.map(({ chosen, rejected, chosen_score, rejected_score }) => [chosen, rejected, chosen_score, rejected_score])).toEqual([
      [[{ role: 'assistant', content: 'y' }], [{ role: 'assistant', content: 'x' }], 9, 6],
    ]);
  });
  it('names the row and the field that it cannot read', () => {
    expect(() => ultrafeedbackPairs([{ completions: [] }], { rng: rng(1) })).toThrow(/row 0 has no text "instruction"/);
    expect(() => ultrafeedbackPairs([{ instruction: 'a', completions: [{ response: 'x' }] }], { rng: rng(1) })).toThrow(
      /row 0, completion 0 has no number "overall_score"/,
    );
  });
});
