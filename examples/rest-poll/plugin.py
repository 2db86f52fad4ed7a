# SPDX-License-Identifier: Apache-2.0
"""A source that polls a REST API: pages, If-None-Match, and a cursor. Only the standard library, and the SDK."""

import json
import logging
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from typing import Any, Deque, Dict, Optional, Tuple

import penstock

MAX_ANSWER = 32 << 20  # bytes of one page: it is held in memory
NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


class RestPoll(penstock.Source):
    """Asks for what comes after the last item that is kept, page by page.

    The cursor is the id of the last item (``since``) and, once all pages have been read, the ETag of the answer to that question (``etag``). Both are committed together
    with the events that they stand for: after a crash the API is asked for exactly what is not kept yet.
    """

    def open(self, o: penstock.Open) -> None:
        """Read the config and the cursor. Nothing is asked yet."""
        c = o.config
        self.url: str = c["url"]
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise penstock.ConfigError("url", f"{self.url!r} is no http:// or https:// URL")
        self.every, self.timeout = o.seconds("every"), o.seconds("timeout")
        self.items, self.id, self.parameter, self.token, self.stop = c["items"], c["id"], c["since"], c["token"], c["stop"]
        self.since: Optional[str] = o.cursor["since"].decode() if "since" in o.cursor else None
        self.etag: Optional[str] = o.cursor["etag"].decode() if "etag" in o.cursor else None
        self.next_page: Optional[str] = None
        self.page: Deque[Tuple[str, bytes]] = deque()  # of id and body, that have not been appended yet

    def poll(self, poll: penstock.Poll) -> Optional[float]:
        """Append what is left of a page, or ask for the next one."""
        if not self.page:
            etag = self.ask()
            if not self.page:
                if etag is not None and etag != self.etag:
                    poll.cursor("etag", etag)
                    self.etag = etag
                if self.stop:
                    raise penstock.Done()
                return self.every
        while self.page:  # Full ends it: what is left comes in the next poll
            key, body = self.page[0]
            poll.append(penstock.Event(body, {"id": key}), cursor={"since": key, "etag": ""})
            self.since, self.etag = key, None
            self.page.popleft()
        return None

    def ask(self) -> Optional[str]:
        """Read one page into self.page. Returns the ETag of an answer without anything new."""
        page = self.next_page
        request = urllib.request.Request(page or self.question(), headers=self.headers(conditional=page is None))
        self.next_page = None
        penstock.count("requests")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                self.read(answer.read(MAX_ANSWER + 1))
                link = NEXT.search(answer.headers.get("Link", ""))
                if link and self.page:
                    self.next_page = self.same_origin(urllib.parse.urljoin(request.full_url, link.group(1)))
                etag: Optional[str] = answer.headers.get("ETag")
                return etag
        except urllib.error.HTTPError as e:
            return self.refused(e)

    def question(self) -> str:
        if self.since is None:
            return self.url
        return self.url + ("&" if "?" in self.url else "?") + urllib.parse.urlencode({self.parameter: self.since})

    def headers(self, conditional: bool) -> Dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "penstock-rest-poll/0.1"}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if conditional and self.etag:
            headers["If-None-Match"] = self.etag
        return headers

    def same_origin(self, link: str) -> str:
        """A link must not lead the token to somebody else."""
        ours, theirs = urllib.parse.urlsplit(self.url), urllib.parse.urlsplit(link)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise penstock.Retry(f"the next page is elsewhere, at {theirs.scheme}://{theirs.netloc}\nask who runs the API, or name that address in url")
        return link

    def read(self, raw: bytes) -> None:
        if len(raw) > MAX_ANSWER:
            raise penstock.Retry(f"the answer has more than {MAX_ANSWER >> 20} MiB\nask for smaller pages")
        try:
            document: Any = json.loads(raw)
            items = document[self.items] if self.items else document
            page = [(str(item[self.id]), json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()) for item in items]
        except (ValueError, LookupError, TypeError) as e:
            raise penstock.Retry(f"the answer is not what was expected: {e!r}\nlook at the arguments items and id") from e
        self.page.extend(page)

    def refused(self, e: urllib.error.HTTPError) -> Optional[str]:
        with e:
            if e.code == 304:
                logging.debug("nothing new")
                return self.etag
            if e.code in (401, 403):
                raise penstock.ConfigError("token", f"{e.code} {e.reason}: the API does not accept the token") from e
            after = e.headers.get("Retry-After", "")
            raise penstock.Retry(f"{e.code} {e.reason}", after=float(after) if after.isdigit() else 0.0) from e


penstock.serve(RestPoll)
