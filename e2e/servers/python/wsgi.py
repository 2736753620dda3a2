"""A WSGI application, for gunicorn."""


def cut():
    yield b"part"
    raise ConnectionAbortedError("cut")


# Responses that test the limits of HTTP/1.
LIMITS = {
    "/unauthorized": ("401 Unauthorized", [], lambda: []),
    "/cut": ("200 OK", [], cut),
    "/spelling": ("299 Fine Thing", [("X-CaSe", "a")], lambda: []),
    "/999": ("999 Odd", [], lambda: []),
    "/fields": ("200 OK", [(f"X-Field-{number}", "a") for number in range(400)], lambda: []),
}


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path in LIMITS:
        status, fields, parts = LIMITS[path]
        start_response(status, fields)
        return parts()
    count = len(environ["wsgi.input"].read())
    body = f"{path} {count}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
