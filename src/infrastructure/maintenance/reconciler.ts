import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { markedProviders } from '../contracts/marked-providers.js';

/** State that should exist and doesn't. */
export interface Discrepancy {
  /** Its kind, to count by. */
  readonly what: string;
  /** The subject that it belongs to. */
  readonly subject: string;
  /** Sends again the message that repairs it; runs in a unit of work. */
  send(): Promise<unknown>;
}

/** What one page of subjects lacks. */
export interface ReconciliationPage {
  readonly examined: number;
  /** Subjects that changed too recently to be examined. */
  readonly skipped?: number;
  /** Position of the last subject of the page; absent on the last page. */
  readonly last?: string;
  readonly discrepancies: readonly Discrepancy[];
  /**
   * Stores which subjects later runs needn't read. Runs in one unit of work with the messages that the page sends, and not in
   * dry runs.
   */
  remember?(): Promise<unknown>;
}

/**
 * Knows the state that the subjects of a module should have, and compares it with what the owners of that state answer
 * now. Reading a page twice, or sending its messages twice, does no harm.
 */
export interface Reconciler {
  /**
   * Reads the next subjects, outside of units of work because it asks other modules.
   * @param after position of the last subject of the page before, in an order that never changes. It may come from an
   *   interrupted run with another `isFull`, but a full run doesn't continue one that wasn't.
   * @param minAgeMs skips subjects that changed less than so many ms ago: their messages may still be in flight
   * @param isFull whether the run was asked to read also the subjects that earlier runs have found whole
   * @throws Unavailable when an owner doesn't answer
   */
  page(after: string | undefined, limit: number, minAgeMs: number, isFull: boolean): Promise<ReconciliationPage>;
}

const RECONCILER = Symbol('mesh-reconciler');

/** Marks a provider of a module with `@MeshFeature` as the reconciler of that module. */
export function ModuleReconciler(): (target: Type<Reconciler>) => void {
  return (target) => Reflect.defineMetadata(RECONCILER, true, target);
}

/**
 * The reconcilers of this process by module.
 * @throws Error for a reconciler outside a module with `@MeshFeature`, or a second one in a module
 */
export function findReconcilers(container: ModulesContainer): Map<string, Reconciler> {
  const found = new Map<string, Reconciler>();
  for (const { instance, module } of markedProviders<Reconciler>(container, RECONCILER, 'a reconciler')) {
    if (found.has(module)) throw new Error(`${module} has two reconcilers: make them one`);
    found.set(module, instance);
  }
  return found;
}
