import Sequencer from '@jest/test-sequencer';

/** The longest suites by far. A new clone has no timings yet, so Jest would start them last and leave one worker idle. */
const LONGEST = /workshop\/exercises|delivery\/replicas/;

/** Jest's own order, but with the longest suites first. */
export default class LongestFirst extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    return [...sorted.filter(({ path }) => LONGEST.test(path)), ...sorted.filter(({ path }) => !LONGEST.test(path))];
  }
}
