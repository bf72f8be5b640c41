import type { ComponentChildren } from 'preact';
import { Fragment } from 'preact';

export interface Column<Row> {
  readonly title: string;
  readonly isNumber?: boolean;
  /** Whether its text may break anywhere, because others choose it. */
  readonly isLong?: boolean;
  /** Whether the cell names its row; the first column does by default. */
  readonly isHeader?: boolean;
  /** Instead of the title, for example a checkbox. */
  readonly head?: ComponentChildren;
  readonly cell: (row: Row, index: number) => ComponentChildren;
}

interface TableProps<Row> {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  /** More of a row, over all columns; nothing for a closed row. */
  readonly detail?: (row: Row) => ComponentChildren;
}

/**
 * A table whose rows are blocks on a narrow screen, with the title beside each cell. Such a layout takes the meaning of
 * table elements away, hence the roles.
 */
export function DataTable<Row>({ caption, columns, rows, keyOf, detail }: TableProps<Row>) {
  const hasHeader = columns.some(({ isHeader }) => isHeader);
  return (
    <table role="table">
      <caption>{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(({ title, isNumber, head }) => (
            <th key={title} role="columnheader" scope="col" class={isNumber ? 'number' : undefined}>
              {head ?? title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, index) => {
          const more = detail?.(row);
          return (
            <Fragment key={keyOf(row)}>
              <tr role="row">
                {columns.map(({ title, isNumber, isLong, isHeader, cell }, place) => {
                  const content = <div>{cell(row, index)}</div>;
                  if (isHeader ?? (!hasHeader && place === 0))
                    return (
                      <th key={title} role="rowheader" scope="row">
                        {content}
                      </th>
                    );
                  return (
                    <td
                      key={title}
                      role="cell"
                      data-title={title}
                      class={isNumber ? 'number' : isLong ? 'long' : undefined}
                    >
                      {content}
                    </td>
                  );
                })}
              </tr>
              {more && (
                <tr role="row" class="detail">
                  <td role="cell" colSpan={columns.length}>
                    {more}
                  </td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}
