import { count } from './format';

interface PagerProps {
  readonly page: number;
  readonly size: number;
  readonly total: number;
  readonly hashOf: (page: number) => string;
}

/** Pages that the server serves of a listing. */
const MAX_PAGES = 100;

export function Pager({ page, size, total, hashOf }: PagerProps) {
  const pages = Math.min(MAX_PAGES, Math.ceil(total / size));
  if (pages < 2) return null;
  return (
    <nav class="row" aria-label="Pages of the list">
      {page > 1 && <a href={hashOf(page - 1)}>← Previous</a>}
      <span>
        Page {count(page)} of {count(pages)}
      </span>
      {page < pages && <a href={hashOf(page + 1)}>Next →</a>}
    </nav>
  );
}
