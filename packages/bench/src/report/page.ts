/** A report: one HTML file with its styles, plots and script inside, readable on a phone and in the dark, without a network. */
import { type Drawn, dashes, drawIntervals, drawLines, drawScatter, type Look, legendLine, sizes } from './charts.js';
import { cellHtml, differingWords, escapeHtml, isNumeric, tableCsv } from './format.js';
import { css, script } from './style.js';
import type { Block, Intervals, KeyValues, LineChart, ReportPage, Scatter, Section, SeriesColor, SideBySide, Table } from './types.js';

/**
 * The whole page as a string. Texts are escaped: completions and prompts may hold anything.
 * Charts are drawn twice, for wide and for narrow screens, so that their letters stay readable on both.
 */
export function reportPage(page: ReportPage): string {
  const look = looks(page);
  let chartNumber = 0;
  const nextId = () => `part-${++chartNumber}`;
  const paragraphs = (page.paragraphs ?? []).map(paragraph).join('');
  const highlights = page.highlights?.length
    ? `<dl class="highlights">${page.highlights
        .map(
          (h) =>
            `<div><dt>${escapeHtml(h.label)}</dt><dd class="value ${h.tone ?? 'neutral'}">${escapeHtml(h.value)}</dd>${h.note ? `<dd class="small">${escapeHtml(h.note)}</dd>` : ''}</div>`,
        )
        .join('')}</dl>`
    : '';
  const sections = page.sections.map((section) => sectionHtml(section, look, nextId())).join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escapeHtml(page.title)}</title>
<link rel="icon" href="data:,">
<style>${css}</style>
</head>
<body>
<header><h1>${escapeHtml(page.title)}</h1>${page.subtitle ? `<p class="subtitle">${escapeHtml(page.subtitle)}</p>` : ''}</header>
<main>
${paragraphs ? `<div class="lead">${paragraphs}</div>` : ''}${highlights}
${sections}
</main>
${page.footer ? `<footer>${escapeHtml(page.footer).replace(/`([^`]+)`/g, '<code>$1</code>')}</footer>` : ''}
<script>${script}</script>
</body>
</html>
`;
}

const paragraph = (text: string) =>
  text.startsWith('Warning: ')
    ? `<p class="warning"><strong>Note.</strong> ${escapeHtml(text.charAt(9).toUpperCase() + text.slice(10))}</p>`
    : `<p>${escapeHtml(text)}</p>`;

/** One colour and one dash a name, all over the page. */
function looks(page: ReportPage): Look {
  const order: SeriesColor[] = ['blue', 'orange', 'green', 'magenta', 'teal', 'red', 'olive', 'grey'];
  const names: string[] = [];
  const blocks = page.sections.flatMap((s): readonly Block[] => (s.kind === 'group' ? s.blocks : [s]));
  for (const block of blocks) {
    if (block.kind === 'lineChart' || block.kind === 'scatter') names.push(...block.series.map((s) => s.name));
    if (block.kind === 'intervals') names.push(...block.rows.map((row) => row.label));
    if (block.kind === 'sideBySide') names.push(...block.groups.flatMap((g) => g.texts.map((t) => t.label)));
  }
  const lines = [
    ...new Set(
      blocks.flatMap((block) =>
        block.kind === 'lineChart' || (block.kind === 'scatter' && block.series.some((s) => s.connect))
          ? block.series.map((s) => s.name)
          : [],
      ),
    ),
  ];
  const fixed: Record<string, SeriesColor> = { ...page.colors };
  const free = order.filter((c) => !Object.values(fixed).includes(c));
  for (const name of names) if (!Object.hasOwn(fixed, name)) fixed[name] = free.shift() ?? order[names.indexOf(name) % order.length];
  return {
    color: (name) => `var(--series-${Object.hasOwn(fixed, name) ? fixed[name] : 'grey'})`,
    known: (name) => Object.hasOwn(fixed, name),
    dash: (name) => dashes[Math.max(0, lines.indexOf(name)) % dashes.length],
  };
}

function sectionHtml(section: Section, look: Look, id: string): string {
  const head = section.title ? `<h2 id="${id}">${escapeHtml(section.title)}</h2>` : '';
  const words = (section.paragraphs ?? []).map(paragraph).join('');
  const label = section.title ?? 'Figure';
  let body: string;
  if (section.kind === 'group')
    body = `<div class="group">${section.blocks.map((block) => blockHtml(block, look, block.title ?? label, block.title, block.note, sizes.half)).join('')}</div>`;
  else body = blockHtml(section, look, label, undefined, section.note, sizes.wide);
  const note = section.kind === 'group' && section.note ? `<p class="note">${escapeHtml(section.note)}</p>` : '';
  return `<section${section.title ? ` aria-labelledby="${id}"` : ''}>${head}${words}${body}${note}</section>`;
}

function blockHtml(
  block: Block,
  look: Look,
  label: string,
  title: string | undefined,
  note: string | undefined,
  size: { width: number; height: number },
): string {
  switch (block.kind) {
    case 'table':
      return tableHtml(block, look, label, note);
    case 'lineChart':
    case 'scatter':
    case 'intervals':
      return chartHtml(block, look, label, title, note, size);
    case 'sideBySide':
      return textsHtml(block, look, note);
    case 'keyValues':
      return keyValuesHtml(block) + (note ? `<p class="note">${escapeHtml(note)}</p>` : '');
    case 'text':
      return note ? `<p class="note">${escapeHtml(note)}</p>` : '';
    default:
      throw new TypeError(`reportPage: unknown block ${JSON.stringify((block satisfies never as { kind: string }).kind)}`);
  }
}

