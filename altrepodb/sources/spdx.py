"""SPDX licence list -> rows of SPDXLicenses, through a shallow copy of its git repository.

The copy holds the two directories that are read, and the newest commit only. A refresh makes it
equal to the upstream branch whatever happened to either; where that fails nothing is read. git
runs without questions and within a time limit, and sees neither the caller's directory nor the
``GIT_*`` variables of its environment.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from altrepodb.db.database import Columns, Database
from altrepodb.db.lock import FileLock
from altrepodb.db.schema import missing_license_aliases
from altrepodb.errors import (
    AltrepodbError,
    ConfigurationError,
    DatabaseError,
    SourceError,
    TemporaryError,
)
from altrepodb.http import shown_url
from altrepodb.json_values import is_text
from altrepodb.logger import printable
from altrepodb.sources.run import Findings, SourceOptions, SourceRun, SourceSummary
from altrepodb.sources.state import check_not_shrunk

__all__ = [
    "PROGRAM",
    "License",
    "SpdxOptions",
    "load_aliases",
    "load_spdx",
    "new_licenses",
    "parse_entry",
    "read_licenses",
    "refresh_copy",
]

logger = logging.getLogger(__name__)

PROGRAM = "spdx_loader"
DEFAULT_URL = "https://github.com/spdx/license-list-data"
GIT_TIMEOUT_S = 600.0

_MAX_FILES = 100_000
_MAX_FILE_BYTES = 16 << 20
_MAX_GIT_OUTPUT_BYTES = 65536

# Not an option, and without white space and control characters.
_URL = re.compile(r"[^-\s\x00-\x1f][^\s\x00-\x1f]*")
_BRANCH = re.compile(r"(?!-|.*(?:\.\.|//|@\{))[\w.@+-]+(?:/[\w.@+-]+)*")
_URL_SECRET = re.compile(r"(?<=://)[^/@\s]*@")
_IS_AWAY = re.compile(
    "could not resolve|couldn't connect|failed to connect|connection (?:refused|reset|timed out)"
    "|operation timed out|network is unreachable|returned error: (?:429|5[0-9][0-9])",
    re.IGNORECASE,
)
_GIT_OPTIONS = [
    word
    for setting in (
        # Texts are stored as they are upstream, and nothing runs but git.
        "core.autocrlf=false",
        "core.fsmonitor=false",
        "core.hooksPath=/dev/null",
        "core.logAllRefUpdates=false",
        "gc.autoDetach=false",
    )
    for word in ("-c", setting)
]
_GIT_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_ASKPASS": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "SSH_ASKPASS": "false",
    "LC_ALL": "C",
}

_TABLE = "SPDXLicenses"
# Rows that replace each other are merged at any time, so what is counted are entries.
_COUNT = "SELECT uniqExact(spdx_id, spdx_type) FROM SPDXLicenses"
_ALIAS_TABLE = "LicenseAliases"
_ALIAS_COUNT = "SELECT uniqExact(alias) FROM LicenseAliases"
_STORED = """
SELECT spdx_id, spdx_name, spdx_text, spdx_header, spdx_urls, toString(spdx_type)
FROM SPDXLicenses
"""


@dataclass(frozen=True, kw_only=True)
class SpdxOptions(SourceOptions):
    """What the licence list can be told beside the common options.

    ``url`` is what git can fetch from, ``git_timeout_s`` the time for that in all, ``timeout_s``
    how long a web server may be silent. ``git_root`` is the directory of the copy,
    ``$HOME/SPDX`` if None; ``branch`` None is the upstream's default.
    """

    git_root: Path | None = None
    branch: str | None = None
    git_timeout_s: float = GIT_TIMEOUT_S

    def check_address(self) -> None:
        _check_upstream(self.url or DEFAULT_URL, self.branch)


def load_spdx(options: SpdxOptions, database: Database) -> SourceSummary:
    """Refresh the copy of the list and store the entries that are new or have changed.

    Raises SourceError, TemporaryError, DatabaseError and LockHeldError; nothing is stored then.
    """
    summary = SourceSummary(url=shown_url(options.url or DEFAULT_URL))
    root = (options.git_root or Path.home() / "SPDX").absolute()
    with SourceRun(PROGRAM, options, database, summary) as run:
        found = _read_upstream(root, options, run.findings)
        summary.fetched = len(found)
        stored = _stored_licenses(database)
        for layout in _LAYOUTS:
            known, listed = (_ids(entries, layout.spdx_type) for entries in (stored, found))
            what = f"{summary.url}: {layout.directory}"
            check_not_shrunk(what, len(listed), len(known), force=options.force)
        new = new_licenses(found, stored)
        logger.info("licences and exceptions: %d, of them %d new", len(found), len(new))
        expected = sum(len(_ids([*stored, *new], layout.spdx_type)) for layout in _LAYOUTS)
        run.insert(_TABLE, _TABLE, license_columns(new), _COUNT, None, expected)
    return summary


def load_aliases(options: SpdxOptions, database: Database) -> SourceSummary:
    """Add the licence aliases that the database does not have; those it has stay as they are.

    Raises DatabaseError and LockHeldError.
    """
    summary = SourceSummary(url="license_aliases.json")
    with SourceRun(PROGRAM, options, database, summary) as run:
        columns = missing_license_aliases(database)
        summary.fetched = len(next(iter(columns.values()), ()))
        ((stored,),) = database.query(_ALIAS_COUNT)
        expected = stored + summary.fetched
        run.insert(_ALIAS_TABLE, _ALIAS_TABLE, columns, _ALIAS_COUNT, None, expected)
    return summary


def _read_upstream(root: Path, options: SpdxOptions, findings: Findings) -> list[License]:
    """The entries of a refreshed copy, which nobody else refreshes meanwhile."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{error.filename}: {error.strerror}") from error
    with FileLock(root.with_name(f".{root.name}.lock"), 0, f"{root}: in use"):
        refresh_copy(root, options)
        return read_licenses(root, findings)


