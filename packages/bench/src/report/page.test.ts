import { parseHTML } from 'linkedom';
import { describe, expect, it } from 'vitest';
import { differingWords, formatNumber, tableCsv } from './format.js';
import { reportPage } from './page.js';
import type { ReportPage } from './types.js';

const hostile = '</script><script>alert("x")</script>&<img src=x onerror=alert(1)>';
const page: ReportPage = {
  title: `A title ${hostile}`,
  paragraphs: ['It went up.', 'Warning: then down.'],
  highlights: [{ label: 'gain', value: '+0.5', tone: 'good' }],
  colors: { base: 'grey' },
  sections: [
    {
      kind: 'table',
      title: 'Numbers',
      columns: [
        { key: 'arm', label: 'Arm' },
        { key: 'gold', label: 'Gold', signed: true, help: 'What is wanted.' },
      ],
      rows: [
        { arm: 'base', gold: { mean: 0.5, low: 0.25, high: 0.75 } },
        { arm: hostile, gold: null },
        { arm: 'dpo', gold: 1 },
      ],
    },
    {
      kind: 'group',
      title: 'Curves',
      blocks: [
        {
          kind: 'lineChart',
          title: 'Reward',
          x: { label: 'step' },
          y: { label: 'reward', mark: 0 },
          series: [
            {
              name: 'dpo',
              points: [
                { x: 0, y: 0, low: -1, high: 1 },
                { x: 10, y: 1, low: 0, high: 2 },
                { x: 20, y: Number.NaN },
              ],
            },
            { name: hostile, points: [{ x: 0, y: 0 }] },
          ],
        },
        {
          kind: 'scatter',
          x: { label: 'KL', scale: 'sqrt' },
          y: { label: 'gold' },
          series: [
            {
              name: 'dpo',
              connect: true,
              points: [
                { x: 0, y: 0 },
                { x: 4, y: 1, low: 0.5, high: 1.5, label: 'dpo' },
              ],
            },
          ],
        },
        { kind: 'intervals', x: { label: 'difference', mark: 0 }, rows: [{ label: 'dpo', mean: 1, low: -Infinity, high: Infinity }] },
        { kind: 'lineChart', x: { label: 'step' }, y: { label: 'nothing' }, series: [] },
      ],
    },
    {
      kind: 'sideBySide',
      title: 'Texts',
      markDifferences: true,
      groups: [
        {
          prompt: hostile,
          texts: [
            { label: 'base', text: 'a b c' },
            { label: 'dpo', text: `a ${hostile} c` },
          ],
        },
      ],
    },
    {
      kind: 'keyValues',
      title: 'Settings',
      entries: [
        ['seed', 0],
        ['on', true],
      ],
    },
  ],
};

describe('a report page', () => {
  const html = reportPage(page);
  const { document } = parseHTML(html);
  it('names nothing outside itself', () => {
    expect(html.replaceAll(/http:\/\/www\.w3\.org\/\d+\/\w+/g, '')).not.toMatch(/https?:\/\//);
    expect(document.querySelectorAll('script[src],link[rel=stylesheet],img').length).toBe(0);
  });
  it('shows hostile texts as texts', () => {
    expect(document.querySelectorAll('script').length).toBe(1);
    expect(document.querySelectorAll('img').length).toBe(0);
    expect(html).not.toMatch(/="[^"]*<\/script><script>alert\("x/); // a quote inside an attribute is escaped
    expect(document.querySelector('h1')!.textContent).toContain('<img src=x');
  });
  it('gives each chart a role and a name that says where its lines go', () => {
    const charts = [...document.querySelectorAll('figure svg[role=img]')];
    expect(charts.length).toBe(6); // three charts, each for wide and for narrow screens
    expect(charts[0].getAttribute('aria-label')).toContain('dpo: from 0.00 at 0 to 1.00 at 10');
    expect(document.querySelectorAll('figure svg[role=img] [aria-label]').length).toBe(0);
  });
  it('says so where a chart has nothing to show', () =>
    expect(document.body.textContent).toContain('Nothing was measured for this chart.'));
  it('has headers for the rows and columns of its tables', () => {
    expect([...document.querySelectorAll('thead th[scope=col]')].map((th) => th.textContent)).toEqual(['Arm', 'Gold']);
    expect(document.querySelectorAll('tbody th[scope=row]').length).toBe(3);
  });
  it('draws one name in one colour everywhere', () => {
    const card = [...document.querySelectorAll('.textcard')].map((c) => c.getAttribute('style'));
    expect(card).toEqual(['--card-color:var(--series-grey)', '--card-color:var(--series-blue)']);
    expect(document.querySelector('figure svg [stroke="var(--series-blue)"]')).not.toBeNull();
  });
  it('hands out its tables as CSV, intervals in columns of their own', () => {
    expect(document.querySelector('button')!.getAttribute('data-csv')).toBe(
      `Arm,Gold,Gold low,Gold high\r\nbase,0.5,0.25,0.75\r\n"${hostile.replaceAll('"', '""')}",,,\r\ndpo,1,,`,
    );
  });
});

describe('formats', () => {
  it('rounds with a true minus sign, and zero has no sign', () => {
    expect(formatNumber(-0.126)).toBe('−0.13');
    expect(formatNumber(-0.001, { signed: true })).toBe('0.00');
    expect(formatNumber(0.5, { signed: true })).toBe('+0.50');
    expect(formatNumber(0.931, { percent: true })).toBe('93%');
    expect(formatNumber(1234567.8, { digits: 0 })).toBe('1,234,568');
    expect(formatNumber(-Infinity)).toBe('−∞');
  });
  it('hands out names without the spaces by which they stand in', () => {
    expect(tableCsv([{ key: 'a', label: 'A' }], [{ a: 'group' }, { a: '\u2003part, one' }])).toBe('A\r\ngroup\r\n"part, one"');
  });
  it('quotes what CSV needs quoted', () => expect(tableCsv([{ key: 'a', label: 'A, "b"' }], [{ a: 'x\ny' }])).toBe('"A, ""b"""\r\n"x\ny"'));
  it('finds the words that a text does not share with the base', () =>
    expect(
      differingWords('the cat sat down', 'the dog sat')
        .filter((w) => w.differs)
        .map((w) => w.word),
    ).toEqual(['dog']));
});
