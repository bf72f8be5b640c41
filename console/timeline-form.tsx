import { hashOf } from './route';

export function TimelineForm({ subject, correlationId }: { subject?: string; correlationId?: string }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const by = form.get('by') as string;
    const value = (form.get('value') as string).trim();
    location.hash = hashOf('timeline', value === '' ? {} : { [by]: value });
  };
  const isByCorrelation = correlationId !== undefined;
  return (
    <form class="search" onSubmit={submit} key={`${subject} ${correlationId}`}>
      <label>
        Search by
        <select name="by" defaultValue={isByCorrelation ? 'correlationId' : 'subject'}>
          <option value="subject" selected={!isByCorrelation}>
            subject
          </option>
          <option value="correlationId" selected={isByCorrelation}>
            correlation id
          </option>
        </select>
      </label>
      <label class="wide">
        Value
        <input name="value" type="search" defaultValue={subject ?? correlationId ?? ''} spellcheck={false} />
      </label>
      <button type="submit">Show</button>
      {(subject ?? correlationId) && <a href={hashOf('timeline')}>Latest subjects</a>}
    </form>
  );
}
