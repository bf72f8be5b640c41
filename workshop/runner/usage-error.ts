/** Words of a command that can't be understood. */
export class Misuse extends Error {}
