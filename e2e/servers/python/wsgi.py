"""A WSGI application, for gunicorn."""


def app(environ, start_response):
    count = len(environ["wsgi.input"].read())
    body = f"{environ['PATH_INFO']} {count}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
