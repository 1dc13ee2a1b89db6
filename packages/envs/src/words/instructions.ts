/** Instructions whose fulfilment a few lines of code decide: length, words that must or must not occur, form. */
import { type RewardFunction, textOf } from '@plumbline/data';
import { wordsOf } from './sentiment.js';

export type Instruction =
  /** Words, both ends included. */
  | { kind: 'length'; atLeast?: number; atMost?: number }
  | { kind: 'sentences'; atLeast?: number; atMost?: number }
  /** Each of these words, in any case and any order. */
  | { kind: 'keywords'; words: readonly string[] }
  | { kind: 'without'; words: readonly string[] }
  | { kind: 'startsWith'; text: string }
  | { kind: 'endsWith'; text: string }
  | { kind: 'form'; form: 'lowercase' | 'uppercase' | 'oneLine' | 'question' | 'speech' };

/** Whether a text does what it was told. Space at both ends does not count. */
export function follows(text: string, instruction: Instruction): boolean {
  const trimmed = text.trim();
  const within = (n: number, { atLeast = 0, atMost = Infinity }: { atLeast?: number; atMost?: number }) => n >= atLeast && n <= atMost;
  switch (instruction.kind) {
    case 'length':
      return within(wordsOf(trimmed).length, instruction);
    case 'sentences':
      return within(sentencesOf(trimmed).length, instruction);
    case 'keywords': {
      const words = new Set(wordsOf(trimmed));
      return instruction.words.every((word) => words.has(word.toLowerCase()));
    }
    case 'without': {
      const words = new Set(wordsOf(trimmed));
      return trimmed !== '' && !instruction.words.some((word) => words.has(word.toLowerCase()));
    }
    case 'startsWith':
      return trimmed.startsWith(instruction.text);
    case 'endsWith':
      return trimmed.endsWith(instruction.text);
    case 'form':
      return trimmed !== '' && forms[instruction.form](trimmed);
  }
}

const forms: Record<Extract<Instruction, { kind: 'form' }>['form'], (text: string) => boolean> = {
  lowercase: (text) => text === text.toLowerCase(),
  uppercase: (text) => text === text.toUpperCase(),
  oneLine: (text) => !text.includes('\n'),
  question: (text) => text.endsWith('?'),
  speech: (text) => /"[^"]+"/.test(text),
};

/** Runs of text that end in a full stop, question or exclamation mark; an unfinished rest counts as one. */
const sentencesOf = (text: string): string[] => text.match(/[^.!?]+[.!?]+["']?|[^.!?]+$/g)?.filter((part) => part.trim() !== '') ?? [];

/** The instruction in words, to put before a prompt. */
export function instructionText(instruction: Instruction): string {
  const range = (what: string, { atLeast, atMost }: { atLeast?: number; atMost?: number }) =>
    atLeast !== undefined && atMost !== undefined
      ? `Use ${atLeast} to ${atMost} ${what}.`
      : atLeast !== undefined
        ? `Use at least ${atLeast} ${what}.`
        : `Use at most ${atMost} ${what}.`;
  switch (instruction.kind) {
    case 'length':
      return range('words', instruction);
    case 'sentences':
      return range('sentences', instruction);
    case 'keywords':
      return `Use the words: ${instruction.words.join(', ')}.`;
    case 'without':
      return `Do not use the words: ${instruction.words.join(', ')}.`;
    case 'startsWith':
      return `Start with "${instruction.text}".`;
    case 'endsWith':
      return `End with "${instruction.text}".`;
    case 'form':
      return {
        lowercase: 'Write in lower case.',
        uppercase: 'Write in capitals.',
        oneLine: 'Write one line.',
        question: 'End with a question.',
        speech: 'Let somebody speak.',
      }[instruction.form];
  }
}

/**
 * The share of its instructions that a completion follows, in [0, 1]; with `strict` 1 where it follows them all, else 0. Instructions are the same for every candidate, or
 * come from its `meta.instructions`; a candidate that has none is abstained on. Components: `all` (1 where every one is followed).
 */
export function instructionReward({
  instructions,
  strict = false,
}: {
  instructions?: readonly Instruction[];
  strict?: boolean;
} = {}): RewardFunction {
  return {
    name: 'instructions',
    async score(batch) {
      const asked = batch.map(({ meta }) => instructions ?? (meta?.instructions as readonly Instruction[] | undefined) ?? []);
      const shares = batch.map(({ completion }, i) =>
        asked[i].length === 0 ? 0 : asked[i].filter((instruction) => follows(textOf(completion), instruction)).length / asked[i].length,
      );
      const all = Float32Array.from(shares, (share) => (share === 1 ? 1 : 0));
      const scores = strict ? all.slice() : Float32Array.from(shares);
      const none = asked.map((own) => own.length === 0);
      return { scores, components: { all }, ...(none.includes(true) && { abstained: Uint8Array.from(none, Number) }) };
    },
  };
}
