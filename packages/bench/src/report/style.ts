/** The page's style sheet and its one small script (copy as CSV). Everything is inline: a report is one file without a network. */

const colors = {
  light: {
    grey: '#5c6370',
    blue: '#1d5fc4',
    orange: '#b35000',
    green: '#0c7a4b',
    magenta: '#a02c84',
    red: '#c0262b',
    teal: '#0b7285',
    olive: '#6b6a00',
  },
  dark: {
    grey: '#a9b1bd',
    blue: '#79b0ff',
    orange: '#ffb15c',
    green: '#5ed69f',
    magenta: '#f18fd3',
    red: '#ff8b84',
    teal: '#62d4e3',
    olive: '#d3cf55',
  },
};
const variables = (set: Record<string, string>) =>
  Object.entries(set)
    .map(([name, value]) => `--series-${name}:${value}`)
    .join(';');

export const css = `
:root{color-scheme:light dark;--bg:#fcfcfa;--card:#fff;--ink:#1b1d21;--muted:#5a616b;--line:#dfe1e4;--soft:#f1f2f0;--accent:#1d5fc4;--good:#0c6b42;--bad:#b3261e;--good-bg:#e3f4ea;--bad-bg:#fbe7e5;--warn-bg:#fff4dd;--warn-line:#d08a00;--mark:#fff0b8;--shade:rgb(0 0 0/.16);${variables(colors.light)}}
@media (prefers-color-scheme:dark){:root{--bg:#121418;--card:#1a1d22;--ink:#e8eaed;--muted:#a5adb8;--line:#333942;--soft:#21252b;--accent:#79b0ff;--good:#76dba8;--bad:#ff9d96;--good-bg:#15352a;--bad-bg:#41201f;--warn-bg:#33290f;--warn-line:#d9a33a;--mark:#4a4115;--shade:rgb(0 0 0/.7);${variables(colors.dark)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header,footer{max-width:68rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.5rem}
h1{font-size:clamp(1.6rem,1.2rem + 2vw,2.3rem);line-height:1.15;margin:0;letter-spacing:-.015em;text-wrap:balance}
.subtitle{color:var(--muted);margin:.5rem 0 0;overflow-wrap:anywhere}
h2{font-size:1.25rem;line-height:1.25;margin:0 0 .5rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:0 0 .35rem}
p{margin:.5rem 0;max-width:46rem}
.lead p{font-size:1.06rem}
.lead{margin:1.25rem 0 0}
.warning{background:var(--warn-bg);border-left:4px solid var(--warn-line);padding:.6rem .9rem;border-radius:0 .4rem .4rem 0}
.highlights{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.75rem;margin:1.5rem 0 0;padding:0}
.highlights div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}
.highlights dt{color:var(--muted);font-size:.85rem}
.highlights dd{margin:0}
.highlights .value{font-size:1.5rem;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.25}
.highlights .good{color:var(--good)}.highlights .bad{color:var(--bad)}
.highlights .small{color:var(--muted);font-size:.85rem}
section{margin:2.5rem 0 0}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1rem .6rem}
figure+figure{margin-top:1rem}
.group{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
.group>figure{margin:0;min-width:0}
figure svg{display:block;width:100%;height:auto;overflow:visible;--plot-background:var(--card)}
.narrow{display:none}
.legend{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;list-style:none;margin:0 0 .4rem;padding:0;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend svg{width:28px;height:10px;flex:none}
.note{color:var(--muted);font-size:.88rem;margin:.5rem 0 .3rem;max-width:none}
.tablewrap{overflow-x:auto;background:linear-gradient(90deg,var(--card) 30%,transparent) left/3rem 100% no-repeat local,linear-gradient(270deg,var(--card) 30%,transparent) right/3rem 100% no-repeat local,linear-gradient(90deg,var(--shade),transparent) left/1rem 100% no-repeat scroll,linear-gradient(270deg,var(--shade),transparent) right/1rem 100% no-repeat scroll,var(--card);border:1px solid var(--line);border-radius:.6rem}
.tablewrap:focus-visible,button:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:.5rem .8rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
thead th{font-weight:600;color:var(--muted);font-size:.85rem;vertical-align:bottom;background:var(--soft)}
tbody th{font-weight:600;min-width:7.5rem}
.long{min-width:14rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.num{text-align:right;white-space:nowrap}
.unit{font-weight:400}
.interval{color:var(--muted);font-size:.85em;display:block;white-space:nowrap}
.swatch{display:inline-block;width:.65rem;height:.65rem;border-radius:50%;margin-right:.5rem}
.tone{display:inline-block;padding:.05rem .55rem;border-radius:1rem;background:var(--soft);font-weight:600;font-size:.9em;white-space:nowrap}
.tone.good{background:var(--good-bg);color:var(--good)}.tone.bad{background:var(--bad-bg);color:var(--bad)}
.below{display:flex;flex-wrap:wrap;justify-content:space-between;align-items:flex-start;gap:.25rem 1rem;margin-top:.5rem}
button{font:inherit;font-size:.85rem;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.3rem .7rem;cursor:pointer;min-height:2rem}
button:hover{border-color:var(--accent);color:var(--accent)}
details{font-size:.9rem;color:var(--muted);flex:1 1 16rem}
summary{cursor:pointer;padding:.25rem 0}
details dl{margin:.25rem 0}
details dt{font-weight:600;color:var(--ink);margin-top:.4rem}
details dd{margin:0}
.texts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,11.5rem),1fr));gap:.75rem}
.prompt{border-left:3px solid var(--line);padding-left:.8rem;color:var(--muted);margin:1.25rem 0 .6rem;overflow-wrap:anywhere;white-space:pre-line}
.prompt b{color:var(--ink);font-weight:600}
.textcard{background:var(--card);border:1px solid var(--line);border-top:3px solid var(--card-color,var(--line));border-radius:.5rem;padding:.65rem .9rem;min-width:0}
.textcard h3{margin:0 0 .25rem;font-size:.9rem}
.textcard blockquote{margin:0;font-family:Charter,"Iowan Old Style","Palatino Linotype",Georgia,serif;overflow-wrap:anywhere;white-space:pre-wrap}
.textcard .note{font-variant-numeric:tabular-nums}
mark{background:var(--mark);color:inherit;border-radius:.15rem;padding:0 .05rem}
.kv{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:0 2rem;margin:0;background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.5rem 1rem}
.kv div{display:flex;justify-content:space-between;gap:1rem;padding:.3rem 0;border-bottom:1px solid var(--line);min-width:0}
.kv dt{color:var(--muted)}
.kv dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere;min-width:0}
footer{color:var(--muted);font-size:.88rem;padding-top:2rem;padding-bottom:2.5rem}
footer code,.subtitle code{font-size:.95em;overflow-wrap:anywhere}
@media (max-width:40rem){main,header,footer{padding-left:1rem;padding-right:1rem}header{padding-top:1.5rem}.wide{display:none!important}.narrow{display:block!important}figure{padding:.8rem .7rem .5rem}th,td{padding:.45rem .6rem}section{margin-top:2rem}.tone{white-space:normal;border-radius:.6rem}.long{min-width:11rem}.group{grid-template-columns:minmax(0,1fr)}}
@media print{body{background:#fff}button{display:none}figure,.textcard,tr{break-inside:avoid}}
`.trim();

/** Shows the buttons (without script there are none) and copies; falls back to a selection where the clipboard is closed. */
export const script = `
for(const b of document.querySelectorAll('button[data-csv]')){b.hidden=false;b.addEventListener('click',async()=>{const t=b.dataset.csv;let ok=true;try{await navigator.clipboard.writeText(t)}catch{const a=document.createElement('textarea');a.value=t;document.body.append(a);a.select();ok=document.execCommand('copy');a.remove()}const s=b.firstChild,w=s.textContent;s.textContent=ok?'Copied':'Could not copy';setTimeout(()=>{s.textContent=w},1500)})}
`.trim();
