"""Settings of a run: configuration file < environment < command line, as frozen dataclasses.

The configuration file is an INI file. Nothing in a value is expanded, a ``#`` behind a value is
part of it, a value that is given counts even when it is empty, and a key of ``[DEFAULT]`` stands
in for the same key of every other section.

    [DEFAULT]    workers
    [DATABASE]   dbname host port user password password_file secure ca_certs verify embedded
                 workers
    [LOGGING]    log_to_file log_to_syslog log_to_console syslog_ident
    [SOURCES]    acl_url beehive_url beehive_branches beehive_archs bugzilla_url repocop_url
                 watch_url spdx_url spdx_branch spdx_git_root source_timezone timeout state_dir

Environment variables:

    ALTREPODB_CONFIG      configuration file when -c is not given
    ALTREPODB_PASSWORD    password of the database user
    ALTREPODB_DBNAME  ALTREPODB_HOST  ALTREPODB_PORT  ALTREPODB_USER  ALTREPODB_PASSWORD_FILE
    ALTREPODB_SECURE  ALTREPODB_CA_CERTS  ALTREPODB_VERIFY  ALTREPODB_EMBEDDED
    ALTREPODB_WORKERS     as the key of that name in [DATABASE]
    XDG_DATA_HOME         where the embedded database stands that is used by default
    HOME                  its default, and where log files go

A wrong value ends in a ConfigurationError that names file, section, key, what was expected and
what was found. A key that nothing reads is a warning, so that files of older versions work.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from altrepodb.errors import ConfigurationError
from altrepodb.regular_file import open_now

__all__ = [
    "DatabaseSettings",
    "LoggingSettings",
    "Settings",
    "SourcesSettings",
    "load_settings",
    "near_miss",
    "read_database",
    "settings_text",
]

ENVIRONMENT_PREFIX = "ALTREPODB_"
EMBEDDED_DBNAME = "repodb"
SERVER_DBNAME = "default"
NATIVE_PORT = 9000
SECURE_PORT = 9440

_MAX_FILE_BYTES = 1 << 20
_MAX_WORKERS = 1024
_TRUE = frozenset({"1", "yes", "true", "on"})
_FALSE = frozenset({"0", "no", "false", "off"})
_BOOLEAN_WORDS = "1, yes, true, on, 0, no, false or off"

_DATABASE_KEYS = (
    "dbname",
    "host",
    "port",
    "user",
    "password",
    "password_file",
    "secure",
    "ca_certs",
    "verify",
    "embedded",
    "workers",
)
_LOGGING_KEYS = ("log_to_file", "log_to_syslog", "log_to_console", "syslog_ident")
_SOURCES_KEYS = (
    "acl_url",
    "beehive_url",
    "beehive_branches",
    "beehive_archs",
    "bugzilla_url",
    "repocop_url",
    "watch_url",
    "spdx_url",
    "spdx_branch",
    "spdx_git_root",
    "source_timezone",
    "timeout",
    "state_dir",
)
_SECTIONS = {"DATABASE": _DATABASE_KEYS, "LOGGING": _LOGGING_KEYS, "SOURCES": _SOURCES_KEYS}
_SERVER_ONLY_KEYS = ("port", "user", "password", "secure", "ca_certs", "verify")

_FILE, _ENVIRONMENT, _COMMAND_LINE = 1, 2, 3


@dataclass(frozen=True)
class DatabaseSettings:
    """Which database a run uses: a server, or the embedded engine in a directory.

    ``dbname`` and ``port`` that are left out take the default of the chosen backend.
    """

    dbname: str = ""
    host: str = "localhost"
    port: int = 0
    user: str = "default"
    password: str = field(default="", repr=False)
    secure: bool = False
    ca_certs: str | None = None
    verify: bool = True
    embedded: Path | None = None
    is_default: bool = False
    """Nothing said which database to use, so it is the embedded one in its usual place."""

    def __post_init__(self) -> None:
        if not self.dbname:
            dbname = SERVER_DBNAME if self.embedded is None else EMBEDDED_DBNAME
            object.__setattr__(self, "dbname", dbname)
        if not self.port:
            object.__setattr__(self, "port", SECURE_PORT if self.secure else NATIVE_PORT)

    @property
    def key(self) -> str:
        """What tells databases apart: host, port and name, or directory and name."""
        if self.embedded is not None:
            place = os.fsencode(self.embedded.absolute())
            return f"embedded-{hashlib.sha256(place).hexdigest()[:12]}.{self.dbname}"
        return f"{self.host}-{self.port}.{self.dbname}"

    def describe(self) -> str:
        """One phrase for the log, without the password."""
        if self.embedded is not None:
            why = " (neither a configuration file nor a host was given)" if self.is_default else ""
            return f"embedded database {self.dbname} in {self.embedded}{why}"
        tls = ""
        if self.secure:
            tls = ", TLS" if self.verify else ", TLS without verification"
        return f"database {self.dbname} of user {self.user} at {self.host}:{self.port}{tls}"


@dataclass(frozen=True)
class LoggingSettings:
    """Where log records go."""

    to_file: bool = False
    to_syslog: bool = False
    to_console: bool = True
    syslog_ident: str = "altrepodb"


@dataclass(frozen=True)
class SourcesSettings:
    """What the loaders of web sources ask and how; None leaves the loader's own default."""

    acl_url: str | None = None
    beehive_url: str | None = None
    beehive_branches: tuple[str, ...] | None = None
    beehive_archs: tuple[str, ...] | None = None
    bugzilla_url: str | None = None
    repocop_url: str | None = None
    watch_url: str | None = None
    spdx_url: str | None = None
    spdx_branch: str | None = None
    spdx_git_root: Path | None = None
    source_timezone: str | None = None
    timeout: float | None = None
    state_dir: Path | None = None


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    sources: SourcesSettings = field(default_factory=SourcesSettings)
    workers: int | None = None
    """Number of worker processes; None leaves it to the command."""
    config_file: Path | None = None
    warnings: tuple[str, ...] = ()
    """What to say about the settings once there is a log to say it to."""


