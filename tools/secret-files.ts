/* Secrets of a container as files: `kubectl describe`, child processes and dumps of the environment don't show them. */

const FOLDER = '/etc/cabs';
const VOLUME = 'secrets';

/** A key of a secret that a container reads from a file, which a variable names. */
export interface SecretFile {
  readonly variable: string;
  readonly file: string;
  readonly secret: string;
  readonly key: string;
}

/** The bearer token for administration. */
export const ADMINISTRATION: SecretFile = {
  variable: 'MESH_ADMIN_TOKEN_FILE',
  file: 'admin-token',
  secret: 'mesh-administration',
  key: 'token',
};

/** The address of a workload's database, with its password. */
export function databaseOf(workload: string): SecretFile {
  return { variable: 'DATABASE_URL_FILE', file: 'database-url', secret: `${workload}-database`, key: 'url' };
}

/** The variable that names the file of a secret. */
export function variableOf({ variable, file }: SecretFile) {
  return { name: variable, value: `${FOLDER}/${file}` };
}

export const SECRETS_MOUNT = { name: VOLUME, mountPath: FOLDER, readOnly: true };

/** The volume for `SECRETS_MOUNT`. A pod doesn't start before all its secrets exist. */
export function secretsVolume(secrets: readonly SecretFile[]) {
  const sources = secrets.map(({ secret, key, file }) => ({ secret: { name: secret, items: [{ key, path: file }] } }));
  // Kubernetes makes root the owner, and the process isn't root. No other container of the pod mounts the volume.
  return { name: VOLUME, projected: { defaultMode: 0o444, sources } };
}
