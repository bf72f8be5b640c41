/*
 * Values of attributes as Go's standard library parses and prints them. A real broker is written in Go: it accepts,
 * refuses and rewrites attributes as `net/url`, `time` and `strconv` do. Values are headers as Node gives them, one
 * character for each byte.
 */

/**
 * A URI reference, parsed as by `url.Parse` and printed as by `URL.String`. Go accepts and percent-encodes many texts
 * that are no URI: `not a uri` becomes `not%20a%20uri`.
 * @returns undefined when Go refuses the text
 */
export function goUri(text: string): { text: string; isAbsolute: boolean } | undefined {
  if (/[\0-\x1f\x7f]/.test(text) || text.startsWith(':')) return undefined;
  const [beforeFragment = '', fragment] = split(text, '#');
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(beforeFragment)?.[1];
  const start = scheme === undefined ? '' : `${scheme.toLowerCase()}:`;
  const [beforeQuery = '', query] = split(beforeFragment.slice(start.length), '?');
  const end = (query === undefined ? '' : `?${query}`) + (fragment ? `#${encoded(fragment) ?? ''}` : '');
  if (fragment && encoded(fragment) === undefined) return undefined;
  // An opaque URI such as `urn:uuid:1` is not changed.
  if (scheme !== undefined && !beforeQuery.startsWith('/'))
    return { text: start + beforeQuery + end, isAbsolute: true };
  if (scheme === undefined && /^[^/]*:/.test(beforeQuery)) return undefined;
  const hasAuthority = beforeQuery.startsWith('//') && (scheme !== undefined || !beforeQuery.startsWith('///'));
  const [, authority = '', path = ''] = hasAuthority ? /^(\/\/[^/]*)(.*)$/s.exec(beforeQuery)! : ['', '', beforeQuery];
  if (/[\s"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})|:(?!\d*$)[^@\]]*$/.test(authority)) return undefined;
  const encodedPath = encoded(path);
  if (encodedPath === undefined) return undefined;
  return { text: start + authority + encodedPath + end, isAbsolute: scheme !== undefined };
}

function split(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** Percent-encodes a path, if it has characters that need it. */
function encoded(path: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return undefined;
  if (/^[\w.~!$&'()*+,;=:@[\]/%-]*$/.test(path)) return path;
  // Go then decodes and encodes the whole path, and encodes more characters than necessary.
  const decoded = path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return decoded.replace(
    /[^\w.~$&+,/:;=@-]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

/**
 * An RFC 3339 time as `time.Parse` reads it, converted to UTC, without trailing zeros of the fraction. Go also accepts a comma
 * before the fraction, an hour of one digit, and an offset of up to 24:60.
 * @returns undefined when Go refuses the text: no zone, lower-case letters, a day that doesn't exist
 */
export function goTime(text: string): string | undefined {
  const parts = /^(\d{4}-\d\d-(\d\d))T(\d{1,2})(:\d\d:\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/.exec(text);
  if (!parts) return undefined;
  const [, date, day, hour, minutes, fraction = '', sign, zoneHours = '0', zoneMinutes = '0'] = parts;
  const local = new Date(`${date}T${hour!.padStart(2, '0')}${minutes}Z`);
  if (Number.isNaN(local.getTime()) || hour === '24' || local.getUTCDate() !== Number(day)) return undefined;
  if (Number(zoneHours) > 24 || Number(zoneMinutes) > 60) return undefined;
  const offset = (sign === '-' ? -1 : 1) * (Number(zoneHours) * 60 + Number(zoneMinutes));
  const utc = new Date(local.getTime() - offset * 60_000);
  // Go prints years outside of 0 to 9999, but no other program reads them.
  if (!/^\d{4}-/.test(utc.toISOString())) return undefined;
  const digits = fraction.slice(0, 9).replace(/0+$/, '');
  return `${utc.toISOString().slice(0, 19)}${digits && `.${digits}`}Z`;
}

/** A number, parsed as by `strconv.ParseFloat` and truncated to a 32-bit integer. @returns undefined for other text */
export function goInt32(text: string): number | undefined {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return undefined;
  const number = Number(text);
  return number > 2 ** 31 - 1 || number < -(2 ** 31) ? undefined : Math.trunc(number);
}

/**
 * An ISO 8601 duration of a delivery spec in ms. Knative 1.12 truncates it to 0.1 s.
 * @returns undefined for other text
 */
export function goPeriodMs(text: string): number | undefined {
  const parts = /^P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(text);
  if (!parts) return undefined;
  const [days, hours, minutes, seconds] = parts.slice(1).map((part) => part ?? '0');
  const tenths = Number(/^\d+(\.\d)?/.exec(seconds!)![0]);
  return Math.round(((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60_000 + tenths * 1000);
}
