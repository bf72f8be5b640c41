/** better-sqlite3 13 under a name of its own: `npm i better-sqlite3-13@npm:better-sqlite3@13`. */
declare module 'better-sqlite3-13' {
  import BetterSqlite3 from 'better-sqlite3';

  export default BetterSqlite3;
}
