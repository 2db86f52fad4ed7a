# SPDX-License-Identifier: Apache-2.0
"""A small REST API to try the plugin with: GET /orders?since=N answers 10 at a time, a Link to the next page, and an ETag. POST /orders adds one."""

import http.server
import json
import sys
import urllib.parse
from typing import Any, Dict, List

ORDERS: List[Dict[str, Any]] = [{"id": n, "item": f"article {n}"} for n in range(1, 26)]
PAGE = 10


class API(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        since = int(query.get("since", ["0"])[0])
        found = [o for o in ORDERS if o["id"] > since]
        etag = f'"{since}-{len(ORDERS)}"'
        if self.headers.get("If-None-Match") == etag:
            self.answer(304, b"", {"ETag": etag})
            return
        headers = {"ETag": etag}
        if len(found) > PAGE:
            headers["Link"] = f'</orders?since={found[PAGE - 1]["id"]}>; rel="next"'
        self.answer(200, json.dumps({"orders": found[:PAGE]}).encode(), headers)

    def do_POST(self) -> None:
        item = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        ORDERS.append({"id": len(ORDERS) + 1, "item": item})
        self.answer(201, b"{}", {})

    def answer(self, status: int, body: bytes, headers: Dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), API).serve_forever()
