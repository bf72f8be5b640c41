import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import { ClientsController } from './clients.controller.js';
import * as contract from './contract.js';
import { ReadClientHandler } from './read-client.js';
import { RegisterClientHandler } from './register-client.js';
import { ClientsSeed } from './seed.js';
import { Client } from './tables.js';

@MeshFeature({ name: 'clients', contract, entities: [Client] })
@Module({ controllers: [ClientsController], providers: [RegisterClientHandler, ReadClientHandler, ClientsSeed] })
export class ClientsModule {}
