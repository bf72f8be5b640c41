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

// As in the application: better-sqlite3 12 doesn't run on Node 22 and later everywhere.
const isNewer = parseInt(process.versions.node) >= 22;
const driver = isNewer ? (await import('better-sqlite3-13').catch(() => undefined))?.default : undefined;
await new DataSource({ type: 'better-sqlite3', database: process.env.DATABASE, driver }).initialize();
const app = await NestFactory.create(Plain, { logger: false });
await app.listen(Number(process.env.PORT), '127.0.0.1');
