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
  const joint = new Map<JointWork, typeof members>();
  for (const member of members) {
    const { joint: work } = member.batched;
    if (work) joint.set(work, [...(joint.get(work) ?? []), member]);
  }
  const completed: Completed<Batched>[] = [];
  for (const member of members) {
    const { joint: work } = member.batched;
    const together = (work && joint.get(work)) ?? [member];
    if (together[0] !== member) continue;
    if (!work || together.length === 1) {
      const { unit, value } = await runUnit((it) => member.batched.run(it, member.result));
      completed.push({ batched: member.batched, unit, value });
    } else {
      const [items, outcomes] = [together.map((it) => it.batched.item), together.map((it) => it.result)];
      const { unit, value: values } = await runUnit((it) => work.run(it, items, outcomes));
      for (const [index, { batched }] of together.entries()) completed.push({ batched, unit, value: values[index] });
    }
  }
  return completed;
}
