import { ConsumerCharts } from './consumer-charts';
import { Figures } from './figures';
import { live } from './live';
import { Processes } from './processes';
import { System } from './system';
import { useValue } from './value';

export function Overview() {
  const state = useValue(live);
  return (
    <>
      <h1>Overview</h1>
      <Figures seconds={state.seconds} />
      <ConsumerCharts seconds={state.seconds} />
      <div class="columns">
        <Processes processes={state.processes} />
        <System processes={state.processes} />
      </div>
    </>
  );
}
