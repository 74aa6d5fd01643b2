"""Loading repositories: rows as described, refusals, faults at every step, and what follows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from altrepodb.db.database import Columns, Database, Parameters, Row
from altrepodb.db.mutations import delete_rows
from altrepodb.db.parameters import bind_literals
from altrepodb.errors import (
    AlreadyLoadedError,
    AltrepodbError,
    DatabaseError,
    LockHeldError,
    SourceError,
)
from altrepodb.packages.package_sets import (
    PackageSet,
    PackageSetNode,
    commit_package_set,
    settle_interrupted_loads,
)
from tests.support import damage, expected_rows
from tests.support.loading import (
    DAY,
    MIDNIGHT,
    FailingDatabase,
    Fault,
    Loader,
    WrappedDatabase,
    differences,
    faults_of_visible_sets,
    open_loader,
    stored_rows,
)
from tests.support.placing import place_binary, place_source
from tests.support.repository import (
    ComposedPackage,
    ComposedRepository,
    RepositoryPlan,
    compose_repository,
    evolve_repository,
)
from tests.support.rpm_package import RpmPackage

NAME = "sisyphus"
NEXT_DAY = "2022-08-19"
ODD_PLAN = RepositoryPlan(
    sources=40, binaries=120, files=3000, dependencies=1200, odd_share=0.6, seed=7
)
SMALL_PLAN = RepositoryPlan(sources=3, binaries=8, files=40, dependencies=30, seed=11)
EMPTY_PLAN = RepositoryPlan(0, 0, 0, 0, components=("classic",))
SET_STATEMENTS = 5
"""Intent, members, nodes, root, and the intent's end."""
SET_TABLES = ("PackageSetName", "PackageSet", "StaticLastPackages", "last_packages_stage1")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    return compose_repository(tmp_path_factory.mktemp("odd") / "odd", ODD_PLAN)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    return compose_repository(tmp_path_factory.mktemp("small") / "small", SMALL_PLAN)


@pytest.fixture(scope="module")
def shared(schema_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    with open_loader(schema_template, tmp_path_factory.mktemp("loads") / "database") as opened:
        yield opened


@pytest.fixture
def loader(shared: Loader) -> Loader:
    """The one loader of the module, its database emptied."""
    clear(shared.database)
    return shared


def clear(database: Database) -> None:
    tables = database.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND engine LIKE '%MergeTree' AND total_rows > 0 AND name != 'SchemaMigrations'"
    )
    for (table,) in tables:
        database.execute(f"TRUNCATE TABLE {table}")


@pytest.fixture(scope="module")
def clean_rows(shared: Loader, small: ComposedRepository) -> dict[str, list[str]]:
    """What one clean load of the small repository leaves."""
    clear(shared.database)
    shared.load(small.root, NAME)
    return stored_rows(shared.database)


def count(database: Database, table: str, condition: str = "1", **parameters: Any) -> int:
    ((number,),) = database.query(f"SELECT count() FROM {table} WHERE {condition}", parameters)
    return int(number)


def roots(database: Database, name: str = NAME) -> list[UUID]:
    rows = database.query(
        "SELECT pkgset_uuid FROM PackageSetName WHERE pkgset_depth = 0"
        " AND pkgset_nodename = {name:String}",
        {"name": name},
    )
    return [root for (root,) in rows]


def visible_faults(database: Database, repository: ComposedRepository) -> list[str]:
    plan = repository.plan
    nodes = 2 + len(plan.architectures) + sum(map(len, repository.components.values()))
    hashes = {item.pkg_hash for item in repository.packages}
    return faults_of_visible_sets(database, NAME, nodes, hashes)


# Rows


class StoredRepository:
    """A composed repository and the rows of all tables after it was loaded."""

    def __init__(self, repository: ComposedRepository, database: Database) -> None:
        self.packages: list[ComposedPackage] = repository.packages
        self.repository = repository
        self.tables = {
            table: database.query(f"SELECT {columns} FROM {table} FINAL")
            for table, columns in {
                "Packages": ", ".join(expected_rows.PACKAGE_COLUMNS),
                "Packages AS links": "pkg_hash, pkg_srcrpm_hash",
                "Packages AS changelogs": "pkg_hash, `pkg_changelog.date`, `pkg_changelog.name`,"
                " `pkg_changelog.evr`, `pkg_changelog.hash`",
                "Files": "*",
                "FileNames": "fn_name, fn_hash",
                "Depends": "*",
                "Changelog": "*",
                "Specfiles": "*",
                "PackageHash": "*",
            }.items()
        }


