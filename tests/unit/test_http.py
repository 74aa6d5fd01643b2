"""The HTTP client against a real server: what it refuses, repeats, bounds and remembers."""

from __future__ import annotations

import gzip
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from altrepodb.errors import ConfigurationError, SourceError, TemporaryError
from altrepodb.http import (
    HttpClient,
    HttpLimits,
    HttpStatusError,
    Validators,
    check_url,
    decode_text,
    shown_url,
)
from tests.support.http_server import Answer, HttpSite, redirect

LIMITS = HttpLimits(read_timeout_s=40, deadline_s=50, wire_bytes=100_000, decoded_bytes=200_000)
MODIFIED = "Wed, 15 Mar 2023 00:40:00 GMT"
AGAIN = {"Retry-After": "0"}


@pytest.fixture
def site() -> Iterator[HttpSite]:
    with HttpSite() as opened:
        yield opened


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(pauses_s=(0.01, 0.01, 0.01)) as opened:
        yield opened


def test_document_with_its_head(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(b"text", last_modified=MODIFIED, etag='"1"'))
    response = client.get(site.url("/a"), LIMITS)
    assert (response.content, response.is_unchanged) == (b"text", False)
    assert response.url == site.url("/a")
    assert response.last_modified == 1_678_840_800
    assert response.validators == Validators('"1"', MODIFIED)
    (request,) = site.requests
    assert request.method == "GET"
    assert request.headers["User-Agent"].startswith("altrepodb/")
    assert "(+http" in request.headers["User-Agent"]
    assert request.headers["Accept-Encoding"] == "gzip"


def test_no_or_strange_date(site: HttpSite, client: HttpClient) -> None:
    for text in (None, "yesterday", "Wed, 15 Mar 1923 00:40:00 GMT", "Wed, 15 Mar 99999 0:0:0 GMT"):
        site.add("/a", Answer(b"text", headers={"Last-Modified": text}))
        assert client.get(site.url("/a"), LIMITS).last_modified is None


@pytest.mark.parametrize("known", [Validators(etag='"1"'), Validators(last_modified=MODIFIED)])
def test_unchanged(known: Validators, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(b"text", last_modified=MODIFIED, etag='"1"'))
    response = client.get(site.url("/a"), LIMITS, known)
    assert (response.is_unchanged, response.content) == (True, b"")
    changed = client.get(site.url("/a"), LIMITS, Validators('"0"', "long ago"))
    assert changed.content == b"text"


def test_unasked_304_is_an_error(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(status=304))
    with pytest.raises(HttpStatusError, match="304"):
        client.get(site.url("/a"), LIMITS)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_status_is_repeated(status: int, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(status=status), Answer(status=status), Answer(b"ok"))
    assert client.get(site.url("/a"), LIMITS).content == b"ok"
    assert len(site.requests) == 3


def test_four_tries_then_temporary(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(status=503))
    with pytest.raises(TemporaryError, match=r"/a: status 503"):
        client.get(site.url("/a"), LIMITS)
    assert len(site.requests) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 410, 204, 206])
def test_other_status_is_final(status: int, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(status=status), Answer(b"ok"))
    with pytest.raises(HttpStatusError, match=f"/a: status {status}") as caught:
        client.get(site.url("/a"), LIMITS)
    assert caught.value.status == status
    assert len(site.requests) == 1


def test_retry_after_is_obeyed_and_bounded(site: HttpSite) -> None:
    with HttpClient(pauses_s=(100,)) as client:
        site.add("/a", Answer(status=503, headers={"Retry-After": "1"}), Answer(b"ok"))
        started = time.monotonic()
        assert client.get(site.url("/a"), LIMITS).content == b"ok"
        assert 0.9 < time.monotonic() - started < 40
        # A pause that is longer than the time that is left is not begun.
        site.add("/a", Answer(status=503, headers={"Retry-After": "3600"}), Answer(b"ok"))
        with pytest.raises(TemporaryError):
            client.get(site.url("/a"), LIMITS)
        assert time.monotonic() - started < 40


