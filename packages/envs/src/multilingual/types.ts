/** What the multilingual words bed speaks of, free of any language. */

/** A month: `12 · year + month`, months from 0. */
export type Month = number;
/** What is true of the world. Spans hold from the first month to the last, both included; those of a subject follow one another without gap. */
export type Fact =
  | { kind: 'mayor'; town: string; person: string; from: Month; to: Month }
  | { kind: 'team'; person: string; club: string; from: Month; to: Month }
  | { kind: 'opened'; town: string; at: Month }
  | { kind: 'founded'; town: string; year: number }
  | { kind: 'capital'; country: string; town: string }
  | { kind: 'river'; river: string; kilometres: number }
  | { kind: 'located'; town: string; country: string };
export type Span = Extract<Fact, { kind: 'mayor' | 'team' }>;

/** Level 1 is arithmetic of dates, level 2 who or what at a time, level 3 who or what after another, level 0 a fact by itself (TempReason's levels, and geography). */
export type Question =
  | { kind: 'date'; level: 1; from: Month; years: number; months: number; direction: 'after' | 'before' }
  | { kind: 'at'; level: 2; at: Month; fact: Span }
  | { kind: 'after'; level: 3; before: Span; fact: Span }
  | { kind: 'plain'; level: 0; fact: Exclude<Fact, Span> };

/** One language: how it writes dates, facts, questions and traces. Sentences of one question in two languages say the same. */
export type LanguageTexts = {
  /** Its name in itself. */
  name: string;
  /** What it is written in; names are in Latin letters everywhere. */
  script: 'Latin' | 'Devanagari' | 'Japanese' | 'Thai';
  months: readonly string[];
  date: (month: string, year: number) => string;
  fact: { [K in Fact['kind']]: (f: Words<K>) => string };
  ask: {
    date: { after: (w: { a: number; b: number; d: string }) => string; before: (w: { a: number; b: number; d: string }) => string };
    mayorAt: (w: { town: string; d: string }) => string;
    mayorAfter: (w: { town: string; person: string }) => string;
    teamAt: (w: { person: string; d: string }) => string;
    teamAfter: (w: { person: string; club: string }) => string;
    opened: (w: { town: string }) => string;
    founded: (w: { town: string }) => string;
    capital: (w: { country: string }) => string;
    river: (w: { river: string }) => string;
    located: (w: { town: string }) => string;
  };
  think: {
    /** A number of years or months away from a date is another one. */
    years: { after: (w: { n: number; d: string; to: string }) => string; before: (w: { n: number; d: string; to: string }) => string };
    months: { after: (w: { n: number; d: string; to: string }) => string; before: (w: { n: number; d: string; to: string }) => string };
    within: (w: { d: string; from: string; to: string }) => string;
    next: (w: { before: string; next: string }) => string;
  };
  /** The sentence that gives the answer; `year` and `kilometres` write one that is a number. */
  answer: (x: string) => string;
  year: (n: number) => string;
  kilometres: (n: number) => string;
};
type Words<K extends Fact['kind']> = {
  [P in keyof Omit<Extract<Fact, { kind: K }>, 'kind' | 'from' | 'to' | 'at'>]: Extract<Fact, { kind: K }>[P];
} & (K extends 'mayor' | 'team' ? { from: string; to: string } : K extends 'opened' ? { at: string } : unknown);