@pytest.fixture(scope="module")
def stored(odd: ComposedRepository, shared: Loader) -> StoredRepository:
    clear(shared.database)
    summary = shared.load(odd.root, verify=True)
    assert summary.missing_sources == 0
    return StoredRepository(odd, shared.database)


def assert_same(found: list[Row], expected: list[Any]) -> None:
    """The same rows, each of them once."""
    assert len(found) == len(set(map(repr, found)))
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_package_rows(stored: StoredRepository) -> None:
    assert_same(stored.tables["Packages"], list(map(expected_rows.package_row, stored.packages)))


def test_links_to_sources(stored: StoredRepository) -> None:
    binaries = {
        item.pkg_hash: source.pkg_hash if (source := stored.repository.source_of(item)) else 0
        for item in stored.repository.binaries.values()
    }
    sources = {item.pkg_hash: item.pkg_hash for item in stored.repository.sources.values()}
    assert dict(stored.tables["Packages AS links"]) == {**binaries, **sources}
    assert list(binaries.values()).count(0) == len(
        [key for key in stored.repository.binaries if key[0] == "x86_64-i586"]
    )


def test_file_rows(stored: StoredRepository) -> None:
    rows = [row for item in stored.packages for row in expected_rows.file_rows(item)]
    assert len(rows) == ODD_PLAN.files
    assert_same(stored.tables["Files"], rows)


def test_file_names(stored: StoredRepository) -> None:
    names = {name for item in stored.packages for name in expected_rows.file_names(item)}
    found: dict[str, int] = dict(stored.tables["FileNames"])
    assert set(found) == names
    assert any("файл" in name for name in names)
    assert any("\udcff" in name for name in names)
    hashes = {row[1] for row in stored.tables["Files"]} | {row[2] for row in stored.tables["Files"]}
    assert set(found.values()) == hashes


def test_depends_rows(stored: StoredRepository) -> None:
    rows = [row for item in stored.packages for row in expected_rows.depends_rows(item)]
    assert len(rows) == ODD_PLAN.dependencies
    assert_same(stored.tables["Depends"], rows)


def test_changelogs(stored: StoredRepository) -> None:
    found = {row[0]: row[1:] for row in stored.tables["Packages AS changelogs"]}
    assert found == {
        item.pkg_hash: expected_rows.changelog_columns(item) for item in stored.packages
    }
    texts = {row for item in stored.packages for row in expected_rows.changelog_rows(item)}
    assert_same(stored.tables["Changelog"], list(texts))


def test_spec_files(stored: StoredRepository) -> None:
    rows = [row for item in stored.packages if (row := expected_rows.specfile_row(item))]
    assert 0 < len(rows) < len(stored.repository.sources)
    assert any("\udcff" in row[-1] for row in rows)
    assert_same(stored.tables["Specfiles"], rows)


def test_digests(stored: StoredRepository) -> None:
    assert_same(stored.tables["PackageHash"], list(map(expected_rows.digest_row, stored.packages)))


# The root comes last


def test_flat_copy_is_complete(loader: Loader, small: ComposedRepository) -> None:
    """A view copies the set when its root is inserted, so all must be there by then."""
    loader.load(small.root, NAME)
    expected = {
        (NAME, MIDNIGHT, i.pkg_hash, p.name, p.version, p.release, int(p.source))
        for i in small.packages
        for p in [i.package]
    }
    assert_same(loader.database.query("SELECT * FROM static_last_packages"), list(expected))


def test_inserts_are_in_order(loader: Loader, small: ComposedRepository) -> None:
    """Texts before packages, digests after all of a package, the set after that, the root last."""
    recording = RecordingDatabase(loader.database)
    loader.load_into(recording, small.root)
    inserts = [name for name in recording.inserts if name != "altrepodb_joined_files"]
    assert inserts == [
        "altrepodb_wanted_packages", "Changelog", "Depends", "Packages", "Specfiles",
        "PackageHash", "LoadIntents", "PackageSet", "PackageSetName", "PackageSetName",
        "LoadIntents",
    ]  # fmt: skip
    files = recording.inserts.index("altrepodb_joined_files")
    assert files < recording.inserts.index("PackageHash")
    assert recording.rows[-2] == 1


