"""The one HTTP client of the web sources: everything bounded, nothing half a body.

    with HttpClient() as client:
        response = client.get(url, HttpLimits(read_timeout_s=30, deadline_s=120, ...))

Only GET is used. A request is repeated three times after what may pass: no connection, silence,
a body that ends early, status 408, 425, 429, 500, 502, 503 and 504. What is left then:

    TemporaryError       the site cannot be reached, answers 5xx, 408, 425 or 429, or is too slow
    HttpStatusError      any other status; a SourceError with the number in ``status``
    SourceError          a body that is too short, too long, HTML instead of data, a bad redirect

Bodies may be compressed with gzip on the way; sizes are limited before and after decompression.
The proxies of the environment are used and certificates always checked. Messages never show a
password that stands in a URL.
"""

from __future__ import annotations

import logging
import random
import re
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from altrepodb import __version__
from altrepodb.errors import AltrepodbError, ConfigurationError, SourceError, TemporaryError
from altrepodb.logger import printable

__all__ = [
    "HttpClient",
    "HttpLimits",
    "HttpStatusError",
    "Response",
    "StreamedResponse",
    "Validators",
    "check_no_markup",
    "check_url",
    "decode_text",
    "shown_url",
]

logger = logging.getLogger(__name__)

USER_AGENT = f"altrepodb/{__version__} (+https://git.altlinux.org/)"

_RETRY_PAUSES_S = (1.0, 2.0, 4.0)
_JITTER = 0.25
_MAX_RETRY_AFTER_S = 60.0
_CONNECT_TIMEOUT_S = 10.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK_BYTES = 1 << 16
_IN_MEMORY_BYTES = 1 << 24
_MAX_EPOCH = 0xFFFFFFFF
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml)", re.IGNORECASE)
_MARKUP_LOOK_BYTES = 1024
_ERROR_NUMBER = re.compile(r"^\[Errno -?[0-9]+\] ")
_URL_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*@")


class HttpStatusError(SourceError):
    """A status that says the request is wrong, such as 404."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one request may take: silence and total time, bytes on the way and decompressed."""

    read_timeout_s: float
    deadline_s: float
    wire_bytes: int
    decoded_bytes: int


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said to recognise a document by, as it said it."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A document. ``url`` is the final one, ``last_modified`` is in seconds since 1970 UTC.

    ``is_unchanged`` answers a request with validators: there is no content then.
    """

    url: str
    content: bytes
    last_modified: int | None
    validators: Validators
    is_unchanged: bool = False


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """As ``Response``, with the content as an iterator of chunks that can be read once."""

    url: str
    chunks: Iterator[bytes]
    last_modified: int | None
    validators: Validators
    is_unchanged: bool = False


class HttpClient:
    """Connections to web sites, kept for further requests until the end of the block.

    ``timeout_s`` replaces the read timeout of all limits; ``pauses_s`` are the pauses before
    repetitions.
    """

    def __init__(
        self, timeout_s: float | None = None, pauses_s: Sequence[float] = _RETRY_PAUSES_S
    ) -> None:
        self._timeout_s = timeout_s
        self._pauses_s = pauses_s
        self._session = requests.Session()
        self._session.headers.clear()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"})

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def get(
        self,
        url: str,
        limits: HttpLimits,
        validators: Validators | None = None,
        *,
        expects_markup: bool = False,
    ) -> Response:
        """A whole document. One that is HTML is refused unless ``expects_markup``.

        Raises as the module says.
        """
        with self.stream(url, limits, validators, expects_markup=expects_markup) as streamed:
            return Response(
                streamed.url,
                b"".join(streamed.chunks),
                streamed.last_modified,
                streamed.validators,
                streamed.is_unchanged,
            )

    @contextmanager
    def stream(
        self,
        url: str,
        limits: HttpLimits,
        validators: Validators | None = None,
        *,
        expects_markup: bool = False,
    ) -> Iterator[StreamedResponse]:
        """A document for reading in chunks, for those that do not fit into memory.

        It is received completely, into a temporary file, before the first chunk is given out,
        so that half a document never gets anywhere. Raises as ``get``.
        """
        if self._timeout_s is not None:
            limits = replace(limits, read_timeout_s=self._timeout_s)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
            download = _Download(url, limits, validators, spool)
            head = self._receive(download)
            spool.seek(0)
            chunks = _decoded(spool, head.coding, limits, url)
            if not expects_markup:
                chunks = _without_markup(chunks, url)
            yield StreamedResponse(
                head.url, chunks, head.last_modified, head.validators, head.is_unchanged
            )

    def _receive(self, download: _Download) -> _Head:
        """Try until it works, or there is no use in it."""
        for pause_s in self._pauses_s:
            try:
                return self._follow(download)
            except _PassingError as error:
                pause = error.retry_after_s
                if pause is None:
                    pause = pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)
                if download.seconds_left() <= pause:
                    raise error.final from error.__cause__
                logger.info("%s; trying again in %.1f s", error.final, pause)
                time.sleep(pause)
        try:
            return self._follow(download)
        except _PassingError as error:
            raise error.final from error.__cause__

    def _follow(self, download: _Download) -> _Head:
        """One try: follow redirects and receive the body."""
        url = download.url
        for _ in range(_MAX_REDIRECTS + 1):
            with self._request(url, download) as response:
                if response.status_code not in _REDIRECTS:
                    return _accepted(response, url, download)
                url = _redirected(url, response.headers.get("Location"))
                logger.debug("redirected to %s", shown_url(url))
        raise SourceError(f"{shown_url(download.url)}: more than {_MAX_REDIRECTS} redirects")

    @contextmanager
    def _request(self, url: str, download: _Download) -> Iterator[requests.Response]:
        with _translated_errors(url):
            silence_s = min(download.limits.read_timeout_s, max(download.seconds_left(), 0.001))
            with self._session.get(
                url,
                headers=download.headers,
                timeout=(min(_CONNECT_TIMEOUT_S, silence_s), silence_s),
                stream=True,
                allow_redirects=False,
            ) as response:
                yield response


# --- one request


class _PassingError(Exception):
    """A failure that another try may not meet; ``final`` is what to raise when none is left."""

    def __init__(self, final: AltrepodbError, retry_after_s: float | None = None) -> None:
        super().__init__(str(final))
        self.final = final
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of a document beside its content."""

    url: str
    last_modified: int | None
    validators: Validators
    coding: str
    is_unchanged: bool


