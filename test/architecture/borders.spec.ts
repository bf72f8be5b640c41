import 'reflect-metadata';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { APPLICATION_NAME, MODULES } from '../../src/app.module.js';
import { meshFeatureOf, messagesIn } from '../../src/infrastructure/contracts/mesh-feature.js';
import { permittedSenders } from '../../src/infrastructure/contracts/message.js';
import { sendersOf } from '../../tools/message-sources.js';
import { modulesDoc } from '../../tools/modules-doc.js';
import { readSources, ROOT, type Sources } from '../../tools/source.js';
import { infrastructureKnowsNoTrade, infrastructureStandsAlone } from '../../tools/architecture/infrastructure.js';
import { messageTypes } from '../../tools/architecture/messages.js';
import {
  migrationsOfOwnTables,
  modulesKnowNoMigrations,
  oneMigrationPerFile,
} from '../../tools/architecture/migrations.js';
import {
  contractsOnly,
  contractsStandAlone,
  domainFiles,
  domainIsPlain,
  flatAndNamed,
  throughTheUnitOnly,
} from '../../tools/architecture/modules.js';
import type { Rule } from '../../tools/architecture/rule.js';
import { ownPrefix, ownTablesOnly } from '../../tools/architecture/tables.js';

const RULES: Record<string, Rule> = {
  'a module knows another one by its contract only': contractsOnly,
  'a contract imports nothing private': contractsStandAlone,
  'a module reaches its tables through the unit of work only': throughTheUnitOnly,
  'a table begins with the name of its module, and its DDL is in a migration': ownPrefix,
  'a module names no table of another one, nor of the mesh': ownTablesOnly,
  'infrastructure imports nothing of the application': infrastructureStandsAlone,
  'infrastructure uses no word of the application': infrastructureKnowsNoTrade,
  'domain rules need neither Nest nor TypeORM nor infrastructure': domainIsPlain,
  'the files of a small module are in one folder, and file names are specific': flatAndNamed,
  'message types name their application and module, once': messageTypes(APPLICATION_NAME),
  'a migration is a class of its own, in a file by its timestamp, in the folder of its owner': oneMigrationPerFile,
  'a migration names only tables of its owner': migrationsOfOwnTables,
  'a module imports no migrations': modulesKnowNoMigrations,
};

/** Sources that keep the rules: two modules whose names are in none of the rules. */
const VALID: Record<string, string> = {
  'src/app.module.ts': `import { KitchenModule } from './modules/kitchen/kitchen.module.js';`,
  'src/infrastructure/bus.ts': `
    import { Injectable } from '@nestjs/common';
    /** The driver of the client reads an event, a message, its key, and the dish of its route. */`,
  'src/infrastructure/store/migration-histories.ts': `
    import { MeshTables1763900000000 } from './migrations/1763900000000-create-tables.js';`,
  'src/infrastructure/store/migrations/1763900000000-create-tables.ts': migration(
    'MeshTables1763900000000',
    'CREATE TABLE mesh_outbox (id text)',
  ),
  'migrations/histories.ts': `
    import { KitchenTables1763900000000 } from './kitchen/1763900000000-create-tables.js';
    import { KitchenDishes1764000000000 } from './kitchen/1764000000000-add-dishes.js';`,
  'migrations/kitchen/1763900000000-create-tables.ts': migration(
    'KitchenTables1763900000000',
    'CREATE TABLE IF NOT EXISTS kitchen_dish (id text)',
    'CREATE UNIQUE INDEX kitchen_dish_id ON kitchen_dish (id)',
  ),
  'migrations/kitchen/1764000000000-add-dishes.ts': migration(
    'KitchenDishes1764000000000',
    'INSERT INTO kitchen_dish SELECT id FROM kitchen_event ON CONFLICT (id) DO UPDATE SET id = excluded.id',
  ),
  'src/modules/kitchen/contract.ts': `
    import { durableCommand } from '../../infrastructure/bus.js';
    export class CookDish extends durableCommand('cabs.kitchen.cook-dish', {}) {}`,
  'src/modules/kitchen/kitchen.module.ts': `
    import { Opening } from './opening.js';
    @MeshFeature({ name: 'kitchen' }) @Module({ providers: [Opening] }) export class KitchenModule {}`,
  'src/modules/kitchen/opening.ts': `import { bus } from '../../infrastructure/bus.js'; export const Opening = bus();`,
  'src/modules/kitchen/tables.ts': `
    @Entity('kitchen_dish') export class Dish {}
    @Entity('kitchen_event') export class KitchenEvent {}
    @Entity('kitchen_message_key') export class MessageKey {}`,
  'src/modules/kitchen/recipe.ts': `import type { CookDish } from './contract.js'; export const salt = 1;`,
  'src/modules/bar/contract.ts': `export * from '../kitchen/contract.js';`,
  'src/modules/bar/tables.ts': `/* not kitchen_dish */ @Entity('bar_drink') export class Drink {}`,
};

