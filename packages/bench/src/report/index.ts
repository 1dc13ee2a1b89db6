export { escapeHtml, formatNumber, tableCsv } from './format.js';
export { reportPage } from './page.js';
export type {
  Axis,
  Block,
  Cell,
  Column,
  Intervals,
  KeyValues,
  LineChart,
  Measured,
  Point,
  ReportPage,
  Scatter,
  Section,
  Series,
  SeriesColor,
  SideBySide,
  Table,
  Tone,
} from './types.js';