class _Download:
    """What is asked for, within which limits, and where its bytes go."""

    def __init__(
        self, url: str, limits: HttpLimits, validators: Validators | None, sink: IO[bytes]
    ) -> None:
        self.url = url
        self.limits = limits
        self.sink = sink
        self.headers = {}
        if validators is not None and validators.etag:
            self.headers["If-None-Match"] = validators.etag
        if validators is not None and validators.last_modified:
            self.headers["If-Modified-Since"] = validators.last_modified
        self._ends_at = time.monotonic() + limits.deadline_s

    def seconds_left(self) -> float:
        return self._ends_at - time.monotonic()


@contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Errors of the libraries as those that the module promises, or as passing ones."""
    shown = shown_url(url)
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        raise _PassingError(SourceError(f"{shown}: TLS: {_innermost(error)}")) from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise _PassingError(TemporaryError(f"{shown}: no answer in time")) from error
    except (requests.exceptions.ConnectionError, urllib3.exceptions.NewConnectionError) as error:
        raise _PassingError(TemporaryError(f"{shown}: {_innermost(error)}")) from error
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError) as error:
        raise _PassingError(SourceError(f"{shown}: the answer ends early")) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise SourceError(f"{shown}: {_innermost(error)}") from error


def _innermost(error: BaseException) -> str:
    """The words of the first cause, without the layers of libraries around it."""
    while True:
        inner = (getattr(error, "reason", None), *error.args)
        nested = next((item for item in inner if isinstance(item, BaseException)), None)
        if nested is None:
            break
        error = nested
    text = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
    return printable(_ERROR_NUMBER.sub("", text) or type(error).__name__)


def _redirected(url: str, location: str | None) -> str:
    """Where a redirect leads. Raises SourceError when we do not follow it."""
    if not location:
        raise SourceError(f"{shown_url(url)}: redirects to nowhere")
    target = urljoin(url, location)
    old, new = urlsplit(url).scheme, urlsplit(target).scheme
    if new not in ("http", "https") or (old, new) == ("https", "http"):
        raise SourceError(f"{shown_url(url)}: refused to follow a redirect to {shown_url(target)}")
    return target


def _accepted(response: requests.Response, url: str, download: _Download) -> _Head:
    """Check the status and receive the body. Raises _PassingError or SourceError."""
    status = response.status_code
    is_unchanged = status == 304 and bool(download.headers)
    if status != 200 and not is_unchanged:
        raise _bad_status(response, url)
    if not is_unchanged:
        _receive_body(response, url, download)
    modified = response.headers.get("Last-Modified")
    return _Head(
        url=url,
        last_modified=_http_date(modified),
        validators=Validators(response.headers.get("ETag"), modified),
        coding=response.headers.get("Content-Encoding", "").strip().lower(),
        is_unchanged=is_unchanged,
    )


def _bad_status(response: requests.Response, url: str) -> Exception:
    status = response.status_code
    message = f"{shown_url(url)}: status {status} {printable(response.reason or '')}".rstrip()
    if status in _PASSING_STATUSES:
        return _PassingError(TemporaryError(message), _retry_after_s(response))
    return TemporaryError(message) if status >= 500 else HttpStatusError(message, status)


def _retry_after_s(response: requests.Response) -> float | None:
    """How long the server asks us to wait, as far as we are willing to."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MAX_RETRY_AFTER_S)
    moment = _http_date(text)
    return None if moment is None else min(max(moment - time.time(), 0), _MAX_RETRY_AFTER_S)


