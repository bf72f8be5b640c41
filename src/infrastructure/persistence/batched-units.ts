import type { BatchPrelude, JointWork, Unit } from './unit.js';

/** A unit of work that may share a transaction or a savepoint with others of its prelude. */
export interface BatchedUnit {
  readonly prelude?: BatchPrelude<unknown, unknown>;
  readonly item?: unknown;
  readonly joint?: JointWork | undefined;
  run(unit: Unit, result: unknown): Promise<unknown>;
}

/** A unit that has run. Those of one `JointWork` share a `Unit`. */
export interface Completed<Batched> {
  readonly batched: Batched;
  readonly unit: Unit;
  readonly value: unknown;
}

/**
 * Runs units one after the other, and those with the same `JointWork` together, where the first of them stands.
 * @param results of the prelude, one for each
 * @param runUnit runs work in a new unit
 * @throws the error of the first that fails
 */
export async function runBatched<Batched extends BatchedUnit>(
  batch: readonly Batched[],
  results: readonly unknown[],
  runUnit: <T>(work: (unit: Unit) => Promise<T>) => Promise<{ unit: Unit; value: T }>,
): Promise<Completed<Batched>[]> {
  const members = batch.map((batched, index) => ({ batched, result: results[index] }));
  const completed: Completed<Batched>[] = [];
  const done = new Set<JointWork>();
  for (const { batched, result } of members) {
    const { joint } = batched;
    const together = joint ? members.filter((it) => it.batched.joint === joint) : [];
    if (!joint || together.length === 1) {
      const { unit, value } = await runUnit((it) => batched.run(it, result));
      completed.push({ batched, unit, value });
    } else if (!done.has(joint)) {
      done.add(joint);
      const items = together.map((it) => it.batched.item);
      const { unit, value: values } = await runUnit((it) => joint.run(it, items, together.map((each) => each.result))); // prettier-ignore
      for (const [index, it] of together.entries()) completed.push({ batched: it.batched, unit, value: values[index] });
    }
  }
  return completed;
}