class _Given(NamedTuple):
    """A value that somebody gave: its text, who gave it (``rank``) and where it stands."""

    text: str
    where: str
    rank: int


_Values = Mapping[str, _Given]


def load_settings(
    options: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings from command line options, the environment and the file that they name.

    ``options`` maps the names of options (``config``, ``workers`` and the keys of [DATABASE])
    to what the command line gave; None stands for "not given", other names are ignored.
    Raises ConfigurationError.
    """
    options = options or {}
    environment = os.environ if environment is None else environment
    warnings: list[str] = []
    config_file = _config_file(options, environment)
    sections = _read_file(config_file, warnings) if config_file else {}
    database_values = {
        **sections.get("DATABASE", {}),
        **_from_environment(environment),
        **_from_options(options),
    }
    database = _database(database_values, config_file is not None, environment, warnings)
    return Settings(
        database=database,
        logging=_logging(sections.get("LOGGING", {}), warnings),
        sources=_sources(sections.get("SOURCES", {})),
        workers=_optional_integer(database_values, "workers", 1, _MAX_WORKERS),
        config_file=config_file,
        warnings=tuple(warnings),
    )


def read_database(values: Mapping[str, object], where: str) -> DatabaseSettings:
    """Database settings from an object of a JSON file that uses the keys of [DATABASE].

    ``where`` names the file and the object in error messages. Raises ConfigurationError, also
    for a key that does not exist.
    """
    unknown = sorted(set(values) - set(_DATABASE_KEYS))
    if unknown:
        raise ConfigurationError(f"{where}: {unknown[0]}: unknown key{near_miss(unknown[0])}")
    given = {}
    for key, value in values.items():
        if not isinstance(value, str | int):
            got = type(value).__name__ if key == "password" else repr(value)
            raise ConfigurationError(f"{where}: {key}: expected a text or a number, got {got}")
        given[key] = _Given(str(value), f"{where}: {key}", _FILE)
    return _database(given, True, os.environ, [])


# --- where values come from


def _config_file(options: Mapping[str, object], environment: Mapping[str, str]) -> Path | None:
    given = options.get("config")
    if given == "":
        raise ConfigurationError("command line: --config: expected a file, got ''")
    given = given or environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    return Path(str(given)).expanduser() if given else None


def _from_options(options: Mapping[str, object]) -> dict[str, _Given]:
    return {
        key: _Given(str(options[key]), f"command line: --{key.replace('_', '-')}", _COMMAND_LINE)
        for key in _DATABASE_KEYS
        if options.get(key) is not None
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    names = {key: f"{ENVIRONMENT_PREFIX}{key.upper()}" for key in _DATABASE_KEYS}
    return {
        key: _Given(environment[name], f"environment: {name}", _ENVIRONMENT)
        for key, name in names.items()
        if name in environment
    }


def _read_file(path: Path, warnings: list[str]) -> dict[str, dict[str, _Given]]:
    """Known sections of an INI file; a section that is absent has the keys of [DEFAULT]."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(settings_text(path), source=str(path))
    except configparser.Error as error:
        # Without the line itself and without the cause: either may hold a password.
        raise ConfigurationError(f"{path}: {_syntax_error(error)}") from None
    _warn_about_unknown(parser, path, warnings)
    sections = {}
    for section, keys in _SECTIONS.items():
        own = parser[section] if parser.has_section(section) else parser.defaults()
        sections[section] = {
            key: _Given(own[key], f"{path}: [{_origin(parser, section, key)}] {key}", _FILE)
            for key in keys
            if key in own
        }
        for key, value in sections[section].items():
            _warn_about_remark(value, warnings)
            _check_printable(key, value)
    return sections


def _origin(parser: configparser.ConfigParser, section: str, key: str) -> str:
    """The section that a value stands in: the named one, or DEFAULT behind it."""
    inherited = parser.defaults().get(key)
    if parser.has_section(section) and parser[section][key] != inherited:
        return section
    return parser.default_section


def settings_text(path: Path) -> str:
    """The text of a configuration file; it must be a regular file of reasonable size.

    Raises ConfigurationError.
    """
    try:
        with open(path, "rb", opener=open_now) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigurationError(f"{path}: not a regular file")
            content = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from error


def _syntax_error(error: configparser.Error) -> str:
    match error:
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno}: expected a [SECTION] first"
        case configparser.ParsingError():
            return f"line {error.errors[0][0]}: expected key = value"
        case configparser.DuplicateOptionError():
            return f"line {error.lineno}: [{error.section}] {error.option} stands there twice"
        case configparser.DuplicateSectionError():
            return f"line {error.lineno}: section [{error.section}] stands there twice"
        case _:
            return "not an INI file"