function chartHtml(
  block: LineChart | Scatter | Intervals,
  look: Look,
  label: string,
  title: string | undefined,
  note: string | undefined,
  size: { width: number; height: number },
): string {
  const draw = (s: { width: number; height: number }): Drawn =>
    block.kind === 'lineChart'
      ? drawLines(block, look, label, s)
      : block.kind === 'scatter'
        ? drawScatter(block, look, label, s)
        : drawIntervals(block, look, label, s);
  const empty = block.kind === 'intervals' ? block.rows.length === 0 : block.series.every((s) => s.points.length === 0);
  if (empty)
    return `<figure>${title ? `<h3>${escapeHtml(title)}</h3>` : ''}<p class="note">Nothing was measured for this chart.</p></figure>`;
  const wide = draw(size);
  const narrow = draw(sizes.narrow);
  // a scatter whose points carry their names needs no legend for them
  const legendNames =
    block.kind === 'lineChart'
      ? block.series.map((s) => ({ name: s.name, dotted: false }))
      : block.kind === 'scatter'
        ? block.series.map((s) => ({ name: s.name, dotted: !s.connect })).filter((_, i) => !block.series[i].points.some((p) => p.label))
        : [];
  const legend =
    legendNames.length > 0 && !(legendNames.length === 1 && block.kind === 'lineChart' && block.series.length === 1)
      ? `<ul class="legend">${legendNames.map((s) => `<li>${legendLine(look.color(s.name), look.dash(s.name), s.dotted)}${escapeHtml(s.name)}</li>`).join('')}</ul>`
      : '';
  return `<figure>${title ? `<h3>${escapeHtml(title)}</h3>` : ''}${legend}<div class="wide">${wide.svg}</div><div class="narrow">${narrow.svg}</div><div class="below">${
    note ? `<figcaption class="note">${escapeHtml(note)}</figcaption>` : '<span></span>'
  }${csvButton(wide.csv, `${title ?? label}`)}</div></figure>`;
}

function tableHtml(table: Table, look: Look, label: string, note?: string): string {
  const numeric = table.columns.map((column) => table.rows.some((row) => isNumeric(row[column.key])));
  const head = table.columns
    .map(
      (column, i) =>
        `<th scope="col"${numeric[i] ? ' class="num"' : ''}>${escapeHtml(column.label)}${column.unit ? ` <span class="unit">(${escapeHtml(column.unit)})</span>` : ''}</th>`,
    )
    .join('');
  const body = table.rows
    .map(
      (row) =>
        `<tr>${table.columns
          .map((column, i) => {
            const cell = row[column.key];
            const html = cellHtml(cell, column);
            const long = typeof cell === 'string' && cell.length > 32 ? ' class="long"' : '';
            if (i > 0) return `<td${numeric[i] ? ' class="num"' : long}>${html}</td>`;
            const dot =
              typeof cell === 'string' && look.known(cell) ? `<span class="swatch" style="background:${look.color(cell)}"></span>` : '';
            return `<th scope="row"${long}>${dot}${html}</th>`;
          })
          .join('')}</tr>`,
    )
    .join('');
  const helps = table.columns.filter((column) => column.help);
  const help = helps.length
    ? `<details><summary>What the columns mean</summary><dl>${helps.map((c) => `<dt>${escapeHtml(c.label)}</dt><dd>${escapeHtml(c.help!)}</dd>`).join('')}</dl></details>`
    : '<span></span>';
  return `<div class="tablewrap" tabindex="0" role="region" aria-label="${escapeHtml(`${label}: table`)}"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div><div class="below">${help}${csvButton(
    tableCsv(table.columns, table.rows),
    `${label}`,
  )}</div>${note ? `<p class="note">${escapeHtml(note)}</p>` : ''}`;
}

const csvButton = (csv: string, label: string) =>
  `<button type="button" hidden data-csv="${escapeHtml(csv)}"><span>Copy as CSV</span><span class="hidden">: ${escapeHtml(label)}</span></button>`;

function textsHtml(block: SideBySide, look: Look, note?: string): string {
  const groups = block.groups.map((group) => {
    const cards = group.texts.map((text, i) => {
      const words =
        block.markDifferences && i > 0
          ? differingWords(group.texts[0].text, text.text)
              .map(({ word, differs }) => (differs ? `<mark>${escapeHtml(word)}</mark>` : escapeHtml(word)))
              .join('')
              .trim()
              .replaceAll(/<\/mark>(\s+)<mark>/g, '$1')
          : escapeHtml(text.text.trim());
      return `<article class="textcard" style="--card-color:${look.color(text.label)}"><h3>${escapeHtml(text.label)}</h3><blockquote>${words || '<span class="none">(empty)</span>'}</blockquote>${
        text.note ? `<p class="note">${escapeHtml(text.note)}</p>` : ''
      }</article>`;
    });
    return `<p class="prompt"><b>Prompt</b> ${escapeHtml(group.prompt)}</p><div class="texts">${cards.join('')}</div>`;
  });
  return `${groups.join('')}${note ? `<p class="note">${escapeHtml(note)}</p>` : ''}`;
}

const keyValuesHtml = (block: KeyValues) =>
  `<dl class="kv">${block.entries.map(([key, value]) => `<div><dt>${escapeHtml(key)}</dt><dd>${escapeHtml(String(value))}</dd></div>`).join('')}</dl>`;
