import { Reject } from '../contracts/message.js';

/**
 * This release has no handler for the type of a message. In a rolling update the next release may have one: deliveries wait
 * for it (`DeliveryPolicy.unknownTypeGraceMs`) before they are dead-lettered.
 */
export class UnknownType extends Reject {
  override readonly name = 'UnknownType';

  /** @param module the consumer; absent where the type decides on the consumers */
  constructor(type: string, module?: string) {
    super(
      `${module === undefined ? `No module here has a handler` : `${module} has no handler`} for ${type}: ` +
        'start a release that has one and replay the message, or discard the message',
    );
  }
}
