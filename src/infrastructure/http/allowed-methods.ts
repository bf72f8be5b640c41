import { Injectable, RequestMethod, type OnModuleInit } from '@nestjs/common';
import { HttpAdapterHost, MetadataScanner, ModulesContainer } from '@nestjs/core';
import type { Express, NextFunction, Request, Response } from 'express';
import { NEST_KEYS } from '../contracts/package-metadata.js';

interface Route {
  readonly path: string;
  readonly methods: readonly string[];
}

/** Answers 405 with `Allow` where a path has routes, but none with the method of the request. Express only. */
@Injectable()
export class AllowedMethods implements OnModuleInit {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly modules: ModulesContainer,
  ) {}

  /** Nest calls this when all routes are registered, before it registers the answer 404. */
  onModuleInit(): void {
    const { httpAdapter } = this.host;
    if (httpAdapter?.getType() !== 'express') return;
    const express = httpAdapter.getInstance<Express>();
    const allowed = new WeakMap<Request, Set<string>>();
    for (const { path, methods } of this.routes()) {
      express.all(path, (request: Request, _response: Response, next: NextFunction) => {
        const found = allowed.get(request) ?? new Set();
        allowed.set(request, found);
        for (const it of methods) found.add(it);
        next();
      });
    }
    express.use((request: Request, response: Response, next: NextFunction) => {
      const found = allowed.get(request);
      if (!found) return next();
      response.setHeader('Allow', [...found].sort().join(', '));
      next(Object.assign(new Error(`Cannot ${request.method} ${request.path}`), { status: 405 }));
    });
  }

  private routes(): Route[] {
    const controllers = [...this.modules.values()].flatMap((module) => [...module.controllers.values()]);
    return controllers.flatMap(({ metatype }) => {
      const prototype = (metatype as { prototype?: object } | null)?.prototype;
      if (!metatype || !prototype) return [];
      return new MetadataScanner().getAllMethodNames(prototype).flatMap((name): Route[] => {
        const handler = (prototype as Record<string, () => unknown>)[name]!;
        const method = Reflect.getMetadata(NEST_KEYS.method, handler) as RequestMethod | undefined;
        if (method === undefined || method === RequestMethod.ALL) return [];
        const [base, rest] = [metatype, handler].map((it) => String(Reflect.getMetadata(NEST_KEYS.path, it)));
        const path = `/${base}/${rest}`.replace(/\/+/g, '/').replace(/(?<=.)\/$/, '');
        const methods = method === RequestMethod.GET ? ['GET', 'HEAD'] : [RequestMethod[method]];
        return [{ path, methods }];
      });
    });
  }
}
