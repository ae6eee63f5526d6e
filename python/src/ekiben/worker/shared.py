"""``SharedBodies``: large values in memory that this worker and another one share, passed on by the front unread.

A value is written once, into a file without a name that nobody can change any more; whoever receives it maps it. What
user code writes into an array of it is its own: pages are copied when they are written to (docs/adr/0011).
"""

from __future__ import annotations

import array
import fcntl
import math
import mmap
import os
import socket
import threading
from typing import Callable

from .frames import MAX_BODY, Body, ProtocolError

# From this size on, one copy and a mapping cost less than two ways through a socket (docs/adr/0011).
SHARED_FROM = 4 << 20
# Turns sharing off, or says from how many bytes on values are shared.
VARIABLE = "EKIBEN_SHARED_MEMORY"
# Neither the contents nor the size may change: who maps the file depends on both.
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
DESCRIPTOR = array.array("i", [0]).itemsize
# Most that one system call writes.
LARGEST_WRITE = 1 << 30


class SharedBodies:
    """The socket beside that of the frames, with one descriptor for each frame whose body is not in it."""

    def __init__(self, sock: socket.socket, smallest: float | None = None):
        sock.setblocking(False)
        self._socket = sock
        self._smallest = _configured() if smallest is None else smallest
        # Descriptors are taken in the order of their frames: both are sent under this lock.
        self._order = threading.Lock()

    def is_for(self, length: int) -> bool:
        """Tell whether a body of this length is shared, where that can be."""
        return self._smallest <= length <= MAX_BODY

    def offer(self, parts: list[Body], length: int, send_frame: Callable[[], None]) -> bool:
        """Send a body and then its frame; False when the body has to go into the frame after all."""
        if not self.is_for(length):
            return False
        try:
            descriptor = _filled(parts, length)
        except OSError:  # no such files here, no memory for them, too many open
            return False
        try:
            with self._order:
                if not self._pass(descriptor):
                    return False
                send_frame()
        finally:
            os.close(descriptor)
        return True

    def take(self, length: int) -> memoryview:
        """Return the body of a frame that has just been read."""
        flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        try:
            _, ancillary, _, _ = self._socket.recvmsg(1, socket.CMSG_SPACE(DESCRIPTOR), flags)
        except OSError as error:
            raise ProtocolError(f"the descriptor of a body is missing: {error}") from error
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % DESCRIPTOR])
        if len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ProtocolError("a message of the second socket has no descriptor, or several")
        try:
            if os.fstat(descriptors[0]).st_size != length:
                raise ProtocolError("a shared body is not as long as its frame says")
            # Private: what is written stays in this process.
            return memoryview(mmap.mmap(descriptors[0], length, access=mmap.ACCESS_COPY))
        except (OSError, ValueError) as error:
            raise ProtocolError(f"cannot map a shared body: {error}") from error
        finally:
            os.close(descriptors[0])

    def close(self) -> None:
        """Close the socket; descriptors that nobody has taken are closed with it."""
        self._socket.close()

    def _pass(self, descriptor: int) -> bool:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
        try:
            self._socket.sendmsg([b"\0"], [rights], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:  # the front has not taken the last ones yet, or is gone
            return False
        return True


def _configured() -> float:
    text = os.environ.get(VARIABLE, "")
    if text == "off" or not hasattr(os, "memfd_create"):
        return math.inf
    return int(text) if text.isdecimal() and int(text) > 0 else SHARED_FROM


def _filled(parts: list[Body], length: int) -> int:
    """Return a new file of these parts that cannot be changed any more."""
    descriptor = os.memfd_create("ekiben-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(descriptor, left[:LARGEST_WRITE]) :]
        if os.fstat(descriptor).st_size != length:
            raise OSError("a body has changed its length")
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
