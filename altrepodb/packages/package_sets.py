"""Package sets: a tree of nodes with packages on some of them, seen as a whole or not at all.

A set is the state of a repository, known by its name and day, or the content of an image, known
by its tag and day. Readers find a set by its root, so the root is written last and alone. Before
any row is written under the identities of a set, these are noted in ``LoadIntents``: what a killed
load left behind can then be found and removed by the next one.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from altrepodb.db.database import Database
from altrepodb.db.mutations import delete_rows, wait_for_deletions
from altrepodb.errors import AltrepodbError, ConfigurationError, DatabaseError, LockHeldError

__all__ = [
    "PackageSet",
    "PackageSetNode",
    "SetIdentity",
    "commit_package_set",
    "find_image_roots",
    "find_midnight",
    "find_repository_roots",
    "settle_interrupted_loads",
]

logger = logging.getLogger(__name__)

_NO_PARENT = UUID(int=0)
_ENDED_STATES = ("Z", "X")
_FOREIGN_INTENT_LIFE_S = 600
_SET_TABLES = ("PackageSetName", "PackageSet", "last_packages_stage1", "StaticLastPackages")
_IMAGE_TABLES = ("PackageSetName", "PackageSet", "ImagePackageSetName")

_MIDNIGHT = """
SELECT toUnixTimestamp(midnight), toString(toDate(midnight))
FROM (SELECT toDateTime(concat({day:String}, ' 00:00:00')) AS midnight)
"""
_REPOSITORY_ROOTS = """
SELECT pkgset_ruuid FROM PackageSetName
WHERE pkgset_depth = 0 AND pkgset_nodename = {name:String}
    AND toDate(pkgset_date) = toDate(toDateTime({date:UInt32}))
    AND has(pkgset_kv.v, 'repository')
"""
# A root without its row in the list of images is half of what one insert writes.
_IMAGE_ROOTS = """
SELECT pkgset_uuid FROM ImagePackageSetName
WHERE img_tag = {tag:String} AND toDate(pkgset_date) = toDate(toDateTime({date:UInt32}))
    AND pkgset_uuid IN (SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_depth = 0)
ORDER BY ts DESC
"""
_ROOT_EXISTS = """
SELECT count() FROM PackageSetName WHERE pkgset_depth = 0 AND pkgset_uuid = {root:UUID}
"""
_TREE_NODES = """
SELECT groupUniqArray(pkgset_uuid) FROM PackageSetName WHERE pkgset_ruuid = {root:UUID}
"""
# Not simply IN an array, which servers learned late. A deletion must do without subqueries: one
# that is taken up while a database starts cannot run them yet.
_ON_NODES = "pkgset_uuid IN (SELECT arrayJoin({nodes:Array(UUID)}))"
_IS_NODE = "has({nodes:Array(UUID)}, pkgset_uuid)"
_STORED_MEMBERS = f"""
SELECT uniqExact(pkg_hash) FROM Packages_buffer
WHERE pkg_hash IN (SELECT pkg_hash FROM PackageSet WHERE {_ON_NODES})
"""
_PENDING_INTENTS = """
SELECT intent_root, intent_nodes, toUnixTimestamp(intent_date), intent_host, intent_process,
    intent_process_start, dateDiff('second', ts, now())