/** The rule, the planted file, and a part of the expected violation. */
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
    'known at run time only',
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
    'a contract imports nothing private',
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
    [`runner.query(\`create table if not exists "bar_drink" (id text)\`);`, 'says create table'],
    [`runner.query('ALTER TABLE bar_drink ADD COLUMN price integer');`, 'says ALTER TABLE'],
    [`runner.query('CREATE UNIQUE INDEX bar_drink_id ON bar_drink (id)');`, 'says CREATE UNIQUE INDEX'],
    [`@MeshFeature({ name: 'pub' }) @Module({}) class BarModule {}`, 'another name'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'a table begins with the name of its module, and its DDL is in a migration',
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
    'infrastructure imports nothing of the application',
    'src/infrastructure/shortcut.ts',
    `import type { CookDish } from '../modules/kitchen/contract.js';`,
    'kitchen/contract.ts',
  ],
  [
    'infrastructure imports nothing of the application',
    'src/infrastructure/shortcut.ts',
    `import '../config.js';`,
    'src/config.ts',
  ],
  [
    'infrastructure imports nothing of the application',
    'src/infrastructure/shortcut.ts',
    `import(path);`,
    'known at run time only',
  ],
  ...[
    ['const kitchens = 1;', 'kitchen'],
    ['/* as soon as the kitchen is closed */', 'kitchen'],
    ['throw new CookDish();', 'CookDish'],
    [`if (type === 'cook-dish') skip();`, 'cook-dish'],
    ['export class CabsModule {}', 'cabs'],
    ['const driverId = 1;', 'driverId'],
    [`row['client_id']`, 'client_id'],
  ].map(([text, says]): (typeof PLANTED)[number] => [
    'infrastructure uses no word of the application',
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
  [
    'the files of a small module are in one folder, and file names are specific',
    'src/modules/bar/index.ts',
    '',
    'a barrel',
  ],
  [
    'the files of a small module are in one folder, and file names are specific',
    'src/infrastructure/http/utils.ts',
    '',
    'says nothing',
  ],
  [
    'the files of a small module are in one folder, and file names are specific',
    'src/modules/bar/helpers.ts',
    '',
    'says nothing',
  ],
  ['the files of a small module are in one folder, and file names are specific', 'src/common.ts', '', 'says nothing'],
  [
    'the files of a small module are in one folder, and file names are specific',
    'src/modules/bar/domain/drink.ts',
    '',
    'a folder in a module',
  ],
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
  ...[
    ['migrations/1764100000000-add.ts', migration('Add1764100000000'), 'belongs into migrations/<module>/'],
    ['migrations/cellar/1764100000000-add.ts', migration('Add1764100000000'), 'no module cellar'],
    ['migrations/bar/add-drinks.ts', migration('Add1764100000000'), 'is not called <timestamp'],
    ['migrations/bar/1764100000000-add.ts', migration('Add1764100000001'), "doesn't end in 1764100000000"],
    ['migrations/bar/1764100000000-add.ts', 'export class Add1764100000000 {}', "doesn't implement"],
    ['migrations/bar/1764100000000-add.ts', 'export const add = 1;', '0 classes instead of one'],
    [
      'migrations/bar/1764100000000-add.ts',
      `${migration('Add1764100000000')} ${migration('More1764100000000')}`,
      '2 classes instead of one',
    ],
    [
      'migrations/bar/1764100000000-add.ts',
      `export class Add1764100000000 implements MigrationInterface { name = 'Other1764100000000'; }`,
      'called Other1764100000000 in the history',
    ],
    [
      'migrations/bar/1764100000000-add.ts',
      `import { Drink } from '../../src/modules/bar/tables.js'; ${migration('Add1764100000000')}`,
      'imports src/modules/bar/tables.ts',
    ],
    ['migrations/bar/1764100000000-add.ts', migration('Add1764100000000'), 'is not in migrations/histories.ts'],
    [
      'src/infrastructure/store/migrations/1764100000000-add.ts',
      migration('Add1764100000000'),
      'is not in src/infrastructure/store/migration-histories.ts',
    ],
  ].map(([path, text, says]): (typeof PLANTED)[number] => [
    'a migration is a class of its own, in a file by its timestamp, in the folder of its owner',
    path!,
    text!,
    says!,
  ]),
  ...[
    ['CREATE TABLE drink (id text)', 'drink'],
    ['create table if not exists "drink" (id text)', 'drink'],
    ['CREATE TABLE bar_drink (id text, dish text REFERENCES kitchen_dish (id))', 'kitchen_dish'],
    ['CREATE INDEX bar_drink_id ON drink (id)', 'drink'],
    ['INSERT INTO bar_drink SELECT id FROM kitchen_dish', 'kitchen_dish'],
    ['UPDATE kitchen_dish SET id = 1', 'kitchen_dish'],
    ['DROP TABLE mesh_outbox', 'mesh_outbox'],
  ].map(([sql, says]): (typeof PLANTED)[number] => [
    'a migration names only tables of its owner',
    'migrations/bar/1764100000000-add.ts',
    migration('Add1764100000000', sql!),
    `names ${says}, which is no table of bar`,
  ]),
  [
    'a migration names only tables of its owner',
    'src/infrastructure/store/migrations/1764100000000-add.ts',
    migration('Add1764100000000', 'CREATE TABLE outbox (id text)'),
    'names outbox, which is no table of mesh',
  ],
  [
    'a module imports no migrations',
    'src/modules/bar/bar.module.ts',
    `import { HISTORIES } from '../../../migrations/histories.js';`,
    'imports migrations/histories.ts',
  ],
];

/** A module that is large enough to have a folder. */
const LARGE = Object.fromEntries(
  Array.from({ length: 15 }, (_, n) => [`src/modules/bar/file-${n}.ts`, '']).concat([
    ['src/modules/bar/wine/red.ts', ''],
  ]),
);

/** Files that look like a violation and are valid. */
const INNOCENT: [rule: string, why: string, files: Record<string, string>][] = [
  ['the files of a small module are in one folder, and file names are specific', 'a folder in a large module', LARGE],
  [
    'infrastructure uses no word of the application',
    'a module with a word of messaging for its name',
    {
      'src/modules/notifications/contract.ts': 'export {};',
      'src/infrastructure/special.ts': `client.on('notification', () => onNotification());`,
    },
  ],
  ...['event', 'message', 'key', 'delivery', 'outbox', 'lease'].map((word): (typeof INNOCENT)[number] => [
    'infrastructure uses no word of the application',
    `a table bar_${word}`,
    {
      'src/modules/bar/tables.ts': `@Entity('bar_${word}') export class It {}`,
      'src/infrastructure/special.ts': `/** The ${word} of a ${word}. */ export const ${word}Of = 1;`,
    },
  ]),
];

describe('The architecture', () => {
  const sources: Sources = new Map([...readSources('src'), ...readSources('migrations')]);

  it.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(rule(sources)).toEqual([]);
  });

  it('is checked as a whole: every module has a contract and migrations, and some have domain files', () => {
    const folders = [...sources.keys()].flatMap((path) => /^src\/modules\/([^/]+)\//.exec(path)?.[1] ?? []);
    for (const module of new Set(folders)) {
      expect(sources.has(`src/modules/${module}/contract.ts`)).toBe(true);
      expect([...sources.keys()].some((path) => path.startsWith(`migrations/${module}/`))).toBe(true);
    }
    expect(new Set(folders).size).toBe(MODULES.length);
    expect(domainFiles(sources)).not.toEqual([]);
  });

  it('lets exactly those modules send and ask whose code does', () => {
    const inCode = sendersOf(readSources('src'));
    for (const module of MODULES) {
      const { name, contract } = meshFeatureOf(module);
      const { messages, queries } = messagesIn(contract);
      for (const it of [...messages, ...queries]) {
        const named = permittedSenders(it, name).filter((sender) => !sender.includes(':'));
        expect({ [it.name]: [...named].sort() }).toEqual({
          [it.name]: [...(inCode.get(`${name}/${it.name}`) ?? [])].sort(),
        });
      }
    }
  });

  it('is described in docs/modules.md (if this fails, run `npm run docs`)', () => {
    expect(readFileSync(join(ROOT, 'docs/modules.md'), 'utf8')).toBe(modulesDoc(MODULES, readSources('src')));
  });
});

