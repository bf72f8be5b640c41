import fc from 'fast-check';
import { fromWire, toWire } from '../../src/infrastructure/cloudevents/mapping.js';
import { driverFee } from '../../src/modules/drivers/driver.js';
import { addressId, type Address } from '../../src/modules/geolocation/contract.js';
import { distanceMetres, haversineKm } from '../../src/modules/geolocation/distance.js';
import { balance, spendMiles } from '../../src/modules/loyalty/miles.js';
import { chooseTariff, localTime, priceCents, type LocalTime } from '../../src/modules/rides/tariff.js';

const MAX_CENTS = 2 ** 31 - 1;

describe('The id of an address', () => {
  const full: Required<Address> = {
    country: 'Polska',
    district: 'Wola',
    city: 'Warszawa',
    street: 'Żytnia',
    buildingNumber: 32,
    additionalNumber: 4,
    postalCode: '01-014',
    name: 'Urząd',
  };

  it('never changes: it is stored and sent', () => {
    const { country, city, street, buildingNumber } = full;
    expect(addressId(full)).toBe('59d25f3c-35b7-5d68-b32b-965ac57c7c0e');
    expect(addressId({ country, city, street, buildingNumber })).toBe('72458ec1-af4f-559c-94f7-1adfc3a2de77');
  });

  it.each<[string, Partial<Address>]>([
    ['case', { street: 'ŻYTNIA', city: 'warszawa', name: 'urząd' }],
    ['spacing', { street: '  Żytnia ', city: 'Warszawa\t', country: '\u00a0Polska' }],
    ['spacing of ASCII', { district: ' Wola', city: 'Warszawa ' }],
    ['Unicode form', { street: 'Żytnia'.normalize('NFD'), name: 'Urząd'.normalize('NFD') }],
  ])('is the same in another %s', (_, other) => {
    expect(addressId({ ...full, ...other })).toBe(addressId(full));
  });

  it.each([
    ['Großbeerenstraße', 'GROSSBEERENSTRASSE'],
    ['Großbeerenstraße', 'GROẞBEERENSTRAẞE'],
    ['Οδός Ερμής', 'ΟΔΌΣ ΕΡΜΉΣ'],
    ['Ĳsselkade', 'ĳSSELKADE'],
    ['ﬁrst', 'FIRST'],
  ])('is the same for %s and %s', (one, other) => {
    expect(addressId({ ...full, street: one })).toBe(addressId({ ...full, street: other }));
  });

  it('keeps the letters i and ı apart', () => {
    expect(addressId({ ...full, city: 'Kadıköy' })).not.toBe(addressId({ ...full, city: 'Kadiköy' }));
  });

  it('is the same for any spacing between words, and differs without spacing', () => {
    const street = (text: string) => addressId({ ...full, street: text });
    expect(street('Plac  Trzech \n Krzyży')).toBe(street('Plac Trzech Krzyży'));
    expect(street('PlacTrzechKrzyży')).not.toBe(street('Plac Trzech Krzyży'));
  });

  it('is the same for fields that are absent, null or empty', () => {
    const { name: _, ...absent } = full;
    expect(addressId({ ...full, name: null })).toBe(addressId(absent));
    expect(addressId({ ...full, name: '' })).toBe(addressId(absent));
  });

  it('differs with every field, also when two fields are swapped', () => {
    const others = Object.keys(full).map((field) => {
      const value = full[field as keyof Address];
      return addressId({ ...full, [field]: typeof value === 'number' ? value + 1 : `${value}x` });
    });
    const swapped = addressId({ ...full, city: full.street, street: full.city });
    const moved = addressId({ ...full, buildingNumber: 4, additionalNumber: 32 });
    expect(new Set([addressId(full), swapped, moved, ...others]).size).toBe(11);
  });

  it('is the same for composed and decomposed letters, and differs without the diacritic', () => {
    const street = (text: string) => addressId({ ...full, street: text });
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ąćęńóśźżĄĆĘŃÓŚŹŻabcXYZ '), minLength: 1 }), (text) => {
        expect(street(` ${text.normalize('NFD').toUpperCase()} `)).toBe(street(text));
      }),
    );
    expect(street('Zytnia')).not.toBe(street('Żytnia'));
  });
});

