/* Why a delivery is not let in. (Apart from the tokens, so that nobody loads JOSE who asks for none.) */

/** No token that counts here. The message is the reason, in two or three words, and never holds a part of the token. */
export class Unauthorized extends Error {
  override readonly name = 'Unauthorized';
}

/** The keys can't be had now. It says nothing about the token: the sender may come again. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';
}
