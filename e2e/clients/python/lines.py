"""Command line and JSON lines of both Python clients; the contract is in ../README.md."""

import base64
import json
import os
import sys
import time


def options(arguments):
    """Parses pairs of `--name value`."""
    names, values = arguments[0::2], arguments[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise SystemExit(f"options are --name value, not {arguments}")
    return {name[2:]: value for name, value in zip(names, values)}


def read(path):
    """Reads the records of an input file."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            headers = [
                (decode(key).decode("utf-8"), decode(value))
                for key, value in record.get("headers") or []
            ]
            yield {
                "partition": record.get("partition"),
                "timestamp": record.get("timestamp"),
                "key": decode(record.get("key")),
                "value": decode(record.get("value")),
                "headers": headers,
            }


def wait_at_gate(options, index, flush):
    """Flushes, then waits for the file of the gate."""
    if index == int(options.get("gate-at", "-1")):
        flush()
        while not os.path.exists(options["gate"]):
            time.sleep(0.02)


class Output:
    """Writes lines; each is complete before the next begins."""

    def __init__(self, path):
        self.file = sys.stdout if path == "-" else open(path, "w", encoding="utf-8")

    def write(self, line):
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


class Places:
    """Counts records; with `--distinct true` a repeated record counts zero."""

    def __init__(self, options):
        self.seen = set() if options.get("distinct") == "true" else None

    def count(self, *place):
        if self.seen is None:
            return 1
        before = len(self.seen)
        self.seen.add(place)
        return len(self.seen) - before


def record(topic, partition, offset, timestamp, key, value, headers, **more):
    """Formats a consumed record as a line."""
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp,
        "key": encode(key),
        "value": encode(value),
        "headers": [
            [encode(name.encode("utf-8")), encode(content)] for name, content in headers or []
        ],
        **more,
    }


def encode(content):
    return None if content is None else base64.b64encode(content).decode("ascii")


def decode(text):
    return None if text is None else base64.b64decode(text)
