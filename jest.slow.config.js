import { common } from './jest.config.js';

/** `npm run test:slow`: many processes, long fuzzing, the workshop. */
export default { ...common, testRegex: '\\.slow\\.spec\\.ts$' };
