# SPDX-License-Identifier: Apache-2.0
"""A plugin of each kind, for the tests: what testdata/both is in Go."""

import logging
import os
from typing import Dict, List, Optional, Union

import penstock


class Source(penstock.Source):
    """Counts, and says in the log what it was told."""

    def open(self, o: penstock.Open) -> None:
        count = o.config.get("count", 0)
        if not isinstance(count, int):
            raise penstock.ConfigError("count", "count is not a number")
        self.count, self.next = count, int(o.cursor.get("next", b"0"))
        self.acked = 0

    def poll(self, poll: penstock.Poll) -> Optional[float]:
        print("standard output is for the log")
        while self.next < self.count and poll.count < 7:
            if self.next == 13:
                logging.warning("thirteen")
            poll.append(penstock.Event(f"event {self.next}", {"n": str(self.next)}), cursor={"next": str(self.next + 1)})
            self.next += 1
            penstock.count("counted")
        return None if poll.count else 0.05

    def ack(self, seq: int, error: Optional[penstock.Error]) -> None:
        assert error is not None or seq > self.acked
        self.acked = seq


class Sink(penstock.Sink):
    """Appends bodies to a file, a line each. A body says what else to do."""

    def open(self, o: penstock.Open) -> None:
        path = o.config.get("file", "")
        if not isinstance(path, str):
            raise penstock.ConfigError("file", "file is not a path")
        self.file = open(path, "ab") if path else None

    def write(self, batch: penstock.Batch, delivery: penstock.Delivery) -> None:
        out: List[bytes] = []
        for event in batch:
            if event.body == b"bug":
                out[len(out)]
            if event.body == b"hang":
                delivery.sleep(60)
            if event.body == b"reject":
                delivery.reject(event, "as it says")
                continue
            if event.body == b"retry":
                raise penstock.Retry("not now\ntry later", after=1.5)
            if event.body == b"unreachable":
                raise ConnectionRefusedError("nobody listens")
            if event.body == b"fork":
                os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
            out.append(event.body + b"\n")
        if self.file:
            self.file.write(b"".join(out))
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        if self.file:
            self.file.close()


class Processor(penstock.Processor):
    """Makes capitals."""

    def process(self, batch: penstock.Batch, out: penstock.Output) -> None:
        for event in batch:
            out.append(event.replace(body=event.body.upper()))


plugins: Dict[str, Union[type, List[type]]] = {"both": [Source, Sink, Processor]}
if __name__ == "__main__":
    penstock.serve(plugins)
