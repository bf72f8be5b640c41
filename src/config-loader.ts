import type { DynamicModule } from '@nestjs/common';
import { ConfigModule, registerAs } from '@nestjs/config';
import { demoConfig, guardConfig, ridesConfig, type Namespace } from './config-namespaces.js';
import { readConfig, type Config, type Purpose, type Variables } from './config.js';

const NAMESPACES: readonly Namespace<object>[] = [ridesConfig, guardConfig, demoConfig];

/** The validated configuration, and the Nest module that provides its namespaces. */
export interface LoadedConfig {
  readonly config: Config;
  readonly module: DynamicModule;
}

/**
 * Reads the environment and the file `.env` of the working directory. A variable of the environment wins over the same
 * one in `.env`, also when it is empty.
 * @param modules the names of all modules of the application
 * @param variables read instead of the environment and `.env`, for tests
 * @throws Error with one line for each invalid variable
 */
export async function loadConfig(
  modules: readonly string[],
  { purpose, variables }: { purpose?: Purpose; variables?: Variables } = {},
): Promise<LoadedConfig> {
  let config!: Config;
  const module = await ConfigModule.forRoot({
    isGlobal: true,
    ...(variables && { ignoreEnvFile: true, ignoreEnvVars: true }),
    validate: (found: Record<string, string>) => {
      config = readConfig(variables ?? found, modules, purpose);
      // Nest copies the result into process.env, so return the texts that were found, not the parsed values.
      return found;
    },
    load: NAMESPACES.map(({ name, select }) => registerAs(name, () => select(config))),
  });
  return { config, module };
}

/** The variables of the environment and of `.env`, unvalidated, for tools that read a few of them. */
export async function loadVariables(): Promise<Variables> {
  let variables: Variables = {};
  await ConfigModule.forRoot({ validate: (found: Record<string, string>) => (variables = found) });
  return variables;
}