def _warn_about_unknown(parser: configparser.ConfigParser, path: Path, warnings: list[str]) -> None:
    every_key = {key for keys in _SECTIONS.values() for key in keys}
    for key in parser.defaults():
        if key not in every_key:
            warnings.append(f"{path}: [DEFAULT] {key}: unknown key, ignored{near_miss(key)}")
    for section in parser.sections():
        if section not in _SECTIONS:
            hint = near_miss(section.upper(), _SECTIONS)
            warnings.append(f"{path}: [{section}]: unknown section, ignored{hint}")
            continue
        for key in parser[section]:
            if key not in _SECTIONS[section] and key not in parser.defaults():
                hint = near_miss(key, _SECTIONS[section])
                warnings.append(f"{path}: [{section}] {key}: unknown key, ignored{hint}")


def near_miss(word: str, words: Collection[str] | None = None) -> str:
    """A hint at the word that may have been meant, or nothing."""
    from difflib import get_close_matches

    known = words or [key for keys in _SECTIONS.values() for key in keys]
    found = get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _warn_about_remark(value: _Given, warnings: list[str]) -> None:
    # Examples of the first versions had remarks behind values. They never were remarks, and
    # taking them off now would cut passwords that hold a "#".
    if value.text.startswith("#") or " #" in value.text or "\t#" in value.text:
        warnings.append(f"{value.where}: a # behind a value is part of the value, not a remark")


def _check_printable(key: str, value: _Given) -> None:
    """A value on several lines is nearly always a missing end of the previous one."""
    if "\n" in value.text and not key.startswith("beehive_"):
        raise ConfigurationError(f"{value.where}: expected one line, got several")


# --- what values mean


def _database(
    values: _Values, has_file: bool, environment: Mapping[str, str], warnings: list[str]
) -> DatabaseSettings:
    if _is_embedded(values, has_file):
        return _embedded_database(values, environment, warnings)
    return _server_database(values, warnings)


def _is_embedded(values: _Values, has_file: bool) -> bool:
    """The more specific of ``host`` and ``embedded`` decides; an empty ``embedded`` is a no."""
    host, embedded = values.get("host"), values.get("embedded")
    if embedded is None:
        return host is None and not has_file
    if not embedded.text:
        return False
    if host is not None and host.rank == embedded.rank:
        raise ConfigurationError(
            f"{embedded.where}: expected no host beside an embedded database, "
            f"got {host.where.rpartition(': ')[2]} = {host.text!r}"
        )
    return host is None or embedded.rank > host.rank


def _embedded_database(
    values: _Values, environment: Mapping[str, str], warnings: list[str]
) -> DatabaseSettings:
    _integer(values, "port", NATIVE_PORT, 1, 65535)
    for key in _SERVER_ONLY_KEYS:
        if key in values and values[key].rank == _COMMAND_LINE:
            warnings.append(
                f"{values[key].where}: no effect on an embedded database; --host names a server"
            )
    embedded = values.get("embedded")
    dbname = values.get("dbname")
    # The name in a file belongs to the server in that file, not to "--embedded DIR".
    if dbname is not None and embedded is not None and dbname.rank < embedded.rank:
        dbname = None
    return DatabaseSettings(
        dbname=EMBEDDED_DBNAME if dbname is None else _required(dbname, "a database name"),
        embedded=_default_directory(environment) if embedded is None else _path(embedded),
        is_default=embedded is None,
    )


