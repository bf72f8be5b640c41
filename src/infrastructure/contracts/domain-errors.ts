import type { z } from 'zod';

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

/** What is wrong with one field of a request; '' for the whole. */
export interface Issue {
  readonly field: string;
  readonly detail: string;
}

/** Most issues that one answer names. */
const MAX_ISSUES = 20;
/** Longest name of a field, and longest detail, in characters. */
const MAX_FIELD = 100;
const MAX_DETAIL = 300;

/**
 * The request doesn't match its schema. Names the first issues only, and cuts what a client chose: an answer must not be
 * many times as long as its request.
 */
export class ValidationFailed extends DomainError {
  readonly issues: readonly Issue[];

  /** @param found as many as there are, found one by one */
  constructor(found: Iterable<Issue>) {
    const issues = boundedIssues(found);
    super(issues.map(({ field, detail }) => (field ? `${field}: ${detail}` : detail)).join('; '), issues[0]?.field);
    this.issues = issues;
  }
}

function boundedIssues(found: Iterable<Issue>): Issue[] {
  const issues: Issue[] = [];
  for (const { field, detail } of found) {
    if (issues.length === MAX_ISSUES) {
      issues.push({ field: '', detail: 'there is more' });
      break;
    }
    issues.push({ field: cut(field, MAX_FIELD), detail: cut(detail, MAX_DETAIL) });
  }
  return issues;
}

/** What zod found, in terms of fields. */
export function* issuesOf({ issues }: z.ZodError): Generator<Issue> {
  for (const { path, message } of issues) yield { field: fieldOf(path), detail: message };
}

/** The name of a field inside others. Names are cut before they are joined. */
export function fieldOf(path: readonly PropertyKey[]): string {
  return path.map((it) => cut(String(it), MAX_FIELD)).join('.');
}

function cut(text: string, max: number): string {
  // Not through the middle of a character.
  return text.length > max ? `${text.slice(0, max).replace(/[\ud800-\udbff]$/, '')}…` : text;
}
/** Something that the request needs can't be reached now. */
export class Unavailable extends DomainError {}
