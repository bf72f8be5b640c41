/** ESM through the VM modules of Node. swc strips the types; `npm run build` has checked them. */
export const common = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    // Version 12 ends a process of Node 24.
    ...(parseInt(process.versions.node) >= 22 && { '^better-sqlite3$': 'better-sqlite3-13' }),
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^nestjs-meshy$': '<rootDir>/package/index.ts',
    '^nestjs-meshy/(.*)$': '<rootDir>/package/$1.ts',
  },
  // The options of the compiler are in .swcrc, which the workshop uses, too.
  transform: { '^.+\\.ts$': '@swc/jest' },
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.ts',
  testTimeout: 120_000,
  maxWorkers: 2,
  testSequencer: '<rootDir>/jest.sequencer.js',
};

/** `npm test`: every rule on both databases. What starts many processes or fuzzes at length is `npm run test:slow`. */
export default { ...common, testRegex: '(?<!\\.slow)\\.spec\\.ts$' };
