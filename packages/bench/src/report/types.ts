/** What a report page is made of. */

/** A number with its interval, as `Estimate` has it. */
export type Measured = { mean: number; low: number; high: number };
export type Tone = 'good' | 'bad' | 'neutral';
/** Text, a number, a number with its interval, or a short verdict. `null` is shown as a dash. */
export type Cell = string | number | null | Measured | { text: string; tone: Tone };
export type SeriesColor = 'grey' | 'blue' | 'orange' | 'green' | 'magenta' | 'red' | 'teal' | 'olive';

export type Column = {
  key: string;
  label: string;
  unit?: string;
  /** Digits after the point; 2 unless said. */
  digits?: number;
  /** Shows a plus sign: for differences and rewards. */
  signed?: boolean;
  /** Shown as a percentage. */
  percent?: boolean;
  /** One sentence on what it is, listed under the table. */
  help?: string;
};

export type Point = { x: number; y: number; low?: number; high?: number; label?: string };
export type Series = { name: string; points: readonly Point[] };
export type Axis = {
  label: string;
  scale?: 'linear' | 'sqrt' | 'log' /** A line across the plot, such as zero or the base's value. */;
  mark?: number;
};

export type Table = { kind: 'table'; columns: readonly Column[]; rows: readonly Record<string, Cell>[] };
/** Lines over a shared x, each with an optional band from `low` to `high`. */
export type LineChart = { kind: 'lineChart'; x: Axis; y: Axis; series: readonly Series[] };
/** Points with intervals and labels; `connect` joins a series in order: the path of a run, a frontier. */
export type Scatter = { kind: 'scatter'; x: Axis; y: Axis; series: readonly (Series & { connect?: boolean })[] };
/** One row a label: an estimate and its interval on a common axis. */
export type Intervals = { kind: 'intervals'; x: Axis; rows: readonly (Measured & { label: string })[] };
export type SideBySide = {
  kind: 'sideBySide';
  groups: readonly {
    prompt: string;
    texts: readonly { label: string; text: string /** Scores and the like, under the text. */; note?: string }[];
  }[];
  /** Marks the words that are not in the first text of a group. */
  markDifferences?: boolean;
};
export type KeyValues = { kind: 'keyValues'; entries: readonly (readonly [string, string | number | boolean])[] };
export type Text = { kind: 'text' };

export type Block = Table | LineChart | Scatter | Intervals | SideBySide | KeyValues | Text;
/** A titled part of the page: paragraphs, then one block, or several drawn beside each other where there is room. */
export type Section = { title?: string; paragraphs?: readonly string[] /** Small print under the block. */; note?: string } & (
  | Block
  | { kind: 'group'; blocks: readonly (Block & { title?: string; note?: string })[] }
);

export type ReportPage = {
  title: string;
  subtitle?: string;
  /** What happened, in plain words. A paragraph that begins with "Warning: " stands out. */
  paragraphs?: readonly string[];
  /** A few figures to see first. */
  highlights?: readonly { label: string; value: string; note?: string; tone?: Tone }[];
  sections: readonly Section[];
  /** Fixed colours; other series take the remaining ones in order of appearance. The same name has one colour all over the page. */
  colors?: Readonly<Record<string, SeriesColor>>;
  /** Shown at the foot: the command that made the page, versions. */
  footer?: string;
};
