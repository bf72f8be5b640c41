import type { IncomingMessage, ServerResponse } from 'node:http';
import { pinoHttp, type HttpLogger } from 'pino-http';
import type { Logger } from 'pino';
import { MAX_LOGGED_PATH } from './infrastructure/http/mesh-router.js';
import { isExcess } from './infrastructure/http/refusals.js';

/**
 * Logs each request when it is answered, also refused ones: its path without the query string, which may hold data of
 * users, the address of the client, and the status. Excess requests are logged together, by what refuses them. Register it
 * before all other middleware.
 */
export function requestLog(logger: Logger): HttpLogger {
  return pinoHttp({
    logger,
    quietReqLogger: true,
    wrapSerializers: false,
    // The logger serializes errors.
    serializers: { req: requestFacts, res: responseFacts, err: (error) => error as object },
    customLogLevel: (_request, response, error) => {
      if (isExcess(response)) return 'silent';
      // What is unavailable has log lines of its own, and anyone can send many such requests.
      if (!error && response.statusCode === 503) return 'warn';
      if (error || response.statusCode >= 500) return 'error';
      return response.statusCode >= 400 ? 'warn' : 'info';
    },
    customSuccessMessage: (_request, { statusCode, writableEnded }) => {
      if (!writableEnded) return 'Request aborted';
      return statusCode >= 400 ? 'Request refused' : 'Request completed';
    },
    customErrorMessage: () => 'Request failed',
    // pino-http makes an error of a status, whose stack says nothing.
    customErrorObject: (_request, _response, error, facts: object) =>
      error.message.startsWith('failed with status code') ? { ...facts, err: undefined } : facts,
  });
}

/** The method, the path, and the address of the connection: that of the last proxy, if there is one. */
function requestFacts({ method, url, socket }: IncomingMessage) {
  return { method, url: url?.split('?', 1)[0]?.slice(0, MAX_LOGGED_PATH), address: socket.remoteAddress };
}

function responseFacts({ statusCode }: ServerResponse) {
  return { statusCode };
}
