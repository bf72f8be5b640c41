import type { Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { markedProviders, type MarkedProvider } from '../contracts/marked-providers.js';
import type { ExpiredRows } from '../store/expired-rows.js';

/** Tells which rows of a module have lost their use. The mesh deletes them every 10 minutes, in small units of work. */
export interface RowRetention {
  /** @param now by the clock of the database, in ms since 1970 */
  expired(now: number): readonly ExpiredRows[];
}

const ROW_RETENTION = Symbol('mesh-row-retention');

/** Marks a provider of a module with `@MeshFeature`, whose expired rows the mesh deletes. */
export function ModuleRetention(): (target: Type<RowRetention>) => void {
  return (target) => Reflect.defineMetadata(ROW_RETENTION, true, target);
}

/** @throws Error for a provider outside a module with `@MeshFeature` */
export function findRowRetentions(container: ModulesContainer): MarkedProvider<RowRetention>[] {
  return markedProviders<RowRetention>(container, ROW_RETENTION, 'a retention');
}
