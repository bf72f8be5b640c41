import { Details } from './details';
import { attemptsOf, keyOf, nameOf } from './entry';
import { duration } from './format';
import type { Entry } from './mesh-types';
import { hashOf } from './route';

/** All that the journal has of a message. It keeps no data of events, which may be personal. */
export function Attributes({ entry, close }: { entry: Entry; close: () => void }) {
  const { id, source, type, subject, consumer, causationId, correlationId, createdAt, handledAt } = entry;
  return (
    <Details label="Attributes of the message" name={keyOf(entry)} close={close}>
      <h2>{nameOf(type)}</h2>
      <dl class="facts">
        <dt>Type</dt>
        <dd>{type}</dd>
        <dt>Id</dt>
        <dd>{id}</dd>
        <dt>Source</dt>
        <dd>{source}</dd>
        <dt>Subject</dt>
        <dd>{subject === null ? '–' : <a href={hashOf('timeline', { subject })}>{subject}</a>}</dd>
        <dt>Consumer</dt>
        <dd>{consumer}</dd>
        <dt>Caused by</dt>
        <dd>{causationId ?? 'no message'}</dd>
        <dt>Correlation</dt>
        <dd>
          <a href={hashOf('timeline', { correlationId })}>{correlationId}</a>
        </dd>
        <dt>Created</dt>
        <dd>{createdAt}</dd>
        <dt>Handled</dt>
        <dd>
          {handledAt}, after {duration(Date.parse(handledAt) - Date.parse(createdAt))}
        </dd>
        <dt>Outcome</dt>
        <dd>{attemptsOf(entry)}</dd>
      </dl>
    </Details>
  );
}