def _ids(entries: Iterable[License], spdx_type: str) -> set[str]:
    return {entry.spdx_id for entry in entries if entry.spdx_type == spdx_type}


# --- fetch


def refresh_copy(root: Path, options: SpdxOptions) -> None:
    """Make ``root`` a copy of the branch as it is upstream now.

    What stands there is refreshed when it is a copy of the same upstream. Otherwise, and when
    that fails, it is copied anew, and what stood there is moved aside once that has succeeded.
    Raises SourceError, TemporaryError when a later try may succeed.
    """
    url = options.url or DEFAULT_URL
    git = _Git(url, time.monotonic() + options.git_timeout_s, options.timeout_s)
    try:
        if root.exists() and not root.is_dir():
            raise SourceError(f"{root}: not a directory")
        if _origin(git, root) != url or not _is_refreshed(git, root, options.branch):
            _make_copy(git, root, url, options.branch)
    except OSError as error:
        raise SourceError(f"{error.filename or root}: {error.strerror}") from error


def _is_refreshed(git: _Git, root: Path, branch: str | None) -> bool:
    """Whether a copy could be brought up to date."""
    try:
        _forget_locks(root)
        _fetch(git, root, branch)
    except SourceError as error:
        logger.warning("%s; copying anew", error)
        return False
    return True


def _check_upstream(url: str, branch: str | None) -> None:
    """Refuse what git would take for an option, or for a command to run."""
    if not _URL.fullmatch(url):
        raise ConfigurationError(f"{shown_url(url)}: not the address of a git repository")
    if branch is not None and not _BRANCH.fullmatch(branch):
        raise ConfigurationError(f"{printable(branch)}: not the name of a branch")