def _default_directory(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_DATA_HOME", "")
    # The XDG specification has relative paths ignored.
    if not os.path.isabs(base):
        home = environment.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            raise ConfigurationError("environment: HOME: expected an absolute path, got none")
        base = os.path.join(home, ".local", "share")
    return Path(base) / "altrepodb"


def _server_database(values: _Values, warnings: list[str]) -> DatabaseSettings:
    secure = _strict_boolean(values, "secure", False)
    verify = _strict_boolean(values, "verify", True)
    ca_certs = values.get("ca_certs")
    if not secure:
        for key in ("ca_certs", "verify"):
            if key in values and values[key].rank == _COMMAND_LINE:
                warnings.append(f"{values[key].where}: no effect without --secure")
    return DatabaseSettings(
        dbname=_required_text(values, "dbname", SERVER_DBNAME, "a database name"),
        host=_required_text(values, "host", "localhost", "a host name or address"),
        port=_integer(values, "port", SECURE_PORT if secure else NATIVE_PORT, 1, 65535),
        user=values["user"].text if "user" in values else "default",
        password=_password(values),
        secure=secure,
        ca_certs=_certificates(ca_certs) if ca_certs is not None and ca_certs.text else None,
        verify=verify,
    )


def _password(values: _Values) -> str:
    password, file = values.get("password"), values.get("password_file")
    if password is not None and file is not None and password.rank == file.rank:
        raise ConfigurationError(f"{file.where}: expected no password beside it, got both")
    if file is not None and (password is None or file.rank > password.rank):
        try:
            return settings_text(_path(file)).rstrip("\r\n")
        except ConfigurationError as error:
            raise ConfigurationError(f"{file.where}: {error}") from error
    return password.text if password is not None else ""


def _certificates(value: _Given) -> str:
    path = _path(value)
    if not path.is_file():
        raise ConfigurationError(
            f"{value.where}: expected a file with certificates, got {value.text!r}"
        )
    return str(path)


def _logging(values: _Values, warnings: list[str]) -> LoggingSettings:
    return LoggingSettings(
        to_file=_lenient_boolean(values, "log_to_file", False, warnings),
        to_syslog=_lenient_boolean(values, "log_to_syslog", False, warnings),
        to_console=_lenient_boolean(values, "log_to_console", True, warnings),
        syslog_ident=values["syslog_ident"].text if "syslog_ident" in values else "altrepodb",
    )


def _sources(values: _Values) -> SourcesSettings:
    texts = {key: value.text for key, value in values.items() if value.text}
    return SourcesSettings(
        acl_url=texts.get("acl_url"),
        beehive_url=texts.get("beehive_url"),
        beehive_branches=_words(texts.get("beehive_branches")),
        beehive_archs=_words(texts.get("beehive_archs")),
        bugzilla_url=texts.get("bugzilla_url"),
        repocop_url=texts.get("repocop_url"),
        watch_url=texts.get("watch_url"),
        spdx_url=texts.get("spdx_url"),
        spdx_branch=texts.get("spdx_branch"),
        spdx_git_root=_path(values["spdx_git_root"]) if "spdx_git_root" in texts else None,
        source_timezone=texts.get("source_timezone"),
        timeout=_seconds(values["timeout"]) if "timeout" in texts else None,
        state_dir=_path(values["state_dir"]) if "state_dir" in texts else None,
    )


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.replace(",", " ").split())


def _seconds(value: _Given) -> float:
    try:
        seconds = float(value.text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86400:
        raise _wrong(value, "seconds above 0, at most 86400")
    return seconds


def _path(value: _Given) -> Path:
    if "\0" in value.text:
        raise _wrong(value, "a path")
    return Path(os.path.expanduser(value.text))


def _required(value: _Given, expected: str) -> str:
    if not value.text or "\0" in value.text:
        raise _wrong(value, expected)
    return value.text


def _required_text(values: _Values, key: str, default: str, expected: str) -> str:
    return _required(values[key], expected) if key in values else default


def _integer(values: _Values, key: str, default: int, low: int, high: int) -> int:
    number = _optional_integer(values, key, low, high)
    return default if number is None else number


def _optional_integer(values: _Values, key: str, low: int, high: int) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    text = value.text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise _wrong(value, f"a whole number from {low} to {high}")
    return int(text)


def _boolean(text: str) -> bool | None:
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _strict_boolean(values: _Values, key: str, default: bool) -> bool:
    """A wrong word must not silently switch protection off, so it is an error here."""
    if key not in values:
        return default
    answer = _boolean(values[key].text)
    if answer is None:
        raise _wrong(values[key], _BOOLEAN_WORDS)
    return answer


def _lenient_boolean(values: _Values, key: str, default: bool, warnings: list[str]) -> bool:
    if key not in values:
        return default
    answer = _boolean(values[key].text)
    if answer is None:
        word = "yes" if default else "no"
        warnings.append(f"{_wrong(values[key], _BOOLEAN_WORDS)}; taken as {word}")
        return default
    return answer


def _wrong(value: _Given, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{value.where}: expected {expected}, got {value.text!r}")
