/*
 * What a module says when it refuses. How it looks on the wire is decided in http/problem.filter.ts, in one place.
 */

/** Something that a request asked for, and that can't be done as it stands. */
export abstract class DomainError extends Error {
  constructor(
    message: string,
    /** The part of the request that is at fault. */
    readonly field?: string,
  ) {
    super(message);
    this.name = new.target.name;
  }
}

/** There is no such thing. */
export class NotFound extends DomainError {}
/** Somebody else may do this, the one who asked may not. */
export class Forbidden extends DomainError {}
/** Not in this state. */
export class Conflict extends DomainError {}
/** Well formed, and against a rule. */
export class BusinessRuleViolation extends DomainError {}
/** Not something that can be understood. */
export class ValidationFailed extends DomainError {
  constructor(readonly issues: readonly { field: string; detail: string }[]) {
    super(issues.map(({ field, detail }) => (field ? `${field}: ${detail}` : detail)).join('; '), issues[0]?.field);
  }
}
/** A module that lives elsewhere can't be asked now. */
export class Unavailable extends DomainError {}
