"""aiokafka (asyncio) as a client under test: produces, consumes; classic groups.

Without TLS and SASL. The contract is in ../README.md.
"""

import asyncio
import sys
import time

from aiokafka import (
    AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition,
)

import lines


def connection(options):
    settings = {"bootstrap_servers": options["bootstrap"]}
    if "client-id" in options:
        settings["client_id"] = options["client-id"]
    return settings


async def produce(options):
    codec, acks = options.get("codec", "none"), options.get("acks", "all")
    settings = connection(options) | {
        "compression_type": None if codec == "none" else codec,
        "acks": acks if acks == "all" else int(acks),
        "enable_idempotence": options.get("idempotent") == "true",
        "linger_ms": int(options.get("linger", "5")),
        "max_batch_size": int(options.get("batch-size", "16384")),
        # A long value does not fit into the default of one batch.
        "max_request_size": 1048576,
    }
    if "transactional" in options:
        settings |= {
            "transactional_id": options["transactional"],
            "enable_idempotence": True,
            "acks": "all",
        }
    output = lines.Output(options.get("output", "-"))
    records = list(lines.read(options["input"]))
    async with AIOKafkaProducer(**settings) as producer:

        async def send(index):
            record = records[index]
            return await producer.send(
                options["topic"], record["value"], record["key"], record["partition"],
                record["timestamp"], record["headers"],
            )

        def line(index, where):
            # Without acknowledgements there is no position.
            return {
                "index": index,
                "topic": options["topic"],
                "partition": where.partition if where else -1,
                "offset": where.offset if where else -1,
            }

        if "transactional" in options:
            await transactions(producer, len(records), send, output.write, line, options)
            return
        sent = []
        for index in range(len(records)):
            if index == int(options.get("gate-at", "-1")):
                await asyncio.gather(*sent)
            lines.wait_at_gate(options, index, lambda: None)
            future = await send(index)
            future.add_done_callback(
                lambda done, index=index: output.write(line(index, done.result())),
            )
            sent.append(future)
            await asyncio.sleep(int(options.get("pace", "0")) / 1000)
        await asyncio.gather(*sent)


async def transactions(producer, count, send, write, line, options):
    size = int(options.get("transaction-size", "10"))
    abort_every = int(options.get("abort-every", "0"))
    for number, begin in enumerate(range(0, count, size), start=1):
        await producer.begin_transaction()
        futures = [await send(index) for index in range(begin, min(begin + size, count))]
        places = await asyncio.gather(*futures)
        committed = abort_every == 0 or number % abort_every != 0
        if committed:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
        for index, where in enumerate(places, start=begin):
            write(line(index, where) | {"committed": committed})


class CommitBeforeLeaving(ConsumerRebalanceListener):
    """Commits handled records before a partition moves, so that none is read twice."""

    def __init__(self, consumer):
        self.consumer, self.handled = consumer, {}

    async def on_partitions_revoked(self, revoked):
        leaving = {place: self.handled.pop(place) for place in revoked if place in self.handled}
        if leaving:
            await self.consumer.commit(leaving)

    async def on_partitions_assigned(self, assigned):
        pass


async def consume(options):
    output, count = lines.Output(options.get("output", "-")), int(options.get("count", 1 << 60))
    deadline = time.monotonic() + float(options.get("limit", "60"))
    consumer = AIOKafkaConsumer(
        **connection(options),
        group_id=options["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=options.get("auto-commit") == "true",
        isolation_level=options.get("isolation", "read_uncommitted"),
        metadata_max_age_ms=int(options.get("metadata-age", "300000")),
        fetch_max_wait_ms=50,
        heartbeat_interval_ms=500,
    )
    listener = CommitBeforeLeaving(consumer)
    consumer.subscribe(options["topics"].split(","), listener=listener)
    await consumer.start()
    seen, places = 0, lines.Places(options)
    while seen < count and time.monotonic() < deadline:
        fetched = await consumer.getmany(timeout_ms=100, max_records=min(50, count - seen))
        for records in fetched.values():
            for record in records:
                output.write(lines.record(
                    record.topic, record.partition, record.offset, record.timestamp,
                    record.key, record.value, record.headers,
                ))
                place = TopicPartition(record.topic, record.partition)
                if options.get("auto-commit") != "true":
                    listener.handled[place] = record.offset + 1
                seen += places.count(record.topic, record.partition, record.offset)
    if listener.handled:
        await consumer.commit(listener.handled)
        listener.handled = {}
    await consumer.stop()


asyncio.run({"produce": produce, "consume": consume}[sys.argv[1]](lines.options(sys.argv[2:])))
