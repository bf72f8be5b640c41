/** The style sheet of the report. */
export const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2128; --soft: #57606a; --rule: #d0d7de; --panel: #f6f8fa;
  --good: #2f6fb0; --bad: #b3261e; --late: #b45309; --yes: #1a6b32; --no: #7a5200; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e6e9ee; --soft: #a2abb6; --rule: #39424d;
  --panel: #1a2027; --good: #6cabea; --bad: #ff8f85; --late: #f0a04b; --yes: #63c97f; --no: #e5b84f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 16px 64px; overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.3rem; margin: 0 0 4px; }
section { margin-top: 40px; }
p { margin: 4px 0; max-width: 80ch; }
code { background: var(--panel); border: 1px solid var(--rule); border-radius: 4px; padding: 0 5px; font-size: .85em; }
dl { margin: 12px 0; }
dl div { display: grid; grid-template-columns: 104px 1fr; column-gap: 12px; }
dt { font-weight: 600; }
dd { margin: 0; max-width: 80ch; }
.claims { list-style: none; margin: 12px 0 0; padding: 0; border-top: 1px solid var(--rule); }
.claims p { margin: 0; }
.claims li { display: grid; grid-template-columns: 136px 1fr; gap: 2px 12px; padding: 10px 0;
  border-bottom: 1px solid var(--rule); }
.measured, .key, small, .absent td { color: var(--soft); }
.tag { justify-self: start; align-self: start; border: 1px solid; border-radius: 999px; padding: 1px 10px;
  font-size: .85rem; font-weight: 600; white-space: nowrap; margin-top: 1px; line-height: 1.4; }
.yes { color: var(--yes); }
.no { color: var(--no); border-style: dashed; }
.unknown { color: var(--soft); border-style: dotted; }
.key { display: flex; flex-wrap: wrap; gap: 0 14px; list-style: none; margin: 8px 0; padding: 0; font-size: .875rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 16px; }
figure { margin: 0; padding: 10px; border: 1px solid var(--rule); border-radius: 8px; }
figcaption, h3 { font-size: 1rem; font-weight: 600; line-height: 1.35; margin: 0 0 8px; }
h3 { margin-top: 28px; }
figure { display: flex; flex-direction: column; justify-content: space-between; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; font-variant-numeric: tabular-nums; fill: var(--ink); text-anchor: middle; }
svg .axis { text-anchor: end; }
svg .axis, svg .step, svg .absent { fill: var(--soft); }
.grid { stroke: var(--rule); stroke-dasharray: 2 3; }
.base { stroke: var(--soft); }
.slot { fill: transparent; }
.mark:hover .slot { fill: var(--ink); fill-opacity: .08; }
.bar.good { fill: var(--good); }
.bar.bad { fill: var(--bad); }
svg .figure { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
svg .absent { font-size: 14px; }
svg .figure.bad { fill: var(--bad); font-weight: 700; }
.span { stroke: var(--soft); stroke-width: 2; }
.p50 { fill: var(--good); color: var(--good); }
.p99 { fill: var(--late); color: var(--late); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; min-width: 820px; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { color: var(--soft); border-bottom-color: var(--soft); }
tr > th:first-child { text-align: left; width: 25%; }
th:nth-child(2) { width: 20%; }
tbody th { font-weight: 400; }
.absent td { text-align: left; white-space: normal; }
small { display: block; }
strong { color: var(--bad); }
@media (max-width: 600px) { h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; } .claims li { grid-template-columns: 1fr; }
  table { table-layout: auto; min-width: 0; font-size: .8rem; } th, td { padding: 5px 6px; } td:nth-child(2), tbody th { white-space: normal; }
  td span { white-space: nowrap; } tr > th:first-child { position: sticky; left: 0; background: var(--paper); width: auto; min-width: 100px; } }
`;
