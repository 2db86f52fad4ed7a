# SPDX-License-Identifier: Apache-2.0
"""What a plugin is made of: a class that derives from Source, Sink or Processor, and what its methods are handed."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

from .errors import ConfigError, Error, InvalidEvent, Interrupted
from .event import Batch, Builder, Event

MAX_KEY, MAX_VALUE = 256, 4096  # bytes of an entry of a cursor
MAX_CHANGES = 2 << 20  # bytes of cursor that go with one batch


@dataclass(frozen=True)
class Directory:
    """A directory that is granted: an absolute path, to write in or only to read."""

    path: str
    write: bool


@dataclass(frozen=True)
class Held:
    """The offsets first ≤ offset < next of an incarnation of the channel."""

    incarnation: int
    first: int
    next: int


@dataclass(frozen=True)
class Open:
    """What an instance is opened with."""

    plugin: str  #: the name in the manifest
    component: str  #: e.g. "source.shop", for messages
    config: Mapping[str, Any]  #: checked against the manifest, defaults filled in; durations in nanoseconds, sizes in bytes
    index: int = 0  #: which instance of the component this is,
    count: int = 1  #: of how many
    cursor: Mapping[str, bytes] = field(default_factory=dict)  #: source: where to go on; empty at first
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  #: those that are granted, by their handle in the manifest
    directories: Tuple[Directory, ...] = ()  #: those that are granted
    stream: str = ""  #: sink: the key under which it stores what it holds
    incarnations: Mapping[int, int] = field(default_factory=dict)  #: sink: incarnation → its first offset

    def seconds(self, name: str) -> float:
        """An argument of type duration, in seconds."""
        value = self.config.get(name)
        if not isinstance(value, (int, float)):
            raise ConfigError(name, f"{name} is not a duration")
        return value / 1e9


class Plugin:
    """What all plugins have. One object is one instance; its methods are never called at the same time."""

    def open(self, o: Open) -> None:
        """Start. Called once, first. Raise ConfigError for a wrong argument, Retry or an OSError when the outside is not there."""

    def close(self) -> None:
        """The end. It is not called when the agent or the process was killed: nothing may depend on it."""


class Source(Plugin):
    """Brings events in."""

    def poll(self, poll: Poll) -> Optional[float]:
        """Append what there is, with how the cursor changes by it, and return: soon, since acknowledgements and the end wait for it; less than a minute in any case.

        One poll makes one batch. The answer is for how many seconds there will be nothing (then acknowledgements get in, and the end); None: ask again, at once if there was
        something. After an exception what was appended still goes out. Raise Done when there will never be more.
        """
        raise NotImplementedError

    def ack(self, seq: int, error: Optional[Error]) -> None:
        """What became of all batches up to number seq (Poll.seq). None: they are on disk. Else that one and later ones are refused, and close follows.
        Override it only if somebody outside waits for it: where to go on is in the cursor."""


class Sink(Plugin):
    """Takes events out."""

    def held(self) -> List[Held]:
        """After open: which ranges the destination holds already. For effects = "transactional"."""
        return []

    def write(self, batch: Batch, delivery: Delivery) -> None:
        """Store a batch. Return when the destination has it on its own durable medium, all but what was rejected with delivery.reject.

        Reject: nothing was applied, and what was listed will never be taken; any other exception: nothing is known, and the same comes again.
        """
        raise NotImplementedError

    def prune(self, low: int) -> None:
        """Stored ranges below this offset will never be asked for again. Override it if the sink stores ranges."""


class Processor(Plugin):
    """Changes batches. A pure function of one batch: the same comes out each time, also when it comes in two halves."""

    def process(self, batch: Batch, out: Output) -> None:
        """Append to out what becomes of the events: nothing, fewer, more."""
        raise NotImplementedError


def _entry(key: str, value: Union[bytes, str]) -> bytes:
    value = value.encode("utf-8") if isinstance(value, str) else bytes(value)
    if not 0 < len(key.encode("utf-8")) <= MAX_KEY or len(value) > MAX_VALUE:
        raise ValueError(f"an entry of a cursor has a key of 1 to {MAX_KEY} bytes and a value of up to {MAX_VALUE}: {key!r}")
    return value


class Poll:
    """One call of Source.poll: takes its events. It belongs to that call."""

    def __init__(self, seq: int, builder: Builder, timeout: float, wanted: Callable[[], bool]) -> None:
        self.seq = seq  #: the number that this batch has in Source.ack
        self.timeout = timeout  #: how many seconds poll may wait for something before it returns
        self.changed: Dict[str, bytes] = {}
        self._size = 0
        self._builder, self._wanted = builder, wanted

    def append(self, event: Union[Event, bytes, str], cursor: Optional[Mapping[str, Union[bytes, str]]] = None) -> None:
        """Add an event, and say where to go on after it. Raises Full: nothing was added, return from poll (or let it pass), and append it in the next."""
        changed = {key: _entry(key, value) for key, value in cursor.items()} if cursor else {}
        self._builder.append(event if isinstance(event, Event) else Event(event))
        self._change(changed)

    def cursor(self, key: str, value: Union[bytes, str]) -> None:
        """Set an entry of the cursor: it is kept together with this batch, which may have no events. An empty value removes it."""
        self._change({key: _entry(key, value)})

    def _change(self, changed: Mapping[str, bytes]) -> None:
        for key, value in changed.items():
            if key not in self.changed:
                self._size += len(key.encode("utf-8")) + MAX_VALUE
                if self._size > MAX_CHANGES:
                    raise ValueError("too many entries of the cursor change with one batch")
            self.changed[key] = value

    @property
    def count(self) -> int:
        """How many events there are in the batch."""
        return self._builder.count

    @property
    def interrupted(self) -> bool:
        """Whether the agent wants poll to return: look at it in a long loop."""
        return self._wanted()


class Rejections:
    """Events of a batch that will never be taken."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.rejected: Dict[int, str] = {}

    def reject(self, event: Union[Event, int], reason: str) -> None:
        """Say that this event (or the one at this index of the batch) is never taken, and why: what becomes of it is the pipeline's to say."""
        index = event.index if isinstance(event, Event) else event
        if not 0 <= index < self._count:
            raise IndexError(f"reject event {index} of {self._count}")
        self.rejected[index] = reason


