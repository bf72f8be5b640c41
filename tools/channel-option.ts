import { CHANNEL_KINDS, type ChannelKind } from './broker/channel.js';
import { UsageError } from './errors.js';

/** The value of the option `--channel`. @throws UsageError */
export function channelOf(value: string): ChannelKind {
  const kind = CHANNEL_KINDS.find((it) => it === value);
  if (kind === undefined)
    throw new UsageError(`Invalid --channel ${JSON.stringify(value)}: expected ${CHANNEL_KINDS.join(' or ')}.`);
  return kind;
}
