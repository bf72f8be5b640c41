import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { APPLICATION_NAME, MODULES } from '../../src/app.module.js';
import { modulesDoc } from '../../tools/modules-doc.js';
import { readSources, ROOT, type Sources } from '../../tools/source.js';
import {
  contractsOnly,
  contractsStandAlone,
  domainFiles,
  domainIsPlain,
  flatAndNamed,
  infrastructureKnowsNoTrade,
  infrastructureStandsAlone,
  messageTypes,
  ownPrefix,
  ownTablesOnly,
  throughTheUnitOnly,
  type Rule,
} from '../../tools/architecture.js';

const RULES: Record<string, Rule> = {
  'a module knows another one by its contract only': contractsOnly,
  'a contract shows nothing private': contractsStandAlone,
  'a module reaches its tables through the unit of work only': throughTheUnitOnly,
  'a table begins with the name of its module': ownPrefix,
  'a module names no table of another one, nor of the mesh': ownTablesOnly,
  'infrastructure can be carried away': infrastructureStandsAlone,
  'infrastructure knows nothing of the trade': infrastructureKnowsNoTrade,
  'domain rules need neither Nest nor TypeORM nor infrastructure': domainIsPlain,
  'files are flat, and their names say something': flatAndNamed,
  'message types name their application and module, once': messageTypes(APPLICATION_NAME),
};

/** A house in order: two modules that none of the rules has heard of. */
const IN_ORDER: Record<string, string> = {
  'src/app.module.ts': `import { KitchenModule } from './modules/kitchen/kitchen.module.js';`,
  'src/infrastructure/bus.ts': `import { Injectable } from '@nestjs/common'; /** The driver of the client. */`,
  'src/modules/kitchen/contract.ts': `
    import { durableCommand } from '../../infrastructure/bus.js';
    export class CookDish extends durableCommand('cabs.kitchen.cook-dish', {}) {}`,
  'src/modules/kitchen/kitchen.module.ts': `
    import { Opening } from './opening.js';
    @MeshFeature({ name: 'kitchen' }) @Module({ providers: [Opening] }) export class KitchenModule {}`,
  'src/modules/kitchen/opening.ts': `import { bus } from '../../infrastructure/bus.js'; export const Opening = bus();`,
  'src/modules/kitchen/tables.ts': `
    @Entity('kitchen_dish') export class Dish {}
    const up = (runner) => runner.dataSource.options.type && runner.query('CREATE TABLE kitchen_dish (id text)');`,
  'src/modules/kitchen/recipe.ts': `import type { CookDish } from './contract.js'; export const salt = 1;`,
  'src/modules/bar/contract.ts': `export * from '../kitchen/contract.js';`,
  'src/modules/bar/tables.ts': `/* not kitchen_dish */ @Entity('bar_drink') export class Drink {}`,
};

