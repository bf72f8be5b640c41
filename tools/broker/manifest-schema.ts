import { z } from 'zod';

/* The parts of Brokers and Triggers that the laptop broker reads, and their checks. */

/** An invalid manifest. The message is one line that names the file. */
export class BadManifest extends Error {
  override readonly name = 'BadManifest';
}

/** A manifest that is valid on a cluster, but that the laptop broker can't serve. The message is the reason. */
export class NotSupported extends Error {
  override readonly name = 'NotSupported';
}

/** Kubernetes treats null as a missing field. */
const optional = <Schema extends z.ZodType>(schema: Schema) =>
  schema.nullish().transform((value) => value ?? undefined);
export const text = optional(z.string({ error: 'expected text' }));
const reference = z.looseObject(
  { ref: optional(z.looseObject({ apiVersion: text, kind: text, name: text })), uri: text },
  { error: 'expected a ref or a uri' },
);
const deliverySpec = z.looseObject(
  {
    retry: optional(z.number({ error: 'expected a number' })),
    backoffPolicy: text,
    backoffDelay: text,
    timeout: text,
    retryAfterMax: text,
    deadLetterSink: optional(reference),
  },
  { error: 'expected a delivery' },
);
export const brokerSpec = optional(z.looseObject({ delivery: optional(deliverySpec) }, { error: 'expected fields' }));
export const triggerSpec = optional(
  z.looseObject(
    {
      broker: text,
      brokerRef: optional(z.unknown()),
      subscriber: optional(reference),
      delivery: optional(deliverySpec),
      filter: optional(
        z.looseObject(
          { attributes: optional(z.record(z.string(), z.string({ error: 'expected text' }))) },
          { error: 'expected attributes' },
        ),
      ),
      filters: optional(z.array(z.record(z.string(), z.unknown()), { error: 'expected a list of filters' })),
    },
    { error: 'expected fields' },
  ),
);
export const metadata = z.looseObject({ name: text, namespace: text }, { error: 'expected fields' });

export type DeliverySpec = Partial<z.infer<typeof deliverySpec>>;
export type TriggerSpec = Partial<NonNullable<z.infer<typeof triggerSpec>>>;
export type Reference = z.infer<typeof reference>;

/** @throws BadManifest that names the file and the field */
export function parseField<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue!.path.map(String).map((it) => JSON.stringify(it).slice(1, -1));
  throw new BadManifest([where, ...(field.length > 0 ? [field.join('.')] : []), issue!.message].join(': '));
}

/** Text of a manifest in a message: quoted, so that it stays on one line. */
export function oneLine(shown: string): string {
  return JSON.stringify(shown).slice(1, -1);
}