class RecordingDatabase(WrappedDatabase):
    """A database that notes which inserts it is given."""

    def __init__(self, database: Database, first: WrappedDatabase | None = None) -> None:
        super().__init__(database, first)
        self.inserts: list[str] = []
        self.rows: list[int] = []

    def insert(self, table: str, columns: Columns) -> int:
        rows = super().insert(table, columns)
        if rows:
            self.first.inserts.append(table)
            self.first.rows.append(rows)
        return rows


# What is known already


def test_second_day_loads_nothing(
    loader: Loader, small: ComposedRepository, tmp_path: Path
) -> None:
    loader.load(small.root, NAME)
    before = {table: count(loader.database, table) for table in ("Packages", "Files", "Changelog")}
    # A worker would fail on these files, if it opened them.
    tree = shutil.copytree(small.root, tmp_path / "tree", symlinks=True)
    for item in small.packages:
        damage.replace_file(tree / item.path, b"x" * item.size)
    summary = loader.load(tree, NAME, date=NEXT_DAY)
    assert (summary.read, summary.known) == (0, len(small.packages))
    assert {table: count(loader.database, table) for table in before} == before
    assert len(roots(loader.database)) == 2
    assert count(loader.database, "static_last_packages") == len(small.packages)
    sets = loader.database.query(
        "SELECT groupUniqArray(members) FROM (SELECT arraySort(groupUniqArray(pkg_hash)) AS members"
        " FROM PackageSet INNER JOIN PackageSetName USING pkgset_uuid GROUP BY pkgset_ruuid)"
    )
    assert len(sets[0][0]) == 1


