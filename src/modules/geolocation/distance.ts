/** Mean radius of the earth in km, as the legacy application has it. */
const EARTH_RADIUS_KM = 6371;

/** The distance of a route without coordinates, in metres: the constant of the legacy application. */
export const UNKNOWN_DISTANCE_METRES = 42_000;

/** Degrees. */
export interface Coordinates {
  readonly latitude: number;
  readonly longitude: number;
}

/** Great-circle distance in km: a = sin²(dφ/2) + cos φ1 · cos φ2 · sin²(dλ/2), km = 2 · asin(√a) · 6371. */
export function haversineKm(from: Coordinates, to: Coordinates): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const dLatitude = radians(to.latitude - from.latitude);
  const dLongitude = radians(to.longitude - from.longitude);
  const a =
    Math.sin(dLatitude / 2) ** 2 +
    Math.cos(radians(from.latitude)) * Math.cos(radians(to.latitude)) * Math.sin(dLongitude / 2) ** 2;
  return 2 * Math.asin(Math.min(1, Math.sqrt(a))) * EARTH_RADIUS_KM;
}

/** Distance in whole metres; the legacy constant when the coordinates of an address are unknown. */
export function distanceMetres(from: Coordinates | undefined, to: Coordinates | undefined): number {
  return from && to ? Math.round(haversineKm(from, to) * 1000) : UNKNOWN_DISTANCE_METRES;
}

/** The fields of the hash below; absent ones are null or undefined. */
export interface HashedAddress {
  readonly country?: string | null;
  readonly district?: string | null;
  readonly city?: string | null;
  readonly street?: string | null;
  readonly buildingNumber?: number | null;
  readonly additionalNumber?: number | null;
  readonly postalCode?: string | null;
  readonly name?: string | null;
}

/**
 * The legacy application's hash of an address: Java's Objects.hash over its eight fields, in signed 32 bits. Different
 * addresses may have the same hash, so it is shown only.
 */
export function addressHash(of: HashedAddress): number {
  const { country, district, city, street, buildingNumber, additionalNumber, postalCode, name } = of;
  let hash = 1;
  for (const field of [country, district, city, street, buildingNumber, additionalNumber, postalCode, name]) {
    hash = (Math.imul(31, hash) + (typeof field === 'string' ? stringHash(field) : (field ?? 0))) | 0;
  }
  return hash;
}

/** Java's String.hashCode, over UTF-16 code units. */
function stringHash(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(31, hash) + text.charCodeAt(i)) | 0;
  return hash;
}
