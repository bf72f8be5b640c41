import type { ModuleRef } from '@nestjs/core';

/** The injection token of the `ConsoleOptions`, with the address of the broker; undefined without a console. */
export const CONSOLE = Symbol('CONSOLE');

export interface ConsoleOptions {
  /** The folder with the files of the console. */
  readonly folder: string;
  /** Buttons that the application offers in development. */
  readonly actions?: readonly ConsoleAction[];
}

/** A button of the console. */
export interface ConsoleAction {
  /** Part of the address: a-z and hyphens. */
  readonly name: string;
  /** What stands on the button. */
  readonly label: string;
  /**
   * @param app finds providers of the application
   * @returns one sentence about what it did
   * @throws an error whose message the user should read
   */
  run(app: ModuleRef): Promise<string>;
}