FROM
(
    SELECT intent_root, intent_nodes, intent_date, intent_state, intent_host, intent_process,
        intent_process_start, ts
    FROM LoadIntents
    WHERE intent_name = {name:String}
    ORDER BY ts DESC, intent_state DESC
    LIMIT 1 BY intent_root
)
WHERE intent_state = 'pending'
"""
_FLAT_COPY_COUNT = """
SELECT count() FROM StaticLastPackages
WHERE pkgset_name = {name:String} AND pkgset_date = toDateTime({date:UInt32})
"""
_DISTINCT_MEMBERS = f"SELECT uniqExact(pkg_hash) FROM PackageSet WHERE {_ON_NODES}"
_IS_ANNOUNCED = "SELECT count() FROM last_packages_stage1 WHERE pkgset_ruuid = {root:UUID}"


@dataclass(frozen=True, slots=True)
class SetIdentity:
    """What a set is known by: the name of a repository or the tag of an image, and a time in
    seconds since 1970 UTC whose day counts."""

    name: str
    date: int
    is_image: bool = False


@dataclass(frozen=True, slots=True)
class PackageSetNode:
    """A node: its place, its attributes in stored order, and the packages on it."""

    depth: int
    name: str
    parent: UUID = _NO_PARENT
    attributes: dict[str, str] = field(default_factory=dict)
    packages: frozenset[int] = frozenset()
    uuid: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class PackageSet:
    """A root and the nodes below it. ``date`` is seconds since 1970 UTC."""

    root: PackageSetNode
    nodes: Sequence[PackageSetNode]
    date: int
    tag: str

    @property
    def identity(self) -> SetIdentity:
        is_image = self.root.attributes.get("class") != "repository"
        return SetIdentity(self.tag if is_image else self.root.name, self.date, is_image)

    @property
    def uuids(self) -> list[UUID]:
        return [self.root.uuid, *(node.uuid for node in self.nodes)]


def find_midnight(database: Database, day: str) -> int:
    """When a day (``YYYY-MM-DD``) begins in the server's zone, in seconds since 1970 UTC.

    Raises ConfigurationError for a day outside what the database can store.
    """
    ((midnight, stored_day),) = database.query(_MIDNIGHT, {"day": day})
    if stored_day != day:
        raise ConfigurationError(f"{day}: the database cannot store this day")
    return int(midnight)


def find_repository_roots(database: Database, name: str, date: int) -> list[UUID]:
    """Roots of the repository sets of this name and calendar day (of the server's zone)."""
    rows = database.query(_REPOSITORY_ROOTS, {"name": name, "date": date})
    return [root for (root,) in rows]


def find_image_roots(database: Database, tag: str, date: int) -> list[UUID]:
    """Roots of the images of this tag and calendar day (of the server's zone), newest first."""
    rows = database.query(_IMAGE_ROOTS, {"tag": tag, "date": date})
    return [root for (root,) in rows]


def commit_package_set(
    database: Database,
    package_set: PackageSet,
    replaced: Sequence[UUID] = (),
    *,
    with_unknown: bool = False,
) -> dict[str, int]:
    """Write a set so that readers see all of it at once; its packages are stored already.

    Sets whose roots are ``replaced`` are removed: of a repository just before the new root is
    written, since its flat copy holds one state of a day; of an image once the new root stands.
    Returns the number of rows by table. Raises DatabaseError when packages of the set are missing
    in the database, unless ``with_unknown``. Whatever goes wrong, a set without its root is
    removed, and one whose root was written is completed; if the database does not let us, the
    next load of the name does it.
    """
    identity = package_set.identity
    before, after = ((), replaced) if identity.is_image else (replaced, ())
    _note(database, identity, package_set.root.uuid, package_set.uuids, "pending")
    try:
        members = _insert_members(database, package_set)
        nodes = _insert_nodes(database, package_set, package_set.nodes)
        if not with_unknown:
            _check_members_stored(database, package_set)
        _remove_replaced(database, identity, before)
        roots = _insert_nodes(database, package_set, [package_set.root])
        _remove_replaced(database, identity, after)
    except BaseException:
        _settle_failure(database, identity, package_set)
        raise
    _note(database, identity, package_set.root.uuid, package_set.uuids, "done")
    return {"PackageSet": members, "PackageSetName": nodes + roots}


def settle_interrupted_loads(
    database: Database, name: str, date: int, *, is_image: bool = False
) -> bool:
    """Finish or undo what killed loads of sets of this name left behind, on whatever day.

    For images the name is their tag. Returns whether the set of this date was found standing,
    with its flat copy, or the removal of the image that it replaces, completed only now. Raises
    LockHeldError when another process is loading the set of this date.
    """
    completed = False
    rows = database.query(_PENDING_INTENTS, {"name": name})
    for root, nodes, day, host, process, process_start, age_s in rows:
        if not _is_alive(host, process, process_start, age_s):
            is_completed = _settle(database, SetIdentity(name, day, is_image), root, nodes)
            completed = completed or (is_completed and day == date)
        elif day == date:
            raise LockHeldError(f"{name}: is being loaded by process {process} on {host}")
    return completed


def _settle(database: Database, identity: SetIdentity, root: UUID, nodes: Sequence[UUID]) -> bool:
    """Complete a set whose root stands, remove what there is of one without.

    Returns whether there was something to complete.
    """
    for table in _IMAGE_TABLES if identity.is_image else _SET_TABLES:
        wait_for_deletions(database, table)
    if not _stands(database, identity, root):
        logger.info("%s: removing what an interrupted load left under %s", identity.name, root)
        _withdraw(database, identity, root, nodes)
        return False
    if identity.is_image:
        completed = _complete_replacement(database, identity)
    else:
        completed = _complete_flat_copy(database, identity, root, nodes)
    _note(database, identity, root, nodes, "done")
    return completed


def _stands(database: Database, identity: SetIdentity, root: UUID) -> bool:
    if identity.is_image:
        return root in find_image_roots(database, identity.name, identity.date)
    return database.query(_ROOT_EXISTS, {"root": root}) != [(0,)]


def _settle_failure(database: Database, identity: SetIdentity, package_set: PackageSet) -> None:
    """Settle our own set after an error, which is worth more than a further one from here."""
    try:
        _settle(database, identity, package_set.root.uuid, package_set.uuids)
    except AltrepodbError as error:
        logger.warning("%s: left to be cleaned up by the next load: %s", identity.name, error)


def _insert_members(database: Database, package_set: PackageSet) -> int:
    pairs = [(n.uuid, pkg_hash) for n in package_set.nodes for pkg_hash in sorted(n.packages)]
    uuids, hashes = zip(*pairs, strict=True) if pairs else ((), ())
    return database.insert("PackageSet", {"pkgset_uuid": uuids, "pkg_hash": hashes})


def _insert_nodes(
    database: Database, package_set: PackageSet, nodes: Sequence[PackageSetNode]
) -> int:
    """Write nodes in one block, which readers see as a whole."""
    count = len(nodes)
    return database.insert(
        "PackageSetName",
        {
            "pkgset_uuid": [node.uuid for node in nodes],
            "pkgset_puuid": [node.parent for node in nodes],
            "pkgset_ruuid": [package_set.root.uuid] * count,
            "pkgset_depth": [node.depth for node in nodes],
            "pkgset_nodename": [node.name for node in nodes],
            "pkgset_date": [package_set.date] * count,
            "pkgset_tag": [package_set.tag] * count,
            "pkgset_complete": [1] * count,
            "pkgset_kv.k": [list(node.attributes) for node in nodes],
            "pkgset_kv.v": [list(node.attributes.values()) for node in nodes],
        },
    )


def _check_members_stored(database: Database, package_set: PackageSet) -> None:
    expected = len(frozenset().union(*(node.packages for node in package_set.nodes)))
    nodes = [node.uuid for node in package_set.nodes]
    ((stored,),) = database.query(_STORED_MEMBERS, {"nodes": nodes})
    if stored != expected:
        raise DatabaseError(
            f"Packages: {stored} of {expected} packages of {package_set.root.name} are stored"
        )


def _remove_replaced(database: Database, identity: SetIdentity, roots: Sequence[UUID]) -> None:
    """Remove other sets of the same name and day."""
    for root in roots:
        ((nodes,),) = database.query(_TREE_NODES, {"root": root})
        logger.info("%s: replacing the set under root %s", identity.name, root)
        _note(database, identity, root, nodes, "pending")
        _withdraw(database, identity, root, nodes)


def _complete_replacement(database: Database, identity: SetIdentity) -> bool:
    """Remove what the newest image of a tag and day replaces; whether there was anything."""
    _, *replaced = find_image_roots(database, identity.name, identity.date)
    _remove_replaced(database, identity, replaced)
    return bool(replaced)


def _withdraw(database: Database, identity: SetIdentity, root: UUID, nodes: Sequence[UUID]) -> None:
    """Remove all rows under the identities of a set; its root goes first, so that readers,
    who find a set by that, do not see it in parts."""
    parameters = {"root": root, "nodes": list(nodes)}
    if identity.is_image:
        delete_rows(database, "ImagePackageSetName", "pkgset_uuid = {root:UUID}", {"root": root})
    delete_rows(database, "PackageSetName", "pkgset_uuid = {root:UUID}", {"root": root})
    delete_rows(
        database, "PackageSetName", f"pkgset_ruuid = {{root:UUID}} OR {_IS_NODE}", parameters
    )
    delete_rows(database, "PackageSet", _IS_NODE, {"nodes": list(nodes)})
    if not identity.is_image:
        _withdraw_flat_copy(database, identity, root)
    _note(database, identity, root, nodes, "withdrawn")


def _withdraw_flat_copy(database: Database, identity: SetIdentity, root: UUID) -> None:
    delete_rows(database, "last_packages_stage1", "pkgset_ruuid = {root:UUID}", {"root": root})
    if not find_repository_roots(database, identity.name, identity.date):
        _remove_flat_copy(database, identity.name, identity.date)


def _remove_flat_copy(database: Database, name: str, date: int) -> None:
    delete_rows(
        database,
        "StaticLastPackages",
        "pkgset_name = {name:String} AND pkgset_date = toDateTime({date:UInt32})",
        {"name": name, "date": date},
    )


def _complete_flat_copy(
    database: Database, identity: SetIdentity, root: UUID, nodes: Sequence[UUID]
) -> bool:
    """Bring StaticLastPackages to what the root's insert would have copied."""
    name, date = identity.name, identity.date
    members = database.query(_DISTINCT_MEMBERS, {"nodes": list(nodes)})
    copied = database.query(_FLAT_COPY_COUNT, {"name": name, "date": date})
    if copied == members and database.query(_IS_ANNOUNCED, {"root": root}) == [(1,)]:
        return False
    logger.info("%s: completing the copy of its packages after an interrupted load", name)
    _remove_flat_copy(database, name, date)
    delete_rows(database, "last_packages_stage1", "pkgset_ruuid = {root:UUID}", {"root": root})
    # A view copies the packages of the roots that come here.
    database.insert(
        "last_packages_stage1",
        {"pkgset_ruuid": [root], "pkgset_name": [name], "pkgset_date": [date]},
    )
    return True


def _note(
    database: Database, identity: SetIdentity, root: UUID, nodes: Sequence[UUID], state: str
) -> None:
    """Write into the journal of loads what is about to happen, or has happened, to a set."""
    process = os.getpid()
    columns: dict[str, list[Any]] = {
        "intent_root": [root],
        "intent_nodes": [list(nodes)],
        "intent_name": [identity.name],
        "intent_date": [identity.date],
        "intent_state": [state],
        "intent_host": [socket.gethostname()],
        "intent_process": [process],
        "intent_process_start": [_process_start(process)],
    }
    database.insert("LoadIntents", columns)


def _process_start(process: int) -> int:
    """When a process was started, in ticks since boot; 0 when it has ended (proc(5))."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    state, *numbers = status.rpartition(")")[2].split()
    return 0 if state in _ENDED_STATES else int(numbers[18])


def _is_alive(host: str, process: int, process_start: int, age_s: int) -> bool:
    """Whether a load may still be at work; of another host we only know how long ago it wrote."""
    if host != socket.gethostname():
        return age_s < _FOREIGN_INTENT_LIFE_S
    if process == os.getpid():
        return False
    return process_start != 0 and _process_start(process) == process_start
