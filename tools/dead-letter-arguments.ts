import { UsageError } from './errors.js';

/* Checks the arguments of npm run mesh:dead-letters: a command refuses each argument that it would ignore. */

const FILTER = ['consumer', 'type', 'cause'] as const;

interface Form {
  /** As in the usage. */
  readonly name: string;
  readonly takesId: boolean;
  /** Options besides --url. */
  readonly options: readonly string[];
}

export type Command = 'list' | 'show' | 'replay' | 'discard';
const COMMANDS: readonly string[] = ['list', 'show', 'replay', 'discard'] satisfies Command[];

const FORMS = {
  list: { name: 'list', takesId: false, options: [...FILTER, 'by', 'page', 'size'] },
  // It answers all groups in one page.
  'list --by': { name: 'list --by', takesId: false, options: [...FILTER, 'by'] },
  show: { name: 'show <id>', takesId: true, options: [] },
  replay: { name: 'replay <id>', takesId: true, options: ['force'] },
  'replay --all': { name: 'replay --all', takesId: false, options: [...FILTER, 'all', 'force'] },
  discard: { name: 'discard <id>', takesId: true, options: [] },
} satisfies Record<string, Form>;

/**
 * @param values the options; `url` is accepted by every command
 * @returns the command, and the id of its dead letter where it takes one
 * @throws UsageError for an argument that is missing, or that the command would ignore
 */
export function deadLetterArguments(
  values: Readonly<Record<string, unknown>>,
  [command, ...rest]: readonly string[],
): { readonly command: Command; readonly id: string } {
  if (!isCommand(command)) {
    const problem = command === undefined ? 'Missing command' : `Unknown command "${command}"`;
    throw new UsageError(`${problem}: expected list, show, replay or discard.`);
  }
  const { name, takesId, options } = formOf(command, values);
  const surplus = rest.slice(takesId ? 1 : 0);
  if (surplus.length > 0) {
    throw new UsageError(`Unexpected argument "${surplus[0]}": ${name} takes ${takesId ? 'one' : 'no'} id.`);
  }
  const [id = ''] = rest;
  if (takesId) assertId(command, id);
  const given = Object.keys(values).filter((it) => it !== 'url' && values[it] !== undefined && values[it] !== false);
  const ignored = given.find((it) => !options.includes(it));
  if (ignored) throw new UsageError(`Unexpected option --${ignored}: ${name} doesn't take it.`);
  return { command, id };
}

function isCommand(text: string | undefined): text is Command {
  return text !== undefined && COMMANDS.includes(text);
}

function formOf(command: Command, { all, by }: Readonly<Record<string, unknown>>): Form {
  if (command === 'replay' && all) return FORMS['replay --all'];
  if (command === 'list' && by !== undefined) return FORMS['list --by'];
  return FORMS[command];
}

/** An id becomes a segment of a path: `replay .` would be the path that replays all. */
function assertId(command: string, id: string): void {
  if (!id) throw new UsageError(`Missing <id>: which dead letter to ${command}?`);
  if (!/^[\w-]+$/.test(id)) throw new UsageError(`Invalid <id> "${id}": expected the id of a dead letter.`);
}
