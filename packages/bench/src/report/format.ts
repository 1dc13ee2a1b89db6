/** Text, numbers and CSV, escaped and rounded for a page. */
import type { Cell, Column } from './types.js';

export const escapeHtml = (text: string) =>
  text.replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]!);

/** Rounded, with a true minus sign; large numbers in groups of three. */
export function formatNumber(
  value: number,
  { digits = 2, signed = false, percent = false }: Partial<Pick<Column, 'digits' | 'signed' | 'percent'>> = {},
): string {
  if (Number.isNaN(value)) return 'not a number';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const shown = percent ? value * 100 : value;
  const places = percent ? Math.max(0, digits - 2) : digits;
  const text = Math.abs(shown).toLocaleString('en-US', {
    minimumFractionDigits: places,
    maximumFractionDigits: places,
    useGrouping: Math.abs(shown) >= 10_000,
  });
  const zero = Number(text.replaceAll(',', '')) === 0;
  return `${shown < 0 && !zero ? '−' : signed && !zero ? '+' : ''}${text}${percent ? '%' : ''}`;
}

const isMeasured = (cell: Cell): cell is { mean: number; low: number; high: number } =>
  typeof cell === 'object' && cell !== null && 'mean' in cell;
const isTone = (cell: Cell): cell is { text: string; tone: 'good' | 'bad' | 'neutral' } =>
  typeof cell === 'object' && cell !== null && 'text' in cell;

export const toneMark = { good: '✓', bad: '✗', neutral: '○' } as const;

export function cellHtml(cell: Cell | undefined, column: Column): string {
  if (cell === null || cell === undefined) return '<span class="none" aria-label="none">–</span>';
  if (typeof cell === 'number') return formatNumber(cell, column);
  if (typeof cell === 'string') return escapeHtml(cell);
  if (isTone(cell))
    return `<span class="tone ${cell.tone}"><span aria-hidden="true">${toneMark[cell.tone]}</span> ${escapeHtml(cell.text)}</span>`;
  const interval =
    Number.isFinite(cell.low) && Number.isFinite(cell.high)
      ? `[${formatNumber(cell.low, column)}, ${formatNumber(cell.high, column)}]`
      : 'no interval';
  return `${formatNumber(cell.mean, column)} <span class="interval">${interval}</span>`;
}

/** A number or estimate stands to the right; text to the left. */
export const isNumeric = (cell: Cell | undefined) =>
  typeof cell === 'number' || (cell !== null && cell !== undefined && typeof cell !== 'string' && isMeasured(cell));

/** RFC 4180. An estimate becomes three columns; numbers keep all their digits. */
export function tableCsv(columns: readonly Column[], rows: readonly Record<string, Cell>[]): string {
  const wide = columns.map((column) =>
    rows.some((row) => row[column.key] !== undefined && row[column.key] !== null && isMeasuredCell(row[column.key])),
  );
  const header = columns.flatMap((column, i) => (wide[i] ? [column.label, `${column.label} low`, `${column.label} high`] : [column.label]));
  const body = rows.map((row) =>
    columns.flatMap((column, i) => {
      const cell = row[column.key] ?? null;
      const values =
        cell === null ? [''] : isMeasuredCell(cell) ? [cell.mean, cell.low, cell.high] : [typeof cell === 'object' ? cell.text : cell];
      return wide[i] ? [...values, '', ''].slice(0, 3) : values;
    }),
  );
  return [header, ...body].map((line) => line.map((value) => csvField(String(value))).join(',')).join('\r\n');
}
const isMeasuredCell = (cell: Cell): cell is { mean: number; low: number; high: number } => isMeasured(cell);
/** Quoted where it must be, and without the em spaces by which a name stands in under its group. */
export function csvField(text: string): string {
  const bare = text.replace(/^\u2003+/, '');
  return /[",\r\n]/.test(bare) ? `"${bare.replaceAll('"', '""')}"` : bare;
}

/** Words of `text` and whether each is missing from `base`, by the longest common subsequence. */
export function differingWords(base: string, text: string): { word: string; differs: boolean }[] {
  const split = (s: string) => s.match(/\s+|[^\s]+/g) ?? [];
  const a = split(base);
  const b = split(text);
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const out: { word: string; differs: boolean }[] = [];
  let i = 0;
  let j = 0;
  while (j < b.length) {
    if (i < a.length && a[i] === b[j]) {
      out.push({ word: b[j], differs: false });
      i++;
      j++;
    } else if (i < a.length && longest[i + 1][j] >= longest[i][j + 1]) i++;
    else out.push({ word: b[j], differs: b[j++].trim() !== '' });
  }
  return out;
}
