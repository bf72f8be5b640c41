/* Errors of a module that refuses a request. http/problem.filter.ts maps them to HTTP statuses. */

/** A request that can't be carried out as it stands. */
export abstract class DomainError extends Error {
  constructor(
    message: string,
    /** The field of the request that is at fault. */
    readonly field?: string,
  ) {
    super(message);
    this.name = new.target.name;
  }
}

/** The resource doesn't exist. */
export class NotFound extends DomainError {}
/** The sender of the request may not do this. */
export class Forbidden extends DomainError {}
/** The state of the resource doesn't allow this. */
export class Conflict extends DomainError {}
/** The request is well formed, but a business rule forbids it. */
export class BusinessRuleViolation extends DomainError {}
/** The request doesn't match its schema. */
export class ValidationFailed extends DomainError {
  constructor(readonly issues: readonly { field: string; detail: string }[]) {
    super(issues.map(({ field, detail }) => (field ? `${field}: ${detail}` : detail)).join('; '), issues[0]?.field);
  }
}
/** Something that the request needs can't be reached now. */
export class Unavailable extends DomainError {}
