import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

/* Registers the SDK of OpenTelemetry, as `node --import` does before an application. */

new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': process.env.OTEL_SERVICE_NAME ?? 'cabs' }),
  spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter())],
}).register();
