# SPDX-License-Identifier: Apache-2.0
"""Plugins for Penstock in Python: sources, sinks and processors that run as child processes of an agent.

A plugin is a class with a few methods, and one call::

    import penstock

    class Upper(penstock.Processor):
        def process(self, batch, out):
            for event in batch:
                out.append(event.replace(body=event.body.upper()))

    penstock.serve(Upper)

The contract is spec/subprocess.md; README.md says how to begin.
"""

from .errors import ConfigError, Done, Error, Full, Interrupted, InvalidBatch, InvalidEvent, Reject, Retry, TooBig
from .event import Attributes, Batch, Builder, Event, check
from .plugin import Delivery, Directory, Held, Open, Output, Plugin, Poll, Processor, Sink, Source
from .reports import count, gauge
from .child import serve

__all__ = [
    "Attributes", "Batch", "Builder", "ConfigError", "Delivery", "Directory", "Done", "Error", "Event", "Full", "Held", "Interrupted", "InvalidBatch",
    "InvalidEvent", "Open", "Output", "Plugin", "Poll", "Processor", "Reject", "Retry", "Sink", "Source", "TooBig", "check", "count", "gauge", "serve",
]
