# SPDX-License-Identifier: Apache-2.0
"""What an instance logs and measures, on its way to the agent."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Deque, Dict, Optional, Tuple

from . import plugin_pb2 as pb

MAX_LINES = 1000  # that wait for the agent: it takes 100 a second
MAX_TEXT = 16 << 10  # characters of a line; the agent cuts what is longer than its own bound


class Reports(logging.Handler):
    """Lines of ``logging``, and metrics, until the agent takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._changed = threading.Condition()
        self._lines: Deque[Tuple[int, str]] = deque()
        self._dropped = 0
        self._counters: Dict[str, float] = {}
        self._gauges: Dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Implements logging.Handler."""
        try:
            line = (record.levelno // 10 * 4 - 8 if record.levelno <= logging.ERROR else 8, self.format(record)[:MAX_TEXT])
        except Exception:  # as logging has it: a wrong format must not end the program
            self.handleError(record)
            return
        with self._changed:
            if len(self._lines) < MAX_LINES:
                self._lines.append(line)
            else:
                self._dropped += 1
            self._changed.notify_all()

    def count(self, name: str, value: float) -> None:
        """Add to a counter."""
        if value < 0:
            raise ValueError(f"a counter does not go down: {name} by {value}")
        with self._changed:
            self._counters[name] = self._counters.get(name, 0.0) + value
            self._changed.notify_all()

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._changed:
            self._gauges[name] = value
            self._changed.notify_all()

    def wait(self, timeout: float) -> None:
        """Wait until there is something, but no longer than that."""
        with self._changed:
            if not (self._lines or self._counters or self._gauges):
                self._changed.wait(timeout)

    def take(self) -> Optional[pb.Report]:
        """What there is, or None."""
        with self._changed:
            lines, counters, gauges, dropped = list(self._lines), self._counters, self._gauges, self._dropped
            self._lines.clear()
            self._counters, self._gauges, self._dropped = {}, {}, 0
        if dropped:
            lines.append((logging.WARNING // 10 * 4 - 8, f"{dropped} lines of log were dropped: more than {MAX_LINES} waited for the agent"))
        if not (lines or counters or gauges):
            return None
        report = pb.Report(lines=[pb.LogLine(level=level, text=text) for level, text in lines])
        for name, value in counters.items():
            report.metrics.append(pb.Metric(kind=pb.Metric.COUNTER, name=name, value=value))
        for name, value in gauges.items():
            report.metrics.append(pb.Metric(kind=pb.Metric.GAUGE, name=name, value=value))
        return report


#: Of this process, which is one instance.
reports = Reports()


def count(name: str, value: float = 1.0) -> None:
    """Add to a counter of this plugin. Names are of letters, digits and _; 64 are the most."""
    reports.count(name, value)


def gauge(name: str, value: float) -> None:
    """Set a gauge of this plugin."""
    reports.gauge(name, value)