/** Rule, the planted file, and what the rule has to say of it. */
const PLANTED: [rule: string, path: string, text: string, says: string][] = [
  ...[
    `import { Dish } from '../kitchen/tables.js';`,
    `import type { Dish } from '../kitchen/tables.js';`,
    `import { type Dish } from '../kitchen/tables.js';`,
    `import '../kitchen/tables.js';`,
    `export { Dish } from '../kitchen/tables.js';`,
    `export * from '../kitchen/tables.js';`,
    `const { Dish } = await import('../kitchen/tables.js');`,
    `const { Dish } = await import(\`../kitchen/tables.js\`);`,
    `let dish: import('../kitchen/tables.js').Dish;`,
    `import tables = require('../kitchen/tables.js');`,
    `import { Dish } from '../../modules/kitchen/tables.js';`,
  ].map((text): (typeof PLANTED)[number] => [
    'a module knows another one by its contract only',
    'src/modules/bar/shake.ts',
    text,
    'tables.ts of kitchen',
  ]),
  [
    'a module knows another one by its contract only',
    'src/modules/bar/shake.ts',
    `const secret = await import('../kitchen/' + 'tables.js');`,
    'only a run could tell',
  ],
  [
    'a module knows another one by its contract only',
    'src/back-door.ts',
    `export * from './modules/kitchen/tables.js';`,
    'tables.ts of kitchen',
  ],
  [
    'a module knows another one by its contract only',
    'src/modules/bar/shake.ts',
    `import { MODULES } from '../../app.module.js';`,
    'the application',
  ],
  [
    'a contract shows nothing private',
    'src/modules/bar/contract.ts',
    `export type { Drink } from './tables.js';`,
    'bar/tables.ts',
  ],
  ...[
    [`import { InjectRepository } from 'anywhere';`, 'InjectRepository'],
    [`import { InjectDataSource as Fine } from 'anywhere';`, 'InjectDataSource'],
    [`import { DataSource } from 'typeorm';`, 'DataSource'],
    [`import * as typeorm from 'typeorm'; new typeorm.DataSource({});`, 'DataSource'],
    [`import * as typeorm from 'typeorm'; new typeorm['DataSource']({});`, 'DataSource'],
    [`const token = getRepositoryToken(Drink);`, 'getRepositoryToken'],
    [`import { CqrsModule } from '@nestjs/cqrs';`, 'CqrsModule'],
    [`import { TypeOrmModule } from '@nestjs/typeorm';`, '@nestjs/typeorm'],
    [`work.repository(Drink).manager.dataSource.query('SELECT 1');`, '.dataSource'],
    [`work.repository(Drink).manager.connection.query('SELECT 1');`, '.connection'],
    [`work.repository(Drink).manager['connection'].query('SELECT 1');`, '.connection'],
    [`const { dataSource } = work.repository(Drink).manager;`, '.dataSource'],
    [`const { dataSource: all } = work.repository(Drink).manager;`, '.dataSource'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'a module reaches its tables through the unit of work only',
    'src/modules/bar/shake.ts',
    text!,
    says!,
  ]),
  ...[
    [`@Entity('drink') class Drink {}`, 'drink'],
    [`@Entity() class Drink {}`, 'without a name'],
    [`@Entity('kitchen_drink') class Drink {}`, 'kitchen_drink'],
    [`runner.query(\`create table if not exists "drink" (id text)\`);`, 'drink'],
    [`@MeshFeature({ name: 'pub' }) @Module({}) class BarModule {}`, 'another name'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'a table begins with the name of its module',
    'src/modules/bar/planted.ts',
    text!,
    says!,
  ]),
  ...[
    [`work.sql.all('SELECT * FROM kitchen_dish');`, 'kitchen_dish'],
    [`work.sql.all(\`SELECT * FROM bar_drink JOIN "KITCHEN_dish" ON true\`);`, 'KITCHEN_dish'],
    [`work.sql.all(\`SELECT * FROM kitchen_\${table}\`);`, 'kitchen_'],
    [`builder.leftJoin('kitchen_dish', 'dish');`, 'kitchen_dish'],
    [`builder.leftJoin('Dish', 'dish');`, `'Dish'`],
    [`work.sql.run('DELETE FROM mesh_inbox');`, 'mesh_inbox'],
    [`const row = { mesh_outbox: 1 };`, 'mesh_outbox'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'a module names no table of another one, nor of the mesh',
    'src/modules/bar/shake.ts',
    text!,
    says!,
  ]),
  [
    'infrastructure can be carried away',
    'src/infrastructure/shortcut.ts',
    `import type { CookDish } from '../modules/kitchen/contract.js';`,
    'kitchen/contract.ts',
  ],
  ['infrastructure can be carried away', 'src/infrastructure/shortcut.ts', `import '../config.js';`, 'src/config.ts'],
  ['infrastructure can be carried away', 'src/infrastructure/shortcut.ts', `import(path);`, 'only a run could tell'],
  ...[
    ['const kitchens = 1;', 'kitchen'],
    ['/* as soon as the dish is done */', 'dish'],
    ['const hotDishes = dishOf(plate);', 'dish'],
    [`if (type === 'cook-dish') skip();`, 'cook-dish'],
    ['export class CabsModule {}', 'cabs'],
    ['const driverId = 1;', 'driverId'],
    [`row['client_id']`, 'client_id'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'infrastructure knows nothing of the trade',
    'src/infrastructure/special.ts',
    text!,
    `'${says}'`,
  ]),
  ...[
    [`import { Logger } from '@nestjs/common';`, '@nestjs/common'],
    [`import type { Repository } from 'typeorm';`, 'typeorm'],
    [`import { MAX } from '../../infrastructure/bus.js';`, 'infrastructure/bus.ts'],
    [`import type { Dish } from './tables.js';`, 'kitchen/tables.ts'],
    [`import { config } from '../../config.js';`, 'src/config.ts'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'domain rules need neither Nest nor TypeORM nor infrastructure',
    'src/modules/kitchen/spice.ts',
    text!,
    says!,
  ]),
  ['files are flat, and their names say something', 'src/modules/bar/index.ts', '', 'a barrel'],
  ['files are flat, and their names say something', 'src/infrastructure/http/utils.ts', '', 'says nothing'],
  ['files are flat, and their names say something', 'src/modules/bar/helpers.ts', '', 'says nothing'],
  ['files are flat, and their names say something', 'src/common.ts', '', 'says nothing'],
  ['files are flat, and their names say something', 'src/modules/bar/domain/drink.ts', '', 'two modules'],
  ...[
    [`class MixDrink extends durableCommand('cabs.kitchen.mix-drink', {}) {}`, 'cabs.bar.<kebab-case>'],
    [`class MixDrink extends durableCommand('cabs.bar.mixDrink', {}) {}`, 'cabs.bar.<kebab-case>'],
    [`class DrinkMixed extends durableEvent('pubs.bar.drink-mixed', {}) {}`, 'cabs.bar.<kebab-case>'],
    [`class DrinkMixed extends durableEvent(TYPE, {}) {}`, 'cabs.bar.<kebab-case>'],
    [
      `class A extends durableEvent('cabs.bar.a', {}) {} class B extends durableEvent('cabs.bar.a', {}) {}`,
      'type of B',
    ],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'message types name their application and module, once',
    'src/modules/bar/contract.ts',
    text!,
    says!,
  ]),
  [
    'message types name their application and module, once',
    'src/modules/bar/shake.ts',
    `class MixDrink extends durableCommand('cabs.bar.mix-drink', {}) {}`,
    'outside the contract',
  ],
];

