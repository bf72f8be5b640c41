/* Text of strangers for a terminal, which obeys control characters: they hide lines, or set a title or the clipboard. */

/** The text with U+FFFD in place of control characters and those that change the direction, except for newline and tab. */
export function printable(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(/[^\P{Cc}\n\t]|[\u2028-\u202e\u2066-\u2069]/gu, '\ufffd');
}

/** `printable()` in one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll('\n', ' ');
}
