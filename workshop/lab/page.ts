import { STYLE } from './page-style.js';
import { decadesOf, harmChart, HARMS, markup, Markup, successChart, waitChart, type Column } from './charts.js';
import { chartDuration, percent } from './format.js';
import type { Expectation, Outcome, Report, Verdict } from './report.js';

type Fault = Report['faults'][number];

/** The faults whose waits are compared. */
const COMPARED = ['none', 'slow'];

/** Explains why no step answers everyone under `killed`. */
const KILL_NOTE =
  ' A kill cuts the connections of the users who are waiting, in every step. Look below at what became of their rides.';

/** The columns of the tables, with their meaning. */
const LEGEND: readonly [name: string, meaning: string][] = [
  ['answered', 'Users who were answered with success when they completed their ride.'],
  ['p50', 'Half of the users waited no longer than this for their answer, of any status.'],
  ['p99', '99 of 100 users waited no longer than this.'],
  ['lost', 'Rides whose user was answered with success, but that are not completed when the step has come to rest.'],
  ['missing', "Effects that completed rides lack: the driver's fee, the free driver, miles, invoice."],
  ['duplicated', 'Invoices and miles beyond the first of a ride.'],
  ['stuck', 'Rides that are still not settled after the fault is over and their users have asked once more.'],
];

