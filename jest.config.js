/** ESM through the VM modules of Node; swc strips the types, `npm run build` has checked them before. */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  // How it is compiled is said in .swcrc, for the workshop as well.
  transform: { '^.+\\.ts$': '@swc/jest' },
  globalSetup: '<rootDir>/test/support/postgres-setup.mjs',
  globalTeardown: '<rootDir>/test/support/postgres-teardown.ts',
  testTimeout: 120_000,
  maxWorkers: 2,
  testSequencer: '<rootDir>/jest.sequencer.js',
};
