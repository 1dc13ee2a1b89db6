/** What each kind of record must hold, for records that come from elsewhere than the readers. */
import { FormatError } from '@plumbline/core';
import { z } from 'zod';
import type { RecordKind, Records } from './records.js';

const message = z.looseObject({ role: z.string().min(1), content: z.string() });
const messages = z.array(message).min(1);
const text = z.union([z.string(), messages], { error: 'must be text or a list of messages { role, content }' });
const media = z.strictObject({ kind: z.enum(['image', 'video', 'audio']), uri: z.string().min(1) });
const origin = {
  id: z.string().optional(),
  meta: z.record(z.string(), z.unknown()).optional(),
  media: z.array(media).optional(),
  tools: z.array(z.unknown()).optional(),
};
const finite = z.number();
const numbers = z.custom<ArrayLike<number>>(
  (x) => (Array.isArray(x) || ArrayBuffer.isView(x)) && Array.from(x as ArrayLike<unknown>).every((n) => Number.isFinite(n)),
  { error: 'must be a list of finite numbers' },
);

export const recordSchemas = {
  preference: z.strictObject({
    ...origin,
    prompt: text,
    chosen: text,
    rejected: text,
    chosen_score: finite.optional(),
    rejected_score: finite.optional(),
    margin: finite.optional(),
    preference: finite.min(0).max(1).optional(),
    weight: finite.optional(),
  }),
  unpaired: z.strictObject({ ...origin, prompt: text, completion: text, label: z.boolean() }),
  prompt: z.strictObject({ ...origin, prompt: text }),
  completion: z.strictObject({ ...origin, prompt: text, completion: text }),
  stepwise: z
    .strictObject({ ...origin, prompt: text, completions: z.array(z.string()).min(1), labels: z.array(z.boolean()) })
    .refine((r) => r.completions.length === r.labels.length, { path: ['labels'], error: 'must have a label for each of the completions' }),
  multiscore: z.strictObject({ ...origin, prompt: text, completion: text, scores: z.record(z.string(), finite) }),
  ranked: z
    .strictObject({ ...origin, prompt: text, completions: z.array(text).min(1), scores: numbers })
    .refine((r) => r.completions.length === r.scores.length, { path: ['scores'], error: 'must have a score for each of the completions' }),
  messages: z.strictObject({ ...origin, messages }),
  trajectory: z.strictObject({ ...origin, messages, step_labels: z.record(z.string(), finite).optional(), reward: finite.optional() }),
  text: z.strictObject({ ...origin, text: z.string() }),
} satisfies Record<RecordKind, z.ZodType>;

/**
 * The value as a record of this kind.
 * @throws FormatError naming the record (`where`), each field that is wrong, and what is wrong with it
 */
export function checkRecord<K extends RecordKind>(kind: K, value: unknown, where = 'record'): Records[K] {
  const result = recordSchemas[kind].safeParse(value);
  if (result.success) return value as Records[K];
  const problems = result.error.issues.slice(0, 3).map(({ path, message: said, ...issue }) => {
    const extra = 'keys' in issue && Array.isArray(issue.keys) ? ` (${issue.keys.join(', ')})` : '';
    return `${path.length > 0 ? `"${path.join('.')}": ` : ''}${said}${extra}`;
  });
  throw new FormatError(`${where} is no ${kind} record: ${problems.join('; ')}`);
}
