"""A server that knows nothing of services: tells what it is asked, streams, and ends when it is told to."""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def answer(self):
        """Answer any method."""
        path = self.path.partition("?")[0]
        if path == os.environ.get("HEALTH", "/health"):
            self.say({"fine": True})
        elif "NOT_FOUND" in os.environ:
            self.say("nothing", 404)
        elif path == "/stream":
            self.stream()
        elif path == "/read":
            self.read_slowly()
        elif path == "/empty":
            self.send_response(204)
            self.end_headers()
        elif path == "/broken":
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif path == "/pids":
            self.say([os.getpid(), CHILD.pid])
        elif path == "/exit":
            self.say("bye")
            os._exit(7)
        elif path == "/slow":
            time.sleep(2)
            self.say("slow")
        else:
            body = b"".join(self.pieces()).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept = {name: headers.get(name) for name in ("content-type", "x-own", "x-hop", "host")}
            told = {"method": self.command, "path": self.path, "headers": kept, "body": body}
            self.say(told, 202, [("x-answer", "a"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = answer

    def say(self, value, status=200, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(3):
            data = b"data: %d\n\n" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(b"0\r\n\r\n")

    def read_slowly(self):
        """Tell when the first and the last piece of the body came."""
        times = []
        for piece in self.pieces():
            if piece:
                times.append(time.monotonic())
        self.say({"pieces": len(times), "seconds": round(times[-1] - times[0], 3)})

    def pieces(self):
        """Yield the body as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("content-length", 0)))


if __name__ == "__main__":
    print("command", sys.argv[1:], flush=True)
    CHILD = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(float(os.environ.get("LATE", "0")))
    if "FAIL" in os.environ:
        sys.exit(3)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
