"""Servers in clear text: HTTP/1.1, gRPC, WebSocket, and one that speaks first.

Writes a line with the ports, then a line for each request: {"server", "path", "headers"}.
"""

import asyncio
import json
import socketserver
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import websockets

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"


def report(server, path, headers):
    fields = {name.lower(): value for name, value in headers}
    print(json.dumps({"server": server, "path": path, "headers": fields}), flush=True)


class HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        report("http", self.path, self.headers.items())
        answer = f"{self.command} {self.path} {len(body)}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_):
        pass


class GrpcHandler(grpc.GenericRpcHandler):
    def service(self, call):
        report("grpc", call.method, [pair[:2] for pair in call.invocation_metadata])
        # The response of an export has no fields.
        is_export = call.method.endswith("/Export")
        answer = lambda request, _: b"" if is_export else b"echo " + request
        return grpc.unary_unary_rpc_method_handler(answer)


class GreetingHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 ready\r\n")
        self.wfile.write(b"250 " + self.rfile.readline())


async def echo(connection):
    report("websocket", connection.request.path, connection.request.headers.raw_items())
    async for message in connection:
        await connection.send("echo " + message)


async def main():
    http = ThreadingHTTPServer((HOST, 0), HttpHandler)
    greeting = socketserver.ThreadingTCPServer((HOST, 0), GreetingHandler)
    for server in (http, greeting):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    rpc = grpc.server(futures.ThreadPoolExecutor(4), handlers=[GrpcHandler()])
    rpc_port = rpc.add_insecure_port(f"{HOST}:0")
    rpc.start()
    async with websockets.serve(echo, HOST, 0) as websocket:
        ports = {
            "http": http.server_port,
            "grpc": rpc_port,
            "websocket": websocket.sockets[0].getsockname()[1],
            "greeting": greeting.server_address[1],
        }
        print(json.dumps(ports), flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
