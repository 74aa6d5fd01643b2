"""A ClickHouse server over its native protocol (``clickhouse-driver``)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

from altrepodb.db.database import Columns, Parameters, Row
from altrepodb.db.parameters import bind_literals, quoted_identifier, text_bytes
from altrepodb.db.types import ColumnType, parse_type
from altrepodb.errors import DatabaseError, DatabaseUnavailableError

if TYPE_CHECKING:
    from clickhouse_driver import Client

    from altrepodb.config import DatabaseSettings

__all__ = ["ServerDatabase", "open_server"]

# What the driver logs with a traceback it also raises.
logging.getLogger("clickhouse_driver").addHandler(logging.NullHandler())

_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_S = 3600
_MAX_BLOCK_ROWS = 4_000_000
_SETTINGS = {
    "strings_as_bytes": True,
    "insert_block_size": _MAX_BLOCK_ROWS,
    # Times come in our own zone, and back from there, whatever the server's zone is.
    "use_client_time_zone": True,
}
_STACK_TRACE = re.compile(r"\.?\s*Stack trace:.*", re.DOTALL)
_LOST_CONNECTION_CODES = frozenset({3, 32, 101, 102, 209, 210})
"""Client-side codes of clickhouse-driver: unexpected end, unknown packet, network, timeout."""
_BUSY_SERVER_CODES = frozenset({159, 202, 236, 252, 394})
"""The server's own codes: too slow, too many queries, shutting down, too many parts, cancelled."""


def _words(error: BaseException) -> str:
    text = _STACK_TRACE.sub("", str(getattr(error, "message", "") or error))
    return " ".join(text.removeprefix("DB::Exception: ").split())[:600]


class ServerDatabase:
    """A ``Database`` over one connection; see ``db.database`` for the contract."""

    def __init__(self, client: Client, settings: DatabaseSettings) -> None:
        self._client = client
        self._settings = settings
        self._address = f"{settings.host}:{settings.port}"
        self._types: dict[str, dict[str, ColumnType]] = {}
        self.name = settings.dbname
        self.key = settings.key
        self.is_new = False

    @property
    def version(self) -> tuple[int, ...]:
        ((text,),) = self.query("SELECT version()")
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    @contextmanager
    def _errors(self, subject: str) -> Iterator[None]:
        """Turn the driver's exceptions into ours. A connection that saw one is not used again."""
        from clickhouse_driver import errors

        try:
            yield
        except BaseException as error:
            self._client.disconnect()
            is_servers = isinstance(error, errors.ServerException)
            temporary = _BUSY_SERVER_CODES if is_servers else _LOST_CONNECTION_CODES
            if isinstance(error, OSError | EOFError) or getattr(error, "code", None) in temporary:
                raise DatabaseUnavailableError(f"{self._address}: {_words(error)}") from error
            if isinstance(error, errors.Error):
                raise DatabaseError(f"{subject}: {_words(error)}") from error
            raise

    def connect(self) -> None:
        """Connect, so that a server that cannot be used is found out early."""
        self._send(self._address, "SELECT 1")

    def _send(self, subject: str, *arguments: Any, **options: Any) -> Any:
        """Have the driver run a statement, on a connection that still is the one it was.

        The driver would replace a lost connection in silence, and temporary tables with it.
        """
        connection = self._client.connection
        with self._errors(subject):
            if connection.connected and not connection.ping():
                raise EOFError("the connection was lost")
            return self._client.execute(*arguments, **options)

    def _run(self, statement: str, parameters: Parameters | None) -> tuple[Any, Any]:
        bound = bind_literals(statement, parameters or {})
        subject = " ".join(statement.split())[:60]
        answer = self._send(subject, bound, with_column_types=True)
        return answer if isinstance(answer, tuple) else ([], [])

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        self._run(statement, parameters)

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        rows, described = self._run(statement, parameters)
        types = [parse_type(type_name) for _, type_name in described]
        return [
            tuple(_read_value(value, type_) for value, type_ in zip(row, types, strict=True))
            for row in rows
        ]

    def insert(self, table: str, columns: Columns) -> int:
        rows = len(next(iter(columns.values()), ()))
        if not rows:
            return 0
        types = self._column_types(table)
        values = [_write_column(values, types[name]) for name, values in columns.items()]
        names = ", ".join(f"`{name}`" for name in columns)
        statement = f"INSERT INTO {quoted_identifier(table)} ({names}) VALUES"
        self._send(f"INSERT INTO {table}", statement, values, columnar=True)
        return rows

    def _column_types(self, table: str) -> dict[str, ColumnType]:
        if table not in self._types:
            described = self.query(f"DESCRIBE TABLE {quoted_identifier(table)}")
            self._types[table] = {row[0]: parse_type(row[1]) for row in described}
        return self._types[table]

    @contextmanager
    def temporary_table(self, name: str, structure: Mapping[str, str]) -> Iterator[str]:
        columns = ", ".join(f"`{column}` {type_}" for column, type_ in structure.items())
        quoted = quoted_identifier(name)
        self.execute(f"CREATE TEMPORARY TABLE {quoted} ({columns}) ENGINE = Memory")
        self._types.pop(name, None)
        try:
            yield name
        finally:
            self._drop_temporary_table(quoted)

    def _drop_temporary_table(self, quoted: str) -> None:
        """The server drops the table itself with a connection that was lost."""
        if self._client.connection.connected:
            self.execute(f"DROP TABLE IF EXISTS {quoted}")

    def second_connection(self) -> AbstractContextManager[ServerDatabase]:
        return open_server(self._settings)

    def close(self) -> None:
        self._client.disconnect()


