/** Charts as inline SVG, drawn on the server by Observable Plot; colours are CSS variables, so that light and dark need no second drawing. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { csvField, escapeHtml, formatNumber } from './format.js';
import type { Axis, Intervals, LineChart, Scatter, Series } from './types.js';

export type Drawn = { svg: string; csv: string; description: string };
/** How a name is drawn, everywhere on the page: its colour and, as a second cue, its dash. */
export type Look = {
  color(name: string): string;
  dash(name: string): string /** Whether the name stands in some chart or text of the page. */;
  known(name: string): boolean;
};
const { document } = parseHTML('<!doctype html><html><body></body></html>');
export const dashes = ['', '7 3', '2 3', '9 3 2 3', '5 2', '1 4', '12 3', '4 4'] as const;

const yTicks = 6;
type Size = { width: number; height: number };
export const sizes = { wide: { width: 860, height: 360 }, half: { width: 500, height: 300 }, narrow: { width: 340, height: 270 } } as const;

export function drawLines(chart: LineChart, { color, dash }: Look, label: string, size: Size): Drawn {
  const series = chart.series.map((s) => ({ ...s, points: s.points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)) }));
  const marks: Plot.Markish[] = [Plot.gridY({ ticks: yTicks, stroke: 'var(--line)', strokeOpacity: 1 })];
  if (chart.y.mark !== undefined) marks.push(rule(chart.y.mark));
  series.forEach((s) => {
    const banded = s.points.filter((p) => p.low !== undefined && p.high !== undefined);
    if (banded.length > 1) marks.push(Plot.areaY(banded, { x: 'x', y1: 'low', y2: 'high', fill: color(s.name), fillOpacity: 0.16 }));
    marks.push(Plot.lineY(s.points, { x: 'x', y: 'y', stroke: color(s.name), strokeWidth: 2, strokeDasharray: dash(s.name) || undefined }));
    marks.push(Plot.dot(s.points.slice(-1), { x: 'x', y: 'y', r: 3.5, fill: color(s.name), title: () => s.name }));
  });
  const description = series
    .filter((s) => s.points.length > 0)
    .map((s) => {
      const [first, last] = [s.points[0], s.points[s.points.length - 1]];
      return `${s.name}: from ${formatNumber(first.y)} at ${short(first.x)} to ${formatNumber(last.y)} at ${short(last.x)}`;
    })
    .join('; ');
  return { svg: draw(marks, chart.x, chart.y, label, description, size), csv: seriesCsv(chart.x, chart.y, series), description };
}

export function drawScatter(chart: Scatter, { color, dash }: Look, label: string, size: Size): Drawn {
  const series = chart.series.map((s) => ({ ...s, points: s.points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y)) }));
  const marks: Plot.Markish[] = [Plot.gridY({ ticks: yTicks, stroke: 'var(--line)', strokeOpacity: 1 })];
  if (chart.y.mark !== undefined) marks.push(rule(chart.y.mark));
  series.forEach((s) => {
    if (s.connect)
      marks.push(
        Plot.line(s.points, {
          x: 'x',
          y: 'y',
          stroke: color(s.name),
          strokeWidth: 1.5,
          strokeDasharray: dash(s.name) || undefined,
          strokeOpacity: 0.75,
        }),
      );
    const withInterval = s.points.filter(
      (p) => p.low !== undefined && p.high !== undefined && Number.isFinite(p.low) && Number.isFinite(p.high),
    );
    marks.push(Plot.ruleX(withInterval, { x: 'x', y1: 'low', y2: 'high', stroke: color(s.name), strokeWidth: 1.75 }));
    const small = (p: Series['points'][number]) => s.connect && !p.label && p.low === undefined;
    const title = (p: Series['points'][number]) => `${p.label ?? s.name}: ${formatNumber(p.x)}, ${formatNumber(p.y)}`;
    marks.push(Plot.dot(s.points.filter(small), { x: 'x', y: 'y', r: 2.5, fill: color(s.name), title }));
    const large = s.points.filter((p) => !small(p));
    marks.push(Plot.dot(large, { x: 'x', y: 'y', r: 5.5, fill: color(s.name), stroke: 'var(--card)', strokeWidth: 1.5, title }));
  });
  marks.push(...labels(chart, series, color, size));
  const description = series
    .flatMap((s) => s.points.filter((p) => p.label).map((p) => `${p.label} at ${formatNumber(p.x)}, ${formatNumber(p.y)}`))
    .join('; ');
  return { svg: draw(marks, chart.x, chart.y, label, description, size), csv: seriesCsv(chart.x, chart.y, series), description };
}

