import { dayOf } from '../../src/infrastructure/observability/clock.js';
import { write } from './database-contents.js';

/** Ids of copied rides: `00000000-0000-4000-8000-<n>`. */
export const pastRide = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

const TIMES = ['requested_at', 'published_at', 'accepted_at', 'started_at', 'completing_at', 'completed_at'];

/** All columns of a table that a copy keeps, and what it has instead of the others. */
const TABLES: readonly { table: string; key: string; kept: string[]; changed: Record<string, string> }[] = [
  {
    table: 'rides_transit',
    key: 'id',
    kept: [
      ...[
        'status',
        'client_id',
        'client_name',
        'car_class',
        'driver_id',
        'attempt',
        'pickup_id',
        'pickup',
        'destination_id',
      ],
      ...[
        'destination',
        'distance_metres',
        'reached_id',
        'reached',
        'tariff',
        'estimated_price',
        'price',
        'driver_fee',
        'miles',
      ],
      ...['driver_fee_settled', 'driver_freed_settled', 'miles_settled', 'invoice_settled'],
    ],
    changed: { id: 'copy.id', ...Object.fromEntries(TIMES.map((it) => [it, 'copy.at'])) },
  },
  { table: 'drivers_fee', key: 'transit_id', kept: ['driver_id', 'price', 'fee'], changed: { transit_id: 'copy.id' } },
  {
    table: 'drivers_occupancy',
    key: 'transit_id',
    kept: ['driver_id', 'state'],
    changed: { transit_id: 'copy.id', freed_on: 'copy.day' },
  },
  {
    table: 'geolocation_route',
    key: 'transit_id',
    kept: ['address_id', 'distance_metres'],
    changed: { transit_id: 'copy.id', measured_on: 'copy.day' },
  },
  {
    table: 'invoicing_invoice',
    key: 'transit_id',
    kept: ['amount', 'subject_name', 'issued_at'],
    changed: { id: 'copy.id', transit_id: 'copy.id' },
  },
];

/**
 * Copies a completed ride, with all rows that it caused in other modules. Number 0 is the latest copy.
 * @param agoMs how long ago the copies took place
 */
export async function copyRide(database: string, id: string, agoMs: readonly number[], firstNumber = 0): Promise<void> {
  const now = Date.now();
  const rows = agoMs.map((ago, n) => {
    const at = now - ago;
    return `('${pastRide(firstNumber + n)}', '${new Date(at).toISOString()}', ${dayOf(at)})`;
  });
  await write(
    database,
    ...TABLES.map(({ table, key, kept, changed }) => {
      const columns = [...kept, ...Object.keys(changed)].join(', ');
      const values = [...kept.map((it) => `original.${it}`), ...Object.values(changed)].join(', ');
      return `WITH copy (id, at, day) AS (VALUES ${rows.join(', ')}) INSERT INTO ${table} (${columns})
        SELECT ${values} FROM ${table} AS original, copy WHERE original.${key} = '${id}'`;
    }),
  );
}
