"""What a service is: which messages it takes, and which loader it calls for them.

A service is a value of ``ServiceType``. It never sees the broker: ``accept`` runs in the process
that owns the connection and must be quick; ``load`` runs in a worker process and may take hours.
What either raises says what becomes of the message, and the runner alone obeys:

    returns, AlreadyLoadedError     done: publish if wanted, acknowledge
    accept returns None             ignored: acknowledge
    Drop                            malformed: give up, with a notice
    TemporaryError and its family   keep the message, try again until it works
    any other AltrepodbError        failed: retry or give up, as the service's file says
    anything else                   a defect: as failed, with the traceback in the log
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from altrepodb.errors import AltrepodbError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from altrepodb.db.database import Database

__all__ = ["Drop", "Message", "ServiceType", "Work"]


class Drop(AltrepodbError):
    """A message that no retry can make good: malformed, or not meant for us."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose body was found to be a JSON object of sound size and depth.

    ``received`` is when it came here first, in seconds since 1970 UTC; ``redelivered`` is the
    broker's flag.
    """

    routing_key: str
    body: Mapping[str, Any]
    redelivered: bool
    received: float


@dataclass(frozen=True, slots=True)
class Work:
    """One call of a loader; it travels to a worker by pickle.

    ``subject`` is for people: a task number, a branch and date. Two works of one service with the
    same ``exclusive`` key are never at work at once. Waiting works with the same ``merged`` key,
    unless that is None, are done by one call and settled together; the newest one is called.
    ``published`` holds what is added to the body of the event that ``publish_on_done`` sends;
    None is for works that nobody is told of.
    """

    subject: str
    arguments: Any = None
    exclusive: Hashable = None
    merged: Hashable = None
    published: Mapping[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceType:
    """A kind of service, known by its name in configuration files and process titles.

    ``read_settings`` makes the service's own settings of its keys in the file; it raises
    ConfigurationError that names all that is wrong. ``keys`` are those keys. ``load`` returns
    the loader's summary, whose ``exit_code`` and ``error``, where it has them, report work done
    in part: 75 counts as temporary, anything else as failed. All of it is pickled for the process
    of the service.
    """

    name: str
    keys: frozenset[str]
    read_settings: Callable[[Mapping[str, Any]], Any]
    accept: Callable[[Message, Any], Work | None]
    load: Callable[[Work, Any, Database], DataclassInstance | None]
    default_max_redeliver_count: int = 0
