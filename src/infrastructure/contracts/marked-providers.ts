import type { ModulesContainer } from '@nestjs/core';
import { findMeshFeature } from './mesh-feature.js';

/** A provider whose class has a decorator of the mesh. */
export interface MarkedProvider<Instance> {
  readonly instance: Instance;
  /** The module of the provider. */
  readonly module: string;
}

/**
 * The providers of this process whose class has the metadata `mark`.
 * @param role what such a provider is, for the error
 * @throws Error for a provider outside a module with `@MeshFeature`
 */
export function markedProviders<Instance>(
  container: ModulesContainer,
  mark: symbol,
  role: string,
): MarkedProvider<Instance>[] {
  const found: MarkedProvider<Instance>[] = [];
  for (const { metatype: nestModule, providers } of container.values()) {
    const module = findMeshFeature(nestModule)?.name;
    for (const { instance } of providers.values()) {
      const provider = (instance as object | null | undefined)?.constructor;
      if (!provider || !Reflect.hasMetadata(mark, provider)) continue;
      if (!module) throw new Error(`${provider.name} is ${role} outside a module with @MeshFeature`);
      found.push({ instance: instance as Instance, module });
    }
  }
  return found;
}
