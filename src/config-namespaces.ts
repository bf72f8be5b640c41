import { getConfigToken } from '@nestjs/config';
import type { Config } from './config.js';

/** The part of the configuration that one module reads: `@Inject(ridesConfig.KEY) settings: Settings<typeof ridesConfig>`. */
export interface Namespace<Part extends object> {
  readonly name: string;
  readonly KEY: string;
  readonly select: (config: Config) => Part;
}

export type Settings<Of> = Of extends Namespace<infer Part> ? Part : never;

export const ridesConfig = namespace('rides', ({ tariffTimeZone }) => ({ tariffTimeZone }));

/** How long modules keep the rows that only protect from repeated messages, in ms. */
export const guardConfig = namespace('guard', ({ repeatGuardMs }) => ({ repeatGuardMs }));

export const demoConfig = namespace('demo', ({ seed }) => ({ isSeeded: seed === 'demo' }));

function namespace<Part extends object>(name: string, select: (config: Config) => Part): Namespace<Part> {
  return { name, select, KEY: getConfigToken(name) };
}
