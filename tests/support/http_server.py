"""A web site for tests: a real server on the loopback address with scripted answers.

    with HttpSite() as site:
        site.add("/acl/", Answer(b"..."))                      # always this one
        site.add("/flaky", Answer(status=503), Answer(b"ok"))  # one after the other, the last stays
        site.url("/acl/")
        [request.path for request in site.requests]

Run as a program it serves a directory: ``python -m tests.support.http_server DIR`` prints its URL
and serves until its standard input ends.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

__all__ = ["Answer", "HttpSite", "Request", "redirect"]

Fault = Literal["", "cut", "cut_chunked", "chunked", "reset", "huge", "drip", "gzip"]

_RESET = struct.pack("ii", 1, 0)
_HUGE_CHUNK = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` with the value None are not sent.

    ``last_modified`` and ``etag`` are sent, and a request that knows them is answered with 304.
    ``delay_s`` passes before the answer begins, or what is left of the site's time. ``fault``:

        cut          the full length is announced, half the body sent
        cut_chunked  one chunk without the last one
        chunked      in chunks, completely
        reset        the connection is reset before the status line
        huge         zeros without end, without an announced length
        drip         one byte every 50 ms, while there is the site
        gzip         compressed when the client accepts it
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str | None] = field(default_factory=dict)
    last_modified: str | None = None
    etag: str | None = None
    delay_s: float = 0.0
    fault: Fault = ""
    content_type: str | None = "text/plain"


def redirect(location: str, status: int = 302) -> Answer:
    """An answer that sends the client elsewhere."""
    return Answer(status=status, headers={"Location": location})


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


class HttpSite:
    """The server and its table of paths; a path that is not there is answered with 404.

    With a file of a certificate and its key it speaks TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        self._scripts: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.site = self
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> HttpSite:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str = "") -> str:
        """The URL of a path, or of the site."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}{path}"

    def add(self, path: str, *answers: Answer) -> None:
        """Script a path, percent-encoded as in the request, in place of what it had."""
        with self._lock:
            self._scripts[path] = list(answers)

    def remove(self, path: str) -> None:
        """Forget a path."""
        with self._lock:
            self._scripts.pop(path, None)

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.requests]

    def pause(self, seconds: float) -> bool:
        """Wait so long, but not beyond the end of the site; whether that has come.

        So a test may ask for a delay that no machine is too slow for, and leaves no thread behind.
        """
        return self._end.wait(seconds)

    def answer(self, request: Request) -> Answer:
        """Record a request and take its answer off the script."""
        with self._lock:
            self.requests.append(request)
            script = self._scripts.get(request.path)
            if not script:
                return Answer(b"nothing here", 404)
            return script.pop(0) if len(script) > 1 else script[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # With the usual five, a client that comes while we wait for the processor may wait a second.
    request_queue_size = 128
    site: HttpSite

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Small answers to many small requests must not wait for each other.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at the recorded requests."""

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        parts = urlsplit(self.path)
        # Not parts.path: a path that begins with two slashes is to be seen as it came.
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Request(self.command, path, parts.query, dict(self.headers.items()), body)
        answer = self.server.site.answer(request)
        if answer.delay_s and self.server.site.pause(answer.delay_s):
            self.close_connection = True
        elif answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close_connection = True
            self.connection.close()
        elif self._knows(answer):
            self._send_head(answer, 304, None)
        else:
            self._send(answer)

    def _knows(self, answer: Answer) -> bool:
        etag = self.headers["If-None-Match"]
        if etag is not None:
            return etag == answer.etag
        since = self.headers["If-Modified-Since"]
        return since is not None and since == answer.last_modified

    def _send(self, answer: Answer) -> None:
        body, further = answer.body, {}
        if answer.fault == "gzip" and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, further = gzip.compress(body), {"Content-Encoding": "gzip"}
        is_endless = answer.fault in ("huge", "chunked", "cut_chunked")
        self._send_head(answer, answer.status, None if is_endless else len(body), further)
        if self.command == "HEAD":
            return
        match answer.fault:
            case "cut":
                self.wfile.write(body[: len(body) // 2])
            case "chunked" | "cut_chunked":
                half = len(body) // 2
                for part in (body[:half], body[half:]):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if part else b"")
                self.wfile.write(b"0\r\n\r\n" if answer.fault == "chunked" else b"")
            case "huge":
                while True:
                    self.wfile.write(_HUGE_CHUNK)
            case "drip":
                for number in range(len(body)):
                    self.wfile.write(body[number : number + 1])
                    if self.server.site.pause(0.05):
                        break
            case _:
                self.wfile.write(body)
        if answer.fault in ("cut", "cut_chunked"):
            self.close_connection = True

    def _send_head(
        self,
        answer: Answer,
        status: int,
        length: int | None,
        further: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        headers: dict[str, str | None] = {"Content-Type": answer.content_type}
        headers["Content-Length"] = None if length is None else str(length)
        if answer.fault in ("chunked", "cut_chunked"):
            headers["Transfer-Encoding"] = "chunked"
        if answer.fault == "huge":
            headers["Connection"] = "close"
        headers.update({"Last-Modified": answer.last_modified, "ETag": answer.etag})
        for name, value in {**headers, **(further or {}), **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()


def add_directory(site: HttpSite, directory: Path) -> None:
    """Serve the files of a directory; ``index.html`` stands for the directory that it is in."""
    for path in directory.rglob("*"):
        if path.is_file():
            name = f"/{path.relative_to(directory).as_posix()}"
            kind = "text/html" if name.endswith("index.html") else "text/plain"
            modified = formatdate(path.stat().st_mtime, usegmt=True)
            answer = Answer(path.read_bytes(), last_modified=modified, content_type=kind)
            served = name.removesuffix("index.html")
            site.add(served, answer)
            if served != name and served != "/":
                site.add(served.rstrip("/"), redirect(served, 301))


def main() -> None:
    with HttpSite() as site:
        add_directory(site, Path(sys.argv[1]))
        print(site.url(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
