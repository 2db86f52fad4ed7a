# SPDX-License-Identifier: Apache-2.0
"""Who may talk to this process: its parent, and nobody else.

gRPC accepts connections by itself and does not tell who is at the other end. So before a call is answered the sockets of this process are looked through: one
that is connected to ours and not to our parent ends the process; the agent starts another. Once the agent is there the name of the socket is removed: nobody else can
connect from then on.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
import threading
import time
from typing import Any, Callable

import grpc

SETTLED = 5.0  # seconds after the name is gone, by when whoever had connected has been accepted, and found
MAX_FILES = 1 << 16  # descriptors that are looked at: a bound on how long it takes
MAX_GAP = 256  # closed ones in a row, after which there are no more: the system gives the lowest that is free

_credentials = struct.Struct("3i")


class Guard(grpc.ServerInterceptor):  # type: ignore[type-arg,unused-ignore]
    """Lets calls of the parent through."""

    def __init__(self, path: str, parent: int) -> None:
        self._path, self._parent = path, parent
        self._lock = threading.Lock()
        self._closed = 0.0  # when the name was removed

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Implements grpc.ServerInterceptor."""
        with self._lock:
            if hasattr(socket, "SO_PEERCRED") and not (self._closed and time.monotonic() - self._closed > SETTLED):
                self._look()
            if not self._closed:
                self._closed = time.monotonic()
                try:
                    os.unlink(self._path)
                except FileNotFoundError:
                    pass
        return continuation(handler_call_details)

    def _look(self) -> None:
        gap = 0
        for fd in range(3, MAX_FILES):
            try:
                is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
                gap = 0
                if not is_socket:
                    continue
                with socket.socket(fileno=os.dup(fd)) as s:
                    if s.family != socket.AF_UNIX or s.getsockname() != self._path or s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        continue
                    pid, uid, _ = _credentials.unpack(s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _credentials.size))
            except OSError as e:  # it is closed, or not connected
                gap = gap + 1 if e.errno == errno.EBADF else 0
                if gap > MAX_GAP:
                    return
                continue
            if pid != self._parent or uid not in (0, os.getuid()):
                stranger(pid, uid)


def stranger(pid: int, uid: int) -> None:
    """End: somebody else has found the socket."""
    sys.stderr.write(f"process {pid} of user {uid}, which is not the agent, has connected to the socket of this plugin\n")
    sys.stderr.flush()
    os._exit(1)
