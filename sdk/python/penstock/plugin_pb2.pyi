from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(_message.Message):
    __slots__ = ("code", "message", "path", "delay_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    path: str
    delay_ms: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., path: _Optional[str] = ..., delay_ms: _Optional[int] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("manifest",)
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    def __init__(self, manifest: _Optional[bytes] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("plugin", "config", "index", "count", "component", "cursor", "stream", "incarnations", "secrets", "directories", "limits")
    class CursorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    INCARNATIONS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    DIRECTORIES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    config: bytes
    index: int
    count: int
    component: str
    cursor: _containers.ScalarMap[str, bytes]
    stream: str
    incarnations: _containers.RepeatedCompositeFieldContainer[Incarnation]
    secrets: _containers.ScalarMap[str, str]
    directories: _containers.RepeatedCompositeFieldContainer[Directory]
    limits: Limits
    def __init__(self, plugin: _Optional[str] = ..., config: _Optional[bytes] = ..., index: _Optional[int] = ..., count: _Optional[int] = ..., component: _Optional[str] = ..., cursor: _Optional[_Mapping[str, bytes]] = ..., stream: _Optional[str] = ..., incarnations: _Optional[_Iterable[_Union[Incarnation, _Mapping]]] = ..., secrets: _Optional[_Mapping[str, str]] = ..., directories: _Optional[_Iterable[_Union[Directory, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ...) -> None: ...

class Incarnation(_message.Message):
    __slots__ = ("id", "first")
    ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    id: int
    first: int
    def __init__(self, id: _Optional[int] = ..., first: _Optional[int] = ...) -> None: ...

class Directory(_message.Message):
    __slots__ = ("path", "write")
    PATH_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    path: str
    write: bool
    def __init__(self, path: _Optional[str] = ..., write: bool = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("batch_events", "batch_bytes")
    BATCH_EVENTS_FIELD_NUMBER: _ClassVar[int]
    BATCH_BYTES_FIELD_NUMBER: _ClassVar[int]
    batch_events: int
    batch_bytes: int
    def __init__(self, batch_events: _Optional[int] = ..., batch_bytes: _Optional[int] = ...) -> None: ...

class OpenResponse(_message.Message):
    __slots__ = ("status", "held", "prunes", "acks")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    PRUNES_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    held: _containers.RepeatedCompositeFieldContainer[Held]
    prunes: bool
    acks: bool
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., held: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., prunes: bool = ..., acks: bool = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("incarnation", "first", "next")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    first: int
    next: int
    def __init__(self, incarnation: _Optional[int] = ..., first: _Optional[int] = ..., next: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("credit", "max_events", "max_bytes")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    credit: int
    max_events: int
    max_bytes: int
    def __init__(self, credit: _Optional[int] = ..., max_events: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class Emission(_message.Message):
    __slots__ = ("seq", "batch", "changed", "status")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    batch: bytes
    changed: _containers.RepeatedCompositeFieldContainer[CursorEntry]
    status: Status
    def __init__(self, seq: _Optional[int] = ..., batch: _Optional[bytes] = ..., changed: _Optional[_Iterable[_Union[CursorEntry, _Mapping]]] = ..., status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class CursorEntry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("seq", "code")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    code: int
    def __init__(self, seq: _Optional[int] = ..., code: _Optional[int] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("first", "next", "batch", "interrupt")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    first: int
    next: int
    batch: bytes
    interrupt: bool
    def __init__(self, first: _Optional[int] = ..., next: _Optional[int] = ..., batch: _Optional[bytes] = ..., interrupt: bool = ...) -> None: ...

class WriteReply(_message.Message):
    __slots__ = ("credit", "done", "status", "rejected")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    credit: int
    done: bool
    status: Status
    rejected: _containers.RepeatedCompositeFieldContainer[Rejection]
    def __init__(self, credit: _Optional[int] = ..., done: bool = ..., status: _Optional[_Union[Status, _Mapping]] = ..., rejected: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("index", "code", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    code: int
    reason: str
    def __init__(self, index: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PruneRequest(_message.Message):
    __slots__ = ("low",)
    LOW_FIELD_NUMBER: _ClassVar[int]
    low: int
    def __init__(self, low: _Optional[int] = ...) -> None: ...

class PruneResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: Status
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class ProcessRequest(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: bytes
    def __init__(self, batch: _Optional[bytes] = ...) -> None: ...

class ProcessReply(_message.Message):
    __slots__ = ("credit", "done", "status", "batch", "rejected")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    credit: int
    done: bool
    status: Status
    batch: bytes
    rejected: _containers.RepeatedCompositeFieldContainer[Rejection]
    def __init__(self, credit: _Optional[int] = ..., done: bool = ..., status: _Optional[_Union[Status, _Mapping]] = ..., batch: _Optional[bytes] = ..., rejected: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ...) -> None: ...

class CloseRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseResponse(_message.Message):
    __slots__ = ("status", "last")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    status: Status
    last: Report
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., last: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class ReportsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Report(_message.Message):
    __slots__ = ("lines", "metrics")
    LINES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("level", "text")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    level: int
    text: str
    def __init__(self, level: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("kind", "name", "value")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        COUNTER: _ClassVar[Metric.Kind]
        GAUGE: _ClassVar[Metric.Kind]
    COUNTER: Metric.Kind
    GAUGE: Metric.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    kind: Metric.Kind
    name: str
    value: float
    def __init__(self, kind: _Optional[_Union[Metric.Kind, str]] = ..., name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("id", "name", "handle", "fd", "data", "room", "timeout_ms", "after", "status", "interrupt")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    FD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    handle: str
    fd: int
    data: bytes
    room: int
    timeout_ms: int
    after: int
    status: int
    interrupt: bool
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., handle: _Optional[str] = ..., fd: _Optional[int] = ..., data: _Optional[bytes] = ..., room: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., after: _Optional[int] = ..., status: _Optional[int] = ..., interrupt: bool = ...) -> None: ...

class CallReply(_message.Message):
    __slots__ = ("id", "result", "data", "ready", "datagrams", "why")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DATAGRAMS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    id: int
    result: int
    data: bytes
    ready: _containers.RepeatedScalarFieldContainer[int]
    datagrams: _containers.RepeatedCompositeFieldContainer[Datagram]
    why: str
    def __init__(self, id: _Optional[int] = ..., result: _Optional[int] = ..., data: _Optional[bytes] = ..., ready: _Optional[_Iterable[int]] = ..., datagrams: _Optional[_Iterable[_Union[Datagram, _Mapping]]] = ..., why: _Optional[str] = ...) -> None: ...

class Datagram(_message.Message):
    __slots__ = ("data", "sender")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    sender: str
    def __init__(self, data: _Optional[bytes] = ..., sender: _Optional[str] = ...) -> None: ...
