"""``ResponseParser``: HTTP/1.1 responses from bytes, without any I/O."""

from __future__ import annotations

from .errors import ProtocolError
from .messages import Pair

# No server sends more before the body than this, on purpose.
MAX_HEAD = 256 * 1024
MAX_CHUNK_LINE = 8 * 1024
NO_BODY = (204, 304)


class ResponseParser:
    """Reads one response; ``feed`` gives the pieces of its body.

    Of a chunked body a piece is a chunk, whole: servers send an item of a stream as one.
    """

    def __init__(self, method: str):
        self._method = method
        self._buffer = bytearray()
        self._read = self._read_head
        # What is left of a body or chunk; None for a body that ends with the connection.
        self._left: int | None = 0
        self.status = 0
        self.reason = ""
        self.headers: list[Pair] = []
        self.has_head = False
        self.is_done = False
        # Whether the connection can carry another request.
        self.can_be_kept = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the connection; return the pieces that are complete."""
        self._buffer += data
        pieces: list[bytes] = []
        while not self.is_done and self._read(pieces):
            pass
        if self.is_done and self._buffer:
            self.can_be_kept = False  # what follows is no answer to anything
        return pieces

    def feed_end(self) -> None:
        """Take the end of the connection, which is an error unless it ends the body, too."""
        if self._left is None and self.has_head:
            self.is_done = True
        elif not self.is_done:
            raise ProtocolError(
                "the connection was closed before the answer was complete"
                if self.has_head or self._buffer
                else "the connection was closed without an answer"
            )

    def _read_head(self, _pieces: list[bytes]) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise ProtocolError(f"the head of the answer is longer than {MAX_HEAD} bytes")
            return False
        lines = self._take(end, 4).decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise ProtocolError("the answer is no HTTP/1.1")
        if code.startswith("1"):  # an answer before the answer, such as 100 Continue
            return True
        self.status, self.reason = int(code), reason
        self.headers = [_pair(line) for line in lines[1:]]
        self.has_head = True
        self._choose_body(version)
        return True

    def _choose_body(self, version: str) -> None:
        named = {name: value.strip().lower() for name, value in self.headers}
        tokens = {token.strip() for token in named.get("connection", "").split(",")}
        self.can_be_kept = "close" not in tokens and (version != "HTTP/1.0" or "keep-alive" in tokens)
        if self._method == "HEAD" or self.status in NO_BODY or (self._method, self.status) == ("CONNECT", 200):
            self.is_done = True
        elif named.get("transfer-encoding", "identity") != "identity":
            if named["transfer-encoding"] != "chunked":
                raise ProtocolError(f"the answer has the unknown transfer encoding `{named['transfer-encoding']}`")
            self._read = self._read_chunk_size
        elif "content-length" in named:
            self._left = _number(named["content-length"], 10)
            self._read = self._read_body
            self.is_done = self._left == 0
        else:
            self._left, self.can_be_kept = None, False
            self._read = self._read_body

    def _read_body(self, pieces: list[bytes]) -> bool:
        count = len(self._buffer) if self._left is None else min(self._left, len(self._buffer))
        if count:
            pieces.append(self._take(count))
        if self._left is not None:
            self._left -= count
            self.is_done = self._left == 0
        return False

    def _read_chunk_size(self, _pieces: list[bytes]) -> bool:
        line = self._line()
        if line is None:
            return False
        self._left = _number(line.partition(b";")[0].strip().decode("latin-1"), 16)
        self._read = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self, pieces: list[bytes]) -> bool:
        size = self._left or 0
        if len(self._buffer) < size + 2:
            return False
        pieces.append(self._take(size, 2))
        self._read = self._read_chunk_size
        return True

    def _read_trailer(self, _pieces: list[bytes]) -> bool:
        line = self._line()
        if line == b"":
            self.is_done = True
        return line is not None

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_CHUNK_LINE:
                raise ProtocolError("a chunk of the answer has no size")
            return None
        return self._take(end, 2)

    def _take(self, count: int, skip: int = 0) -> bytes:
        taken = bytes(memoryview(self._buffer)[:count])
        del self._buffer[: count + skip]
        return taken


def _pair(line: str) -> Pair:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdefABCDEF"[: 10 if base == 10 else 22]
    if not text or any(character not in digits for character in text):
        raise ProtocolError(f"the answer has the length `{text[:80]}`")
    return int(text, base)
