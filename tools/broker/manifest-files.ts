import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { BadManifest } from './manifest-schema.js';

/* Reads Kubernetes resources from the YAML files of a folder. */

/** A resource of Kubernetes, not checked yet but for its kind. */
export interface Resource {
  readonly apiVersion?: unknown;
  readonly kind: string;
  readonly metadata?: unknown;
  readonly spec?: unknown;
  readonly namespace?: unknown;
}

/** All resources of a folder, each with its file. @throws BadManifest for a file that can't be read */
export function readResources(folder: string): { file: string; resource: Resource }[] {
  return yamlFiles(folder).flatMap((file) => resourcesIn(file).map((resource) => ({ file, resource })));
}

function yamlFiles(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
    return names.sort().map((name) => join(folder, name));
  } catch {
    throw new BadManifest(`${folder}: no such folder`);
  }
}

function resourcesIn(file: string): Resource[] {
  const found = parseAllDocuments(readFileSync(file, 'utf8'));
  const documents = Array.isArray(found) ? found : [];
  return documents.flatMap((document) => {
    const [error] = document.errors;
    if (error) throw new BadManifest(`${file}: ${error.message.split('\n')[0]}`);
    return resourcesOf(file, contentOf(file, document));
  });
}

/** @throws BadManifest for YAML that can't be resolved, such as an alias without an anchor */
function contentOf(file: string, document: { toJS(): unknown }): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new BadManifest(`${file}: ${(error as Error).message.split('\n')[0]}`);
  }
}

function resourcesOf(file: string, resource: unknown): Resource[] {
  if (resource === null || resource === undefined) return [];
  // A kustomization may leave its kind out.
  const fields = typeof resource === 'object' ? (resource as Partial<Resource> & { items?: unknown }) : {};
  const kind = fields.kind ?? kindOfFile(file);
  if (typeof kind !== 'string' || kind === '')
    throw new BadManifest(`${file}: no Kubernetes resource: the kind is missing`);
  if (kind === 'List' && Array.isArray(fields.items)) return fields.items.flatMap((item) => resourcesOf(file, item));
  return [{ ...fields, kind }];
}

const kindOfFile = (file: string) => (basename(file).startsWith('kustomization.') ? 'Kustomization' : undefined);
