/** An error body of 769 bytes crashes Knative's dispatcher (knative.dev/eventing 1.12 to HEAD, event_dispatcher.go). */
const MAX_ERROR_BYTES = 500;

/** Replaces lone surrogates, which cutting a text leaves. */
const wellFormed = (text: string) => Buffer.from(text).toString();

/** A problem document (RFC 9457) that is short enough for Knative's dispatcher. */
export function shortProblem(status: number, detail: string): string {
  for (let length = Math.min(detail.length, 300); ; length = Math.floor(length / 2)) {
    const text = JSON.stringify({ type: 'about:blank', status, detail: wellFormed(detail.slice(0, length)) });
    if (Buffer.byteLength(text) <= MAX_ERROR_BYTES) return text;
  }
}