export function drawIntervals(chart: Intervals, { color }: Look, label: string, { width }: Size): Drawn {
  const rows = chart.rows.map((row) => ({
    ...row,
    low: Number.isFinite(row.low) ? row.low : row.mean,
    high: Number.isFinite(row.high) ? row.high : row.mean,
  }));
  const longest = Math.max(...rows.map((row) => row.label.length));
  const marginLeft = Math.min(width * 0.45, 14 + longest * 6.6);
  const ticks = Math.max(3, Math.floor((width - marginLeft) / 80));
  const svg = svgOf({
    width,
    height: 46 + rows.length * 30,
    marginLeft,
    marginRight: 16,
    marginBottom: 38,
    marginTop: 8,
    x: { label: chart.x.label, labelAnchor: 'center', labelArrow: 'none', tickSize: 0, ticks, nice: true },
    y: { domain: rows.map((row) => row.label), label: null, tickSize: 0, type: 'point', padding: 0.6 },
    marks: [
      Plot.gridX({ ticks, stroke: 'var(--line)', strokeOpacity: 1 }),
      ...(chart.x.mark === undefined ? [] : [Plot.ruleX([chart.x.mark], { stroke: 'currentColor', strokeOpacity: 0.55 })]),
      Plot.ruleY(rows, { y: 'label', x1: 'low', x2: 'high', stroke: (row) => color(row.label), strokeWidth: 3, strokeLinecap: 'round' }),
      Plot.dot(rows, { y: 'label', x: 'mean', r: 5.5, fill: (row) => color(row.label), stroke: 'var(--card)' }),
    ],
    color: { type: 'identity' },
    ariaLabel: label,
  });
  const description = rows
    .map((row) => `${row.label}: ${formatNumber(row.mean)} from ${formatNumber(row.low)} to ${formatNumber(row.high)}`)
    .join('; ');
  const csv = ['label,mean,low,high', ...chart.rows.map((row) => [csvField(row.label), row.mean, row.low, row.high].join(','))].join(
    '\r\n',
  );
  return { svg: accessible(svg, label, description), csv, description };
}

/** A legend entry's line: colour and dash as in the chart. */
export const legendLine = (color: string, dash: string, dotted: boolean) =>
  `<svg aria-hidden="true" viewBox="0 0 28 10"><line x1="0" y1="5" x2="28" y2="5" stroke="${escapeHtml(color)}" stroke-width="2.5"${dash ? ` stroke-dasharray="${dash}"` : ''}${
    dotted ? ' stroke-opacity="0"' : ''
  }/>${dotted ? `<circle cx="14" cy="5" r="4.5" fill="${escapeHtml(color)}"/>` : ''}</svg>`;

const rule = (y: number) => Plot.ruleY([y], { stroke: 'currentColor', strokeOpacity: 0.45, strokeDasharray: '2 3' });
const short = (x: number) => String(Number(x.toPrecision(4)));

function frame(x: Axis, y: Axis, { width, height }: Size): Plot.PlotOptions {
  const scale = (axis: Axis) => ({ type: axis.scale ?? ('linear' as const) });
  return {
    width,
    height,
    marginLeft: 46,
    marginRight: 14,
    marginBottom: 40,
    marginTop: 26,
    x: {
      ...scale(x),
      label: x.label,
      labelAnchor: 'center',
      labelArrow: 'none',
      tickSize: 0,
      ticks: Math.floor(width / 90),
      tickFormat: x.scale === 'log' ? '~g' : undefined,
    },
    y: {
      ...scale(y),
      label: y.label,
      labelArrow: 'none',
      tickSize: 0,
      ticks: yTicks,
      nice: true,
      tickFormat: y.scale === 'log' ? '~g' : undefined,
    },
  };
}

function draw(marks: Plot.Markish[], x: Axis, y: Axis, label: string, description: string, size: Size): string {
  return accessible(svgOf({ ...frame(x, y, size), marks, ariaLabel: label }), label, description);
}

function svgOf(options: Plot.PlotOptions & { ariaLabel?: string }) {
  const style = { background: 'transparent', fontFamily: 'inherit', fontSize: '12px', overflow: 'visible' };
  return Plot.plot({ ...options, document: document as unknown as Document, style } as Plot.PlotOptions);
}

