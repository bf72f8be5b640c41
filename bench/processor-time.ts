import { readdirSync, readFileSync } from 'node:fs';

/** The unit of the times in /proc, on Linux. */
const TICKS_PER_SECOND = 100;

/** The processor time that a process has used so far, in ms. */
export function processorMs(pid: number): number {
  return milliseconds(sum(fieldsOf(pid).slice(UTIME, STIME + 1)));
}

/** The processor time of a PostgreSQL server and of all of its sessions, also of those that have ended, in ms. */
export function serverMs(pid: number): number {
  const sessions = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => fieldsOf(Number(name)))
    .filter((fields) => Number(fields[PARENT]) === pid);
  const own = fieldsOf(pid).slice(UTIME, CHILDREN_STIME + 1);
  return milliseconds(sum(own) + sum(sessions.flatMap((fields) => fields.slice(UTIME, STIME + 1))));
}

/* proc(5): ppid is the 4th field of stat, utime, stime, cutime and cstime are the 14th to 17th. The list begins with the 3rd. */
const PARENT = 4 - 3;
const UTIME = 14 - 3;
const STIME = 15 - 3;
const CHILDREN_STIME = 17 - 3;

/** The fields after the name of the program, which may hold spaces; none for a process that has ended. */
function fieldsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  } catch {
    return [];
  }
}

function sum(values: readonly string[] | readonly number[]): number {
  return values.reduce<number>((total, it) => total + Number(it), 0);
}

function milliseconds(ticks: number): number {
  return (1000 * ticks) / TICKS_PER_SECOND;
}
