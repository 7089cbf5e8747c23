"""A server on this machine that can cut, change, forget and lie."""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What a server has and how it behaves; `url` is its address.

    Attributes
    ----------
    contents : dict of str to bytes
    ranges, tags, lengths : bool
        Whether it knows ranges, names versions, and says how long a file is.
    cut_after : list of int
        After how many bytes each of the next answers with a body is cut; empty: none.
    answers : list of int or bytes
        What the next requests get instead: a status, or another body.
    requests : list of tuple
        Method, name and range of each request.
    sent : int
        Bytes of bodies in all.
    """

    contents: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    tags: bool = True
    lengths: bool = True
    cut_after: list[int] = field(default_factory=list)
    answers: list[int | bytes] = field(default_factory=list)
    heads: bool = True
    stalls: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: int = 0

    @property
    def registry(self) -> dict[str, str]:
        return {name: hashlib.sha256(body).hexdigest() for name, body in self.contents.items()}

    @property
    def gets(self) -> list[tuple[str, str | None]]:
        return [(name, part) for method, name, part in self.requests if method == "GET"]


def _handler(server: Server, closing: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            name = urllib.parse.unquote(self.path).removeprefix("/set/")
            server.requests.append((self.command, name, self.headers["Range"]))
            if server.stalls:
                closing.wait(20)
                self.close_connection = True
                return
            told = server.answers.pop(0) if body and server.answers else None
            if name not in server.contents or not (body or server.heads):
                told = 404 if name not in server.contents else 405
            if isinstance(told, int):
                self.send_response(told)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(server.contents[name] if told is None else told, body)

        def _send(self, content: bytes, body: bool) -> None:
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            start = self._start(content, tag) if body else 0
            if start > 0 and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            if server.tags:
                self.send_header("ETag", tag)
            if server.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            if body:
                cut = server.cut_after.pop(0) if server.cut_after else None
                piece = content[start:][:cut]
                server.sent += len(piece)
                self.wfile.write(piece)
                self.close_connection = self.close_connection or cut is not None

        def _start(self, content: bytes, tag: str) -> int:
            wanted = self.headers["Range"]
            same = self.headers["If-Range"] in (None, tag) or not server.tags
            return int(wanted[6:-1]) if wanted and server.ranges and same else 0

    return Handler


@contextmanager
def serving(contents: dict[str, bytes]) -> Iterator[Server]:
    """Serve files by their names while inside."""
    served, closing = Server(contents), threading.Event()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served, closing))
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # a client that leaves is what is tested
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    served.url = f"http://127.0.0.1:{listening.server_address[1]}/set/"
    try:
        yield served
    finally:
        closing.set()
        listening.shutdown()
        listening.server_close()
