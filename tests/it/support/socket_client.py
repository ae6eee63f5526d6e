"""A client of WebSockets that does what it is told, and says what it saw: the protocol is `wsproto`'s.

Reads one JSON object from standard input: `port`, `path`, `headers`, `subprotocols`, `steps`. Writes one:
`status`, `headers`, `body`, `subprotocol` and `events`, each of which is a list: `text`, `bytes` (in
hexadecimal), `pong`, `close` with code and reason, or `eof`.
"""

import contextlib
import json
import socket
import sys
import time

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError

PATIENCE = 30.0


class Client:
    """One WebSocket."""

    def __init__(self, plan):
        self.plan = plan
        self.seen = {"status": 0, "headers": [], "body": "", "subprotocol": None, "events": []}
        self.socket = socket.create_connection(("127.0.0.1", plan["port"]), timeout=PATIENCE)
        self.connection = WSConnection(ConnectionType.CLIENT)
        self.parts = []
        self.answers = True
        self.is_over = False

    def write(self, event):
        """Send what an event is on the wire."""
        self.socket.sendall(self.connection.send(event))

    def open(self):
        """Ask for the WebSocket."""
        extra = [(name.encode(), value.encode()) for name, value in self.plan.get("headers", [])]
        request = Request(
            host=f"127.0.0.1:{self.plan['port']}",
            target=self.plan["path"],
            subprotocols=self.plan.get("subprotocols", []),
            extra_headers=extra,
        )
        self.write(request)
        while not self.seen["status"] and self.read():
            pass
        while self.seen["status"] != 101 and not self.is_over and self.read():
            pass

    def read(self):
        """Take what has arrived; false at the end."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self.seen["events"].append(["eof"])
            self.is_over = True
            return False
        self.connection.receive_data(data)
        for event in self.connection.events():
            self.take(event)
        return not self.is_over

    def take(self, event):
        """Write an event down."""
        seen = self.seen
        if isinstance(event, AcceptConnection):
            seen["status"], seen["subprotocol"] = 101, event.subprotocol
            seen["headers"] = [[name.decode(), value.decode()] for name, value in event.extra_headers]
        elif isinstance(event, RejectConnection):
            seen["status"] = event.status_code
            seen["headers"] = [[name.decode(), value.decode()] for name, value in event.headers]
            self.is_over = not event.has_body
        elif isinstance(event, RejectData):
            seen["body"] += event.data.decode()
            self.is_over = event.body_finished
        elif isinstance(event, (TextMessage, BytesMessage)):
            self.parts.append(event.data)
            if event.message_finished:
                if isinstance(event, TextMessage):
                    seen["events"].append(["text", "".join(self.parts)])
                else:
                    seen["events"].append(["bytes", b"".join(self.parts).hex()])
                self.parts = []
        elif isinstance(event, Ping):
            if self.answers:
                self.write(event.response())
        elif isinstance(event, Pong):
            seen["events"].append(["pong", bytes(event.payload).decode()])
        elif isinstance(event, CloseConnection):
            seen["events"].append(["close", event.code, event.reason or ""])
            with contextlib.suppress(LocalProtocolError, OSError):
                self.write(event.response())

    def step(self, name, *arguments):
        """Do one thing."""
        getattr(self, f"do_{name}")(*arguments)

    def do_text(self, text):
        self.write(TextMessage(text))

    def do_bytes(self, digits):
        self.write(BytesMessage(bytes.fromhex(digits)))

    def do_fragments(self, parts):
        for index, part in enumerate(parts):
            self.write(TextMessage(part, message_finished=index + 1 == len(parts)))

    def do_large(self, size):
        self.write(BytesMessage(bytes(size)))

    def do_ping(self, text):
        self.write(Ping(text.encode()))

    def do_close(self, code, reason=""):
        self.write(CloseConnection(code, reason))

    def do_raw(self, digits):
        self.socket.sendall(bytes.fromhex(digits))

    def do_drop(self):
        self.socket.close()
        self.is_over = True

    def do_reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.do_drop()

    def do_sleep(self, seconds):
        time.sleep(seconds)

    def do_say(self, text):
        print(text, file=sys.stderr, flush=True)

    def do_wait(self, count):
        while len(self.seen["events"]) < count and self.read():
            pass

    def do_end(self):
        while not self.is_over and self.read():
            pass


def main():
    """Carry a plan out."""
    client = Client(json.load(sys.stdin))
    client.open()
    if client.seen["status"] == 101:
        for step in client.plan.get("steps", []):
            client.step(*step)
    json.dump(client.seen, sys.stdout)


main()
