import { Injectable, Module } from '@nestjs/common';
import { EventsHandler } from '@nestjs/cqrs';
import { MeshFeature, type Attempt, type EffectHandler } from 'nestjs-meshy';
import { createTransport, type SendMailOptions } from 'nodemailer';
import { OrderPlaced } from './orders.contract.js';

@Injectable()
export class Mailer {
  private readonly smtp = createTransport(process.env.SMTP_URL ?? 'smtp://localhost:25');

  async send(mail: SendMailOptions): Promise<void> {
    await this.smtp.sendMail({ from: 'shop@example.com', ...mail });
  }
}

@EventsHandler(OrderPlaced)
export class MailOnOrderPlaced implements EffectHandler<OrderPlaced> {
  readonly policy = { timeoutMs: 5000, retry: 20, concurrency: 4 };

  constructor(private readonly mailer: Mailer) {}

  async perform({ subject: id, data: { item, email } }: OrderPlaced, attempt: Attempt): Promise<void> {
    const text = `We have your order ${id}: ${item}`;
    const messageId = `<${attempt.id}@shop.example>`;
    await this.mailer.send({ to: email, subject: 'Thank you for your order', text, messageId });
  }
}

@MeshFeature({ name: 'mails', contract: {} })
@Module({ providers: [Mailer, MailOnOrderPlaced] })
export class MailsModule {}
