"""HTTP/1.1 for the clients, on the standard library alone.

Every image has this code, since a service may depend on another one at a URL. A client library would bring seven
packages into each, and 0.2 s into the start of each process that uses it; what the clients need is little: one host,
JSON and files out, values and streams back. Streams come as the server cut them, which client libraries do not tell.

``parser`` knows the protocol and does no I/O; ``blocking`` and ``asynchronous`` move its bytes.
"""
