# SPDX-License-Identifier: Apache-2.0
"""The golden batches of spec/vectors."""

import json
import os
import pathlib
import unittest
from typing import Any, Dict, List

from penstock import Batch, Builder, Event, Full, InvalidBatch, InvalidEvent, TooBig, check

VECTORS = pathlib.Path(os.environ.get("PENSTOCK_VECTORS", pathlib.Path(__file__).resolve().parents[3] / "spec" / "vectors"))


def events_of(vector: Dict[str, Any]) -> List[Event]:
    return [
        Event(bytes.fromhex(e["body"]), [(name, bytes.fromhex(value)) for name, value in e.get("attributes") or []], int(e["time"]),
              int(e["offset"]))
        for e in vector.get("events") or []
    ]


class Vectors(unittest.TestCase):
    def setUp(self) -> None:
        document = json.loads((VECTORS / "vectors.json").read_text())
        self.vectors: List[Dict[str, Any]] = document["vectors"] if isinstance(document, dict) else document
        self.assertGreater(len(self.vectors), 50)

    def test_decodes(self) -> None:
        for vector in self.vectors:
            with self.subTest(vector["file"]):
                data = (VECTORS / vector["file"]).read_bytes()
                if not vector.get("parse"):
                    self.assertRaises(InvalidBatch, check, data)
                    continue
                self.assertEqual(list(check(data)), events_of(vector))
                self.assertEqual([e.index for e in Batch(data)], list(range(len(Batch(data)))))

    def test_encodes(self) -> None:
        for vector in self.vectors:
            if not vector.get("emit"):
                continue
            with self.subTest(vector["file"]):
                builder = Builder()
                for event in events_of(vector):
                    builder.append(event)
                self.assertEqual(builder.bytes(), (VECTORS / vector["file"]).read_bytes())


class Bounds(unittest.TestCase):
    def test_full_and_too_big(self) -> None:
        builder = Builder(max_bytes=1000, max_events=3)
        builder.append(Event(b"x" * 800))
        self.assertRaises(Full, builder.append, Event(b"y" * 200))
        self.assertRaises(TooBig, builder.append, Event(b"z" * (1000 - 63)))
        builder.append(Event(b""))
        builder.append(Event(b""))
        self.assertRaises(Full, builder.append, Event(b""))
        self.assertEqual(len(check(builder.bytes())), 3)

    def test_refuses_by_itself(self) -> None:
        builder = Builder()
        self.assertRaises(InvalidEvent, builder.append, Event(b"", {"penstock.x": "1"}))
        self.assertRaises(InvalidEvent, builder.append, Event(b"", [("a", "b")] * 1001))
        self.assertEqual(builder.count, 0)


if __name__ == "__main__":
    unittest.main()
