import { useEffect, useState } from 'preact/hooks';

/** A value outside of components, which render again when it changes. */
export class Value<T> {
  private readonly listeners = new Set<(value: T) => void>();

  constructor(private current: T) {}

  get(): T {
    return this.current;
  }

  set(value: T): void {
    if (value === this.current) return;
    this.current = value;
    for (const listener of this.listeners) listener(value);
  }

  /** @returns a function that ends the subscription */
  subscribe(listener: (value: T) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

export function useValue<T>(value: Value<T>): T {
  const [, render] = useState({});
  useEffect(() => {
    // The value may have changed between the first render and this subscription.
    render({});
    return value.subscribe(() => render({}));
  }, [value]);
  return value.get();
}