def _read_value(value: Any, column_type: ColumnType) -> Any:
    """The driver's value in the form that ``db.database`` promises."""
    match column_type.name:
        case "String":
            return value.decode("utf-8", "surrogateescape")
        case "Array":
            return [_read_value(item, column_type.nested[0]) for item in value]
        case "LowCardinality" | "Nullable":
            return None if value is None else _read_value(value, column_type.nested[0])
        case "Tuple":
            return tuple(map(_read_value, value, column_type.nested))
        case "Map":
            key, item = column_type.nested
            return {_read_value(k, key): _read_value(v, item) for k, v in value.items()}
        case "DateTime" | "DateTime64":
            return int(value.timestamp())
        case "Date" | "Date32" if isinstance(value, date):
            return (value - date(1970, 1, 1)).days
        case name if name.startswith("Enum") and isinstance(value, bytes):
            return value.decode()
        case _:
            return value


def _write_column(values: Sequence[Any], column_type: ColumnType) -> Sequence[Any]:
    """Values as the driver wants them: every String as bytes."""
    match column_type.name:
        case "String":
            return [value if type(value) is bytes else text_bytes(value) for value in values]
        case "Array" if column_type.nested[0].name in ("String", "LowCardinality", "Array"):
            return [_write_column(items, column_type.nested[0]) for items in values]
        case "Array":
            return [list(items) for items in values]
        case "LowCardinality":
            return _write_column(values, column_type.nested[0])
        case "FixedString":
            width = int(column_type.arguments)
            return [value.ljust(width, b"\0") for value in values]
        case _:
            return values


@contextmanager
def open_server(settings: DatabaseSettings) -> Iterator[ServerDatabase]:
    """Connect to the server that the settings name.

    Raises DatabaseUnavailableError when it cannot be reached, DatabaseError when it refuses
    the user or the database.
    """
    from clickhouse_driver import Client

    client = Client(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.dbname,
        client_name="altrepodb",
        secure=settings.secure,
        verify=settings.verify,
        ca_certs=settings.ca_certs,
        connect_timeout=_CONNECT_TIMEOUT_S,
        send_receive_timeout=_STATEMENT_TIMEOUT_S,
        settings=_SETTINGS,
    )
    database = ServerDatabase(client, settings)
    try:
        database.connect()
        yield database
    finally:
        client.disconnect()
