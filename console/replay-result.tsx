import { plural } from './format';
import type { ReplayReport } from './mesh-types';

/** What became of requeued messages, and why some stayed where they were. */
export function ReplayResult({ report: { replayed, skipped } }: { report: ReplayReport }) {
  return (
    <section class="card" aria-label="Result">
      <p class="good">✓ {plural(replayed, 'message')} requeued.</p>
      {skipped.length > 0 && (
        <>
          <p class="bad">✕ Not requeued:</p>
          <ul>
            {skipped.map(({ reason, count, ids }) => (
              <li key={reason}>
                {plural(count, 'message')}: {reason}
                <details>
                  <summary>Ids</summary>
                  <p class="long">
                    {ids.join(', ')}
                    {ids.length < count && ' …'}
                  </p>
                </details>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
