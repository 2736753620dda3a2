"""kafka-python (pure Python) as a client under test: produces, consumes; classic groups.

Version 1.4 runs this program as well; it has no idempotent producer and no isolation level.
"""

import logging
import sys
import time

from kafka import (
    KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition, __version__,
)

import lines

# Only the log shows how the client reacts to a lost topic.
logging.basicConfig(level="INFO", format="%(relativeCreated)d %(name)s %(message)s")

IS_OLD = __version__.startswith("1.")


def connection(options):
    settings = {
        "bootstrap_servers": options["bootstrap"],
        "security_protocol": options.get("security", "plaintext").upper(),
    }
    if "client-id" in options:
        settings["client_id"] = options["client-id"]
    if "mechanism" in options:
        settings |= {
            "sasl_mechanism": options["mechanism"],
            "sasl_plain_username": options["username"],
            "sasl_plain_password": options["password"],
        }
    if "ca" in options:
        settings["ssl_cafile"] = options["ca"]
    if "cert" in options:
        settings |= {"ssl_certfile": options["cert"], "ssl_keyfile": options["key"]}
    return settings


def produce(options):
    codec, acks = options.get("codec", "none"), options.get("acks", "all")
    settings = connection(options) | {
        "compression_type": None if codec == "none" else codec,
        "acks": acks if acks == "all" else int(acks),
        "linger_ms": int(options.get("linger", "5")),
        "max_in_flight_requests_per_connection": int(options.get("in-flight", "5")),
        "batch_size": int(options.get("batch-size", "16384")),
    }
    if not IS_OLD:
        settings["enable_idempotence"] = options.get("idempotent") == "true"
    if "transactional" in options:
        settings |= {
            "transactional_id": options["transactional"],
            "enable_idempotence": True,
            "acks": "all",
        }
    producer, output = KafkaProducer(**settings), lines.Output(options.get("output", "-"))
    records = list(lines.read(options["input"]))

    def send(index):
        record = records[index]
        future = producer.send(
            options["topic"], record["value"], record["key"],
            record["headers"], record["partition"], record["timestamp"],
        )
        time.sleep(int(options.get("pace", "0")) / 1000)
        return future

    def line(index, where):
        return {
            "index": index,
            "topic": where.topic,
            "partition": where.partition,
            "offset": where.offset,
        }

    if "transactional" in options:
        transactions(producer, len(records), send, output.write, line, options)
    else:
        sent = []
        for index in range(len(records)):
            lines.wait_at_gate(options, index, producer.flush)
            future = send(index)
            future.add_callback(lambda where, index=index: output.write(line(index, where)))
            sent.append(future)
        for future in sent:
            future.get(60)
    producer.close()


def transactions(producer, count, send, write, line, options):
    size = int(options.get("transaction-size", "10"))
    abort_every = int(options.get("abort-every", "0"))
    producer.init_transactions()
    for number, begin in enumerate(range(0, count, size), start=1):
        producer.begin_transaction()
        sent = [(index, send(index)) for index in range(begin, min(begin + size, count))]
        producer.flush()
        committed = abort_every == 0 or number % abort_every != 0
        producer.commit_transaction() if committed else producer.abort_transaction()
        for index, future in sent:
            write(line(index, future.get(60)) | {"committed": committed})


def subscriber(options):
    isolation = {"isolation_level": options.get("isolation", "read_uncommitted")}
    consumer = KafkaConsumer(
        **connection(options),
        **({} if IS_OLD else isolation),
        group_id=options["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=options.get("auto-commit") == "true",
        metadata_max_age_ms=int(options.get("metadata-age", "300000")),
        fetch_max_wait_ms=50,
        heartbeat_interval_ms=500,
        max_poll_records=50,
    )
    consumer.subscribe(options["topics"].split(","))
    return consumer


class Returns:
    """Writes a line for each partition whose position moved backwards (`--returns true`)."""

    def __init__(self, options, output):
        self.output = output if options.get("returns") == "true" else None
        self.positions = {}

    def check(self, consumer):
        for partition in consumer.assignment() if self.output else ():
            position = consumer.position(partition, timeout_ms=100)
            if position is not None and position < self.positions.get(partition, 0):
                self.output.write({
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "returned_to": position,
                })
                self.positions[partition] = position


def consume(options):
    output, count = lines.Output(options.get("output", "-")), int(options.get("count", 1 << 60))
    deadline = time.monotonic() + float(options.get("limit", "60"))
    consumer, heard = subscriber(options), time.monotonic()
    seen, places, returns = 0, lines.Places(options), Returns(options, output)
    while seen < count and time.monotonic() < deadline:
        # A consumer of kafka-python 3.0 may lose its group membership without noticing: in one
        # start of ten, with or without a sidecar, and after its topic was deleted (seen through
        # the sidecar only). A new consumer continues from the committed offsets.
        if time.monotonic() - heard > 10:
            consumer.close()
            consumer, heard = subscriber(options), time.monotonic()
        handled = {}
        returns.check(consumer)
        for records in consumer.poll(100, max_records=min(50, count - seen)).values():
            for record in records:
                heard = time.monotonic()
                output.write(lines.record(
                    record.topic, record.partition, record.offset, record.timestamp,
                    record.key, record.value, record.headers,
                ))
                partition = TopicPartition(record.topic, record.partition)
                epoch = [] if IS_OLD else [-1]
                handled[partition] = OffsetAndMetadata(record.offset + 1, "", *epoch)
                seen += places.count(record.topic, record.partition, record.offset)
        # `poll` rebalances: handled records are committed before it, so that none is read twice.
        returns.positions |= {partition: next.offset for partition, next in handled.items()}
        if handled and options.get("auto-commit") != "true":
            consumer.commit(handled)
    consumer.close()


{"produce": produce, "consume": consume}[sys.argv[1]](lines.options(sys.argv[2:]))
