/**
 * Reads the message attributes of a span, in current and former OpenTelemetry names and in
 * OpenTracing's, Brave's and Spring's.
 */
import type { AttributeRecord } from './records';

export interface MessageAttributes {
  readonly topic: string;
  readonly group: string;
  readonly partition: number | null;
  readonly offset: number | null;
  readonly lag: number | null;
}

/** The same names in the same order as the collector's (`throughline-model`, `convention.rs`). */
export const TOPIC_KEYS = [
  'messaging.destination.name',
  'messaging.destination',
  'messaging.destination_name',
  'messaging.source.name',
  'messaging.source',
  'message_bus.destination',
  'kafka.topic',
  'jms.topic',
  'jms.queue',
  'rabbit.exchange',
  'rabbit.routing_key',
  'rabbit.queue',
  'pulsar.topic',
];
const GROUP = [
  'messaging.consumer.group.name',
  'messaging.kafka.consumer.group',
  'messaging.kafka.consumer_group',
  'messaging.consumer_group',
  'kafka.consumer_group',
  'kafka.group',
];
const PARTITION = [
  'messaging.destination.partition.id',
  'messaging.kafka.destination.partition',
  'messaging.kafka.source.partition',
  'messaging.kafka.partition',
  'kafka.partition',
  'partition',
];
const OFFSET = [
  'messaging.kafka.offset',
  'messaging.kafka.message.offset',
  'kafka.offset',
  'offset',
];
const LAG = ['throughline.kafka.lag', 'messaging.kafka.lag', 'kafka.lag'];

export function readMessageAttributes(
  attributes: readonly AttributeRecord[],
): MessageAttributes | undefined {
  const topic = text(attributes, TOPIC_KEYS);
  if (!topic) return undefined;
  return {
    topic,
    group: text(attributes, GROUP),
    partition: number(attributes, PARTITION),
    offset: number(attributes, OFFSET),
    lag: number(attributes, LAG),
  };
}

/**
 * Returns whether a span settles messages, by a commit or an acknowledgement, as the collector's
 * `is_settlement` does.
 */
export function isSettlement(name: string, attributes: readonly AttributeRecord[]): boolean {
  return attributes.some(({ key, value }) => {
    switch (key) {
      case 'messaging.operation.type':
      case 'messaging.operation':
        return value === 'settle';
      case 'throughline.kafka.handled':
      case 'throughline.kafka.acknowledged':
        return true;
      case 'message_bus.destination':
        return name === `Commit_${value}`;
      default:
        return false;
    }
  });
}

function find(attributes: readonly AttributeRecord[], names: readonly string[]): unknown {
  for (const name of names) {
    const found = attributes.find((attribute) => attribute.key === name);
    if (found) return found.value;
  }
  return undefined;
}

function text(attributes: readonly AttributeRecord[], names: readonly string[]): string {
  const value = find(attributes, names);
  return value === undefined || value === null ? '' : String(value);
}

function number(attributes: readonly AttributeRecord[], names: readonly string[]): number | null {
  const value = find(attributes, names);
  const parsed = value === undefined || value === null || value === '' ? NaN : Number(value);
  return Number.isFinite(parsed) ? parsed : null;
}