/** A page without external resources, so that it can be opened from a disk or sent by mail. */
export function reportPage(report: Report): string {
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>What became of every ride</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<main>
${head(report)}
${claims(report.expectations)}
${charts(report)}
${tables(report)}
${method(report)}
</main>
</body>
</html>
`;
  return page.toString();
}

function head({ date, machine, isQuick, seconds }: Report): Markup {
  const { cpu, cores, memoryGiB, node } = machine;
  const facts: readonly [name: string, fact: string][] = [
    ['Date', `${date.slice(0, 16).replace('T', ' ')} UTC`],
    ['Machine', `${cpu}, ${cores} ${cores === 1 ? 'core' : 'cores'}, ${memoryGiB} GiB of memory, Node ${node}`],
    [
      'Run',
      `${isQuick ? 'quick' : 'full'}, took ${seconds < 60 ? '' : `${Math.floor(seconds / 60)} min `}${seconds % 60} s`,
    ],
  ];
  return markup`<h1>What became of every ride</h1>
<p>The steps of the workshop, each under the same faults. The users count the answers; all other counts come from the
databases.</p>
<dl class="facts">${facts.map(([name, fact]) => markup`<div><dt>${name}</dt><dd>${fact}</dd></div>`)}</dl>`;
}

const TAGS: Readonly<Record<Verdict, string>> = {
  confirmed: 'yes',
  'not confirmed': 'no',
  'not measurable': 'unknown',
};

function claims(expectations: readonly Expectation[]): Markup {
  const confirmed = expectations.filter(({ verdict }) => verdict === 'confirmed').length;
  const items = expectations.map(({ claim, verdict, measured }) => {
    const mark = markup`<span class="tag ${TAGS[verdict]}">${verdict}</span>`;
    return markup`<li>${mark}<div><p>${claim}</p><p class="measured">Measured: ${measured}</p></div></li>\n`;
  });
  const about =
    items.length === 0
      ? 'The steps and faults of this run decide no claim.'
      : `This run confirms ${confirmed} of ${items.length}. A claim that is not confirmed is a result too: its figures show what was measured instead. A claim is not measurable when other programs kept the machine too busy.`;
  return markup`<section><h2>Claims</h2>
<p>${about}</p>
<ul class="claims">${items}</ul></section>`;
}

/** The outcomes of a fault, step by step. */
function columnsOf({ steps, outcomes, inapplicable }: Report, { name }: Fault): Column[] {
  return steps.map(({ number, title }) => {
    const isIt = (it: { step: number; fault: string }) => it.step === number && it.fault === name;
    const why = inapplicable.find(isIt)?.why ?? 'it was not measured';
    return { number, title, outcome: outcomes.find(isIt), why };
  });
}

function figure({ name, title }: Fault, drawn: Markup): Markup {
  return markup`<figure><figcaption><code>${name}</code> ${title}</figcaption>${drawn}</figure>\n`;
}

function charts(report: Report): Markup {
  const { faults, steps } = report;
  const key = markup`<ol class="key">${steps.map(({ number, title }) => markup`<li><b>${number}</b> ${title}</li> `)}</ol>`;
  const compared = faults.filter(({ name }) => COMPARED.includes(name));
  const decades = decadesOf(compared.flatMap((fault) => columnsOf(report, fault)));
  const each = (of: readonly Fault[], draw: (columns: Column[], under: string) => Markup) =>
    markup`${key}<div class="charts">${of.map((it) => figure(it, draw(columnsOf(report, it), it.title)))}</div>`;
  const waits = markup`<section><h2>How long users waited</h2>
<p><span class="p50">●</span> p50 and <span class="p99">◆</span> p99, on a logarithmic axis. Figures without a unit are
milliseconds.</p>
${each(compared, (columns, under) => waitChart(`Wait of users, p50 and p99 by step: ${under}`, columns, decades))}</section>`;
  return markup`<section><h2>How many were answered with success</h2>
<p>Percentage of the users, by step, under each fault. A dash means that the step can't have the fault. Point at a column to
read more; the figures are in the tables too.${faults.some(({ name }) => name === 'killed') ? KILL_NOTE : ''}</p>
${each(faults, (columns, under) => successChart(`Per cent answered with success by step: ${under}`, columns))}</section>
${compared.length > 0 ? waits : ''}
<section><h2>What went wrong with rides</h2>
<p>Rides lost, effects missing, effects duplicated, rides stuck, by step. Within a fault all bars have the same scale.</p>
${each(faults, (columns, under) => harmChart(`Lost, missing, duplicated and stuck by step: ${under}`, columns))}</section>`;
}

function row({ number, title, outcome, why }: Column): Markup {
  const step = (note = '') =>
    markup`<th scope="row"><b>${number}</b> ${title}${note && markup`<small>${note}</small>`}</th>`;
  if (!outcome) return markup`<tr class="absent">${step()}<td colspan="${LEGEND.length}">– ${why}</td></tr>\n`;
  const { answered, requests, p50Ms, p99Ms, rested } = outcome;
  return markup`<tr>${step(rested ? '' : 'did not come to rest')}
<td><span>${answered} of ${requests},</span> <span>${percent(answered, requests)} %</span></td><td>${chartDuration(p50Ms)}</td><td>${chartDuration(p99Ms)}</td>
${HARMS.map((harm) => count(outcome, harm))}</tr>\n`;
}

function count(outcome: Outcome, harm: (typeof HARMS)[number]): Markup {
  return outcome[harm] > 0 ? markup`<td><strong>${outcome[harm]}</strong></td>` : markup`<td>0</td>`;
}

function tables(report: Report): Markup {
  const header = LEGEND.map(([name]) => markup`<th scope="col">${name}</th>`);
  const all = report.faults.map(
    (fault) => markup`<h3 id="${fault.name}"><code>${fault.name}</code> ${fault.title}</h3>
<div class="wide" role="region" tabindex="0" aria-labelledby="${fault.name}"><table aria-labelledby="${fault.name}">
<thead><tr><th scope="col">step</th>${header}</tr></thead>
<tbody>${columnsOf(report, fault).map(row)}</tbody></table></div>\n`,
  );
  return markup`<section><h2>All figures</h2>
<dl class="legend">${LEGEND.map(([name, meaning]) => markup`<div><dt>${name}</dt><dd>${meaning}</dd></div>`)}</dl>
${all}</section>`;
}

function method({ callsPerRide, failingProbability, steps, faults }: Report): Markup {
  const counted = steps.flatMap(({ number }) => {
    const calls = callsPerRide[number];
    return calls === undefined ? [] : [`step ${number}: ${Math.round(calls * 10) / 10}`];
  });
  const failing = faults.some(({ name }) => name === 'failing')
    ? markup` Under <code>failing</code>, each call fails with a probability of ${Math.round(failingProbability * 10_000) / 100} %.`
    : '';
  const calls =
    counted.length === 0
      ? ''
      : markup`<p>Remote calls for one ride without a fault: ${counted.join(', ')}.${failing}</p>`;
  return markup`<section><h2>How it was measured</h2>
<p>Real processes talk to each other over the loopback interface of one machine and write to real SQLite files with
synchronous=FULL. Each ride has one user, who asks once. When the step had come to rest, the lab counted in the databases.
After that, the users of rides that were not settled asked once more, without the fault.</p>
<p>Loopback has no network latency: between real machines each remote call takes longer, so the waits of steps with remote
calls are a lower bound. The processes, the users and the lab share the cores of this machine, and waits vary from run to
run. The lab kills processes, not the machine.</p>
${calls}</section>`;
}
