import { duration } from './format';
import { SILENT_MS, type Seen } from './second';

export function Processes({ processes }: { processes: readonly Seen[] }) {
  const now = Date.now();
  const sorted = [...processes].sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  return (
    <section class="card scroll" aria-label="Processes">
      <table>
        <caption>Processes</caption>
        <thead>
          <tr>
            <th scope="col">Modules</th>
            <th scope="col" class="number">
              pid
            </th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Up for
            </th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((seen) => {
            const { process } = seen.state;
            const isSilent = now - seen.at > SILENT_MS;
            return (
              <tr key={process.id}>
                <th scope="row">{nameOf(seen)}</th>
                <td class="number">{process.pid}</td>
                <td class={isSilent ? 'bad' : 'good'}>
                  {isSilent ? `✕ silent for ${duration(now - seen.at)}` : '✓ answers'}
                </td>
                <td class="number">{duration(Date.parse(seen.state.at) - Date.parse(process.startedAt))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

const nameOf = ({ state }: Seen) => state.process.modules.join(', ') || 'no module';
