/* The entry `./console`: a page in the browser that shows what the mesh does. */

import { fileURLToPath } from 'node:url';
import type { ConsoleAction, ConsoleOptions } from '../src/infrastructure/console/console-options.js';

export type { ConsoleAction, ConsoleOptions };

/**
 * The option `console` of `MeshModule.forRoot()`: serves the console at /mesh/console.
 * @param actions buttons of the application, which exist in development only
 */
export function meshConsole(actions: readonly ConsoleAction[] = []): ConsoleOptions {
  return { folder: fileURLToPath(new URL('../console', import.meta.url)), actions };
}