def test_long_retry_after_is_cut_to_a_minute(
    site: HttpSite, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("altrepodb.http.time.sleep", pauses.append)
    patient = HttpLimits(60, 600, 1000, 1000)
    for value in ("3600", "Wed, 15 Mar 2090 00:40:00 GMT", "Wed, 15 Mar 2023 00:40:00 GMT"):
        site.add("/a", Answer(status=503, headers={"Retry-After": value}), Answer(b"ok"))
        assert client.get(site.url("/a"), patient).content == b"ok"
    assert [pause for pause in pauses if pause > 0] == [60, 60]


@pytest.mark.parametrize("fault", ["cut", "cut_chunked"])
def test_body_that_ends_early(fault, site: HttpSite, client: HttpClient) -> None:  # type: ignore[no-untyped-def]
    site.add("/a", Answer(b"x" * 100, fault=fault), Answer(b"whole"))
    assert client.get(site.url("/a"), LIMITS).content == b"whole"
    site.add("/a", Answer(b"x" * 100, fault=fault))
    with pytest.raises(SourceError, match="ends"):
        client.get(site.url("/a"), LIMITS)
    assert len(site.requests) == 6


def test_retry_does_not_keep_bytes_of_the_first_try(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(b"y" * 100, fault="cut"), Answer(b"z"))
    assert client.get(site.url("/a"), LIMITS).content == b"z"


def test_chunked_body(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(b"abcdef", fault="chunked"))
    assert client.get(site.url("/a"), LIMITS).content == b"abcdef"


def test_reset_and_silence_are_repeated(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(fault="reset"), Answer(b"ok"))
    assert client.get(site.url("/a"), LIMITS).content == b"ok"
    # Long enough for an answer that is given at once.
    quick = HttpLimits(0.5, 50, 1000, 1000)
    site.add("/b", Answer(b"late", delay_s=600), Answer(b"ok"))
    assert client.get(site.url("/b"), quick).content == b"ok"


def test_nobody_there(client: HttpClient) -> None:
    # Nobody else is given the port while it is bound, and nobody listens on it.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a"
        with pytest.raises(TemporaryError, match=f"{url}: Connection refused$"):
            client.get(url, LIMITS)


def test_timeout_replaces_that_of_the_limits(site: HttpSite) -> None:
    site.add("/a", Answer(b"late", delay_s=600))
    started = time.monotonic()
    with HttpClient(0.1, pauses_s=()) as client, pytest.raises(TemporaryError, match="in time"):
        client.get(site.url("/a"), LIMITS)
    assert time.monotonic() - started < LIMITS.read_timeout_s


def test_dripping_server_meets_the_deadline(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(b"x" * 1000, fault="drip"))
    started = time.monotonic()
    with pytest.raises(TemporaryError, match=r"not received within 2 s"):
        client.get(site.url("/a"), HttpLimits(60, 2, 10_000, 10_000))
    # The whole would take fifty.
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(("size", "is_good"), [(999, True), (1000, True), (1001, False)])
@pytest.mark.parametrize("fault", ["", "chunked"])
def test_wire_limit(fault, size, is_good, site: HttpSite, client: HttpClient) -> None:  # type: ignore[no-untyped-def]
    site.add("/a", Answer(b"x" * size, fault=fault))
    limits = HttpLimits(40, 50, 1000, 10_000)
    if is_good:
        assert len(client.get(site.url("/a"), limits).content) == size
    else:
        with pytest.raises(SourceError, match="larger than 1000 bytes"):
            client.get(site.url("/a"), limits)


def test_endless_body(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(fault="huge"))
    with pytest.raises(SourceError, match="larger than 100000 bytes"):
        client.get(site.url("/a"), LIMITS)


@pytest.mark.parametrize(("size", "is_good"), [(200_000, True), (200_001, False)])
def test_decoded_limit(size: int, is_good: bool, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(bytes(size), fault="gzip"))
    if is_good:
        assert client.get(site.url("/a"), LIMITS).content == bytes(size)
    else:
        with pytest.raises(SourceError, match="larger than 200000 bytes"):
            client.get(site.url("/a"), LIMITS)


def test_no_room_for_a_large_body(
    site: HttpSite, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", Full)
    site.add("/", Answer(b"x"))
    with pytest.raises(SourceError, match=r"/: no room in .*: No space left on device"):
        client.get(site.url("/"), LIMITS)


def test_gzip_bomb_is_decoded_in_small_steps(site: HttpSite, client: HttpClient) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    site.add("/a", Answer(bomb, headers={"Content-Encoding": "gzip"}))
    limits = HttpLimits(40, 50, len(bomb), 1 << 30)
    with client.stream(site.url("/a"), limits) as response:
        sizes = [len(chunk) for chunk in response.chunks]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 16


def test_gzip_members_and_damage(site: HttpSite, client: HttpClient) -> None:
    packed = gzip.compress(b"text" * 1000)
    headers = {"Content-Encoding": "gzip"}
    site.add("/two", Answer(packed + gzip.compress(b"more"), headers=headers))
    assert client.get(site.url("/two"), LIMITS).content == b"text" * 1000 + b"more"
    site.add("/short", Answer(packed[:-9], headers=headers))
    with pytest.raises(SourceError, match="gzip content ends early"):
        client.get(site.url("/short"), LIMITS)
    site.add("/broken", Answer(packed[:20] + b"\xff" * 30, headers=headers))
    with pytest.raises(SourceError, match="gzip content"):
        client.get(site.url("/broken"), LIMITS)
    site.add("/other", Answer(packed, headers={"Content-Encoding": "br"}))
    with pytest.raises(SourceError, match="unknown content coding 'br'"):
        client.get(site.url("/other"), LIMITS)
    # Compressed documents are documents, not a coding.
    site.add("/file.gz", Answer(packed))
    assert client.get(site.url("/file.gz"), LIMITS).content == packed


def test_redirects(site: HttpSite, client: HttpClient) -> None:
    site.add("/acl", redirect("acl/", 301))
    site.add("/acl/", Answer(b"listing", last_modified=MODIFIED))
    response = client.get(site.url("/acl"), LIMITS)
    assert (response.url, response.content) == (site.url("/acl/"), b"listing")
    assert response.last_modified == 1_678_840_800
    for number in range(5):
        site.add(f"/hop{number}", redirect(f"/hop{number + 1}"))
    site.add("/hop5", Answer(b"there"))
    assert client.get(site.url("/hop0"), LIMITS).content == b"there"
    site.add("/hop5", redirect("/acl/"))
    with pytest.raises(SourceError, match="more than 5 redirects"):
        client.get(site.url("/hop0"), LIMITS)


@pytest.mark.parametrize("target", ["ftp://example.org/", "file:///etc/passwd", ""])
def test_redirect_to_what_is_no_site(target: str, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", redirect(target))
    with pytest.raises(SourceError, match="redirect"):
        client.get(site.url("/a"), LIMITS)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this host, signed by nobody else, with its key."""
    path = tmp_path / "site.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=site", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", path.with_suffix(".key"), "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".key").read_bytes())
    return path


def test_tls(
    certificate: Path, site: HttpSite, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates are checked; a redirect may lead to TLS, never away from it."""
    with HttpSite(certificate) as safe:
        safe.add("/a", Answer(b"safe"))
        site.add("/to", redirect(safe.url("/a")))
        for url in (safe.url("/a"), site.url("/to")):
            with pytest.raises(SourceError, match=r"https://.*/a: TLS: .*certificate"):
                client.get(url, LIMITS)
        assert safe.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert client.get(site.url("/to"), LIMITS).content == b"safe"
        site.add("/b", Answer(b"unsafe"))
        safe.add("/away", redirect(site.url("/b")))
        with pytest.raises(SourceError, match=r"refused to follow a redirect to http://.*/b"):
            client.get(safe.url("/away"), LIMITS)
        assert "/b" not in site.paths()


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html>", b"\n  <HTML>", b"\xef\xbb\xbf <html lang=en>", b"<?xml ?>"]
)
def test_page_instead_of_data(page: bytes, site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(page))
    with pytest.raises(SourceError, match="an HTML page instead of data"):
        client.get(site.url("/a"), LIMITS)
    with (
        client.stream(site.url("/a"), LIMITS) as response,
        pytest.raises(SourceError, match="an HTML page"),
    ):
        list(response.chunks)
    assert client.get(site.url("/a"), LIMITS, expects_markup=True).content == page


def test_text_is_kept_as_it_is() -> None:
    assert decode_text("Иванов".encode(), "u") == ("Иванов", True)
    assert decode_text(b"\xef\xbb\xbfa", "u") == ("a", True)
    text, is_valid = decode_text(b"a\xe9", "u")
    assert (text.encode("utf-8", "surrogateescape"), is_valid) == (b"a\xe9", False)


def test_urls() -> None:
    assert check_url("http://a.org/x//", "w") == "http://a.org/x"
    assert shown_url("http://me:secret@a.org/?q=a:b@c") == "http://me:***@a.org/?q=a:b@c"
    for wrong in ("", "a.org", "ftp://a.org", "http://", "http://a b", "http://a\n", "http://[x"):
        with pytest.raises(ConfigurationError, match="acl_url: expected an http"):
            check_url(wrong, "acl_url")


def test_password_is_not_told(site: HttpSite, client: HttpClient) -> None:
    site.add("/a", Answer(status=404))
    with pytest.raises(HttpStatusError) as caught:
        client.get(site.url("/a").replace("//", "//me:secret@"), LIMITS)
    assert "secret" not in str(caught.value)