def _make_copy(git: _Git, root: Path, url: str, branch: str | None) -> None:
    """A copy that nobody sees before it is complete; what stood in its place is kept."""
    staging = root.with_name(f".{root.name}.new")
    # A run that was killed may have left it.
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o755)
    try:
        git.run(staging, "init", "--quiet")
        git.run(staging, "config", "remote.origin.url", url)
        git.run(staging, "config", "core.sparseCheckout", "true")
        (staging / ".git/info").mkdir(exist_ok=True)
        patterns = "".join(f"/{layout.directory}/\n" for layout in _LAYOUTS)
        (staging / ".git/info/sparse-checkout").write_text(patterns)
        _fetch(git, staging, branch)
        _move_aside(root)
        staging.rename(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_aside(root: Path) -> None:
    if not root.exists():
        return
    if not any(root.iterdir()):
        root.rmdir()
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{root.name}.old-", dir=root.parent))
    root.rename(aside)
    logger.warning("%s: not a copy of the list, moved to %s", root, aside)


def _fetch(git: _Git, root: Path, branch: str | None) -> None:
    """Bring the newest commit and make the files those of it, whatever they were."""
    wanted = "HEAD" if branch is None else f"refs/heads/{branch}"
    options = ["--quiet", "--force", "--no-tags", "--depth=1", "--filter=blob:none"]
    git.run(root, "fetch", *options, "origin", wanted)
    git.run(root, "reset", "--quiet", "--hard", "FETCH_HEAD")
    git.run(root, "clean", "--quiet", "-ffdx")


def _origin(git: _Git, root: Path) -> str | None:
    """The upstream of a copy; None when there is no copy."""
    if not (root / ".git").is_dir():
        return None
    try:
        return git.run(root, "config", "--local", "--get", "remote.origin.url").strip()
    except SourceError:
        return None


def _forget_locks(root: Path) -> None:
    """Remove what a git that was killed left behind; the caller holds the lock of the copy."""
    for lock in (root / ".git").glob("*.lock"):
        lock.unlink(missing_ok=True)


class _Git:
    """The program git, with a time by which it must have done everything.

    ``url`` is what it fetches from, ``silence_s`` how long a web server may send nothing.
    """

    def __init__(self, url: str, deadline: float, silence_s: float | None) -> None:
        self._url = url
        self._deadline = deadline
        self._options = list(_GIT_OPTIONS)
        if silence_s is not None:
            seconds = max(1, round(silence_s))
            self._options += ["-c", "http.lowSpeedLimit=1", "-c", f"http.lowSpeedTime={seconds}"]

    def run(self, root: Path, *arguments: str) -> str:
        """Run git on the repository in ``root``; return the start of what it printed.

        Raises SourceError with git's own words, TemporaryError when it takes too long or the
        server is away.
        """
        places = [f"--git-dir={root}/.git", f"--work-tree={root}"]
        command = ["git", *places, *self._options, *arguments]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = _started(command, root, output, errors)
            try:
                code = process.wait(max(0.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                subject = self._subject(root, arguments)
                raise TemporaryError(f"{subject}: took too long") from None
            finally:
                _end_group(process)
            if code:
                raise _git_error(self._subject(root, arguments), _start_of(errors))
            return _start_of(output)

    def _subject(self, root: Path, arguments: Sequence[str]) -> str:
        """What an error is about."""
        place = shown_url(self._url) if arguments[0] == "fetch" else root
        return f"{place}: git {arguments[0]}"


def _started(
    command: Sequence[str], root: Path, output: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that its helpers can be ended with it."""
    try:
        return subprocess.Popen(
            command,
            cwd=root,
            env=_git_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise SourceError("git: not installed") from error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End git and its helpers, if they still run."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MAX_GIT_OUTPUT_BYTES).decode("utf-8", "replace")


def _git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without anything that redirects git, and with no questions."""
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    return {**kept, **_GIT_VARIABLES}


def _git_error(subject: str, words: str) -> AltrepodbError:
    """git's first complaint as an error of ours; what follows are its consequences and advice."""
    lines = [line for line in words.splitlines() if line.startswith(("fatal:", "error:"))]
    line = _URL_SECRET.sub("***@", lines[0] if lines else words.strip() or "failed")
    kind = TemporaryError if _IS_AWAY.search(words) else SourceError
    return kind(f"{subject}: {printable(line)}")


# --- parse


class License(NamedTuple):
    """A licence or an exception: a row of SPDXLicenses."""

    spdx_id: str
    spdx_name: str
    spdx_text: str
    spdx_header: str
    spdx_urls: tuple[str, ...]
    spdx_type: str


class _Layout(NamedTuple):
    """Where entries of one type stand, and how their fields are called."""

    spdx_type: str
    directory: str
    id_key: str
    text_key: str
    header_key: str


_LAYOUTS = (
    _Layout("license", "json/details", "licenseId", "licenseText", "standardLicenseHeader"),
    _Layout(
        "exception",
        "json/exceptions",
        "licenseExceptionId",
        "licenseExceptionText",
        "licenseComments",
    ),
)


def read_licenses(root: Path, findings: Findings) -> list[License]:
    """All entries of a copy of the list, licences first, by file name.

    An entry without id, name or text is skipped. Raises SourceError for a directory that is
    missing or holds no entry, and for a file that is not JSON.
    """
    found: list[License] = []
    for layout in _LAYOUTS:
        entries = list(_iter_entries(root, layout, findings))
        if not entries:
            raise SourceError(f"{root / layout.directory}: no {layout.spdx_type} in it")
        found += entries
    # Two files with equal content are one row.
    return list(dict.fromkeys(found))


def _iter_entries(root: Path, layout: _Layout, findings: Findings) -> Iterator[License]:
    for path in _json_files(root, layout.directory):
        entry = parse_entry(_read_file(path), layout.spdx_type, str(path))
        if entry is None:
            findings.skip(str(path), None, f"not in the layout of a {layout.spdx_type}")
        else:
            yield entry


def _json_files(root: Path, directory: str) -> list[Path]:
    """The regular JSON files of a directory, sorted by name; links are not followed."""
    place = root
    for part in directory.split("/"):
        place = place / part
        if not place.is_dir() or place.is_symlink():
            raise SourceError(f"{place}: not a directory")
    with os.scandir(place) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.endswith(".json") and entry.is_file(follow_symlinks=False)
        ]
    if len(names) > _MAX_FILES:
        raise SourceError(f"{place}: more than {_MAX_FILES} files")
    return [place / name for name in sorted(names)]


def _read_file(path: Path) -> bytes:
    with open(path, "rb", opener=_open_no_link) as stream:
        content = stream.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise SourceError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    return content


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def parse_entry(content: bytes, spdx_type: str, name: str) -> License | None:
    """The entry in a file of the given type (license, exception), None when it is no such.

    Raises SourceError, naming ``name``, when the content is not JSON in UTF-8.
    """
    try:
        decoded = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}: not JSON: {error}") from error
    layout = next(layout for layout in _LAYOUTS if layout.spdx_type == spdx_type)
    return _entry(decoded, layout) if isinstance(decoded, dict) else None


def _entry(decoded: Mapping[str, Any], layout: _Layout) -> License | None:
    """An entry whose fields have the types that they should; null is as good as absent."""
    texts = [decoded.get(key) for key in (layout.id_key, "name", layout.text_key)]
    header = decoded.get(layout.header_key)
    texts.append("" if header is None else header)
    urls = decoded.get("seeAlso")
    urls = [] if urls is None else urls
    if not (isinstance(urls, list) and all(map(is_text, [*texts, *urls])) and texts[0]):
        return None
    spdx_id, name, text, header = map(str, texts)
    return License(spdx_id, name, text, header, tuple(urls), layout.spdx_type)


# --- rows


def new_licenses(found: Iterable[License], stored: Collection[License]) -> list[License]:
    """The entries that differ from every stored one of their type, in their order."""
    return [entry for entry in found if entry not in stored]


def license_columns(entries: Sequence[License]) -> Columns:
    """Rows of SPDXLicenses."""
    if not entries:
        return {}
    return dict(zip(License._fields, map(list, zip(*entries, strict=True)), strict=True))


def _stored_licenses(database: Database) -> set[License]:
    """All stored entries. Raises DatabaseError for a type that nobody has heard of."""
    known = {layout.spdx_type for layout in _LAYOUTS}
    stored = set()
    for *texts, urls, spdx_type in database.query(_STORED):
        if spdx_type not in known:
            raise DatabaseError(f"SPDXLicenses: unexpected type {spdx_type!r}")
        stored.add(License._make((*texts, tuple(urls), spdx_type)))
    return stored
