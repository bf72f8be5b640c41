import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { createTransport, type Transporter } from 'nodemailer';
import { SMTPServer } from 'smtp-server';

/** A mail server on loopback that keeps what it accepts. */
export class MailServer {
  /** The message ids of the mails, in the order of their arrival. */
  readonly accepted: string[] = [];
  /** What the server does before it answers; an error refuses the mail. */
  receive: (id: string) => Promise<void> = async () => undefined;
  /** Mails that it receives at this moment, and the most there were. */
  private receiving = 0;
  mostAtOnce = 0;

  private constructor(
    private readonly server: SMTPServer,
    private readonly port: number,
  ) {}

  static async start(): Promise<MailServer> {
    const smtp = new SMTPServer({
      disabledCommands: ['AUTH', 'STARTTLS'],
      logger: false,
      onData(stream, _, callback) {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('end', () => void mails.take(Buffer.concat(chunks).toString()).then(() => callback(), callback));
      },
    });
    // Clients that give up.
    smtp.on('error', () => undefined);
    smtp.listen(0, '127.0.0.1');
    await once(smtp.server, 'listening');
    const mails = new MailServer(smtp, (smtp.server.address() as AddressInfo).port);
    return mails;
  }

  private async take(mail: string): Promise<void> {
    const id = /^message-id: <(.*)>/im.exec(mail)?.[1] ?? '';
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.receiving);
    try {
      await this.receive(id);
      this.accepted.push(id);
    } finally {
      this.receiving--;
    }
  }

  get url(): string {
    return `smtp://127.0.0.1:${this.port}?ignoreTLS=true`;
  }

  client(): Transporter {
    return createTransport(this.url);
  }

  /** Refuses mails for now, as a server with a full disk does. */
  static readonly refusal = Object.assign(new Error('Try again later'), { responseCode: 451 });

  /** A server that takes its time. */
  slow(ms: number): void {
    this.receive = async () => void (await wait(ms));
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
