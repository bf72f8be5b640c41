import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { z } from 'zod';
import { BusinessRuleViolation } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { text } from '../../infrastructure/contracts/schemas.js';
import { fee, type driver } from './contract.js';
import { brokenFeeRule, type Fee } from './driver.js';
import { driverView } from './read-driver.js';
import { Driver } from './tables.js';

export const newDriver = z.object({
  firstName: text(),
  lastName: text(),
  driverLicense: z.union([text(50), z.literal('')]),
  fee: fee.nullish(),
});

/** Registers a driver. They are inactive at first, because the licence is not validated yet. */
export class RegisterDriver extends Command<z.infer<typeof driver>> {
  constructor(readonly data: z.infer<typeof newDriver>) {
    super();
  }
}

@CommandHandler(RegisterDriver)
export class RegisterDriverHandler implements ICommandHandler<RegisterDriver> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ data: { firstName, lastName, driverLicense, fee } }: RegisterDriver) {
    if (fee) assertFee(fee, 'fee.');
    return this.work.run(async () => {
      const drivers = this.work.repository(Driver);
      const row = drivers.create({ firstName, lastName, driverLicense, status: 'INACTIVE', fee: fee ?? null });
      return driverView(this.work, await drivers.save(row));
    });
  }
}

/** @throws BusinessRuleViolation that names the field, prefixed with `prefix` */
export function assertFee(fee: Fee, prefix = ''): void {
  const broken = brokenFeeRule(fee);
  if (broken) throw new BusinessRuleViolation(broken.rule, `${prefix}${broken.field}`);
}
