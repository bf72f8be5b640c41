import { useState } from 'preact/hooks';
import { KillProcess } from './kill-process';
import { attempt } from './notices';
import { call } from './server';
import { useSession } from './use-session';

const SECONDS = 10;
const FAULTS = [
  { kind: 'fail', label: 'Fail', told: 'fails, and is retried,' },
  { kind: 'reject', label: 'Reject', told: 'rejects all messages, which become dead letters,' },
  { kind: 'slow', label: 'Slow down', told: 'is slow' },
] as const;

/** In development: things to do, and faults to see what the mesh does about them. */
export function DevelopmentActions() {
  const { actions, consumers } = useSession();
  const [chosen, setChosen] = useState<string>();
  const consumer = chosen ?? consumers[0];
  return (
    <section class="card actions" aria-label="Try it, in development">
      <div class="row">
        {actions.map(({ name, label }) => (
          <button
            key={name}
            type="button"
            class="primary"
            onClick={() =>
              attempt(async () => {
                const path = `/mesh/console/actions/${encodeURIComponent(name)}`;
                return (await call<{ message: string }>('POST', path)).message;
              })
            }
          >
            {label}
          </button>
        ))}
      </div>
      {consumer && (
        <div class="row" role="group" aria-label={`Disturb a consumer for ${SECONDS} s`}>
          <label>
            For {SECONDS} s, let{' '}
            <select value={consumer} onChange={(event) => setChosen(event.currentTarget.value)}>
              {consumers.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          {FAULTS.map(({ kind, label, told }) => (
            <button
              key={kind}
              type="button"
              onClick={() =>
                attempt(async () => {
                  await call('POST', '/mesh/console/faults', { consumer, kind, seconds: SECONDS });
                  return `${consumer} ${told} for ${SECONDS} s.`;
                })
              }
            >
              {label}
            </button>
          ))}
        </div>
      )}
      <KillProcess />
    </section>
  );
}
