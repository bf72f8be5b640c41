import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { z } from 'zod';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { text } from '../../infrastructure/contracts/schemas.js';
import type { client } from './contract.js';
import { Client } from './tables.js';

export const newClient = z.object({
  name: text(),
  lastName: text(),
  type: z
    .string()
    .toUpperCase()
    .pipe(z.enum(['NORMAL', 'VIP']))
    .default('NORMAL'),
});

export class RegisterClient extends Command<z.infer<typeof client>> {
  constructor(readonly data: z.infer<typeof newClient>) {
    super();
  }
}

@CommandHandler(RegisterClient)
export class RegisterClientHandler implements ICommandHandler<RegisterClient> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { name, lastName, type } }: RegisterClient) {
    return this.work.run(async () => {
      const row = { name, lastName, type };
      const { identifiers } = await this.work.repository(Client).insert(row);
      return { id: identifiers[0]!.id as number, name, lastName, type };
    });
  }
}
