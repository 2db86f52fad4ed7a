# SPDX-License-Identifier: Apache-2.0
"""What a plugin raises, and what becomes of it.

An exception that leaves a method of a plugin is answered to the agent with a code of spec/abi.md, which says what the agent does:

* one of the classes here: its own code;
* ``FileNotFoundError``, ``PermissionError``, ``TimeoutError`` and any other ``OSError`` (so also what ``urllib``, ``socket`` and ``requests`` raise),
  and all that nobody here knows, such as the exceptions of a client library: the same is tried again, with growing pauses;
* one that means a mistake in the program (see ``BUGS``): the process ends with a traceback, as a panic ends a plugin in Go. The agent starts another, goes on at the
  committed place, and where it is always the same event that does it, sets that one aside.

So nothing is lost by an exception, whichever it is.
"""

from __future__ import annotations

from typing import Optional, Tuple, Type

EAGAIN, EINTR, EOF, ETIMEDOUT, EIO, EINVAL, EACCES, ETOOBIG, ENOENT, EREJECT, ENOSYS = range(-1, -12, -1)

#: What means that the program is wrong, and not the world: the process ends.
BUGS: Tuple[Type[BaseException], ...] = (
    TypeError, ValueError, AttributeError, NameError, LookupError, AssertionError, ArithmeticError, RecursionError, NotImplementedError, MemoryError,
)


class Error(Exception):
    """An error with the code under which the agent hears of it. The first line of the message is what happened, the rest what the user can do."""

    code: int = EAGAIN
    path: str = ""
    delay: float = 0.0


class Retry(Error):
    """The same may work later: in ``after`` seconds or, if that is 0, when the agent likes, with growing pauses."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.delay = max(0.0, after)


class Reject(Error):
    """From ``Sink.write`` or ``Processor.process``: nothing of the batch was applied, and the events that were rejected one by one, or all if none was, will
    never be taken."""

    code = EREJECT


class TooBig(Error):
    """From ``Sink.write``: the batch is too large for the destination, and nothing of it was applied; it comes again in halves.
    From ``append``: the event will never fit into a batch; cut it, split it or drop it."""

    code = ETOOBIG


class ConfigError(Error):
    """An argument is wrong, so that the plugin cannot work: it is held until its configuration changes. ``path`` is the argument in the config block, such
    as ``"url"`` or ``"paging.size"``; the agent points at its line."""

    code = EINVAL

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class Interrupted(Error):
    """The agent wants the running call back. Do not catch it, or raise it again soon."""

    code = EINTR


class Done(Error):
    """From ``Source.poll``: there will never be more."""

    code = EOF


class Full(Exception):
    """From ``Poll.append``: the batch is full, and nothing was appended. Let it pass, or return from ``poll``: the agent asks again."""


class InvalidEvent(Error):
    """The event cannot be encoded: too many attributes, or a name of the agent's own."""

    code = EREJECT


class InvalidBatch(Exception):
    """The bytes are no batch."""


def code_of(error: BaseException) -> Optional[int]:
    """The code under which an error is answered; None for one that means a bug."""
    if isinstance(error, Error):
        return error.code
    if isinstance(error, FileNotFoundError):
        return ENOENT
    if isinstance(error, PermissionError):
        return EACCES
    if isinstance(error, TimeoutError):
        return ETIMEDOUT
    if isinstance(error, OSError):
        return EIO
    return None if isinstance(error, BUGS) else EAGAIN
