"""Clients as services have them: `client.py NAME HOST:PORT` writes what the server answered.

They take a proxy from `http_proxy`, as far as the library does so by itself.
"""

import asyncio
import sys
import urllib.request

NAME, ADDRESS = sys.argv[1:3]


def use_urllib():
    return urllib.request.urlopen(f"http://{ADDRESS}/urllib?a=1", timeout=20).read().decode()


def use_requests():
    import requests

    return requests.post(f"http://{ADDRESS}/requests", data=b"12345", timeout=20).text


def use_aiohttp():
    import aiohttp

    async def get():
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{ADDRESS}/aiohttp") as response:
                return await response.text()

    return asyncio.run(get())


def use_grpc():
    import grpc

    with grpc.insecure_channel(ADDRESS) as channel:
        call = channel.unary_unary("/shop.Orders/Place")
        return " ".join(call(text, timeout=20).decode() for text in (b"1", b"2"))


def use_websockets():
    import websockets

    async def talk():
        async with websockets.connect(f"ws://{ADDRESS}/chat") as connection:
            await connection.send("hello")
            return await connection.recv()

    return asyncio.run(talk())


def exporter(kind):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    if kind == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        made = OTLPSpanExporter(endpoint=f"http://{ADDRESS}", insecure=True, timeout=20)
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        made = OTLPSpanExporter(endpoint=f"http://{ADDRESS}/v1/traces", timeout=20)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    with provider.get_tracer("client").start_as_current_span("work"):
        pass
    provider.shutdown()
    return "exported"


CLIENTS = {
    "urllib": use_urllib,
    "requests": use_requests,
    "aiohttp": use_aiohttp,
    "grpc": use_grpc,
    "websockets": use_websockets,
    "otlp-http": lambda: exporter("http"),
    "otlp-grpc": lambda: exporter("grpc"),
}

print(CLIENTS[NAME]())