describe('The architecture', () => {
  const sources = readSources('src');

  it.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(rule(sources)).toEqual([]);
  });

  it('is looked at where it is: every module has a contract, and some have rules of their own', () => {
    const folders = [...sources.keys()].flatMap((path) => /^src\/modules\/([^/]+)\//.exec(path)?.[1] ?? []);
    for (const module of new Set(folders)) expect(sources.has(`src/modules/${module}/contract.ts`)).toBe(true);
    expect(new Set(folders).size).toBe(MODULES.length);
    expect(domainFiles(sources)).not.toEqual([]);
  });

  it('is described in docs/modules.md as it is now; if not, `npm run docs` writes it anew', () => {
    expect(readFileSync(join(ROOT, 'docs/modules.md'), 'utf8')).toBe(modulesDoc(MODULES, sources));
  });
});

describe('The rules', () => {
  it.each(Object.entries(RULES))('leave a house in order alone: %s', (_, rule) => {
    expect(rule(planted())).toEqual([]);
  });

  it.each(PLANTED)('see a violation: %s (%s: %s)', (name, path, text, says) => {
    const problems = RULES[name]!(planted({ [path]: text }));
    expect(problems).not.toEqual([]);
    expect(problems.join('\n')).toContain(`${path}: `);
    expect(problems.join('\n')).toContain(says);
  });

  it('are all proven on a violation', () => {
    expect(new Set(PLANTED.map(([rule]) => rule))).toEqual(new Set(Object.keys(RULES)));
  });
});

function planted(files: Record<string, string> = {}): Sources {
  return new Map(Object.entries({ ...IN_ORDER, ...files }));
}
