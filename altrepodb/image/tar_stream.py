"""Members of tar archives in any compression, read once from start to end.

The standard library parses the headers, and takes several kinds of damage for the end of the
archive; here everything but the end mark is an error. Headers are limited, since a name or a list
of extensions may claim any size.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager

from altrepodb.byte_source import ByteSource, SourceStream
from altrepodb.errors import SourceError
from altrepodb.image.library import StrictStream
from altrepodb.rpm.compression import CHUNK_BYTES, compressor_of, iter_decompressed

__all__ = ["Member", "TarReader", "normal_path", "open_tar_stream"]

Member = tarfile.TarInfo

_MAX_HEADER_BYTES = 4 << 20
_MAX_UNPACKED_BYTES = 64 << 30
"""Several times the largest root; a bomb of zeros gets no further."""
_NAME_ENCODING = "utf-8"
_NAME_ERRORS = "surrogateescape"
_MAGIC_BYTES = 16


def normal_path(name: str) -> bytes | None:
    """A member's name as a path from the root; None for one that leaves it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else "/".join(parts).encode(_NAME_ENCODING, _NAME_ERRORS)


class _LimitedStream:
    """What the standard library reads an archive from: no end before the end, small headers."""

    def __init__(self, stream: io.RawIOBase, name: str) -> None:
        self._stream = stream
        self._name = name
        self.header_bytes_left: int | None = None

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def seek(self, position: int) -> int:
        if position < self.tell():
            raise SourceError(f"{self._name}: damaged tar archive: a member of negative size")
        return self._stream.seek(position)

    def read(self, size: int) -> bytes:
        if self.header_bytes_left is not None:
            self.header_bytes_left -= size
            if self.header_bytes_left < 0:
                raise SourceError(f"{self._name}: damaged tar archive: a header without end")
        return self._stream.read(size) or b""


class _ForwardStream(io.RawIOBase):
    """Chunks as a file that is read forwards only. Raises SourceError at a premature end."""

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        self._chunks = iter(chunks)
        self._name = name
        self._position = 0
        self._rest = memoryview(b"")

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        while self._position < position:
            self._take(position - self._position)
        return self._position

    def read(self, size: int = -1) -> bytes:
        parts = []
        while size > 0:
            part = self._take(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _take(self, limit: int) -> memoryview:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise SourceError(f"{self._name}: truncated tar archive")
            self._rest = memoryview(chunk)
        part, self._rest = self._rest[:limit], self._rest[limit:]
        self._position += len(part)
        return part

    def finish(self) -> None:
        """Read to the end, so that checksums there are verified."""
        for _ in self._chunks:
            pass


class _StrictInfo(tarfile.TarInfo):
    """A header; only the end mark ends an archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class TarReader:
    """The members of an archive in their order; see ``open_tar_stream``."""

    def __init__(self, stream: io.RawIOBase, name: str) -> None:
        self._name = name
        self._stream = _LimitedStream(stream, name)

    def members(self) -> Generator[Member, None, None]:
        """Each member; its content can be read until the next one. Raises SourceError."""
        with self._errors():
            self._stream.header_bytes_left = _MAX_HEADER_BYTES
            self._archive = tarfile.TarFile(
                fileobj=self._stream,  # type: ignore[arg-type]
                tarinfo=_StrictInfo,
                encoding=_NAME_ENCODING,
                errors=_NAME_ERRORS,
            )
        while True:
            with self._errors():
                self._stream.header_bytes_left = _MAX_HEADER_BYTES
                member = self._archive.next()
                self._stream.header_bytes_left = None
            if member is None:
                return
            # The library remembers all members.
            self._archive.members.clear()  # type: ignore[attr-defined]
            yield member

    def content(self, member: Member) -> Iterator[bytes]:
        """The bytes of the member that was given last, holes filled, in chunks."""
        with self._errors():
            file = self._archive.extractfile(member)
            while file is not None and (chunk := file.read(CHUNK_BYTES)):
                yield chunk

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise SourceError(f"{self._name}: damaged tar archive: {error}") from error


@contextmanager
def open_tar_stream(source: ByteSource, digest: str | None = None) -> Iterator[TarReader]:
    """An archive as it comes: plain, gzip, bzip2, xz, LZMA, zstd or lz4, by its content.

    ``digest`` is the SHA-256 in hexadecimal that the uncompressed archive must have; it is held
    against it at the end. Raises SourceError for damage, at the end too: what follows the last
    member is read when it is compressed.
    """
    compressor = compressor_of(source.pread(min(_MAGIC_BYTES, source.size), 0))
    if compressor in (None, "none") and digest is None:
        yield TarReader(StrictStream(source), source.name)
        return
    hasher = hashlib.sha256()
    with io.BufferedReader(SourceStream(source)) as stored:
        chunks = _limited(iter_decompressed(stored, compressor or "none", source.name), source.name)
        if digest is not None:
            chunks = _hashed(chunks, hasher)
        forward = _ForwardStream(chunks, source.name)
        yield TarReader(forward, source.name)
        forward.finish()
    if digest is not None and hasher.hexdigest() != digest:
        raise SourceError(f"{source.name}: is not what its digest sha256:{digest} says")


def _limited(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > _MAX_UNPACKED_BYTES:
            raise SourceError(f"{name}: unpacks to more than {_MAX_UNPACKED_BYTES} bytes")
        yield chunk


def _hashed(chunks: Iterable[bytes], hasher: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
