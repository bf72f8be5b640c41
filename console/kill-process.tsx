import { useState } from 'preact/hooks';
import { ConfirmButton } from './confirm-button';
import { live } from './live';
import { call, pathOf } from './server';
import { useValue } from './value';

/** Kills the process, or the process of a module where there are several. */
export function KillProcess() {
  const { processes } = useValue(live);
  const [chosen, setChosen] = useState<string>();
  const isSplit = new Set(processes.map(({ state }) => state.process.id)).size > 1;
  const modules = [...new Set(processes.flatMap(({ state }) => state.process.modules))].sort();
  const module = isSplit ? (chosen ?? modules[0]) : undefined;
  const which = module ? `the process of ${module}` : 'this process';
  return (
    <div class="row">
      {isSplit && (
        <label>
          Process of{' '}
          <select value={module} onChange={(event) => setChosen(event.currentTarget.value)}>
            {modules.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      )}
      <ConfirmButton
        label={`Kill ${which}`}
        question={`Kill ${which} with SIGKILL?`}
        explanation="It is started again. No message is lost, and no effect happens twice."
        act={async () => {
          await call('POST', pathOf('/mesh/console/kill', { module }));
          return `${which[0]!.toUpperCase()}${which.slice(1)} was killed.`;
        }}
      />
    </div>
  );
}
