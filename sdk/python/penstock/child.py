# SPDX-License-Identifier: Apache-2.0
"""One instance, served to an agent over gRPC: spec/subprocess.md."""

from __future__ import annotations

import logging
import os
import queue
import secrets
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, Type, Union

import grpc

from . import plugin_pb2 as pb
from .errors import ENOSYS, EOF, EREJECT, ETOOBIG, Error, Full, code_of
from .event import MAX_BATCH, Batch, Builder
from .peer import Guard
from .plugin import Delivery, Directory, Open, Output, Plugin, Poll, Processor, Rejections, Sink, Source, parse_config
from .reports import reports

VERSION = "1"
COOKIE_KEY, COOKIE_VALUE = "PENSTOCK_PLUGIN", "an agent runs this; see penstock plugin --help"
SERVICE = "penstock.plugin.v1."
WINDOW = MAX_BATCH + (64 << 10)  # the largest batch under way, so that none waits for its own first half to be read
MAX_MESSAGE = MAX_BATCH + (4 << 20)
WORKERS = 16  # calls at a time: two streams, and the few that come in beside them

POLL_TIMEOUT = 0.25  # seconds that a poll may wait for data, so that acknowledgements get in
FIRST_IDLE, MAX_IDLE = 0.001, 0.1  # the wait after a poll that brought nothing, and did not wait itself or say for how long
REPORT_EVERY = 0.25  # seconds that metrics are collected for

Plugins = Union[Type[Plugin], Mapping[str, Union[Type[Plugin], Sequence[Type[Plugin]]]]]

HOW_TO_RUN = """This is a Penstock plugin; an agent runs it. Name it in the pipeline file, with its manifest beside it:

\tpenstock plugin build

\tplugin "NAME" {
\t  source  = "./PLUGIN"
\t  runtime = "subprocess"
\t}
"""


def serve(plugins: Plugins) -> NoReturn:
    """Serve the agent that has started this process, and do not return. Started by a person it says what it is, and exits with status 2.

    ``plugins`` is the class of the only plugin, or classes by the names in the manifest: ``{"shop": ShopSource, "mail": [MailSource, MailSink]}``.
    """
    if os.environ.get(COOKIE_KEY) != COOKIE_VALUE:
        sys.stderr.write(HOW_TO_RUN)
        sys.exit(2)
    if VERSION not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(","):
        sys.stderr.write(f"the agent speaks version {os.environ.get('PLUGIN_PROTOCOL_VERSIONS')} of the contract with plugins, and this plugin version "
                         f"{VERSION}: install a package penstock that is as old or as new as the agent\n")
        sys.exit(1)
    Child(plugins).run()


def bug(error: BaseException) -> NoReturn:
    """End: the program is wrong. The last line is what the agent says of it."""
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    os._exit(70)


def status_of(error: BaseException) -> pb.Status:
    """What a call answers that raised an error."""
    code = code_of(error)
    if code is None:
        bug(error)
    message = str(error) or type(error).__name__
    if not isinstance(error, Error):
        message = f"{type(error).__name__}: {message}"
    delay = int(error.delay * 1000) if isinstance(error, Error) else 0
    return pb.Status(code=code, message=message, path=error.path if isinstance(error, Error) else "", delay_ms=delay)


