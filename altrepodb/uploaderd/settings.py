"""Settings of the daemon: ``config.json`` and the service files that it names.

    config.json          services notifier service_timeout drain_timeout log metrics
    services.d/*.json    the keys of ``ServiceSettings``, ``database``, ``amqp``, and those of
                         the service's own type

A key at the top of a file that nothing reads is a warning, since files of older versions must
work; inside ``database``, ``amqp`` and the other sections it is an error. All problems of all
files are reported at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altrepodb import __version__
from altrepodb.config import DatabaseSettings, read_database
from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd.json_settings import JsonObject, Problems, read_object
from altrepodb.uploaderd.service_type import ServiceType

__all__ = [
    "AmqpSettings",
    "Binding",
    "DaemonSettings",
    "LogSettings",
    "NotifierSettings",
    "QueueSettings",
    "ServiceSettings",
    "read_amqp",
    "read_daemon_settings",
    "read_service_settings",
]

DEFAULT_PRODUCT = "ALTRepoDB uploaderd"
RETRY_SLOTS = 4
"""Messages that a service may hold beyond those at work, while they wait for another try."""

_DAY_S = 86_400.0
_MAX_PREFETCH = 65_535
_MAX_WORKERS = 64
_QUEUE_TYPES = ("classic", "quorum")
_RETRY_DELAYS_S = (30.0, 120.0, 600.0)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_DEFAULT_LOG_FILE = Path("/var/log/altrepodb/altrepodb.log")
_BATCH_SIZE = "amqp_batch_size"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a queue is bound to."""

    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The queue that a service declares and consumes; ``type`` is ``classic`` or ``quorum``."""

    name: str
    type: str = "classic"
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    bind_at_startup: tuple[Binding, ...] = ()
    unbind_at_startup: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """How to reach the broker, and what to do there. Times are in seconds."""

    host: str = "localhost"
    port: int = 5672
    vhost: str = "/"
    queue: QueueSettings | None = None
    exchange: str = "amq.topic"
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    cacert: str = ""
    key: str = ""
    cert: str = ""
    prefetch_count: int | None = None
    product: str = DEFAULT_PRODUCT
    information: str = ""
    version: str = __version__
    heartbeat: int = 60
    connection_timeout: float = 10.0
    blocked_timeout: float = 300.0
    server_hostname: str = ""
    connection_name: str = ""

    def describe(self) -> str:
        """One phrase for the log, without the password."""
        tls = ", TLS" if self.cacert else ""
        return f"broker {self.host}:{self.port}, vhost {self.vhost}, user {self.username}{tls}"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service: its kind, its file, its broker, its database. Times are in seconds."""

    type: ServiceType
    file: Path
    database: DatabaseSettings
    amqp: AmqpSettings
    own: Any = None
    """What the type's ``read_settings`` made of its own keys."""
    workers_count: int = 1
    batch_size: int = 1
    publish_on_done: bool = False
    requeue_on_reject: bool = False
    max_redeliver_count: int = 0
    retry_delays: tuple[float, ...] = _RETRY_DELAYS_S
    max_crash_count: int = 5
    load_timeout: float = 0.0
    """0 means none."""
    drain_timeout: float = 300.0
    dead_letter_exchange: str = ""
    retry_queue: bool = False

    @property
    def name(self) -> str:
        """The name of the service's kind."""
        return self.type.name

    @property
    def queue(self) -> QueueSettings:
        """The queue that it consumes."""
        assert self.amqp.queue is not None
        return self.amqp.queue

    @property
    def prefetch_count(self) -> int:
        """How many messages the broker may leave unacknowledged here."""
        if self.amqp.prefetch_count is not None:
            return max(1, self.amqp.prefetch_count)
        return max(self.workers_count, self.batch_size) + RETRY_SLOTS


@dataclass(frozen=True, slots=True)
class NotifierSettings:
    """Where notices go; ``announce`` also tells of the daemon's start."""

    amqp: AmqpSettings
    announce: bool = False


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Where the daemon's log goes; ``file`` is None for no file."""

    file: Path | None = _DEFAULT_LOG_FILE
    to_syslog: bool = True
    level: str = "INFO"


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """All settings of the daemon, and what to say about them once there is a log."""

    services: tuple[ServiceSettings, ...]
    notifier: NotifierSettings | None = None
    service_timeout: float = 60.0
    drain_timeout: float = 300.0
    log: LogSettings = field(default_factory=LogSettings)
    metrics_listen: tuple[str, int] | None = None
    """Host and port."""
    warnings: tuple[str, ...] = ()