describe('The clock of Warsaw', () => {
  it.each<[string, LocalTime]>([
    ['2021-03-28T00:59:59Z', { month: 3, day: 28, weekday: 0, hour: 1 }],
    ['2021-03-28T01:00:00Z', { month: 3, day: 28, weekday: 0, hour: 3 }],
    ['2021-03-28T04:59:59Z', { month: 3, day: 28, weekday: 0, hour: 6 }],
    ['2021-03-28T05:00:00Z', { month: 3, day: 28, weekday: 0, hour: 7 }],
    ['2021-10-30T22:00:00Z', { month: 10, day: 31, weekday: 0, hour: 0 }],
    ['2021-10-31T00:59:59Z', { month: 10, day: 31, weekday: 0, hour: 2 }],
    ['2021-10-31T01:00:00Z', { month: 10, day: 31, weekday: 0, hour: 2 }],
    ['2021-10-31T01:59:59Z', { month: 10, day: 31, weekday: 0, hour: 2 }],
    ['2021-10-31T02:00:00Z', { month: 10, day: 31, weekday: 0, hour: 3 }],
    ['2021-12-30T22:59:59Z', { month: 12, day: 30, weekday: 4, hour: 23 }],
    ['2021-12-30T23:00:00Z', { month: 12, day: 31, weekday: 5, hour: 0 }],
    ['2021-12-31T23:30:00Z', { month: 1, day: 1, weekday: 6, hour: 0 }],
    ['2024-02-29T23:30:00Z', { month: 3, day: 1, weekday: 5, hour: 0 }],
  ])('at %s', (instant, expected) => {
    expect(localTime(new Date(instant), 'Europe/Warsaw')).toEqual(expected);
  });

  it.each([
    ['2021-12-30T22:59:59Z', 'Standard'],
    ['2021-12-30T23:00:00Z', 'Sylwester'],
    ['2021-12-31T23:30:00Z', 'Sylwester'],
    ['2022-01-01T05:59:59Z', 'Sylwester'],
    ['2022-01-01T06:00:00Z', 'Weekend'],
    ['2021-03-28T04:59:59Z', 'Weekend+'],
    ['2021-03-28T05:00:00Z', 'Weekend'],
    ['2021-07-16T14:59:59Z', 'Standard'],
    ['2021-07-16T15:00:00Z', 'Weekend+'],
    ['2021-01-15T15:59:59Z', 'Standard'],
    ['2021-01-15T16:00:00Z', 'Weekend+'],
  ])('chooses the tariff: at %s %s', (instant, name) => {
    expect(chooseTariff(localTime(new Date(instant), 'Europe/Warsaw')).name).toBe(name);
  });

  it('is one of many time zones', () => {
    const instant = new Date('2021-12-31T23:30:00Z');
    expect(localTime(instant, 'America/New_York')).toEqual({ month: 12, day: 31, weekday: 5, hour: 18 });
    expect(localTime(instant, 'Asia/Kathmandu')).toEqual({ month: 1, day: 1, weekday: 6, hour: 5 });
  });
});