def _http_date(text: str | None) -> int | None:
    """Seconds since 1970 of a date in a header; None when it is none, or out of DateTime."""
    try:
        date = parsedate_to_datetime(text or "")
        # "-0000" is UTC as well, which email.utils gives without a zone.
        moment = int(date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if 0 <= moment <= _MAX_EPOCH else None


def _receive_body(response: requests.Response, url: str, download: _Download) -> None:
    """Bytes of the wire into the sink, which is emptied first."""
    download.sink.seek(0)
    download.sink.truncate()
    expected = _content_length(response, url)
    if expected is not None and expected > download.limits.wire_bytes:
        raise _too_large(url, download.limits.wire_bytes)
    received = 0
    while expected is None or received < expected:
        left = _CHUNK_BYTES if expected is None else min(_CHUNK_BYTES, expected - received)
        # One read from the socket at a time: a server that drips must not outwit the deadline.
        # It raises when the body ends before the announced length or the last chunk.
        chunk = response.raw.read1(left, decode_content=False)
        if not chunk:
            break
        received += len(chunk)
        if received > download.limits.wire_bytes:
            raise _too_large(url, download.limits.wire_bytes)
        if download.seconds_left() <= 0:
            seconds = download.limits.deadline_s
            raise TemporaryError(f"{shown_url(url)}: not received within {seconds:g} s")
        try:
            download.sink.write(chunk)
        except OSError as error:
            place = tempfile.gettempdir()
            raise SourceError(f"{shown_url(url)}: no room in {place}: {error.strerror}") from error


def _content_length(response: requests.Response, url: str) -> int | None:
    """The announced number of bytes, unless the body says itself where it ends."""
    text = response.headers.get("Content-Length")
    if text is None or "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise SourceError(f"{shown_url(url)}: Content-Length is {printable(text)!r}")
    return int(text)


def _too_large(url: str, limit: int) -> SourceError:
    return SourceError(f"{shown_url(url)}: larger than {limit} bytes")


# --- what a body means


def _decoded(spool: IO[bytes], coding: str, limits: HttpLimits, url: str) -> Iterator[bytes]:
    """The content without its coding, never more than the limit."""
    chunks = iter(lambda: spool.read(_CHUNK_BYTES), b"")
    if coding in ("gzip", "x-gzip"):
        chunks = _gunzipped(chunks, url)
    elif coding not in ("", "identity"):
        raise SourceError(f"{shown_url(url)}: unknown content coding {printable(coding)!r}")
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limits.decoded_bytes:
            raise _too_large(url, limits.decoded_bytes)
        yield chunk


def _gunzipped(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Decompress gzip members in small steps, however much they pretend to hold."""
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    is_inside = False
    try:
        for chunk in chunks:
            while chunk:
                is_inside = True
                yield member.decompress(chunk, _CHUNK_BYTES)
                chunk = member.unconsumed_tail
                if member.eof:
                    chunk = member.unused_data
                    member, is_inside = zlib.decompressobj(zlib.MAX_WBITS | 16), False
        # With a full output buffer and no input left there may still be something inside.
        while is_inside and not member.eof:
            rest = member.decompress(b"", _CHUNK_BYTES)
            if not rest:
                raise SourceError(f"{shown_url(url)}: the gzip content ends early")
            yield rest
    except zlib.error as error:
        raise SourceError(f"{shown_url(url)}: broken gzip content: {error}") from error


def _without_markup(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """The chunks as they are; raises SourceError when the first bytes are those of HTML."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= _MARKUP_LOOK_BYTES:
            break
    check_no_markup(start, url)
    if start:
        yield start
    yield from chunks


def check_no_markup(content: bytes, url: str) -> None:
    """Raise SourceError when the content begins as an HTML or XML page does."""
    if _MARKUP.match(content[:_MARKUP_LOOK_BYTES]):
        raise SourceError(f"{shown_url(url)}: an HTML page instead of data")


def decode_text(content: bytes, url: str) -> tuple[str, bool]:
    """The text of a document, and whether it is valid UTF-8.

    A mark of byte order is taken off. Bytes that are not UTF-8 become lone surrogates, which
    the database stores as the very bytes; a warning names the document then.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8"), True
    except UnicodeDecodeError as error:
        logger.warning("%s: not UTF-8 at byte %d", shown_url(url), error.start)
        return content.decode("utf-8", "surrogateescape"), False


def check_url(url: str, where: str) -> str:
    """The URL without slashes at its end. Raises ConfigurationError, naming ``where``."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or printable(url) != url or " " in url:
        raise ConfigurationError(
            f"{where}: expected an http or https URL, got {printable(shown_url(url))!r}"
        )
    return url.rstrip("/")


def shown_url(url: str) -> str:
    """A URL for messages: one line, without the password that it may carry."""
    return printable(_URL_PASSWORD.sub(r"\1:***@", url))
