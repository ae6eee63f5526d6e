"""A worker that does what tests ask for, good or bad."""

import argparse
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

LOCK = threading.Lock()
CANCELLED = {}
RUNNING = set()
KEPT = []
PLACE = {}
CHANGED = threading.Condition()


def send(header, body=b""):
    """Writes one frame."""
    head = json.dumps(header).encode()
    with LOCK:
        SOCKET.sendall(struct.pack("<IQ", len(head), len(body)) + head + body)


def read(count):
    """Reads exactly `count` bytes; the end of the stream is `None`."""
    data = bytearray()
    while len(data) < count:
        piece = SOCKET.recv(min(count - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def receive():
    """Reads one frame."""
    prefix = read(12)
    if prefix is None:
        return None, b""
    head, body = struct.unpack("<IQ", prefix)
    return json.loads(read(head)), read(body)


def reply(call, value, status=200, content_type="application/json"):
    """Answers a call as a whole."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = [["content-type", content_type]]
    send({"type": "reply", "id": call["id"], "status": status, "headers": headers}, body)


def echo(call, body):
    """Gives the body back."""
    reply(call, body)


def sleep(call, body):
    """Takes as many seconds as the body says, whatever happens to the client."""
    time.sleep(float(body or b"0.2"))
    reply(call, {"slept": float(body or b"0.2"), "pid": os.getpid()})


def leak(call, body):
    """Keeps as many mebibytes as the body says, for ever."""
    KEPT.append(bytes(4096) + os.urandom(1) * (int(body) << 20))
    reply(call, {"pid": os.getpid(), "kept": len(KEPT)})


def wait(call, body):
    """Waits until the call is cancelled, and leaves a file that says so."""
    CANCELLED[call["id"]].wait(30)
    with open(os.path.join(os.getcwd(), "cancelled"), "w") as file:
        file.write(call["request_id"])
    reply(call, {})


def die(call, body):
    """Dies without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def garbage(call, body):
    """Breaks the protocol."""
    with LOCK:
        SOCKET.sendall(b"\xff" * 64)


def headers(call, body):
    """Tells what of the request arrived."""
    keys = ["method", "path", "query", "headers", "timeout_ms", "request_id"]
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    reply(call, {key: call[key] for key in keys} | {"place": PLACE, "devices": devices})


def bad_header(call, body):
    """Answers with a header that would split the answer."""
    bad = [["x-a", "1\r\nx-injected: 2"]]
    send({"type": "reply", "id": call["id"], "status": 200, "headers": bad}, b"x")


def stream(call, body):
    """Yields three items, or as many and as large as the body says, and may fail after them."""
    count, size, error = json.loads(body) if body else (3, 0, None)
    kind = [["content-type", "text/event-stream; charset=utf-8"]]
    send({"type": "stream", "id": call["id"], "status": 200, "headers": kind})
    for item in range(count):
        if CANCELLED[call["id"]].is_set():
            with open(os.path.join(os.getcwd(), "cancelled"), "w") as file:
                file.write(str(item))
            break
        send({"type": "chunk", "id": call["id"]}, b"x" * size if size else b"data: %d\n\n" % item)
    send({"type": "end", "id": call["id"], "error": error})


def drip(call, body):
    """Yields one item and then nothing until the client leaves."""
    send({"type": "stream", "id": call["id"], "status": 200, "headers": []})
    send({"type": "chunk", "id": call["id"]}, b"first")
    wait_for = CANCELLED[call["id"]].wait(30)
    with open(os.path.join(os.getcwd(), "cancelled"), "w") as file:
        file.write(str(wait_for))
    send({"type": "end", "id": call["id"], "error": None})


def half_stream(call, body):
    """Begins a stream and dies."""
    send({"type": "stream", "id": call["id"], "status": 200, "headers": []})
    send({"type": "chunk", "id": call["id"]}, b"first")
    die(call, body)


def twice(call, body):
    """Answers twice."""
    reply(call, 1)
    reply(call, 2)


CALLS = [echo, sleep, leak, wait, die, garbage, headers, bad_header, stream, drip, half_stream, twice]
SCHEMA = {"name": "Fake", "type": "service", "routes": [{"name": "echo", "route": "/echo"}]}


def names():
    """Names the APIs: all but those that the file `without` names."""
    without = open("without").read().split() if os.path.exists("without") else []
    return [call.__name__ for call in CALLS if call.__name__ not in without]


def describe():
    """Says what is served."""
    service = {
        "name": "Fake",
        "import_string": "fake:Fake",
        "path_prefix": os.environ.get("FAKE_PREFIX", ""),
        "config": json.loads(os.environ.get("FAKE_CONFIG", "{}")),
        "slots": int(os.environ.get("FAKE_SLOTS", "1")),
        "endpoints": [{"name": name, "route": "/" + name} for name in names()],
        "schema": SCHEMA,
        "openapi": {"openapi": "3.0.2", "info": {"title": "Fake"}},
        "user_metrics": "FAKE_METRICS" in os.environ,
    }
    send({"type": "describe", "protocol": 2, "service": service})
    if AWAITS_PLACE:
        PLACE.update(receive()[0]["variables"])


def fail(worker):
    """Says that the import failed."""
    message, detail = "No module named 'nothing'", "Traceback (most recent call last):\n  …"
    send({"type": "failed", "stage": "import", "message": message, "detail": detail})
    sys.exit(1)


def leave(worker):
    """Ends before it has said anything."""
    sys.exit(3)


def hang(worker):
    """Never becomes ready."""
    time.sleep(600)


def initialize_forever(worker):
    """Describes itself, and never becomes ready."""
    describe()
    time.sleep(600)


def fail_second(worker):
    """Serves as worker 1; as any other it fails."""
    describe()
    if worker > 1:
        send({"type": "failed", "stage": "init", "message": "no device left", "detail": ""})
        sys.exit(1)
    send({"type": "ready"})


def other_protocol(worker):
    """Speaks a version of the protocol that does not exist."""
    send({"type": "describe", "protocol": 99, "service": {}})
    time.sleep(600)


def once(worker):
    """Serves in its first life; after that it cannot start."""
    describe()
    try:
        os.close(os.open("lived", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        fail(worker)
    send({"type": "ready"})


def file(worker):
    """Fails when the service's file says so, otherwise serves."""
    text = open("service.py").read() if os.path.exists("service.py") else ""
    (fail if text == "fail" else ok)(worker)


def ok(worker):
    """Serves."""
    describe()
    send({"type": "ready"})


START = [fail, leave, hang, initialize_forever, fail_second, other_protocol, once, file, ok]


def run(call, body):
    """Runs one call to its end."""
    next(function for function in CALLS if function.__name__ == call["endpoint"])(call, body)
    with CHANGED:
        RUNNING.discard(call["id"])
        CHANGED.notify_all()


def probe(message):
    """Answers for a hook, as the file named like it says."""
    path = os.path.join(os.getcwd(), message["what"])
    text = open(path).read() if os.path.exists(path) else "yes"
    if text != "silent":
        send({"type": "probed", "id": message["id"], "ok": text == "yes", "message": None})


def main():
    """Serves until told otherwise."""
    while True:
        message, body = receive()
        if message is None:
            os._exit(0)
        kind = message["type"]
        if kind == "call":
            CANCELLED[message["id"]] = threading.Event()
            RUNNING.add(message["id"])
            threading.Thread(target=run, args=(message, body), daemon=True).start()
        elif kind == "cancel":
            CANCELLED.get(message["id"], threading.Event()).set()
        elif kind == "probe":
            probe(message)
        elif kind == "metrics":
            send({"type": "measured", "id": message["id"]}, os.environ["FAKE_METRICS"].encode())
        elif kind == "drain":
            with CHANGED:
                CHANGED.wait_for(lambda: not RUNNING)
            with open("drained", "a") as file:
                file.write("yes\n")
            sys.exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    parser.add_argument("--worker-id", type=int)
    parser.add_argument("--target")
    parser.add_argument("--working-dir", default=".")
    parser.add_argument("--bento")
    parser.add_argument("--shared-fd", type=int)
    parser.add_argument("--await-place", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.bento:
        options.target, options.working_dir = "fake:ok", os.path.join(options.bento, "src")
    os.chdir(options.working_dir)
    SOCKET = socket.socket(fileno=options.fd)
    AWAITS_PLACE = options.await_place
    name = options.target.partition(":")[2]
    next(function for function in START if function.__name__ == name)(options.worker_id)
    main()
