/** What every verifier is made of: a check of one text that may abstain, counted. */
import { ConfigError } from '@plumbline/core/light';
import { type Candidate, type Context, type RewardFunction, textOf } from '@plumbline/data/light';

/** A reward by rule. `binary` answers 0 or 1. */
export interface Verifier extends RewardFunction {
  readonly kind: 'binary' | 'score';
  /** Candidates so far: those it scored, those it abstained on, and why it abstained. */
  readonly counts: { scored: number; abstained: number; reasons: Readonly<Record<string, number>> };
}

/** A check that cannot judge this candidate, and why: no answer beside the prompt, a text too short. */
export class Abstain extends Error {
  override name = 'Abstain';
}

/**
 * A reward from a check of one text at a time. What throws `Abstain` is abstained on and counted under its message; anything else that is thrown, and a number that
 * is not finite, is an error that names the candidate.
 */
export function verifier(
  name: string,
  kind: Verifier['kind'],
  check: (text: string, candidate: Candidate, ctx: Context) => number | boolean | Promise<number | boolean>,
): Verifier {
  const counts = { scored: 0, abstained: 0, reasons: {} as Record<string, number> };
  return {
    name,
    kind,
    counts,
    async score(batch, ctx) {
      const scores = new Float32Array(batch.length);
      const abstained = new Uint8Array(batch.length);
      for (const [i, candidate] of batch.entries()) {
        ctx.signal?.throwIfAborted();
        try {
          const value = Number(await check(textOf(candidate.completion), candidate, ctx));
          if (!Number.isFinite(value)) throw new RangeError(`the score is ${value}`);
          scores[i] = value;
          counts.scored++;
        } catch (error) {
          if (!(error instanceof Abstain)) throw new RangeError(`${name}: candidate ${i}: ${(error as Error).message}`, { cause: error });
          abstained[i] = 1;
          counts.abstained++;
          counts.reasons[error.message] = (counts.reasons[error.message] ?? 0) + 1;
        }
      }
      return { scores, ...(abstained.includes(1) && { abstained }) };
    },
  };
}

/** What is known of the candidate's prompt under `column` of its `meta`. @throws Abstain where there is nothing */
export function knownOf(candidate: Candidate, column: string): unknown {
  const value = candidate.meta?.[column];
  if (value === undefined || value === null || value === '') throw new Abstain(`no "${column}" beside the prompt`);
  return value;
}

/** One or several accepted answers under `column`; numbers become text. @throws Abstain where there are none */
export function answersOf(candidate: Candidate, column: string): string[] {
  const value = knownOf(candidate, column);
  const all = Array.isArray(value) ? value : [value];
  const texts = all.filter((one) => typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean').map(String);
  if (texts.length === 0) throw new Abstain(`"${column}" holds no text or number`);
  return texts;
}

/** The content of the last fenced block, of one of these languages where named; undefined where there is none. */
export function lastFence(text: string, languages?: readonly string[]): string | undefined {
  const blocks = [...text.matchAll(/^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n([\s\S]*?)^[ \t]*```/gm)];
  return blocks.filter(([, language]) => !languages || languages.includes(language.toLowerCase())).at(-1)?.[2];
}

export function checkRange(who: string, name: string, value: number, low: number, high = Infinity): void {
  if (!(value >= low && value <= high))
    throw new ConfigError(`${who}: ${name} must be ${high === Infinity ? `at least ${low}` : `from ${low} to ${high}`}, got ${value}`);
}
