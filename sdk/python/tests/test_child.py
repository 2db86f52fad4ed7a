# SPDX-License-Identifier: Apache-2.0
"""The life of a child process: whom it serves, and what ends it. This process plays the agent."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from typing import Any

import grpc

from penstock import plugin_pb2 as pb

PATIENCE = 30.0  # seconds, for a machine that is busy
PLUGIN = """
import subprocess, sys
from penstock import Sink, serve
class Quiet(Sink):
    def write(self, batch, delivery):
        pass
if "started" in sys.argv:
    print(subprocess.Popen(["sleep", "1000"]).pid, file=sys.stderr, flush=True)
serve({"quiet": Quiet})
"""


def runs(process: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@unittest.skipUnless(sys.platform == "linux", "who is at the other end of a socket is told by Linux")
class Life(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        environment = dict(
            os.environ, PENSTOCK_PLUGIN="an agent runs this; see penstock plugin --help", PLUGIN_PROTOCOL_VERSIONS="1", PLUGIN_UNIX_SOCKET_DIR=self.directory,
            PYTHONPATH=str(pathlib.Path(__file__).resolve().parents[1]))
        child = subprocess.Popen([sys.executable, "-c", PLUGIN, *arguments], env=environment, start_new_session=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, child)
        return child

    def end(self, child: "subprocess.Popen[bytes]") -> None:
        child.kill()
        child.wait(PATIENCE)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    def socket_of(self, child: "subprocess.Popen[bytes]") -> str:
        assert child.stdout is not None
        parts = child.stdout.readline().decode().split("|")
        self.assertEqual([*parts[:3], *parts[4:]], ["1", "1", "unix", "grpc", "\n"])
        self.assertEqual(os.path.dirname(parts[3]), self.directory)
        return parts[3]

    def connect(self, path: str) -> Any:
        channel = grpc.insecure_channel("unix:" + path)
        self.addCleanup(channel.close)
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        self.assertEqual(check(b"\x0a\x06plugin", timeout=PATIENCE, wait_for_ready=True), b"\x08\x01")
        return channel

    def closed(self, channel: Any) -> None:
        close = channel.unary_unary("/penstock.plugin.v1.Sink/Close", request_serializer=pb.CloseRequest.SerializeToString,
                                    response_deserializer=pb.CloseResponse.FromString)
        close(pb.CloseRequest(), timeout=PATIENCE)

    def test_who_starts_it_is_told_what_it_is(self) -> None:
        done = subprocess.run([sys.executable, "-c", PLUGIN], env=dict(os.environ, PYTHONPATH=str(pathlib.Path(__file__).resolve().parents[1])),
                              capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"Penstock plugin", done.stderr)

    def test_another_version_ends_it(self) -> None:
        child = subprocess.run(
            [sys.executable, "-c", PLUGIN], timeout=PATIENCE, check=False, capture_output=True,
            env=dict(os.environ, PENSTOCK_PLUGIN="an agent runs this; see penstock plugin --help", PLUGIN_PROTOCOL_VERSIONS="7,8",
                     PLUGIN_UNIX_SOCKET_DIR=self.directory, PYTHONPATH=str(pathlib.Path(__file__).resolve().parents[1])))
        self.assertEqual((child.returncode, child.stdout), (1, b""))
        self.assertIn(b"the agent speaks version 7,8", child.stderr)

    def test_nobody_can_connect_once_the_agent_has(self) -> None:
        path = self.socket_of(child := self.start())
        self.connect(path)
        self.assertFalse(os.path.exists(path))
        self.assertIsNone(child.poll())

    def test_a_stranger_ends_it(self) -> None:
        path = self.socket_of(child := self.start())
        stranger = subprocess.Popen(
            [sys.executable, "-c", "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(flush=True); sys.stdin.read()", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.end, stranger)
        assert stranger.stdout is not None and child.stderr is not None
        stranger.stdout.readline()
        with self.assertRaises(grpc.RpcError):
            self.connect(path)
        self.assertEqual(child.wait(PATIENCE), 1)
        self.assertIn(f"process {stranger.pid} of user {os.getuid()}, which is not the agent".encode(), child.stderr.read())

    def ends(self, how: str, close: bool) -> int:
        child = self.start("started")
        assert child.stdin is not None and child.stderr is not None
        channel = self.connect(self.socket_of(child))
        started = int(child.stderr.readline())
        if close:
            self.closed(channel)
        if how == "stdin":
            child.stdin.close()
        else:
            child.send_signal(signal.SIGTERM)
        status = child.wait(PATIENCE)
        if not close:
            # It is killed in the same moment, and ends when the kernel comes to it.
            until = time.monotonic() + PATIENCE
            while runs(started):
                self.assertLess(time.monotonic(), until, "what it has started goes on")
                time.sleep(0.01)
        elif runs(started):
            os.kill(started, signal.SIGKILL)
        return status

    def test_without_the_agent_it_ends_with_all_that_it_has_started(self) -> None:
        for how in ("stdin", "SIGTERM"):
            with self.subTest(how):
                self.assertEqual(self.ends(how, close=False), -signal.SIGKILL)

    def test_once_it_is_closed_it_exits(self) -> None:
        for how in ("stdin", "SIGTERM"):
            with self.subTest(how):
                self.assertEqual(self.ends(how, close=True), 0)


if __name__ == "__main__":
    unittest.main()
