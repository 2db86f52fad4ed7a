# SPDX-License-Identifier: Apache-2.0
"""Events, and the batches in which they travel: PSB1, spec/event.md."""

from __future__ import annotations

import struct
import time as clock
from typing import Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from .errors import Full, InvalidBatch, InvalidEvent, TooBig

__all__ = ["Attributes", "Batch", "Builder", "Event", "check"]

MAX_BATCH = 16 << 20  # bytes, whatever a pipeline says: a record of the log is read whole
MAX_ATTRIBUTES = 1000  # that a plugin sets; the host adds some of its own
MAX_DECODED_ATTRIBUTES = 1024
HEADER = 32
OVERHEAD = 64  # what an event must leave of a batch

_MAGIC = 0x31425350
_header = struct.Struct("<IHHIIIIQ")
_record = struct.Struct("<IHHqII")
_attribute = struct.Struct("<HI")
_pack_record, _pack_attribute = _record.pack, _attribute.pack
_read_record, _read_attribute = _record.unpack_from, _attribute.unpack_from

#: Pairs of a name and a value, in order; of equal names the first counts.
Attributes = Tuple[Tuple[str, bytes], ...]

Text = Union[str, bytes]


def _bytes(value: Text) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


class Event:
    """One event: a body, attributes, and a time in nanoseconds since 1970 (now, unless it is given).

    An event that a sink or a processor gets knows its ``offset`` in the channel, and its ``index`` in the batch. Treat it as immutable; ``replace`` makes another.
    """

    __slots__ = ("body", "attributes", "time", "offset", "index")

    def __init__(self, body: Text = b"", attributes: Union[Mapping[str, Text], Iterable[Tuple[str, Text]]] = (), time: Optional[int] = None,
                 offset: int = 0, index: int = 0) -> None:
        self.body: bytes = _bytes(body)
        pairs = attributes.items() if isinstance(attributes, Mapping) else attributes
        self.attributes: Attributes = tuple((name, _bytes(value)) for name, value in pairs)
        self.time: int = clock.time_ns() if time is None else time
        self.offset: int = offset
        self.index: int = index

    def get(self, name: str) -> Optional[bytes]:
        """The value of an attribute, or None."""
        for key, value in self.attributes:
            if key == name:
                return value
        return None

    def replace(self, body: Optional[Text] = None, attributes: Union[None, Mapping[str, Text], Iterable[Tuple[str, Text]]] = None,
                time: Optional[int] = None) -> Event:
        """The same event with another body, other attributes or another time; it keeps its offset."""
        return Event(self.body if body is None else body, self.attributes if attributes is None else attributes,
                     self.time if time is None else time, self.offset, self.index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and (self.body, self.attributes, self.time, self.offset) == (
            other.body, other.attributes, other.time, other.offset)

    def __hash__(self) -> int:
        return hash((self.body, self.attributes, self.time, self.offset))

    def __repr__(self) -> str:
        return f"Event(body={self.body!r}, attributes={self.attributes!r}, time={self.time}, offset={self.offset})"


class Builder:
    """Encodes one batch of at most ``max_bytes`` bytes and ``max_events`` events."""

    __slots__ = ("_buffer", "_base", "_max_bytes", "_max_events", "count")

    def __init__(self, max_bytes: int = MAX_BATCH, max_events: int = 1 << 31, base: int = 0) -> None:
        self._buffer = bytearray(HEADER)
        self._max_bytes = min(max_bytes, MAX_BATCH)
        self._max_events = max_events
        self._base = base
        self.count = 0  #: events so far

    def append(self, event: Event, delta: Optional[int] = None) -> None:
        """Add an event: ``delta`` is its place after the base of the batch, else the next number. Raises Full, TooBig or InvalidEvent; then nothing was added."""
        body, pairs = event.body, event.attributes
        size = 24 + len(body)
        attributes: List[bytes] = []
        if pairs:
            if len(pairs) > MAX_ATTRIBUTES:
                raise InvalidEvent(f"the event has {len(pairs)} attributes, and {MAX_ATTRIBUTES} are the most")
            for name, value in pairs:
                if name.startswith("penstock."):
                    raise InvalidEvent(f"the attribute {name!r} has a name of the agent's: those begin with penstock.")
                key = name.encode("utf-8")
                if len(key) > 0xFFFF:
                    raise InvalidEvent(f"the name of an attribute has {len(key)} bytes, and 65535 are the most")
                attributes.append(_pack_attribute(len(key), len(value)))
                attributes.append(key)
                attributes.append(value)
                size += 6 + len(key) + len(value)
        buffer = self._buffer
        if len(buffer) + size > self._max_bytes or self.count >= self._max_events:
            if size > self._max_bytes - OVERHEAD + 24:
                raise TooBig(f"the event takes {size} bytes, and a batch has {self._max_bytes}")
            raise Full("the batch is full")
        buffer += _pack_record(size, len(pairs), 0, event.time, len(body), self.count if delta is None else delta)
        for part in attributes:
            buffer += part
        buffer += body
        self.count += 1

    def bytes(self) -> bytes:
        """The encoded batch."""
        _header.pack_into(self._buffer, 0, _MAGIC, 1, 0, self.count, len(self._buffer), 0, 0, 0)
        return bytes(self._buffer)


class Batch:
    """A batch as it came: iterate over it for its events, which are decoded as you go.

    It covers the offsets ``first`` ≤ offset < ``next``; where a filter left events out, that is more than it holds.
    """

    __slots__ = ("data", "first", "next", "_count", "_base")

    def __init__(self, data: bytes, first: Optional[int] = None, next: Optional[int] = None) -> None:
        if len(data) < HEADER:
            raise InvalidBatch(f"{len(data)} bytes are no batch")
        magic, version, _, count, _, _, _, base = _header.unpack_from(data)
        if magic != _MAGIC or version != 1:
            raise InvalidBatch("not a batch of version 1")
        self.data = data  #: its bytes
        self._count: int = count
        self._base: int = base
        self.first: int = base if first is None else first
        self.next: int = self.first + count if next is None else next

    @property
    def base(self) -> int:
        """The offset that the deltas of the batch add to."""
        return self._base

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Event]:
        data, at, base, make = self.data, HEADER, self._base, Event.__new__
        for index in range(self._count):
            size, pairs, _, time, _, delta = _read_record(data, at)
            end, at = at + size, at + 24
            attributes: Attributes = ()
            if pairs:
                found = []
                for _ in range(pairs):
                    key, value = _read_attribute(data, at)
                    at += 6
                    name_end = at + key
                    found.append((str(data[at:name_end], "utf-8"), data[name_end:name_end + value]))
                    at = name_end + value
                attributes = tuple(found)
            event = make(Event)  # __init__ would convert what is right already
            event.body, event.attributes, event.time, event.offset, event.index = data[at:end], attributes, time, base + delta, index
            yield event
            at = end


