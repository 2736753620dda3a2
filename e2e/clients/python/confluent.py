"""confluent-kafka (librdkafka with all features) as a client under test.

Produces and consumes; classic, KIP-848 and share groups. The contract is in ../README.md.
"""

import sys
import time

from confluent_kafka import (
    AcknowledgeType, Consumer, KafkaException, Producer, ShareConsumer, TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType,
)

import lines


def connection(options):
    settings = {
        "bootstrap.servers": options["bootstrap"],
        "security.protocol": options.get("security", "plaintext"),
    }
    if "client-id" in options:
        settings["client.id"] = options["client-id"]
    if "mechanism" in options:
        settings |= {
            "sasl.mechanism": options["mechanism"],
            "sasl.username": options["username"],
            "sasl.password": options["password"],
        }
    if "ca" in options:
        settings["ssl.ca.location"] = options["ca"]
    if "cert" in options:
        settings |= {
            "ssl.certificate.location": options["cert"],
            "ssl.key.location": options["key"],
        }
    return settings


def produce(options):
    settings = connection(options) | {
        "compression.type": options.get("codec", "none"),
        "acks": options.get("acks", "all"),
        "enable.idempotence": options.get("idempotent", "false"),
        "linger.ms": options.get("linger", "5"),
        "max.in.flight": options.get("in-flight", "5"),
        "batch.size": options.get("batch-size", "1000000"),
    }
    if "transactional" in options:
        settings |= {
            "transactional.id": options["transactional"],
            "enable.idempotence": "true",
            "acks": "all",
        }
    producer, output = Producer(settings), lines.Output(options.get("output", "-"))
    records, failed = list(lines.read(options["input"])), []

    def send(index, report):
        def acknowledged(error, message):
            if error:
                failed.append(f"record {index}: {error}")
            else:
                offset = -1 if message.offset() is None else message.offset()
                report({
                    "index": index,
                    "topic": message.topic(),
                    "partition": message.partition(),
                    "offset": offset,
                })

        record = records[index]
        further = {"partition": record["partition"]} if record["partition"] is not None else {}
        if record["timestamp"] is not None:
            further["timestamp"] = record["timestamp"]
        producer.produce(
            options["topic"], record["value"], record["key"],
            headers=record["headers"], on_delivery=acknowledged, **further,
        )
        producer.poll(int(options.get("pace", "0")) / 1000)

    if "transactional" in options:
        transactions(producer, len(records), send, output, options)
    else:
        for index in range(len(records)):
            lines.wait_at_gate(options, index, producer.flush)
            send(index, output.write)
    left = producer.flush(60)
    if left or failed:
        raise SystemExit(f"{left} records unsent, {len(failed)} failed: {failed[:3]}")


def transactions(producer, count, send, output, options):
    size = int(options.get("transaction-size", "10"))
    abort_every = int(options.get("abort-every", "0"))
    producer.init_transactions()
    for number, begin in enumerate(range(0, count, size), start=1):
        producer.begin_transaction()
        sent = []
        for index in range(begin, min(begin + size, count)):
            send(index, sent.append)
        producer.flush()
        committed = abort_every == 0 or number % abort_every != 0
        producer.commit_transaction() if committed else producer.abort_transaction()
        for line in sent:
            output.write(line | {"committed": committed})


def consume(options):
    settings = connection(options) | {"group.id": options["group"]}
    output, count = lines.Output(options.get("output", "-")), int(options.get("count", 1 << 60))
    deadline = time.monotonic() + float(options.get("limit", "60"))
    if options.get("protocol") == "share":
        share(settings, options, output, count, deadline)
    else:
        group(settings, options, output, count, deadline)


def group(settings, options, output, count, deadline):
    handled = {}

    def offsets(partitions):
        wanted = [(p.topic, p.partition) for p in partitions]
        return [TopicPartition(*key, handled[key]) for key in wanted if key in handled]

    def leave(consumer, partitions):
        leaving = offsets(partitions)
        if leaving:
            consumer.commit(offsets=leaving, asynchronous=False)
        for partition in leaving:
            del handled[partition.topic, partition.partition]

    # The broker sets the heartbeat interval of KIP-848 groups; the client rejects the option.
    heartbeat = {} if options.get("protocol") == "consumer" else {"heartbeat.interval.ms": "500"}
    consumer = Consumer(settings | {
        "group.protocol": options.get("protocol", "classic"),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": options.get("auto-commit", "false"),
        "isolation.level": options.get("isolation", "read_uncommitted"),
        "topic.metadata.refresh.interval.ms": options.get("metadata-age", "300000"),
        "fetch.wait.max.ms": "50",
    } | heartbeat)
    consumer.subscribe(options["topics"].split(","), on_revoke=leave)
    seen, places = 0, lines.Places(options)
    while seen < count and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)
            continue
        output.write(line(message))
        if options.get("auto-commit") != "true":
            handled[message.topic(), message.partition()] = message.offset() + 1
        seen += places.count(message.topic(), message.partition(), message.offset())
    last = offsets([TopicPartition(*place) for place in handled])
    if last:
        consumer.commit(offsets=last, asynchronous=False)
    consumer.close()


def share(settings, options, output, count, deadline):
    read_from_the_beginning(options)
    release_every = int(options.get("release-every", "0"))
    consumer = ShareConsumer(settings | {"share.acknowledgement.mode": "explicit"})
    consumer.subscribe(options["topics"].split(","))
    accepted = 0
    while accepted < count and time.monotonic() < deadline:
        for message in consumer.poll(0.1):
            if message.error():
                raise KafkaException(message.error())
            first = (message.delivery_count() or 1) == 1
            release = release_every > 0 and message.offset() % release_every == 0 and first
            output.write(line(message, delivery_count=message.delivery_count(), released=release))
            kind = AcknowledgeType.RELEASE if release else AcknowledgeType.ACCEPT
            consumer.acknowledge(message, kind)
            accepted += 0 if release else 1
        consumer.commit_sync(10)
    consumer.close()


def read_from_the_beginning(options):
    """Makes the share group begin at the beginning of a topic; the default is its end."""
    earliest = ConfigEntry(
        "share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET,
    )
    group = ConfigResource(
        ResourceType.GROUP, options["group"], incremental_configs=[earliest],
    )
    # The client must outlive its futures.
    admin = AdminClient(connection(options))
    for answer in admin.incremental_alter_configs([group]).values():
        answer.result(30)


def line(message, **more):
    return lines.record(
        message.topic(), message.partition(), message.offset(), message.timestamp()[1],
        message.key(), message.value(), message.headers(), **more,
    )


{"produce": produce, "consume": consume}[sys.argv[1]](lines.options(sys.argv[2:]))
