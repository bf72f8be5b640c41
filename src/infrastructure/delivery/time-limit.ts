/**
 * Runs work that waits for something else than the database.
 * @param name of the work, for the error
 * @throws Error after `limitMs`; the work is told by its signal, and its outcome is dropped
 */
export async function withinTime<T>(
  limitMs: number,
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    const late = () => {
      const error = new Error(`${name} took more than ${limitMs} ms`);
      reject(error);
      controller.abort(error);
    };
    timer = setTimeout(late, limitMs);
  });
  try {
    return await Promise.race([work(controller.signal), limit]);
  } finally {
    clearTimeout(timer);
  }
}