/** One image with a name and a description; Plot's own inner labels would be prohibited ARIA inside it. */
function accessible(svg: ReturnType<typeof Plot.plot>, label: string, description: string): string {
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', description ? `${label}. ${description}` : label);
  for (const inner of svg.querySelectorAll('[aria-label],[aria-description]')) {
    inner.removeAttribute('aria-label');
    inner.removeAttribute('aria-description');
  }
  // sizes come from the page: the drawing keeps its shape and takes the width it is given
  svg.removeAttribute('width');
  svg.removeAttribute('height');
  return svg.outerHTML;
}

/**
 * Labels beside their points, each at the first place of eight that covers no other label, point or interval and stays in the frame.
 */
function labels(chart: Scatter, series: readonly Series[], color: Look['color'], size: Size): Plot.Markish[] {
  const wanted = series.flatMap((s) => s.points.filter((p) => p.label).map((p) => ({ ...p, name: s.name })));
  if (wanted.length === 0) return [];
  const everything = series.flatMap((s) => s.points);
  const probe = Plot.plot({
    ...frame(chart.x, chart.y, size),
    document: document as unknown as Document,
    marks: [
      Plot.dot(everything, { x: 'x', y: 'y' }),
      Plot.ruleX(
        everything.filter((p) => p.low !== undefined),
        { x: 'x', y1: 'low', y2: 'high' },
      ),
    ],
  } as Plot.PlotOptions);
  const sx = probe.scale('x')!;
  const sy = probe.scale('y')!;
  type Box = { left: number; right: number; top: number; bottom: number };
  const overlap = (a: Box, b: Box) =>
    Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const taken: Box[] = everything.map((p) => {
    const [x, y] = [sx.apply(p.x) as number, sy.apply(p.y) as number];
    return {
      left: x - 7,
      right: x + 7,
      top: Math.min(y - 7, p.high === undefined || !Number.isFinite(p.high) ? y : (sy.apply(p.high) as number)),
      bottom: Math.max(y + 7, p.low === undefined || !Number.isFinite(p.low) ? y : (sy.apply(p.low) as number)),
    };
  });
  const placed = wanted.map((p) => {
    const [x, y] = [sx.apply(p.x) as number, sy.apply(p.y) as number];
    const width = p.label!.length * 7.1 + 4;
    const places = [
      { dx: 10, dy: 0 },
      { dx: 10, dy: -13 },
      { dx: 10, dy: 13 },
      { dx: -10 - width, dy: 0 },
      { dx: -10 - width, dy: -13 },
      { dx: -10 - width, dy: 13 },
      { dx: -width / 2, dy: -16 },
      { dx: -width / 2, dy: 16 },
      { dx: 10, dy: -28 },
      { dx: 10, dy: 28 },
      { dx: -10 - width, dy: -28 },
      { dx: -10 - width, dy: 28 },
    ].map((place) => {
      const box = { left: x + place.dx, right: x + place.dx + width, top: y + place.dy - 8, bottom: y + place.dy + 8 };
      const outside =
        Math.max(0, box.right - size.width + 2) +
        Math.max(0, 46 - box.left) +
        Math.max(0, box.bottom - size.height + 42) +
        Math.max(0, 20 - box.top);
      return { ...place, box, cost: outside * 100 + taken.reduce((sum, other) => sum + overlap(box, other), 0) };
    });
    const best = places.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(best.box);
    return { p, dx: best.dx, dy: best.dy };
  });
  return placed.map(({ p, dx, dy }) =>
    Plot.text([p], {
      x: 'x',
      y: 'y',
      text: 'label',
      dx,
      dy,
      textAnchor: 'start',
      fill: color(p.name),
      stroke: 'var(--card)',
      strokeWidth: 4,
      fontWeight: 600,
    }),
  );
}

function seriesCsv(x: Axis, y: Axis, series: readonly Series[]): string {
  const banded = series.some((s) => s.points.some((p) => p.low !== undefined));
  const header = ['series', x.label, y.label, ...(banded ? ['low', 'high'] : [])];
  const rows = series.flatMap((s) => s.points.map((p) => [p.label ?? s.name, p.x, p.y, ...(banded ? [p.low ?? '', p.high ?? ''] : [])]));
  return [header, ...rows].map((row) => row.map((v) => csvField(String(v))).join(',')).join('\r\n');
}
