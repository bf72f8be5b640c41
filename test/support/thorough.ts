import { DATABASES } from './databases.js';

/**
 * Whether the slow suites test every combination: `TEST_THOROUGH=true npm run test:slow`. By default they take those that
 * differ most, so that `.ci/run` ends within half an hour on two cores.
 */
export const IS_THOROUGH = process.env.TEST_THOROUGH === 'true';

/** A test of the thorough run only. */
export const itThorough = IS_THOROUGH ? it : it.skip;

/** The items that are tested by default; all of them when thorough. */
export function selected<Item>(items: readonly Item[], isDefault: (item: Item, index: number) => boolean): Item[] {
  return items.filter((item, index) => IS_THOROUGH || isDefault(item, index));
}

/** One database by default, PostgreSQL where there is one, for suites whose code is the same on both. */
export const ONE_DATABASE = selected(DATABASES, (_, index) => index === DATABASES.length - 1);