class Child:
    """The instance. Whoever calls into the plugin has the turn, so that its methods never overlap."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._turn = threading.Lock()
        self._waiting = 0  # calls that wait for the turn of one that may return
        self._count = threading.Lock()  # of waiting
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._plugin: Optional[Plugin] = None
        self._limit = MAX_BATCH

    # The life of the process.

    def run(self) -> NoReturn:
        """Serve until the agent ends it."""
        handshake = os.dup(1)
        parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._ended.set())
        root = logging.getLogger()
        root.addHandler(reports)
        if root.level in (logging.NOTSET, logging.WARNING):
            root.setLevel(logging.INFO)
        path = os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR", "."), secrets.token_hex(8) + ".sock")
        server = grpc.server(
            ThreadPoolExecutor(WORKERS, "penstock"), handlers=self._handlers(), interceptors=[Guard(path, parent)],
            options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE),
                     ("grpc.http2.lookahead_bytes", WINDOW), ("grpc.http2.max_frame_size", 1 << 20)])
        server.add_insecure_port("unix:" + path)
        server.start()
        threading.Thread(target=self._read_stdin, daemon=True, name="penstock-stdin").start()
        os.write(handshake, f"1|{VERSION}|unix|{path}|grpc|\n".encode())  # beside sys.stdout: what was printed before comes after
        os.close(handshake)
        if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        self._ended.wait()
        self._end()

    def _read_stdin(self) -> None:
        try:
            while os.read(0, 1 << 16):
                pass
        except OSError:
            pass
        self._ended.set()

    def _end(self) -> NoReturn:
        """End, as the agent has. Without a Close it has died, and so does all that this process has started."""
        if not self._closing.is_set() and os.getpgrp() == os.getpid():
            os.kill(0, signal.SIGKILL)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
        os._exit(0 if self._closing.is_set() else 1)

    # The turn.

    @contextmanager
    def _inside(self, soon: bool = False) -> Iterator[None]:
        """Have the turn. soon: a call that may return is asked to."""
        with self._count:
            self._waiting += soon
        try:
            self._turn.acquire()
        finally:
            with self._count:
                self._waiting -= soon
        try:
            yield
        finally:
            self._turn.release()

    def _wanted(self) -> bool:
        return self._waiting > 0 or self._closing.is_set()

    # The services.

    def _handlers(self) -> List[Any]:
        unary, streaming, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler, grpc.unary_stream_rpc_method_handler

        def method(kind: Callable[..., Any], call: Callable[..., Any], request: Any) -> Any:
            return kind(call, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString())

        def service(name: str, methods: Dict[str, Any]) -> Any:
            return grpc.method_handlers_generic_handler(name, methods)

        close = method(unary, self.close, pb.CloseRequest)
        health = unary(self.health, request_deserializer=bytes, response_serializer=bytes)

        def opens(kind: Type[Plugin]) -> Any:
            return method(unary, lambda request, context: self.open(kind, request), pb.OpenRequest)

        return [
            service(SERVICE + "Plugin", {
                "Describe": method(unary, lambda request, context: pb.DescribeResponse(), pb.DescribeRequest),
                "Reports": method(stream, self.reports, pb.ReportsRequest)}),
            service(SERVICE + "Source", {
                "Open": opens(Source), "Read": method(streaming, self.read, pb.ReadRequest), "Ack": method(unary, self.ack, pb.AckRequest), "Close": close}),
            service(SERVICE + "Sink", {
                "Open": opens(Sink), "Write": method(streaming, self.write, pb.WriteRequest), "Prune": method(unary, self.prune, pb.PruneRequest), "Close": close}),
            service(SERVICE + "Processor", {
                "Open": opens(Processor), "Process": method(streaming, self.process, pb.ProcessRequest), "Close": close}),
            service("grpc.health.v1.Health", {"Check": health}),
        ]

    def health(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """grpc.health.v1: a request is a string in field 1, the answer an enum in field 1, where 1 is SERVING."""
        if request not in (b"", b"\x0a\x06plugin"):
            context.abort(grpc.StatusCode.NOT_FOUND, "there is the service plugin")
        return b"\x08\x01"

    def reports(self, request: pb.ReportsRequest, context: grpc.ServicerContext) -> Iterator[pb.Report]:
        """Plugin.Reports."""
        while context.is_active() and not self._closing.is_set():
            reports.wait(REPORT_EVERY)
            report = reports.take()
            if report is not None:
                yield report
                self._closing.wait(REPORT_EVERY)

    def open(self, kind: Type[Plugin], request: pb.OpenRequest) -> pb.OpenResponse:
        """Open, of all three."""
        with self._inside():
            made = self._class(kind, request.plugin)
            if made is None:
                return pb.OpenResponse(status=pb.Status(code=ENOSYS, message=f"this program has no {kind.__name__.lower()} {request.plugin}"))
            self._limit = min(request.limits.batch_bytes or MAX_BATCH, MAX_BATCH)
            answer = pb.OpenResponse()
            try:
                plugin = made()
                plugin.open(_open_of(request))
                if isinstance(plugin, Sink):
                    answer.held.extend(pb.Held(incarnation=h.incarnation, first=h.first, next=h.next) for h in plugin.held())
            except Exception as e:
                return pb.OpenResponse(status=status_of(e))
            self._plugin = plugin
            answer.acks = isinstance(plugin, Source) and type(plugin).ack is not Source.ack
            answer.prunes = isinstance(plugin, Sink) and type(plugin).prune is not Sink.prune
            return answer

    def _class(self, kind: Type[Plugin], name: str) -> Optional[Type[Plugin]]:
        found: Union[Type[Plugin], Sequence[Type[Plugin]]]
        found = self._plugins.get(name, ()) if isinstance(self._plugins, Mapping) else self._plugins
        for each in [found] if isinstance(found, type) else found:
            if issubclass(each, kind):
                return each
        return None

    def close(self, request: pb.CloseRequest, context: grpc.ServicerContext) -> pb.CloseResponse:
        """Close, of all three. What there is still to report goes with the answer."""
        self._closing.set()
        answer = pb.CloseResponse()
        with self._inside(soon=True):
            if self._plugin is not None:
                plugin, self._plugin = self._plugin, None
                try:
                    plugin.close()
                except Exception as e:
                    answer.status.CopyFrom(status_of(e))
        last = reports.take()
        if last is not None:
            answer.last.CopyFrom(last)
        return answer

    # A source.

    def read(self, requests: Iterator[pb.ReadRequest], context: grpc.ServicerContext) -> Iterator[pb.Emission]:
        """Source.Read: one emission for each credit."""
        stop = threading.Event()
        context.add_callback(stop.set)
        reading = Reading(self, stop)
        for request in requests:
            reading.max_events = request.max_events or reading.max_events
            reading.max_bytes = min(request.max_bytes or reading.max_bytes, self._limit)
            for _ in range(request.credit):
                emission = reading.next()
                if emission is None:
                    return
                yield emission

    def ack(self, request: pb.AckRequest, context: grpc.ServicerContext) -> pb.AckResponse:
        """Source.Ack."""
        with self._inside(soon=True):
            if isinstance(self._plugin, Source):
                error = None
                if request.code < 0:
                    error = Error(f"the batch was refused with code {request.code}")
                    error.code = request.code
                try:
                    self._plugin.ack(request.seq, error)
                except Exception as e:
                    return pb.AckResponse(status=status_of(e))
        return pb.AckResponse()

    # A sink.

    def write(self, requests: Iterator[pb.WriteRequest], context: grpc.ServicerContext) -> Iterator[pb.WriteReply]:
        """Sink.Write. What asks for the running call back is read while that runs."""
        waiting: queue.Queue[Optional[pb.WriteRequest]] = queue.Queue()  # the agent sends no more than there is credit for
        interrupt = threading.Event()

        def receive() -> None:
            try:
                for request in requests:
                    if request.interrupt:
                        interrupt.set()
                    else:
                        interrupt.clear()
                        waiting.put(request)
            except grpc.RpcError:
                pass  # the stream is over
            interrupt.set()
            waiting.put(None)

        threading.Thread(target=receive, daemon=True, name="penstock-write").start()
        yield pb.WriteReply(credit=1)
        while True:
            request = waiting.get()
            if request is None:
                return
            yield self._deliver(request, interrupt)

    def _deliver(self, request: pb.WriteRequest, interrupt: threading.Event) -> pb.WriteReply:
        with self._inside():
            reply = pb.WriteReply(credit=1, done=True)
            batch = Batch(request.batch, request.first, request.next)
            delivery = Delivery(len(batch), interrupt)
            if not isinstance(self._plugin, Sink):
                return pb.WriteReply(credit=1, done=True, status=pb.Status(code=ENOSYS, message="no sink is open"))
            try:
                self._plugin.write(batch, delivery)
            except Exception as e:
                reply.status.CopyFrom(status_of(e))
            reply.rejected.extend(_rejections(delivery))
            return reply

    def prune(self, request: pb.PruneRequest, context: grpc.ServicerContext) -> pb.PruneResponse:
        """Sink.Prune."""
        with self._inside():
            try:
                if isinstance(self._plugin, Sink):
                    self._plugin.prune(request.low)
            except Exception as e:
                return pb.PruneResponse(status=status_of(e))
        return pb.PruneResponse()

    # A processor.

    def process(self, requests: Iterator[pb.ProcessRequest], context: grpc.ServicerContext) -> Iterator[pb.ProcessReply]:
        """Processor.Process."""
        yield pb.ProcessReply(credit=1)
        for request in requests:
            with self._inside():
                reply = self._process(request)
            yield reply

    def _process(self, request: pb.ProcessRequest) -> pb.ProcessReply:
        if not isinstance(self._plugin, Processor):
            return pb.ProcessReply(credit=1, done=True, status=pb.Status(code=ENOSYS, message="no processor is open"))
        reply = pb.ProcessReply(credit=1, done=True)
        batch = Batch(request.batch)
        out = Output(batch, self._limit)
        try:
            self._plugin.process(batch, out)
            reply.batch = out.bytes()
        except Full:
            reply.status.CopyFrom(pb.Status(code=ETOOBIG, message=f"what becomes of the batch is larger than {self._limit} bytes"))
        except Exception as e:
            reply.status.CopyFrom(status_of(e))
        reply.rejected.extend(_rejections(out))
        return reply


class Reading:
    """The stream of a source."""

    def __init__(self, child: Child, stop: threading.Event) -> None:
        self._child, self._stop = child, stop
        self.max_events, self.max_bytes = 4096, child._limit
        self._seq = 0
        self._next_poll = 0.0  # on the clock of time.monotonic
        self._idle = FIRST_IDLE
        self._after: Optional[pb.Status] = None  # what the last poll raised beside what it emitted
        self._done = False

    def next(self) -> Optional[pb.Emission]:
        """Wait for what answers one credit. The turn is free while there is nothing. None: the stream is over."""
        while not self._over():
            if self._after is not None:
                status, self._after = self._after, None
                return pb.Emission(status=status)
            wait = self._next_poll - time.monotonic()
            if wait > 0:
                self._pause(wait)
                continue
            if self._done:
                return pb.Emission(status=pb.Status(code=EOF))
            with self._child._inside():
                emission = None if self._over() else self._poll()
            if emission is not None:
                return emission
        return None

    def _over(self) -> bool:
        return self._stop.is_set() or self._child._closing.is_set()

    def _pause(self, seconds: float) -> None:
        """Wait so long, or until the stream is over."""
        until = time.monotonic() + seconds
        while not self._over() and time.monotonic() < until:
            self._stop.wait(min(MAX_IDLE, until - time.monotonic()) if seconds > 0 else 0)

    def _poll(self) -> Optional[pb.Emission]:
        plugin = self._child._plugin
        if not isinstance(plugin, Source):
            return pb.Emission(status=pb.Status(code=ENOSYS, message="no source is open"))
        builder = Builder(self.max_bytes, self.max_events)
        poll = Poll(self._seq + 1, builder, POLL_TIMEOUT, self._child._wanted)
        began, wait, failed = time.monotonic(), None, None
        try:
            wait = plugin.poll(poll)
        except Full:
            pass
        except Exception as e:
            failed = status_of(e)
        something = builder.count > 0 or poll.changed
        self._schedule(wait, began, bool(something))
        if failed is not None and failed.code == EOF:
            self._done, failed, self._next_poll = True, None, 0.0
        if not something:
            return None if failed is None else pb.Emission(status=failed)
        self._after = failed
        self._seq += 1
        return pb.Emission(seq=self._seq, batch=builder.bytes() if builder.count else b"",
                           changed=[pb.CursorEntry(key=key, value=value) for key, value in poll.changed.items()])

    def _schedule(self, wait: Optional[float], began: float, something: bool) -> None:
        """Say when to poll again."""
        now = time.monotonic()
        if something:
            self._idle = FIRST_IDLE
        if wait is None and not something and now - began < POLL_TIMEOUT / 2:
            wait, self._idle = self._idle, min(2 * self._idle, MAX_IDLE)
        self._next_poll = now + (wait or 0.0)


def _open_of(request: pb.OpenRequest) -> Open:
    return Open(
        plugin=request.plugin, component=request.component, config=parse_config(request.config), index=request.index, count=request.count or 1,
        cursor=dict(request.cursor), secrets=dict(request.secrets), stream=request.stream,
        directories=tuple(Directory(d.path, d.write) for d in request.directories), incarnations={i.id: i.first for i in request.incarnations})


def _rejections(of: Rejections) -> List[pb.Rejection]:
    return [pb.Rejection(index=index, code=EREJECT, reason=reason[:4096]) for index, reason in sorted(of.rejected.items())]
