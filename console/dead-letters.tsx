import { DataTable } from './data-table';
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
        <section class="card">
          <DataTable
            caption={`${count(answer.total)} messages failed for good. Open a cause to requeue or discard its messages.`}
            rows={answer.causes}
            keyOf={({ consumer, type, cause }) => JSON.stringify([consumer, type, cause])}
            columns={[
              {
                title: 'Cause',
                cell: ({ consumer, type, cause }) => (
                  <a href={hashOf('dead-letters', { consumer, type, cause })}>{cause || 'unknown'}</a>
                ),
              },
              { title: 'Consumer', isLong: true, cell: ({ consumer }) => consumer },
              { title: 'Message', isLong: true, cell: ({ type }) => type },
              { title: 'Count', isNumber: true, cell: (cause) => count(cause.count) },
              { title: 'First', cell: ({ firstAt }) => time(firstAt) },
              { title: 'Last', cell: ({ lastAt }) => time(lastAt) },
            ]}
          />
        </section>
      )}
    </>
  );
}
