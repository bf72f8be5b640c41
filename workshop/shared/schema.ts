/*
 * The schema of the legacy application, which steps 0 to 6 use. The name of a table begins with its owner. No unique key
 * prevents a second invoice or second miles for a transit: the legacy has no such rule.
 */

const TABLES = {
  geolocation: [
    `CREATE TABLE geolocation_address (
      id text PRIMARY KEY, hash integer NOT NULL, address text NOT NULL,
      latitude double precision, longitude double precision
    )`,
  ],
  rides: [
    `CREATE TABLE rides_transit (
      id text PRIMARY KEY, status text NOT NULL, client_id integer NOT NULL, client_name text NOT NULL,
      driver_id integer NOT NULL, pickup_id text NOT NULL, pickup text NOT NULL,
      destination_id text NOT NULL, destination text NOT NULL, distance_metres integer NOT NULL,
      tariff text NOT NULL, price integer, driver_fee integer, started_at text, completed_at text
    )`,
    `CREATE TABLE rides_journey (
      id integer PRIMARY KEY, transit_id text NOT NULL, client_id integer NOT NULL,
      from_id text NOT NULL, to_id text NOT NULL, completed_at text NOT NULL
    )`,
  ],
  drivers: [
    `CREATE TABLE drivers_driver (
      id integer PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL,
      status text NOT NULL, fee text, occupied boolean NOT NULL
    )`,
  ],
  loyalty: [
    `CREATE TABLE loyalty_account (
      client_id integer PRIMARY KEY, active boolean NOT NULL, transactions integer NOT NULL
    )`,
    `CREATE TABLE loyalty_miles (
      id integer PRIMARY KEY, transit_id text NOT NULL, client_id integer NOT NULL, miles integer NOT NULL,
      granted_at text NOT NULL, expires_at text
    )`,
    'CREATE INDEX loyalty_miles_client ON loyalty_miles (client_id)',
  ],
  invoicing: [
    `CREATE TABLE invoicing_invoice (
      id text PRIMARY KEY, transit_id text NOT NULL, amount integer NOT NULL,
      subject_name text NOT NULL, issued_at text NOT NULL
    )`,
    'CREATE INDEX invoicing_invoice_transit ON invoicing_invoice (transit_id)',
  ],
} as const;

export type Owner = keyof typeof TABLES;
export const OWNERS = Object.keys(TABLES) as Owner[];

/** The statements that create an owner's tables. */
export function tablesOf(owner: Owner): readonly string[] {
  return TABLES[owner];
}