def read_daemon_settings(
    config: Path, service_dir: Path, types: Mapping[str, ServiceType]
) -> DaemonSettings:
    """Read ``config.json`` and every service file that it names.

    Raises ConfigurationProblems with all that is wrong in all of them.
    """
    problems = Problems()
    try:
        top = read_object(config, problems)
    except ConfigurationError as error:
        problems.add(error)
        problems.raise_if_any()
        raise
    drain_timeout = top.number("drain_timeout", 300.0, low=0, high=_DAY_S)
    services = _services(top, service_dir, types, drain_timeout)
    notifier = _notifier(top.section("notifier")) if top.has("notifier") else None
    service_timeout = top.number("service_timeout", 60.0, low=1, high=_DAY_S)
    log = _log(top.section("log"))
    metrics_listen = _metrics(top.section("metrics"))
    top.warn_about_unknown()
    problems.raise_if_any()
    return DaemonSettings(
        services=services,
        notifier=notifier,
        service_timeout=service_timeout,
        drain_timeout=drain_timeout,
        log=log,
        metrics_listen=metrics_listen,
        warnings=tuple(problems.warnings),
    )


def read_service_settings(
    path: Path, kind: ServiceType, problems: Problems, drain_timeout: float = 300.0
) -> ServiceSettings | None:
    """Read one service file; note what is wrong and return None when something is."""
    before = len(problems.errors)
    try:
        top = read_object(path, problems)
    except ConfigurationError as error:
        problems.add(error)
        return None
    settings = _service(top, path, kind, drain_timeout)
    return settings if len(problems.errors) == before else None


def read_amqp(section: JsonObject, *, has_queue: bool) -> AmqpSettings:
    """The settings of an ``amqp`` section; what is wrong is noted in its problems."""
    defaults = AmqpSettings()
    settings = AmqpSettings(
        host=section.text("host", defaults.host, may_be_empty=False),
        port=section.integer("port", defaults.port, low=1, high=65_535),
        vhost=section.text("vhost", defaults.vhost, may_be_empty=False),
        queue=_queue(section.section("queue", is_required=True)) if has_queue else None,
        exchange=section.text("exchange", defaults.exchange, may_be_empty=False),
        username=section.text("username", defaults.username, may_be_empty=False),
        password=section.text("password", defaults.password),
        cacert=_certificate(section, "cacert"),
        key=_certificate(section, "key"),
        cert=_certificate(section, "cert"),
        prefetch_count=_optional_prefetch(section),
        product=section.text("product", defaults.product),
        information=section.text("information", defaults.information),
        version=section.text("version", defaults.version),
        heartbeat=section.integer("heartbeat", defaults.heartbeat, low=0, high=3600),
        connection_timeout=section.number(
            "connection_timeout", defaults.connection_timeout, low=0.1, high=600
        ),
        blocked_timeout=section.number(
            "blocked_timeout", defaults.blocked_timeout, low=0.1, high=_DAY_S
        ),
        server_hostname=section.text("server_hostname"),
        connection_name=section.text("connection_name"),
    )
    _check_certificates(section, settings)
    section.refuse_unknown()
    return settings


# --- config.json


def _services(
    top: JsonObject, service_dir: Path, types: Mapping[str, ServiceType], drain_timeout: float
) -> tuple[ServiceSettings, ...]:
    found = []
    entries = top.sections("services", is_required=True)
    if top.values.get("services") == []:
        top.complain("services", "at least one service")
    for entry in entries:
        name = entry.text("name", is_required=True, choices=sorted(types))
        file = entry.text("config", is_required=True, may_be_empty=False)
        entry.refuse_unknown()
        if name in types and file:
            path = service_dir / Path(file).expanduser()
            found.append(read_service_settings(path, types[name], top.problems, drain_timeout))
    return tuple(service for service in found if service is not None)


def _notifier(section: JsonObject) -> NotifierSettings:
    settings = NotifierSettings(
        amqp=read_amqp(section.section("amqp"), has_queue=False),
        announce=section.boolean("announce", False),
    )
    section.refuse_unknown()
    return settings


def _log(section: JsonObject) -> LogSettings:
    defaults = LogSettings()
    has_no_file = section.has("file") and section.values["file"] is False
    settings = LogSettings(
        file=None if has_no_file else section.path("file", _DEFAULT_LOG_FILE),
        to_syslog=section.boolean("syslog", defaults.to_syslog),
        level=section.text("level", defaults.level, choices=_LEVELS),
    )
    section.refuse_unknown()
    return settings


