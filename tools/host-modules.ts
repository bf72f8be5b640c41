import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Type } from '@nestjs/common';
import { findMeshFeature, meshFeatureOf } from '../src/infrastructure/contracts/mesh-feature.js';
import { NEST_KEYS } from '../src/infrastructure/contracts/package-metadata.js';
import type { MigrationHistory } from '../src/infrastructure/persistence/migrate.js';
import { UsageError } from './errors.js';

/* Reads what an application declares from its compiled files, without starting it. */

/** Where the builds of Nest put the module of an application. */
const DEFAULTS = ['dist/app.module.js', 'dist/src/app.module.js'];

export const APP_OPTION = { app: { type: 'string', multiple: true } } as const;
export const APP_USAGE = `  --app FILE     a compiled file that exports modules with @MeshFeature, or modules that import such, or
                 histories of migrations; repeatable. Default: ${DEFAULTS[0]}. It is loaded, but
                 nothing in it is started`;

export interface HostApplication {
  /** Its modules with `@MeshFeature`, in the order of their names. */
  readonly modules: Type[];
  readonly histories: MigrationHistory[];
}

/** @throws UsageError when a file is missing, or none leads to a module with `@MeshFeature` */
export async function readApplication(files: readonly string[] | undefined): Promise<HostApplication> {
  const paths = files ?? DEFAULTS.filter((it) => existsSync(it)).slice(0, 1);
  if (paths.length === 0) throw new UsageError(`Missing --app: there is no ${DEFAULTS.join(' or ')}. Build first?`);
  const exported = (await Promise.all(paths.map(exportsOf))).flat(2);
  const found = new Set<unknown>();
  for (const it of exported) await walk(it, found);
  const modules = [...found].filter((it): it is Type => isClass(it) && findMeshFeature(it) !== undefined);
  if (modules.length === 0)
    throw new UsageError(`Invalid --app ${paths.join(' ')}: no module with @MeshFeature is reached from there.`);
  modules.sort((a, b) => (meshFeatureOf(a).name < meshFeatureOf(b).name ? -1 : 1));
  return { modules, histories: exported.filter(isHistory) };
}

async function exportsOf(path: string): Promise<unknown[]> {
  if (!existsSync(path)) throw new UsageError(`Invalid --app "${path}": there is no such file.`);
  const { default: ofCommonJs, ...named } = (await import(pathToFileURL(resolve(path)).href)) as Record<
    string,
    unknown
  >;
  const inner: unknown[] = isClass(ofCommonJs) ? [ofCommonJs] : Object.values(ofCommonJs ?? {});
  return [...new Set([...Object.values(named), ...inner])];
}

/** Follows the imports of Nest modules, static and dynamic. */
async function walk(it: unknown, found: Set<unknown>): Promise<void> {
  if (it === null || it === undefined || found.has(it)) return;
  found.add(it);
  const { module, imports, forwardRef } = it as { module?: unknown; imports?: unknown[]; forwardRef?: () => unknown };
  if (typeof forwardRef === 'function') return walk(forwardRef(), found);
  if (module) await walk(module, found);
  const own = isClass(it) ? (Reflect.getMetadata(NEST_KEYS.imports, it) as unknown[] | undefined) : imports;
  if (Array.isArray(own)) for (const imported of own) await walk(await imported, found);
}

function isClass(value: unknown): value is Type {
  return typeof value === 'function';
}

function isHistory(value: unknown): value is MigrationHistory {
  const { owner, migrations } = (value ?? {}) as Partial<MigrationHistory>;
  return typeof owner === 'string' && Array.isArray(migrations);
}
