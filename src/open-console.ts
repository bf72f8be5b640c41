import type { NextFunction, Request, Response } from 'express';

/** Middleware: a browser that opens the address of the application finds the console. Programs get the answer of the API. */
export function openConsole(address: string) {
  return (request: Request, response: Response, next: NextFunction): void => {
    const { method, path, headers } = request;
    const isOpened = method === 'GET' && path === '/' && headers.accept?.includes('text/html');
    if (isOpened) response.redirect(302, address);
    else next();
  };
}