def _metrics(section: JsonObject) -> tuple[str, int] | None:
    listen = section.text("listen")
    section.refuse_unknown()
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not _is_loopback(host) or not port.isdecimal() or not 0 < int(port) < 65_536:
        section.complain("listen", "an address of the loopback interface and a port")
        return None
    return host, int(port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- a service file


def _service(
    top: JsonObject, path: Path, kind: ServiceType, drain_timeout: float
) -> ServiceSettings:
    _check_idle_sleep(top)
    own_keys = kind.keys | {_BATCH_SIZE}
    dead_letter = top.section("dead_letter")
    settings = ServiceSettings(
        type=kind,
        file=path,
        database=_database(top.section("database", is_required=True)),
        amqp=_service_amqp(top, kind),
        own=_own_settings(top, kind),
        workers_count=top.integer("workers_count", 1, low=1, high=_MAX_WORKERS),
        batch_size=_batch_size(top, kind),
        publish_on_done=top.boolean("publish_on_done", False),
        requeue_on_reject=top.boolean("requeue_on_reject", False),
        max_redeliver_count=top.integer(
            "max_redeliver_count", kind.default_max_redeliver_count, low=0, high=1_000_000
        ),
        retry_delays=top.numbers("retry_delays", _RETRY_DELAYS_S, low=0, high=7 * _DAY_S),
        max_crash_count=top.integer("max_crash_count", 5, low=0, high=1_000_000),
        load_timeout=top.number("load_timeout", 0.0, low=0, high=30 * _DAY_S),
        drain_timeout=top.number("drain_timeout", drain_timeout, low=0, high=_DAY_S),
        dead_letter_exchange=dead_letter.text("exchange", may_be_empty=False),
        retry_queue=top.boolean("retry_queue", False),
    )
    dead_letter.refuse_unknown()
    top.warn_about_unknown(own_keys)
    return settings


def _service_amqp(top: JsonObject, kind: ServiceType) -> AmqpSettings:
    """With words for the broker that name the service, unless the file has others."""
    settings = read_amqp(top.section("amqp", is_required=True), has_queue=True)
    words = settings.information or f"{DEFAULT_PRODUCT} service: {kind.name}"
    return replace(settings, information=words)


def _own_settings(top: JsonObject, kind: ServiceType) -> Any:
    values = {key: top.values[key] for key in kind.keys if key in top.values}
    try:
        return kind.read_settings(values)
    except ConfigurationError as error:
        top.problems.add(error, f"{top.where}: ")
        return None


def _check_idle_sleep(top: JsonObject) -> None:
    """Nothing sleeps any more, but a wrong value is still worth a word."""
    key = "idle_loop_sleep"
    value = top.values.get(key, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        top.has(key)
        top.problems.warnings.append(f"{top.where}: {key}: expected a number, 1.0 is used")
        return
    top.number(key, 1.0, low=0.1, high=10)


def _batch_size(top: JsonObject, kind: ServiceType) -> int:
    """Only some kinds receive in batches; for the others the key is unknown."""
    if _BATCH_SIZE not in kind.keys:
        return 1
    return top.integer(_BATCH_SIZE, 1, low=1, high=100)


def _database(section: JsonObject) -> DatabaseSettings:
    try:
        return read_database(_words(section.values), section.where)
    except ConfigurationError as error:
        section.problems.add(error)
        return DatabaseSettings()


def _words(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's booleans as the words that INI files have."""
    words = {True: "yes", False: "no"}
    return {k: words[v] if isinstance(v, bool) else v for k, v in values.items()}


def _queue(section: JsonObject) -> QueueSettings:
    defaults = QueueSettings("")
    settings = QueueSettings(
        name=section.text("name", is_required=True, may_be_empty=False),
        type=section.text("type", defaults.type, choices=_QUEUE_TYPES),
        durable=section.boolean("durable", defaults.durable),
        exclusive=section.boolean("exclusive", defaults.exclusive),
        auto_delete=section.boolean("auto_delete", defaults.auto_delete),
        bind_at_startup=_bindings(section, "bind_at_startup"),
        unbind_at_startup=_bindings(section, "unbind_at_startup"),
    )
    section.refuse_unknown()
    return settings


def _bindings(section: JsonObject, key: str) -> tuple[Binding, ...]:
    found = []
    for entry in section.sections(key):
        found.append(
            Binding(
                exchange=entry.text("exchange", is_required=True, may_be_empty=False),
                routing_key=entry.text("routing_key", is_required=True),
            )
        )
        entry.refuse_unknown()
    return tuple(found)


def _optional_prefetch(section: JsonObject) -> int | None:
    if not section.has("prefetch_count"):
        return None
    return section.integer("prefetch_count", 1, low=0, high=_MAX_PREFETCH)


def _certificate(section: JsonObject, key: str) -> str:
    """A file with a certificate or key, which must be there; empty means none."""
    name = section.text(key)
    if name and not Path(name).is_file():
        section.complain(key, "a file that exists")
    return name


def _check_certificates(section: JsonObject, settings: AmqpSettings) -> None:
    """A client's certificate that nobody would ever see is a mistake."""
    for key, other in (("key", "cert"), ("cert", "key")):
        if getattr(settings, key) and not getattr(settings, other):
            section.complain(key, f"{other} beside it")
        elif getattr(settings, key) and not settings.cacert:
            section.complain(key, "cacert beside it")
