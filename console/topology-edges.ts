import type { Message, Topology } from './mesh-types';

/** One message type between a sender and a consumer. */
export interface Edge {
  readonly key: string;
  readonly message: Message;
  readonly sender: string;
  readonly consumer: string;
}

/** What the user has chosen. */
export type Selection =
  { readonly edge: Edge; readonly node?: undefined } | { readonly node: string; readonly edge?: undefined };

export function edgesOf({ application, messages }: Topology): Edge[] {
  return messages.flatMap((message) =>
    message.senders
      .map((it) => senderOf(it, application))
      .flatMap((sender) =>
        message.consumers.map((consumer) => ({
          key: JSON.stringify([message.type, sender, consumer]),
          message,
          sender,
          consumer,
        })),
      ),
  );
}

/** The modules, and the other systems that send or receive messages. */
export function nodesOf({ modules }: Topology, edges: readonly Edge[]): string[] {
  return [...new Set([...modules.map(({ name }) => name), ...edges.flatMap((it) => [it.sender, it.consumer])])];
}

/** The name of a sender by its source: a module of the application without the name of the application. */
export function senderOf(source: string, application: string): string {
  const own = `usvc://${application}/`;
  return source.startsWith(own) ? source.slice(own.length) : source;
}
