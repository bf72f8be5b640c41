import { Controller, Get, Redirect } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';

/** In development, a browser that opens the application's address finds the console. */
@ApiExcludeController()
@Controller()
export class RootController {
  @Get()
  @Redirect('/mesh/console', 302)
  open(): void {}
}
