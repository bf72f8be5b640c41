/*
 * A server that reads each request and answers 202. After the IPC message `{ where: true }` it sends its port. After
 * `{ expect: n }` it sends `{ ms }` when n requests have arrived: the time from the first request to the last answer.
 */
import { createServer } from 'node:http';

let left = 0;
let started = 0;

const server = createServer((request, response) => {
  if (started === 0) started = performance.now();
  request.resume().on('end', () => {
    response.writeHead(202).end();
    if (--left === 0) process.send({ ms: performance.now() - started });
  });
});
process.on('message', ({ expect }) => {
  if (expect === undefined) return process.send({ port: server.address().port });
  left = expect;
  started = 0;
  process.send({ expecting: expect });
});
process.once('disconnect', () => process.exit());
server.listen(0, '127.0.0.1', () => process.send({ ready: true }));