def test_next_snapshot_loads_what_changed(
    loader: Loader, small: ComposedRepository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    loader.load(small.root, NAME)
    evolved = evolve_repository(small, small.root.parent / "evolved", changed=0.4, removed=0.3)
    new = {i.pkg_hash for i in evolved.packages} - {i.pkg_hash for i in small.packages}
    summary = loader.load(evolved.root, NAME, date=NEXT_DAY)
    assert summary.read == len(new) > 0
    assert visible_members(loader.database) == {i.pkg_hash for i in evolved.packages}


def visible_members(database: Database) -> set[int]:
    return {row[0] for row in database.query("SELECT pkg_hash FROM static_last_packages")}


def test_digest_without_its_package(loader: Loader, small: ComposedRepository) -> None:
    loader.load(small.root, NAME)
    lost = small.packages[0].pkg_hash
    delete_rows(loader.database, "Packages", "pkg_hash = {lost:UInt64}", {"lost": lost})
    summary = loader.load(small.root, NAME, date=NEXT_DAY)
    assert summary.read == 1
    assert count(loader.database, "Packages", "pkg_hash = {lost:UInt64}", lost=lost) == 1


def test_two_identities_for_one_digest(loader: Loader, small: ComposedRepository) -> None:
    """Reading the file tells the right one."""
    loader.load(small.root, NAME)
    item, other = small.packages[0], small.packages[1]
    wrong = (other.pkg_hash, *expected_rows.digest_row(item)[1:])
    names = ("pkgh_mmh", "pkgh_md5", "pkgh_sha1", "pkgh_sha256", "pkgh_blake2b")
    loader.database.insert("PackageHash", {n: [v] for n, v in zip(names, wrong, strict=True)})
    summary = loader.load(small.root, NAME, date=NEXT_DAY)
    assert summary.read == 1
    assert visible_members(loader.database) == {i.pkg_hash for i in small.packages}
    assert count(loader.database, "Packages FINAL") == len(small.packages)


# Links to sources


@pytest.fixture(scope="module")
def orphaned(tmp_path_factory: pytest.TempPathFactory) -> ComposedRepository:
    plan = RepositoryPlan(sources=6, binaries=20, files=80, dependencies=60, orphans=3, seed=5)
    return compose_repository(tmp_path_factory.mktemp("orphans") / "orphans", plan)


def test_missing_sources(
    loader: Loader, orphaned: ComposedRepository, caplog: pytest.LogCaptureFixture
) -> None:
    """Link 0, and a warning unless the binary is repackaged: those never have a source."""
    summary = loader.load(orphaned.root)
    without = [item for item in orphaned.binaries.values() if not orphaned.source_of(item)]
    ordinary = [item for item in without if item.package.name[:5] != "i586-"]
    assert len(without) > len(ordinary) == 3
    assert summary.missing_sources == 3
    for item in ordinary:
        assert item.file_name in caplog.text
        assert str(item.package.sourcerpm) in caplog.text
    unlinked = loader.database.query("SELECT pkg_hash FROM Packages WHERE pkg_srcrpm_hash = 0")
    assert {pkg_hash for (pkg_hash,) in unlinked} == {item.pkg_hash for item in without}


def test_missing_source_is_an_error_when_strict(
    loader: Loader, orphaned: ComposedRepository
) -> None:
    with pytest.raises(SourceError, match=r"missing-.*is not in the repository"):
        loader.load(orphaned.root, strict=True)
    assert [count(loader.database, table) for table in SET_TABLES] == [0, 0, 0, 0]


def test_repackaged_binary_with_a_source(loader: Loader, tmp_path: Path) -> None:
    root = compose_repository(tmp_path / "tree", EMPTY_PLAN).root
    place_source(root, RpmPackage("i586-lib", source=True))
    place_binary(root, "x86_64-i586", "classic", RpmPackage("i586-lib", arch="i586"))
    loader.load(root)
    rows = loader.database.query("SELECT pkg_arch, pkg_hash, pkg_srcrpm_hash FROM Packages")
    (source,) = [pkg_hash for _, pkg_hash, link in rows if pkg_hash == link]
    assert [(a, link) for a, h, link in rows if h != link] == [("x86_64-i586", source)]


def test_source_under_two_names(loader: Loader, tmp_path: Path) -> None:
    """One content is read once, and found by both names."""
    root = compose_repository(tmp_path / "tree", EMPTY_PLAN).root
    place_source(root, RpmPackage("one", source=True))
    name = "other-1.0-alt1.src.rpm"
    shutil.copy(root / "files/SRPMS/one-1.0-alt1.src.rpm", root / "files/SRPMS" / name)
    damage.change_hashes(
        root, "src", lambda digests: {**digests, name: next(iter(digests.values()))}
    )
    for stem in ("one", "other"):
        place_binary(root, "x86_64", "classic", RpmPackage(stem))
    assert loader.load(root).missing_sources == 0
    assert count(loader.database, "Packages", "pkg_srcrpm_hash = 0") == 0


def test_source_that_was_stored_before(loader: Loader, tmp_path: Path) -> None:
    root = compose_repository(tmp_path / "tree", EMPTY_PLAN).root
    place_source(root, RpmPackage("one", source=True))
    loader.load(root)
    place_binary(root, "x86_64", "classic", RpmPackage("one"))
    assert loader.load(root, date=NEXT_DAY).missing_sources == 0
    assert count(loader.database, "Packages", "pkg_srcrpm_hash = 0") == 0


# The same set again


def test_same_day_again_is_refused(loader: Loader, small: ComposedRepository) -> None:
    loader.load(small.root, NAME)
    before = stored_rows(loader.database)
    with pytest.raises(AlreadyLoadedError, match=f"{NAME} of {DAY}"):
        loader.load(small.root, NAME)
    with pytest.raises(AlreadyLoadedError):
        loader.load(small.root, NAME, dry_run=True)
    assert stored_rows(loader.database) == before


def test_force_replaces_the_set(loader: Loader, small: ComposedRepository) -> None:
    """Exactly one root afterwards, nothing of the old set, and other days left alone."""
    loader.load(small.root, NAME, date="2022-08-17")
    loader.load(small.root, "other")
    old = loader.load(small.root, NAME)
    smaller = small.root.parent / "smaller"
    shutil.rmtree(smaller, ignore_errors=True)
    shutil.copytree(small.root, smaller, symlinks=True, copy_function=os.link)
    gone = small.members("x86_64", "classic")[0]
    damage.drop_from_list(smaller, "x86_64", "pkglist.classic", gone)
    new = loader.load(smaller, NAME, force=True, tag="again")
    assert new.replaced == [old.root]
    left = {str(root) for root in roots(loader.database)}
    assert new.root in left
    assert old.root not in left
    assert len(left) == 2
    database = loader.database
    nodes = count(database, "PackageSetName", "pkgset_ruuid = {root:UUID}", root=UUID(new.root))
    assert count(database, "PackageSetName") == 3 * nodes
    assert count(database, "PackageSetName", "pkgset_ruuid = {old:UUID}", old=UUID(old.root)) == 0
    orphans = "pkgset_uuid NOT IN (SELECT pkgset_uuid FROM PackageSetName)"
    assert count(database, "PackageSet", orphans) == 0
    expected = {i.pkg_hash for i in small.packages if i.file_name != gone}
    flat = database.query(
        "SELECT pkg_hash FROM StaticLastPackages WHERE pkgset_name = {name:String}"
        " AND pkgset_date = toDateTime({date:UInt32})",
        {"name": NAME, "date": MIDNIGHT},
    )
    assert sorted(flat) == sorted((pkg_hash,) for pkg_hash in expected)
    assert count(database, "last_packages_stage1") == 3


def test_force_without_an_earlier_set(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    clear(loader.database)
    assert loader.load(small.root, NAME, force=True).replaced == []
    assert differences(stored_rows(loader.database), clean_rows) == {}


@pytest.mark.parametrize("name", ["x86_64", "srpm", "classic", 'o\'ne "two" \\three\\ `{a:b}` ё'])
def test_odd_names(name: str, loader: Loader, small: ComposedRepository) -> None:
    """A name like that of a node is no duplicate, one with quotes no trouble."""
    loader.load(small.root, NAME)
    loader.load(small.root, name)
    assert len(roots(loader.database, name)) == 1
    with pytest.raises(AlreadyLoadedError):
        loader.load(small.root, name)
    loader.load(small.root, name, force=True)
    assert len(roots(loader.database, name)) == 1
    assert len(roots(loader.database, NAME)) == 1


def test_today_is_the_default(loader: Loader, small: ComposedRepository) -> None:
    def today() -> str:
        ((day,),) = loader.database.query("SELECT toString(today())")
        return str(day)

    before = today()
    summary = loader.load(small.root, NAME, date=None)
    assert summary.date in (before, today())
    days = loader.database.query("SELECT DISTINCT toString(pkgset_date) FROM PackageSetName")
    assert days == [(f"{summary.date} 00:00:00",)]


@pytest.mark.parametrize("day", ["1969-12-31", "2150-01-01"])
def test_day_that_cannot_be_stored(day: str, loader: Loader, small: ComposedRepository) -> None:
    with pytest.raises(AltrepodbError, match=day):
        loader.load(small.root, NAME, date=day)
    assert count(loader.database, "PackageSetName") == 0


def test_dry_run_writes_nothing(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    clear(loader.database)
    summary = loader.load(small.root, NAME, dry_run=True)
    assert (summary.packages, summary.read, summary.root) == (
        len(small.packages),
        len(small.packages),
        "",
    )
    assert stored_rows(loader.database) == {}
    assert count(loader.database, "LoadIntents") == 0
    loader.load(small.root, NAME)
    assert differences(stored_rows(loader.database), clean_rows) == {}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_number_of_workers_does_not_matter(
    workers: int,
    odd: ComposedRepository,
    stored: StoredRepository,
    loader: Loader,
) -> None:
    """The same rows, in the same order of insertion."""
    from altrepodb.workers import worker_pool

    with worker_pool(workers) as pool:
        Loader(loader.database, pool).load(odd.root)
    again = StoredRepository(odd, loader.database)
    for table, rows in stored.tables.items():
        assert sorted(map(repr, again.tables[table])) == sorted(map(repr, rows)), table


# Servers that know no parameters


class LiteralDatabase(WrappedDatabase):
    """The embedded engine, given its statements as an old server is: with literals in them."""

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        super().execute(bind_literals(statement, parameters or {}))

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        return super().query(bind_literals(statement, parameters or {}))


def test_statements_with_literals(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    clear(loader.database)
    database = LiteralDatabase(loader.database)
    loader.load_into(database, small.root, NAME)
    loader.load_into(database, small.root, NAME, force=True)
    assert differences(stored_rows(loader.database), clean_rows) == {}


# Failures


def statements_of_a_load(loader: Loader, small: ComposedRepository, **options: Any) -> int:
    """How many statements a load sends that change something."""
    never = Fault(number=-1)
    loader.load_into(FailingDatabase.of(loader.database, never), small.root, NAME, **options)
    return never.counted


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_failure_at_every_statement(
    after: bool, loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """No set and no row of one is left; the retry ends like a clean run.

    After the root was written the set is complete, though the load says that it failed. Before
    the set is begun it makes no difference whether a statement was still carried out.
    """
    clear(loader.database)
    total = statements_of_a_load(loader, small)
    assert total >= 14
    for number in range(total - SET_STATEMENTS if after else 1, total + 1):
        clear(loader.database)
        fault = Fault(number, after=after)
        failing = FailingDatabase.of(loader.database, fault)
        with pytest.raises(DatabaseError, match="injected failure"):
            loader.load_into(failing, small.root, NAME)
        if roots(loader.database):
            assert number >= total - after
            assert visible_faults(loader.database, small) == []
            with pytest.raises(AlreadyLoadedError):
                loader.load(small.root, NAME)
        else:
            left = [count(loader.database, table) for table in SET_TABLES]
            assert left == [0, 0, 0, 0], fault.happened_at
            loader.load(small.root, NAME)
        assert differences(stored_rows(loader.database), clean_rows) == {}, fault.happened_at


@pytest.mark.parametrize(
    "force", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["new", "force"]
)
def test_database_gone_while_the_set_is_written(
    force: bool,
    loader: Loader,
    small: ComposedRepository,
    clean_rows: dict[str, list[str]],
) -> None:
    """What could not be cleaned up is invisible, and the next load does it."""
    clear(loader.database)
    loader.load(small.root, NAME)
    total = statements_of_a_load(loader, small, force=True)
    assert total > SET_STATEMENTS
    for number in range(1, (total if force else SET_STATEMENTS) + 1):
        if not force:
            clear_set(loader.database)
        fault = Fault(number, after=True, for_ever=True)
        failing = FailingDatabase.of(loader.database, fault)
        with pytest.raises(DatabaseError, match="injected failure"):
            loader.load_into(failing, small.root, NAME, force=force)
        assert visible_faults(loader.database, small) == [], fault.happened_at
        try:
            loader.load(small.root, NAME, force=force)
        except AlreadyLoadedError:
            assert len(roots(loader.database)) == 1
        assert differences(stored_rows(loader.database), clean_rows) == {}, fault.happened_at


def clear_set(database: Database) -> None:
    """Forget the sets, not the packages."""
    for table in (*SET_TABLES, "LoadIntents"):
        database.execute(f"TRUNCATE TABLE {table}")


def test_interrupt_is_cleaned_up_after(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """A signal arrives as an exception that is no Exception."""
    clear(loader.database)
    total = statements_of_a_load(loader, small)
    for number in range(total - 3, total + 1):
        clear(loader.database)
        failing = FailingDatabase.of(loader.database, Fault(number, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            loader.load_into(failing, small.root, NAME)
        if number < total:
            assert [count(loader.database, table) for table in SET_TABLES] == [0, 0, 0, 0]


def test_first_error_of_a_worker_is_the_one_reported(
    loader: Loader, small: ComposedRepository, tmp_path: Path
) -> None:
    tree = shutil.copytree(small.root, tmp_path / "tree", symlinks=True)
    for item in small.packages[2:4]:
        damage.replace_file(tree / item.path, b"x" * item.size)
    with pytest.raises(SourceError, match=re.escape(small.packages[2].file_name)):
        loader.load(tree, NAME)
    # The pool is still good for the next one.
    loader.load(small.root, NAME)


class ForgetfulDatabase(WrappedDatabase):
    """A database that loses what is inserted into Packages."""

    def insert(self, table: str, columns: Columns) -> int:
        return 1 if table == "Packages" else super().insert(table, columns)


def test_packages_that_did_not_arrive(loader: Loader, small: ComposedRepository) -> None:
    total = len(small.packages)
    with pytest.raises(DatabaseError, match=f"0 of {total} packages of {NAME} are stored"):
        loader.load_into(ForgetfulDatabase(loader.database), small.root, NAME)
    assert [count(loader.database, table) for table in SET_TABLES] == [0, 0, 0, 0]


# Other loads of the same set


class RivalDatabase(WrappedDatabase):
    """A database in which another load commits while this one writes packages."""

    def insert(self, table: str, columns: Columns) -> int:
        if table == "PackageHash":
            insert_root(self.database, uuid4())
        return super().insert(table, columns)


def insert_root(database: Database, root: UUID, name: str = NAME) -> None:
    database.insert(
        "PackageSetName",
        {
            "pkgset_uuid": [root],
            "pkgset_ruuid": [root],
            "pkgset_depth": [0],
            "pkgset_nodename": [name],
            "pkgset_date": [MIDNIGHT],
            "pkgset_kv.k": [["class"]],
            "pkgset_kv.v": [["repository"]],
        },
    )


def test_another_load_was_faster(loader: Loader, small: ComposedRepository) -> None:
    with pytest.raises(AlreadyLoadedError, match="another run"):
        loader.load_into(RivalDatabase(loader.database), small.root, NAME)
    assert count(loader.database, "PackageSetName") == 1
    assert count(loader.database, "PackageSet") == 0


def note_intent(database: Database, root: UUID, nodes: list[UUID], **fields: Any) -> None:
    """A pending intent, by default of a process that is no more."""
    intent = {
        "intent_root": root,
        "intent_nodes": nodes,
        "intent_name": NAME,
        "intent_date": MIDNIGHT,
        "intent_state": "pending",
        "intent_host": socket.gethostname(),
        "intent_process": os.getppid(),
        "intent_process_start": 1,
    }
    columns = {name: [value] for name, value in {**intent, **fields}.items()}
    database.insert("LoadIntents", columns)


def start_of(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19])


def test_set_that_is_being_loaded(loader: Loader, small: ComposedRepository) -> None:
    """Another process has announced the same set: come again later. Other days do not matter."""
    parent = os.getppid()
    note_intent(loader.database, uuid4(), [], intent_process_start=start_of(parent))
    with pytest.raises(LockHeldError, match=f"process {parent} on {socket.gethostname()}"):
        loader.load(small.root, NAME)
    assert count(loader.database, "Packages") == 0
    loader.load(small.root, NAME, date=NEXT_DAY)


def test_set_announced_while_packages_were_written(
    loader: Loader, small: ComposedRepository
) -> None:
    class AnnouncingDatabase(WrappedDatabase):
        def insert(self, table: str, columns: Columns) -> int:
            if table == "PackageHash":
                start = start_of(os.getppid())
                note_intent(self.database, uuid4(), [], intent_process_start=start)
            return super().insert(table, columns)

    with pytest.raises(LockHeldError):
        loader.load_into(AnnouncingDatabase(loader.database), small.root, NAME)
    assert [count(loader.database, table) for table in SET_TABLES] == [0, 0, 0, 0]


@pytest.mark.parametrize(("age", "is_refused"), [(0, True), (3600, False)])
def test_set_that_another_host_is_loading(
    age: int, is_refused: bool, loader: Loader, small: ComposedRepository
) -> None:
    """Of another host we only know when it last wrote."""
    note_intent(loader.database, uuid4(), [], intent_host="other.example.org")
    if age:
        make_intents_older(loader.database, age)
    if is_refused:
        with pytest.raises(LockHeldError, match=r"other\.example\.org"):
            loader.load(small.root, NAME)
    else:
        loader.load(small.root, NAME)


def make_intents_older(database: Database, seconds: int) -> None:
    columns = [
        name
        for (name,) in database.query(
            "SELECT name FROM system.columns WHERE table = 'LoadIntents'"
            " AND database = currentDatabase() AND name != 'ts'"
        )
    ]
    names = ", ".join(columns)
    database.execute("SET insert_allow_materialized_columns = 1")
    database.execute(
        f"INSERT INTO LoadIntents ({names}, ts)"
        f" SELECT {names}, ts - INTERVAL {seconds} SECOND FROM LoadIntents"
    )
    database.execute("SET insert_allow_materialized_columns = 0")
    delete_rows(database, "LoadIntents", "ts > now64() - INTERVAL 60 SECOND")


def test_zombie_does_not_hold_a_set(loader: Loader, small: ComposedRepository) -> None:
    """Its parent has not looked yet how it ended, but it has ended."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as ended:
        start = start_of(ended.pid)
        assert ended.stdout is not None
        ended.stdout.read()
        while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        note_intent(
            loader.database, uuid4(), [], intent_process=ended.pid, intent_process_start=start
        )
        loader.load(small.root, NAME)


# What killed loads leave behind


def test_rows_without_root_are_removed(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """Also those of another day, and the flat copy, if the view was the faster part."""
    clear(loader.database)
    for day in (DAY, NEXT_DAY):
        summary = loader.load(small.root, NAME, date=day)
        root = UUID(summary.root)
        forget_done(loader.database, root)
        delete_rows(loader.database, "PackageSetName", "pkgset_uuid = {root:UUID}", {"root": root})
    loader.load(small.root, NAME)
    assert differences(stored_rows(loader.database), clean_rows) == {}


def forget_done(database: Database, root: UUID, name: str = NAME) -> None:
    """Make an intent look as if its load had not come to the end, and its process were gone."""
    ((nodes, date),) = database.query(
        "SELECT any(intent_nodes), toUnixTimestamp(any(intent_date)) FROM LoadIntents"
        " WHERE intent_root = {root:UUID}",
        {"root": root},
    )
    delete_rows(database, "LoadIntents", "intent_root = {root:UUID}", {"root": root})
    note_intent(database, root, nodes, intent_date=date, intent_name=name)


def test_flat_copy_is_completed(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """The root stands, but its load was killed before the views had done their part."""
    clear(loader.database)
    summary = loader.load(small.root, NAME)
    for table in ("StaticLastPackages", "last_packages_stage1"):
        forget_done(loader.database, UUID(summary.root))
        loader.database.execute(f"TRUNCATE TABLE {table}")
        assert loader.load(small.root, NAME).root == summary.root
        assert differences(stored_rows(loader.database), clean_rows) == {}
    with pytest.raises(AlreadyLoadedError):
        loader.load(small.root, NAME)


def test_interrupted_replacement_is_finished(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """The last word in the journal counts: a set that was done may be on its way out."""
    clear(loader.database)
    old = UUID(loader.load(small.root, NAME).root)
    nodes = loader.database.query("SELECT groupArray(pkgset_uuid) FROM PackageSetName")[0][0]
    note_intent(loader.database, old, nodes)
    loader.database.execute("TRUNCATE TABLE PackageSetName")
    loader.load(small.root, NAME)
    assert differences(stored_rows(loader.database), clean_rows) == {}


class WatchedDatabase(WrappedDatabase):
    """A database that notes its deletions, and what they leave of the sets."""

    def __init__(self, database: Database, first: WrappedDatabase | None = None) -> None:
        super().__init__(database, first)
        self.deletions: list[tuple[str, int, int]] = []

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        super().execute(statement, parameters)
        if statement.startswith("ALTER"):
            left = len(roots(self.database)), count(self.database, "PackageSetName")
            self.first.deletions.append((statement, *left))


def test_root_goes_first(loader: Loader, small: ComposedRepository) -> None:
    """Whoever finds a set by its root finds all its nodes, also while it is being removed."""
    loader.load(small.root, NAME)
    nodes = count(loader.database, "PackageSetName")
    watched = WatchedDatabase(loader.database)
    loader.load_into(watched, small.root, NAME, force=True)
    _, roots_left, nodes_left = watched.deletions[0]
    # The nodes of the new set are there already, its root is not.
    assert (roots_left, nodes_left) == (0, 2 * nodes - 2)
    # The engine may take a deletion up while it starts, when it cannot run subqueries.
    assert not [deletion for deletion, *_ in watched.deletions if "SELECT" in deletion]


def test_set_of_an_image_is_not_copied(loader: Loader, small: ComposedRepository) -> None:
    loader.load(small.root, NAME)
    hashes = frozenset(item.pkg_hash for item in small.packages)
    root = PackageSetNode(0, "image", attributes={"class": "iso"})
    node = PackageSetNode(1, "rpms", root.uuid, packages=hashes)
    before = count(loader.database, "StaticLastPackages")
    commit_package_set(loader.database, PackageSet(root, [node], MIDNIGHT, "tag"))
    forget_done(loader.database, root.uuid, "tag")
    assert not settle_interrupted_loads(loader.database, "tag", MIDNIGHT, is_image=True)
    assert count(loader.database, "StaticLastPackages") == before
    assert len(roots(loader.database, "image")) == 1


class StalledDatabase(WrappedDatabase):
    """A database whose deletions go on when somebody asks how far they are."""

    def query(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        if "system.mutations" in statement:
            self.database.execute("SYSTEM START MERGES")
        return self.database.query(statement, parameters)


def test_deletion_under_way_is_waited_for(
    loader: Loader, small: ComposedRepository, clean_rows: dict[str, list[str]]
) -> None:
    """The engine takes up deletions of a killed process some time after its start."""
    clear(loader.database)
    root = UUID(loader.load(small.root, NAME).root)
    forget_done(loader.database, root)
    loader.database.execute("SYSTEM STOP MERGES")
    loader.database.execute(
        "ALTER TABLE PackageSetName DELETE WHERE pkgset_uuid = {root:UUID}"
        " SETTINGS mutations_sync = 0",
        {"root": root},
    )
    assert roots(loader.database)
    database = StalledDatabase(loader.database)
    assert not settle_interrupted_loads(database, NAME, MIDNIGHT)
    assert [count(loader.database, table) for table in SET_TABLES] == [0, 0, 0, 0]
    loader.load(small.root, NAME)
    assert differences(stored_rows(loader.database), clean_rows) == {}
