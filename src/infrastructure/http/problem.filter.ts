import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Request, Response } from 'express';
import { MAX_LOGGED_PATH } from './mesh-router.js';
import { isWorthLogging, PROBLEM_TYPE, problemOf } from './problem.js';
import { MeshLogger } from '../observability/mesh-logger.js';

/** Turns errors into problem documents (RFC 9457). Logs those that aren't the fault of the request. Express only. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly logger = new MeshLogger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<Request>();
    const response = http.getResponse<Response>();
    const path = request.originalUrl?.split('?')[0]?.slice(0, MAX_LOGGED_PATH);
    const { problem, headers } = problemOf(error, path);
    if (isWorthLogging(error, problem))
      this.logger.error({ err: error, method: request.method, url: path }, 'Request failed');
    if (response.headersSent) return void response.destroy();
    response.status(problem.status).set(headers).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  }
}