describe('The rules', () => {
  it.each(Object.entries(RULES))('accept sources that keep them: %s', (_, rule) => {
    expect(rule(planted())).toEqual([]);
  });

  const plants = PLANTED.map(([rule, path, text, says]) => ({ rule, path, text, says }));
  it.each(plants)('find a violation: $rule ($path: $says)', ({ rule, path, text, says }) => {
    const problems = RULES[rule]!(planted({ [path]: text }));
    expect(problems).not.toEqual([]);
    expect(problems.join('\n')).toContain(`${path}: `);
    expect(problems.join('\n')).toContain(says);
  });

  it.each(INNOCENT)('accept: %s (%s)', (name, _, files) => {
    expect(RULES[name]!(planted(files))).toEqual([]);
  });

  it('have a planted violation each', () => {
    expect(new Set(PLANTED.map(([rule]) => rule))).toEqual(new Set(Object.keys(RULES)));
  });
});

function planted(files: Record<string, string> = {}): Sources {
  return new Map(Object.entries({ ...VALID, ...files }));
}

/** The text of a migration that runs these statements. */
function migration(name: string, ...statements: string[]): string {
  const calls = statements.map((sql) => `await runner.query(\`${sql}\`);`).join(' ');
  return `
    import type { MigrationInterface, QueryRunner } from 'typeorm';
    export class ${name} implements MigrationInterface {
      name = '${name}';
      async up(runner: QueryRunner) { if (runner.dataSource.options.type === 'postgres') return; ${calls} }
    }`;
}
