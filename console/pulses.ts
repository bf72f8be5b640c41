import { live, type SeenSample } from './live';
import { edgeKey } from './second';
import type { Layout } from './topology-layout';

/** Pulses that start in a second, at most. */
const MAX_PULSES = 20;
const TRAVEL_MS = 900;
const SVG = 'http://www.w3.org/2000/svg';

/**
 * Lets a dot travel along the edge of each new sample.
 * @returns a function that ends it
 */
export function showPulses(layer: SVGGElement, layout: Layout): () => void {
  const paths = new Map(
    layout.edges.map(({ edge, paths }) => [edgeKey(edge.message.type, edge.sender, edge.consumer), paths]),
  );
  const isCalm = matchMedia('(prefers-reduced-motion: reduce)');
  let shownAt = Date.now();
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const unsubscribe = live.subscribe(({ samples }) => {
    // The line and the rate still show the message where nothing may move.
    if (isCalm.matches || document.hidden) return;
    const fresh = samples.filter(({ at }) => at > shownAt);
    shownAt = Date.now();
    for (const sample of thinned(fresh)) {
      const way = paths.get(edgeKey(sample.type, sample.sender, sample.consumer));
      if (!way) continue;
      const timer = setTimeout(() => {
        timers.delete(timer);
        pulse(layer, joined(way), sample.outcome);
      }, Math.random() * TRAVEL_MS);
      timers.add(timer);
    }
  });
  return () => {
    unsubscribe();
    timers.forEach(clearTimeout);
    layer.replaceChildren();
  };
}

function pulse(layer: SVGGElement, path: string, outcome: string): void {
  const dot = document.createElementNS(SVG, 'circle');
  dot.setAttribute('r', '6');
  dot.setAttribute('class', outcome === 'failed' || outcome === 'dead' ? 'pulse failed' : 'pulse');
  dot.style.offsetPath = `path("${path}")`;
  layer.append(dot);
  const travel = dot.animate([{ offsetDistance: '0%' }, { offsetDistance: '100%' }], {
    duration: TRAVEL_MS,
    easing: 'ease-in-out',
  });
  travel.onfinish = travel.oncancel = () => dot.remove();
}

/** At most MAX_PULSES of the samples, spread over all of them. */
function thinned(samples: readonly SeenSample[]): readonly SeenSample[] {
  const step = Math.max(1, samples.length / MAX_PULSES);
  return Array.from({ length: Math.min(samples.length, MAX_PULSES) }, (_, index) => samples[Math.floor(index * step)]!);
}

/** One path through the node of the broker. */
const joined = (paths: readonly string[]) =>
  paths.map((path, index) => (index === 0 ? path : path.replace('M', 'L'))).join(' ');
