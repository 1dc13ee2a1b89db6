/** Rewards by rule from a configuration file: each verifier under a name, its options checked. */
import { ConfigError } from '@plumbline/core';
import type { RewardFunction } from '@plumbline/data';
import { z } from 'zod';
import { weightedSum } from '../adapters.js';
import { exactMatch, numericAnswer } from './answers.js';
import { codeTests } from './code.js';
import { gatedReward } from './gated.js';
import { jsonSchema } from './jsonSchema.js';
import { languageIs } from './language.js';
import { keywords, lengthWithin, regexMatch, tagFormat } from './patterns.js';
import { repetitionPenalty } from './repetition.js';
import type { Verifier } from './verifier.js';

const column = z.string().min(1).optional();
const rules = z.array(z.enum(['boxed', 'tag', 'hash', 'answer-is', 'last-number'])).min(1);
const from = z.union([z.literal('whole'), rules]).optional();
const words = z.array(z.string().min(1)).optional();
const positive = z.number().positive().optional();

type Kind<O> = { options: z.ZodType<O>; make(options: O): Verifier };
const kind = <O>(options: z.ZodType<O>, make: (options: O) => Verifier): Kind<O> => ({ options, make });

/** Every verifier by the name under which a file asks for it. */
export const verifiers = {
  exact: kind(z.strictObject({ column, from, normalise: z.boolean().optional() }), exactMatch),
  numeric: kind(
    z.strictObject({
      column,
      from,
      relTol: z.number().min(0).optional(),
      absTol: z.number().min(0).optional(),
      percent: z.boolean().optional(),
    }),
    numericAnswer,
  ),
  regex: kind(
    z.strictObject({ pattern: z.string(), flags: z.string().optional(), whole: z.boolean().optional(), absent: z.boolean().optional() }),
    regexMatch,
  ),
  keywords: kind(
    z.strictObject({
      include: words,
      exclude: words,
      counts: z.array(z.strictObject({ word: z.string().min(1), min: z.number().optional(), max: z.number().optional() })).optional(),
    }),
    keywords,
  ),
  tags: kind(z.strictObject({ tags: z.array(z.string()).min(1), partial: z.boolean().optional() }), tagFormat),
  length: kind(
    z.strictObject({
      unit: z.enum(['characters', 'words', 'sentences', 'paragraphs', 'lines']).optional(),
      min: z.number().optional(),
      max: z.number().optional(),
      slack: z.number().min(0).optional(),
    }),
    lengthWithin,
  ),
  repetition: kind(z.strictObject({ n: z.int().positive().optional(), penalty: z.number().min(0).optional() }), repetitionPenalty),
  json: kind(
    z.strictObject({ schema: z.record(z.string(), z.unknown()).optional(), column, from: z.enum(['text', 'fence', 'any']).optional() }),
    jsonSchema,
  ),
  language: kind(
    z.strictObject({
      language: z.string().optional(),
      column,
      share: z.boolean().optional(),
      candidates: z.array(z.string()).min(1).optional(),
    }),
    languageIs,
  ),
  code: kind(
    z.strictObject({ column, all: z.boolean().optional(), timeoutMs: positive, memoryBytes: positive, maxOutput: positive }),
    codeTests,
  ),
} as const;
export type VerifierName = keyof typeof verifiers;

/** The verifier of that name. @throws ConfigError listing the names there are, or naming the option that is wrong */
export function verifierOf(name: string, options: Record<string, unknown> = {}): Verifier {
  if (!Object.hasOwn(verifiers, name))
    throw new ConfigError(`there is no verifier "${name}"; there are ${Object.keys(verifiers).join(', ')}`);
  const { options: schema, make } = verifiers[name as VerifierName] as unknown as Kind<Record<string, unknown>>;
  const parsed = schema.safeParse(options);
  if (!parsed.success) throw new ConfigError(`verifier ${name}: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
  return make(parsed.data);
}

/**
 * A reward from a file's content: one `{ verifier: NAME, ...options }`, or a list of them with a `weight` each (a weighted sum, in which a part that abstains on a row is left out), or with a
 * `gate` on some (stages: what follows counts only where the score is at least the gate).
 *
 * @throws ConfigError naming what is wrong
 */
export function rewardFromSpec(value: unknown): RewardFunction {
  const parts = (Array.isArray(value) ? value : [value]).map((one: unknown, i) => {
    if (typeof one !== 'object' || one === null || typeof (one as { verifier?: unknown }).verifier !== 'string')
      throw new ConfigError(
        `part ${i + 1} of the reward is ${JSON.stringify(one)}; it must be { verifier: NAME, ... } with one of ${Object.keys(verifiers).join(', ')}`,
      );
    const { verifier, weight = 1, gate, name, ...options } = one as Record<string, unknown> & { verifier: string };
    if (typeof weight !== 'number' || (gate !== undefined && typeof gate !== 'number') || (name !== undefined && typeof name !== 'string'))
      throw new ConfigError(`part ${i + 1} of the reward (${verifier}): weight and gate are numbers and name is text`);
    const made = verifierOf(verifier, options);
    return { reward: name === undefined ? made : { ...made, name }, weight, ...(gate !== undefined && { gate }) };
  });
  if (parts.length === 0) throw new ConfigError('the reward has no parts');
  if (parts.some(({ gate }) => gate !== undefined)) return gatedReward(parts);
  if (parts.length === 1 && parts[0].weight === 1) return parts[0].reward;
  return weightedSum(parts, undefined, { abstain: 'all' });
}
