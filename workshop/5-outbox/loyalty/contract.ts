import { Command } from '@nestjs/cqrs';

/** Credit the client's miles for a transit, if they collect any. */
export class RegisterMiles extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly clientId: number }) {
    super();
  }
}