const anyTariff = fc
  .date({ min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
  .map((instant) => chooseTariff(localTime(instant, 'Europe/Warsaw')));
const cents = fc.integer({ min: 0, max: MAX_CENTS });

describe('Money', () => {
  const fee = fc.oneof(
    fc.record({ type: fc.constant('percentage' as const), amount: fc.integer({ min: 0, max: 10_000 }) }),
    fc.record({ type: fc.constant('flat' as const), amount: fc.integer({ min: 1, max: 1_000_000_000 }) }),
  );
  const minimum = fc.option(fc.integer({ min: 0, max: 1_000_000_000 }));

  it('a driver earns whole cents between 0 and the price, and at least the minimum fee or the price', () => {
    fc.assert(
      fc.property(fc.option(fee), minimum, cents, (agreed, min, price) => {
        const earned = driverFee(agreed && { ...agreed, min }, price);
        expect(Number.isInteger(earned)).toBe(true);
        expect(earned).toBeGreaterThanOrEqual(agreed && min !== null ? Math.min(min, price) : 0);
        expect(earned).toBeLessThanOrEqual(price);
      }),
    );
  });

  it('a driver earns no less for a higher price', () => {
    fc.assert(
      fc.property(fc.option(fee), minimum, cents, fc.nat(100_000), (agreed, min, price, more) => {
        const of = agreed && { ...agreed, min };
        expect(driverFee(of, price + more)).toBeGreaterThanOrEqual(driverFee(of, price));
      }),
    );
  });

  it('a price is whole cents, exact to half a cent, and grows with the distance', () => {
    fc.assert(
      fc.property(anyTariff, fc.nat(20_100_000), fc.nat(10_000), (tariff, metres, more) => {
        const price = priceCents(metres, tariff);
        expect(Number.isInteger(price)).toBe(true);
        expect(Math.abs(price - tariff.baseFeeCents - (metres * tariff.kmRate) / 10)).toBeLessThanOrEqual(0.5 + 1e-6);
        expect(priceCents(metres + more, tariff)).toBeGreaterThanOrEqual(price);
      }),
    );
  });
});

describe('Distance', () => {
  const location = fc.record({
    latitude: fc.double({ min: -90, max: 90, noNaN: true }),
    longitude: fc.double({ min: -180, max: 180, noNaN: true }),
  });

  it('is the same both ways, and at most half the circumference of the earth', () => {
    fc.assert(
      fc.property(location, location, (from, to) => {
        expect(haversineKm(from, to)).toBeCloseTo(haversineKm(to, from), 6);
        expect(haversineKm(from, to)).toBeLessThanOrEqual(Math.PI * 6371);
        expect(Number.isInteger(distanceMetres(from, to))).toBe(true);
      }),
    );
  });

  it('is 42 km when a location is unknown', () => {
    const known = { latitude: 52, longitude: 21 };
    expect([distanceMetres(known, undefined), distanceMetres(undefined, known)]).toEqual([42_000, 42_000]);
  });
});

describe('Miles', () => {
  const grant = fc.record({
    miles: fc.nat(50),
    grantedAt: fc.nat(100),
    expiresAt: fc.option(fc.nat(100)),
  });
  const spender = fc.record({
    claims: fc.nat(5),
    transits: fc.nat(30),
    isSunday: fc.boolean(),
    type: fc.constantFrom('NORMAL' as const, 'VIP' as const),
  });

  it('that are spent leave the balance exactly, and never exceed it', () => {
    fc.assert(
      fc.property(fc.array(grant), fc.nat(500), spender, fc.nat(100), (grants, howMany, client, now) => {
        const before = balance(grants, now);
        const left = spendMiles({ active: true, grants }, howMany, client, now);
        if (!left) return expect(before).toBeLessThan(howMany);
        expect(balance(left, now)).toBe(before - howMany);
        expect(left.every(({ miles }, index) => miles >= 0 && miles <= grants[index]!.miles)).toBe(true);
      }),
    );
  });
});

describe('On the wire', () => {
  const camelCase = fc.stringMatching(/^[a-z][a-z0-9]{0,4}([A-Z][a-z0-9]{0,4}){0,3}$/);
  const { data } = fc.letrec<{ data: unknown }>((tie) => ({
    data: fc.oneof(
      { maxDepth: 4 },
      fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null)),
      fc.array(tie('data'), { maxLength: 4 }),
      fc.dictionary(camelCase, tie('data'), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));

  it('data arrives unchanged', () => {
    fc.assert(fc.property(data, (sent) => expect(fromWire(toWire(sent))).toEqual(sent)));
  });

  it('keys are in kebab case, values are unchanged, and keys in another case are dropped', () => {
    const sent = { driverId: 1, transitPrice: 'camelCase', nested: [{ buildingNumber: 3 }] };
    const wire = { 'driver-id': 1, 'transit-price': 'camelCase', nested: [{ 'building-number': 3 }] };
    expect(toWire(sent)).toEqual(wire);
    expect(fromWire({ ...wire, driverId: 2 })).toEqual(sent);
    expect(fromWire(JSON.parse('{"__proto__": {"admin": true}, "a": 1}'))).toEqual({ a: 1 });
  });
});
