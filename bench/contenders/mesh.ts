import { WriteNote, WriteNoteBatched, WriteNotePrepared } from '../notes.js';
import { settleByMesh } from '../settle.js';
import type { Contenders } from './contender.js';

export const contenders: Contenders = {
  orm: (database, howMany) => settleByMesh(database, howMany, WriteNote),
  batched: (database, howMany) => settleByMesh(database, howMany, WriteNoteBatched),
  prepared: (database, howMany) => settleByMesh(database, howMany, WriteNotePrepared),
};
