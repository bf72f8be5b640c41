// A Nest application with TypeORM only, for comparison with the start of the application. Plain JavaScript, no build.
import 'reflect-metadata';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DataSource } from 'typeorm';

class Root {
  here() {
    return 'here';
  }
}
Controller()(Root);
Get()(Root.prototype, 'here', Object.getOwnPropertyDescriptor(Root.prototype, 'here'));

class Plain {}
Module({ controllers: [Root] })(Plain);

await new DataSource({ type: 'better-sqlite3', database: process.env.DATABASE }).initialize();
const app = await NestFactory.create(Plain, { logger: false });
await app.listen(Number(process.env.PORT), '127.0.0.1');
