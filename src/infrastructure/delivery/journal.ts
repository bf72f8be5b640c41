import { Inject, Injectable } from '@nestjs/common';
import type { Sql } from '../persistence/sql.js';
import { RETENTION_POLICY, type RetentionPolicy } from '../store/expired-rows.js';
import { insertJournalRows, type NewJournalEntry } from '../store/journal-rows.js';

/** Keeps a row for each message and consumer, for people who want to know what happened. Off unless its retention says for how long. */
@Injectable()
export class Journal {
  readonly isOn: boolean;

  constructor(@Inject(RETENTION_POLICY) { journalMs }: RetentionPolicy) {
    this.isOn = journalMs > 0;
  }

  /** Adds a row to the transaction that ends the way of the message; nothing while the journal is off. */
  async add(sql: Sql, entry: NewJournalEntry): Promise<void> {
    if (this.isOn) await insertJournalRows(sql, [entry]);
  }
}
