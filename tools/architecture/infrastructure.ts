import { importsOf } from '../source.js';
import { messagesOf } from './messages.js';
import { filesOf, inInfrastructure, modulesOf, type Rule } from './rule.js';

export const infrastructureStandsAlone: Rule = (sources) =>
  filesOf(sources, 'src/infrastructure/').flatMap(({ path, tree }) =>
    importsOf(tree)
      .filter((target) => target === undefined || (isOfProject(target) && !inInfrastructure(target)))
      .map(
        (target) =>
          `${path}: imports ${target ?? 'something that is known at run time only'}; infrastructure is a library`,
      ),
  );

function isOfProject(target: string): boolean {
  return /^(src|migrations|test|tools|workshop|bench|faults)\//.test(target);
}

/**
 * Words of messaging and of databases, which a module may also have for its name. As an id (`driverId`) the first two stand
 * for a person, and are refused.
 */
const LIBRARY_WORDS = new Set(
  (
    'driver client notification message event command query queue delivery outbox inbox lease broker publisher subscriber ' +
    'consumer worker transaction unit token key lock session request response contract migration reconciliation ' +
    'retention schedule record log report policy'
  ).split(' '),
);

/**
 * Infrastructure says neither the name of the application or of a module, nor the name or type of a message, not even in a
 * comment. LIBRARY_WORDS are allowed.
 */
export const infrastructureKnowsNoTrade: Rule = (sources) => {
  const messages = messagesOf(sources);
  const nouns = [...modulesOf(sources), ...messages.map(({ type }) => type.split('.')[0]!)];
  const plain = [...new Set(nouns)].filter((it) => !LIBRARY_WORDS.has(singular(it)));
  const names = messages.flatMap(({ name, type }) => [name, type, type.split('.')[2] ?? type]);
  const withId = /\b(driver|client)[-_ ]?ids?\b/i;
  return filesOf(sources, 'src/infrastructure/').flatMap(({ path, tree }) => {
    const { text } = tree;
    const words = new Set(text.split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])/).map((it) => singular(it.toLowerCase())));
    const found = plain.filter((noun) => words.has(singular(noun)));
    found.push(...names.filter((name) => new RegExp(`\\b${name}\\b`).test(text)));
    const id = withId.exec(text)?.[0];
    return [...found, ...(id ? [id] : [])].map(
      (word) =>
        `${path}: says '${word}', a word of this application: rename it, or add it to LIBRARY_WORDS in ` +
        'tools/architecture/infrastructure.ts if it is also a word of messaging',
    );
  });
};

function singular(noun: string): string {
  return noun
    .replace(/ies$/, 'y')
    .replace(/(sh|ch|x|ss)es$/, '$1')
    .replace(/([^s])s$/, '$1');
}

/** The floors of src/infrastructure, from the top: folders, several of them on one floor. */
export type Floors = readonly (readonly string[])[];

/** Reads the floors from the diagram of docs/architecture.md, which is the one place where they are written down. */
export function floorsIn(page: string): Floors {
  const [, top = ''] = /subgraph top[^\n]*\n([^]*?)\n *end\n/.exec(page) ?? [];
  const [, chain = ''] = /mesh --> top --> ([^\n]+)/.exec(page) ?? [];
  const folders = [...top.matchAll(/\["([^"]+)"\]/g)].map(([, folder]) => folder!);
  return [folders, ...chain.split(' --> ').map((folder) => [folder])];
}

/** A folder imports only from the floors below it. Files of src/infrastructure itself are above all floors. */
export const floorsHold =
  (floors: Floors): Rule =>
  (sources) => {
    const floorOf = (path: string) => {
      const [, folder] = /^src\/infrastructure\/([^/]+)\//.exec(path) ?? [];
      return { folder, floor: folder ? floors.findIndex((it) => it.includes(folder)) : -1 };
    };
    return filesOf(sources, 'src/infrastructure/').flatMap(({ path, tree }) => {
      const { folder, floor } = floorOf(path);
      if (!folder) return [];
      if (floor < 0) return [`${path}: the folder ${folder} has no floor in docs/architecture.md`];
      return importsOf(tree).flatMap((target) => {
        if (!target || !inInfrastructure(target)) return [];
        const other = floorOf(target);
        const isBelow = other.folder === folder || (other.folder !== undefined && other.floor > floor);
        return isBelow ? [] : [`${path}: imports ${target}, which is not on a floor below ${folder}`];
      });
    });
  };