def check(data: bytes) -> Batch:
    """Check all of spec/event.md §3, and return the batch. For bytes from elsewhere: what an agent hands over is checked already. Raises InvalidBatch."""
    if len(data) < HEADER:
        raise InvalidBatch(f"{len(data)} bytes are no header")
    magic, version, flags, count, length, checksum, reserved, base = _header.unpack_from(data)
    if magic != _MAGIC or version != 1 or flags > 1 or reserved != 0 or length != len(data) or length > MAX_BATCH:
        raise InvalidBatch("the header is wrong")
    if checksum != (_crc32c(data[HEADER:]) if flags else 0):
        raise InvalidBatch("the checksum is wrong")
    at, last = HEADER, 0
    for index in range(count):
        at, last = _check_record(data, at, last, index)
    if at != length:
        raise InvalidBatch(f"{length - at} bytes follow the last record")
    if count and base + last > (1 << 64) - 1:
        raise InvalidBatch("offsets wrap around")
    return Batch(data)


def _check_record(data: bytes, at: int, last: int, index: int) -> Tuple[int, int]:
    wrong = InvalidBatch(f"record {index} is wrong")
    if len(data) - at < 24:
        raise wrong
    size, pairs, flags, _, body, delta = _read_record(data, at)
    end = at + size
    if size < 24 or end > len(data) or flags != 0 or pairs > MAX_DECODED_ATTRIBUTES or delta < last:
        raise wrong
    at += 24
    for _ in range(pairs):
        if end - at < 6:
            raise wrong
        key, value = _read_attribute(data, at)
        at += 6
        if key + value > end - at:
            raise wrong
        try:
            str(data[at:at + key], "utf-8")
        except UnicodeDecodeError:
            raise wrong from None
        at += key + value
    if end - at != body:
        raise wrong
    return end, delta


def _crc_table() -> List[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _crc32c(data: bytes) -> int:
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
