import type { Message, Topology } from './mesh-types';

/** One message type between a sender and a consumer. */
export interface Edge {
  readonly key: string;
  readonly message: Message;
  readonly sender: string;
  readonly consumer: string;
}

export function edgesOf({ messages }: Topology): Edge[] {
  return messages.flatMap((message) =>
    message.senders.flatMap((sender) =>
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
