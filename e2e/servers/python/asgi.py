"""An ASGI application, for uvicorn."""

# Users by connection. The server gives no other name of a connection than its client's address.
users = {}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/unauthorized":
        # The body is not read, so the server does not ask for it.
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/cut":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ConnectionAbortedError("cut")
    if scope["path"] == "/fields":
        fields = [(f"X-Field-{number}".encode(), b"a") for number in range(400)]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})
        return
    count = 0
    while True:
        message = await receive()
        count += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    status, fields, body = respond(scope, count)
    fields.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def respond(scope, count):
    if scope["path"] != "/login":
        return 200, [], f"{scope['path']} {count}".encode()
    connection = tuple(scope["client"])
    scheme, _, user = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
    if scheme == b"NTLM":
        users[connection] = user
    known = users.get(connection, b"")
    return (200, [], known) if known else (401, [(b"www-authenticate", b"NTLM")], b"")
