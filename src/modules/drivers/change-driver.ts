import { Command, CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound, BusinessRuleViolation } from '../../infrastructure/contracts/domain-errors.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import type { driver } from './contract.js';
import { isLicenceValid, type Fee } from './driver.js';
import { driverView, findDriver } from './read-driver.js';
import { assertFee } from './register-driver.js';
import { Driver } from './tables.js';

type Change = { readonly status: 'ACTIVE' | 'INACTIVE' } | { readonly fee: Fee };

/** Activates or deactivates a driver, or changes the agreement on their fee. */
export class ChangeDriver extends Command<z.infer<typeof driver>> {
  constructor(
    readonly driverId: number,
    readonly change: Change,
  ) {
    super();
  }
}

@CommandHandler(ChangeDriver)
export class ChangeDriverHandler implements ICommandHandler<ChangeDriver> {
  constructor(private readonly work: UnitOfWork) {}

  async execute({ driverId, change }: ChangeDriver) {
    if ('fee' in change) assertFee(change.fee);
    return this.work.run(async () => {
      const found = await findDriver(this.work, driverId);
      if (!found) throw new NotFound(`There is no driver ${driverId}`, 'id');
      if ('status' in change && change.status === 'ACTIVE' && !isLicenceValid(found.driverLicense)) {
        throw new BusinessRuleViolation(
          'Only a driver with a valid licence can be active: register them again with the right driverLicense',
          'driverLicense',
        );
      }
      await this.work.repository(Driver).update({ id: driverId }, change);
      return driverView(this.work, Object.assign(found, change));
    });
  }
}