class Delivery(Rejections):
    """One call of Sink.write. It belongs to that call."""

    def __init__(self, count: int, interrupt: threading.Event) -> None:
        super().__init__(count)
        self._interrupt = interrupt

    @property
    def interrupted(self) -> bool:
        """Whether the agent wants write back: its time is over, or the agent stops. It has 2 s."""
        return self._interrupt.is_set()

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Interrupted as soon as the agent wants write back."""
        if self._interrupt.wait(seconds):
            raise Interrupted("the agent wants the batch back")


class Output(Rejections):
    """One call of Processor.process: takes what becomes of the batch. It belongs to that call."""

    def __init__(self, batch: Batch, max_bytes: int) -> None:
        super().__init__(len(batch))
        self._base, self._last = batch.base, batch.base
        self._builder = Builder(max_bytes)

    def append(self, event: Event) -> None:
        """Add an event: one of the batch, or one made of it by ``replace``, which has its offset. Offsets must not decrease."""
        if event.offset < self._last or event.offset - self._base > 0xFFFFFFFF:
            raise InvalidEvent(f"offset {event.offset} after {self._last}: make events of those of the batch, with replace, and in their order")
        self._builder.append(event, event.offset - self._base)
        self._last = event.offset

    def bytes(self) -> bytes:
        """The encoded batch."""
        return self._builder.bytes()


def parse_config(raw: bytes) -> Mapping[str, Any]:
    """The config of an open request."""
    config = json.loads(raw or b"{}")
    if not isinstance(config, dict):
        raise ConfigError("", "the config is not an object")
    return config


