"""Sends a trace with py_zipkin and prints its id.

Usage: zipkin.py V1_JSON|V2_JSON HOST PORT
"""

import sys

from py_zipkin import Encoding, Kind
from py_zipkin.transport import SimpleHTTPTransport
from py_zipkin.zipkin import create_attrs_for_span, zipkin_span

encoding, host, port = sys.argv[1:]
attributes = create_attrs_for_span(sample_rate=100.0, use_128bit_trace_id=True)
with zipkin_span(
    service_name=f"py-{encoding}",
    span_name="checkout",
    transport_handler=SimpleHTTPTransport(host, int(port)),
    zipkin_attrs=attributes,
    encoding=Encoding[encoding],
    kind=Kind.SERVER,
    host="127.0.0.1",
    port=8080,
    binary_annotations={"http.path": "/buy"},
):
    with zipkin_span(
        service_name=f"py-{encoding}", span_name="get", kind=Kind.CLIENT
    ) as call:
        call.add_annotation("retry")
        call.update_binary_annotations({"error": "refused"})

print(attributes.trace_id)
