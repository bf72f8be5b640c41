/* Errors of token checks, in a file of their own so that processes without token checks don't load JOSE. */

/** The token is missing or not valid here. The message is the reason in two or three words, never a part of the token. */
export class Unauthorized extends Error {
  override readonly name = 'Unauthorized';
}

/** The issuer's keys are not available now, so the token can't be checked: the sender should retry. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';
}
