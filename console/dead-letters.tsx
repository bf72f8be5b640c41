import { count, time } from './format';
import { DeadLetterGroup } from './dead-letter-group';
import { live } from './live';
import type { Cause } from './mesh-types';
import { hashOf, route } from './route';
import { useAnswer } from './use-answer';
import { useValue } from './value';
import { Problem, Waiting } from './waiting';

export function DeadLetters() {
  const { consumer, type, cause, page } = useValue(route).parameters;
  if (consumer === undefined || type === undefined || cause === undefined) return <Causes />;
  const key = JSON.stringify([consumer, type, cause]);
  return <DeadLetterGroup key={key} group={{ consumer, type, cause }} page={Math.max(1, Number(page) || 1)} />;
}

function Causes() {
  const deadLetters = useValue(live).seconds.at(-1)?.outbox?.deadLetters;
  const asked = useAnswer<{ total: number; causes: Cause[] }>('/mesh/dead-letters?by=cause', deadLetters);
  const { answer } = asked;
  if (!answer) return <Waiting title="Dead letters" asked={asked} />;
  return (
    <>
      <h1>Dead letters</h1>
      <Problem error={asked.error} reload={asked.reload} />
      {answer.causes.length === 0 ? (
        <p class="banner good">✓ No message has failed for good.</p>
      ) : (
        <section class="card scroll">
          <table>
            <caption>
              {count(answer.total)} messages failed for good, by cause. Open a cause to requeue or discard them.
            </caption>
            <thead>
              <tr>
                <th scope="col">Cause</th>
                <th scope="col">Consumer</th>
                <th scope="col">Message</th>
                <th scope="col" class="number">
                  Count
                </th>
                <th scope="col">First</th>
                <th scope="col">Last</th>
              </tr>
            </thead>
            <tbody>
              {answer.causes.map((it) => (
                <tr key={JSON.stringify([it.consumer, it.type, it.cause])}>
                  <th scope="row">
                    <a href={hashOf('dead-letters', { consumer: it.consumer, type: it.type, cause: it.cause })}>
                      {it.cause || 'unknown'}
                    </a>
                  </th>
                  <td>{it.consumer}</td>
                  <td>{it.type}</td>
                  <td class="number">{count(it.count)}</td>
                  <td>{time(it.firstAt)}</td>
                  <td>{time(it.lastAt)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}
