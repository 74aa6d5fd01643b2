"""The schema files against the contract, and what creates, migrates and compares them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altrepodb.cli.repodb_schema import main
from altrepodb.db.database import Database
from altrepodb.db.schema import (
    applied_migrations,
    apply_statements,
    create_schema,
    grants,
    load_seed,
    migrate,
    missing_features,
    pending_migrations,
)
from altrepodb.db.schema_difference import DifferenceKind, schema_differences
from altrepodb.db.schema_files import read_migrations
from altrepodb.errors import ConfigurationError, DatabaseError

CONTRACT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "contract_2022.json").read_text(encoding="utf-8")
)
ALL_MIGRATIONS = ["0000_initial", "0001_current_api", "0002_uploader", "0003_ledger"]
NEW_PACKAGE_COLUMNS = ["pkg_vcs", "pkg_pretrans", "pkg_posttrans"]


class FailingDatabase:
    """A database that dies before the statement of a given number."""

    def __init__(self, database: Database, statements: int) -> None:
        self._database = database
        self._left = statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, statement: str, parameters: Any = None) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self._database.execute(statement, parameters)


def columns_of(database: Database, table: str) -> list[tuple[str, str]]:
    rows = database.query(
        "SELECT name, type FROM system.columns"
        " WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        {"table": table},
    )
    return [(name, type_name) for name, type_name in rows]


def describe(database: Database, table: str) -> dict[str, Any]:
    keys = ("engine", "sorting_key", "primary_key", "partition_key", "create_table_query")
    (row,) = database.query(
        f"SELECT {', '.join(keys)} FROM system.tables"
        " WHERE database = currentDatabase() AND name = {table:String}",
        {"table": table},
    )
    return dict(zip(keys, row, strict=True))


def object_names(database: Database) -> set[str]:
    rows = database.query("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {name for (name,) in rows}


def apply_initial(database: Database) -> None:
    apply_statements(database, read_migrations()[0].statements)


# --- the contract of 2022


def test_initial_file_has_every_object_of_the_contract(empty_database: Database) -> None:
    apply_initial(empty_database)
    contract = {name for section in CONTRACT.values() for name in section}
    assert len(contract) == 86
    assert object_names(empty_database) == contract | {"SchemaMigrations"}
    for section in CONTRACT.values():
        for name, wanted in section.items():
            assert columns_of(empty_database, name) == list(wanted["columns"].items()), name


def test_initial_file_has_the_engines_and_keys_of_the_contract(empty_database: Database) -> None:
    apply_initial(empty_database)
    for name, wanted in CONTRACT["tables"].items():
        found = describe(empty_database, name)
        assert found["engine"] == wanted["engine"], name
        assert found["sorting_key"] == ", ".join(wanted["order_by"]), name
        assert found["primary_key"] == ", ".join(wanted["primary_key"]), name
        assert found["partition_key"] == wanted.get("partition_by", ""), name
        if "buffer" in wanted:
            assert f"Buffer('repodb', {_buffer(wanted['buffer'])})" in found["create_table_query"]


def _buffer(wanted: dict[str, Any]) -> str:
    target, *numbers = wanted.values()
    return ", ".join([f"'{target}'", *map(str, numbers)])


def test_initial_file_computes_the_columns_of_the_contract(empty_database: Database) -> None:
    apply_initial(empty_database)
    rows = empty_database.query(
        "SELECT table, name, default_kind, default_expression FROM system.columns"
        " WHERE database = currentDatabase() AND default_kind != '' AND table != 'SchemaMigrations'"
    )
    found = {(table, column): (kind, text) for table, column, kind, text in rows}
    wanted = {
        (table, column): (one["kind"], f"{one['function']}({', '.join(map(_quoted, one['args']))})")
        for table, described in CONTRACT["tables"].items()
        for column, one in described.get("computed", {}).items()
    }
    assert found == wanted


def _quoted(column: str) -> str:
    return f"`{column}`" if "." in column else column


def test_materialized_views_have_the_sources_and_targets_of_the_contract(
    empty_database: Database,
) -> None:
    apply_initial(empty_database)
    rows = empty_database.query(
        "SELECT name, arrayJoin(dependencies_table) AS view FROM system.tables"
        " WHERE database = currentDatabase()"
    )
    sources = {view: source for source, view in rows}
    for name, wanted in CONTRACT["materialized_views"].items():
        query = describe(empty_database, name)["create_table_query"]
        assert f"CREATE MATERIALIZED VIEW repodb.{name} TO repodb.{wanted['target']} " in query
        assert sources[name] == wanted["source"]


def test_full_schema_keeps_the_contract(database: Database) -> None:
    for section in CONTRACT.values():
        for name, wanted in section.items():
            if name == "TaskProgress":
                continue
            kept = [c for c in columns_of(database, name) if c[0] not in NEW_PACKAGE_COLUMNS]
            assert kept == list(wanted["columns"].items()), name


def test_files_name_no_database() -> None:
    for migration in read_migrations():
        for statement in migration.statements:
            assert not re.search(r"\b(repodb|default)\.", statement.text), statement.text[:80]


# --- what came after 2022


@pytest.mark.parametrize("table", ["Packages", "Packages_buffer"])
def test_packages_end_with_the_new_columns(database: Database, table: str) -> None:
    assert [name for name, _ in columns_of(database, table)][-3:] == NEW_PACKAGE_COLUMNS


@pytest.mark.parametrize(
    "view",
    [
        "last_packages",
        "all_packages",
        "all_packages_with_source",
        "last_packages_with_source",
        "PackagesWithLastChangelog_view",
        "last_cve",
    ],
)
def test_views_of_whole_packages_gain_the_new_columns(database: Database, view: str) -> None:
    names = [name for name, _ in columns_of(database, view)]
    start = names.index("pkg_platform")
    assert names[start + 1 : start + 4] == NEW_PACKAGE_COLUMNS


def test_columns_that_readers_take_by_position(database: Database) -> None:
    def star(table: str) -> list[str]:
        return [row[0] for row in database.query(f"DESCRIBE (SELECT * FROM {table})")]

    assert len(star("Tasks")) == 19
    assert len(star("TaskIterations")) == 14
    assert star("Depends") == ["pkg_hash", "dp_name", "dp_version", "dp_flag", "dp_type"]
    assert len(star("ImageStatus")) == 13
    assert star("ImageTagStatus") == ["img_tag", "img_show"]
    assert len(star("RepositoryStatus")) == 9
    assert len(star("PackagesRepocop")) == 12
    errata = star("ErrataHistory")
    assert errata[16:] == ["eh_json", "ts"]
    assert errata[15] == "task_state"


# --- creating and migrating


def test_schema_is_created_once(empty_database: Database) -> None:
    assert migrate(empty_database) == ALL_MIGRATIONS
    assert pending_migrations(empty_database) == []
    create_schema(empty_database)
    assert migrate(empty_database) == []
    ((rows,),) = empty_database.query("SELECT count() FROM SchemaMigrations")
    assert rows == len(ALL_MIGRATIONS)
    assert schema_differences(empty_database) == []


def test_journal_has_checksums_and_program_version(database: Database) -> None:
    expected = {migration.name: migration.checksum for migration in read_migrations()}
    assert applied_migrations(database) == expected
    versions = database.query("SELECT DISTINCT program_version FROM SchemaMigrations")
    assert all(version for (version,) in versions)


def test_every_statement_may_run_again(database: Database) -> None:
    for migration in read_migrations():
        apply_statements(database, migration.statements)
    create_schema(database)
    expected = {kind for kind in DifferenceKind if kind is DifferenceKind.DEFINITION}
    assert {one.kind for one in schema_differences(database)} <= expected


def test_database_of_2022_is_brought_along_with_its_rows(empty_database: Database) -> None:
    apply_initial(empty_database)
    empty_database.execute("TRUNCATE TABLE SchemaMigrations")
    empty_database.insert("Packages", {"pkg_hash": [1], "pkg_name": ["stored"]})
    empty_database.insert("Packages_buffer", {"pkg_hash": [2], "pkg_name": ["buffered"]})
    assert migrate(empty_database) == ALL_MIGRATIONS
    assert schema_differences(empty_database) == []
    rows = empty_database.query("SELECT pkg_hash, pkg_vcs FROM Packages ORDER BY pkg_hash")
    assert rows == [(1, ""), (2, "")]
    assert len(empty_database.query("SELECT pkg_vcs FROM Packages_buffer")) == 2


def test_old_task_progress_steps_aside_with_its_rows(empty_database: Database) -> None:
    apply_initial(empty_database)
    empty_database.insert(
        "TaskProgress", {"task_id": [300001], "tp_type": ["task"], "tp_action": ["progress"]}
    )
    migrate(empty_database)
    assert empty_database.query("SELECT task_id FROM TaskProgress_2022") == [(300001,)]
    assert empty_database.query("SELECT task_id, stage FROM TaskProgress") == []
    assert schema_differences(empty_database) == []


def test_empty_old_task_progress_leaves_nothing(database: Database) -> None:
    assert "TaskProgress_2022" not in object_names(database)
    assert ("stage_status", "LowCardinality(String)") in columns_of(database, "TaskProgress")


def test_new_task_progress_keeps_its_rows(database: Database) -> None:
    database.insert("TaskProgress", {"task_id": [1], "type": ["state"]})
    apply_statements(database, read_migrations()[1].statements)
    assert database.query("SELECT task_id FROM TaskProgress") == [(1,)]


@pytest.mark.parametrize("statements", [0, 1, 40, 86, 88, 95, 120, 125])
def test_a_killed_migration_is_finished_by_the_next(
    empty_database: Database, statements: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        migrate(FailingDatabase(empty_database, statements))
    assert len(applied_migrations(empty_database)) < len(ALL_MIGRATIONS)
    create_schema(empty_database)
    assert schema_differences(empty_database) == []


def test_a_file_is_recorded_only_after_its_last_statement(empty_database: Database) -> None:
    initial = read_migrations()[0]
    with pytest.raises(KeyboardInterrupt):
        migrate(FailingDatabase(empty_database, len(initial.statements) - 1))
    assert applied_migrations(empty_database) == {}
    with pytest.raises(KeyboardInterrupt):
        migrate(FailingDatabase(empty_database, len(initial.statements)))
    assert list(applied_migrations(empty_database)) == ["0000_initial"]


class OldEngine:
    """Answers as a server does that knows few types."""

    name = "old"
    version = (18, 16, 1)

    def query(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        if statement.startswith("EXISTS"):
            return [(0,)]
        known = ("Enum8", "UUID", "LowCardinality", "murmurHash3_64", "base64Decode")
        return [(name,) for name in parameters["names"] if name in known]


def test_an_old_engine_is_told_what_it_lacks() -> None:
    old: Any = OldEngine()
    assert missing_features(old)[:3] == ["DateTime64", "Map", "SimpleAggregateFunction"]
    with pytest.raises(DatabaseError, match=r"old: ClickHouse 18\.16\.1 .* lacks DateTime64, Map"):
        create_schema(old)
    words = [str(one) for one in schema_differences(old)]
    assert "ClickHouse 18.16.1.Map: the engine lacks" in words


# --- differences


def change(*statements: str) -> Callable[[Database], None]:
    def run(database: Database) -> None:
        for statement in statements:
            database.execute(statement)

    return run


CHANGES = {
    "last_cve: missing": change("DROP TABLE last_cve"),
    "Extra: not in the schema": change("CREATE TABLE Extra (a UInt8) ENGINE = Memory"),
    "TaskLogs.tlog_ts: column missing": change("ALTER TABLE TaskLogs DROP COLUMN tlog_ts"),
    "Acl.note: column not in the schema": change("ALTER TABLE Acl ADD COLUMN note String FIRST"),
    "Bugzilla.bz_summary: column type: expected String, found LowCardinality(String)": change(
        "ALTER TABLE Bugzilla MODIFY COLUMN bz_summary LowCardinality(String)"
    ),
    "Bugzilla.bz_reporter_full: column in another position": change(
        "ALTER TABLE Bugzilla MODIFY COLUMN bz_reporter_full String AFTER bz_id"
    ),
    "TaskApprovals.ts: column default: expected MATERIALIZED now(), found DEFAULT now()": change(
        "ALTER TABLE TaskApprovals MODIFY COLUMN ts DateTime DEFAULT now()"
    ),
    "LicenseAliases: engine: expected ReplacingMergeTree, found MergeTree": change(
        "DROP TABLE LicenseAliases",
        "CREATE TABLE LicenseAliases (alias String, spdx_id String)"
        " ENGINE = MergeTree ORDER BY (alias, spdx_id)",
    ),
    "BeehiveStatus: sorting key: expected pkgset_name, pkg_name, bh_updated, bh_arch, pkg_hash,"
    " found pkgset_name, pkg_name, bh_arch": change(
        "RENAME TABLE BeehiveStatus TO Old",
        "CREATE TABLE BeehiveStatus AS Old ENGINE = MergeTree PRIMARY KEY (pkgset_name, pkg_name)"
        " ORDER BY (pkgset_name, pkg_name, bh_arch)",
        "DROP TABLE Old",
    ),
    "Comments: partition key: expected none, found toYYYYMM(comment_created)": change(
        "RENAME TABLE Comments TO Old",
        "CREATE TABLE Comments AS Old ENGINE = MergeTree PARTITION BY toYYYYMM(comment_created)"
        " ORDER BY (comment_entity_type, comment_entity_link, comment_id)",
        "DROP TABLE Old",
    ),
    "last_acl: definition": change(
        "CREATE OR REPLACE VIEW last_acl AS SELECT acl_branch, max(acl_date) AS acl_date_last,"
        " acl_for, any(Acl.acl_list) AS acl_list FROM Acl GROUP BY acl_branch, acl_for"
    ),
    "mv_filenames_filename: target: expected FileNames_buffer, found FileNames": change(
        "DROP TABLE mv_filenames_filename",
        "CREATE MATERIALIZED VIEW mv_filenames_filename TO FileNames (fn_name String)"
        " AS SELECT file_name AS fn_name FROM Files_insert",
    ),
    "Packages.index_pkg_hash: index: expected pkg_hash bloom_filter 1, found none": change(
        "ALTER TABLE Packages DROP INDEX index_pkg_hash"
    ),
    "extractErrataIdVersion: function: expected a function, found none": change(
        "DROP FUNCTION extractErrataIdVersion"
    ),
    "get_errata_user_aliases: function: expected none, found another definition": change(
        "CREATE OR REPLACE FUNCTION get_errata_user_aliases AS (name) -> [name]"
    ),
    "0002_uploader: migration not applied": change(
        "DELETE FROM SchemaMigrations WHERE migration = '0002_uploader'"
    ),
    "0000_initial: migration changed since it was applied": change(
        "ALTER TABLE SchemaMigrations UPDATE checksum = 'other' WHERE migration = '0000_initial'"
        " SETTINGS mutations_sync = 1"
    ),
}


@pytest.mark.parametrize("expected", CHANGES)
def test_status_names_the_difference(database: Database, expected: str) -> None:
    CHANGES[expected](database)
    assert [str(one) for one in schema_differences(database)] == [expected]


def test_a_smaller_buffer_is_a_difference(database: Database) -> None:
    database.execute(
        "CREATE OR REPLACE TABLE Depends_buffer AS Depends"
        " ENGINE = Buffer(currentDatabase(), Depends, 1, 10, 100, 1000, 100000, 100000, 1000000)"
    )
    (difference,) = schema_differences(database)
    assert (difference.kind, difference.subject) == (DifferenceKind.ENGINE, "Depends_buffer")


def test_comparing_leaves_no_trace(database: Database) -> None:
    before = database.query("SELECT name FROM system.databases ORDER BY name")
    assert schema_differences(database) == []
    assert database.query("SELECT name FROM system.databases ORDER BY name") == before
    assert database.query("SELECT currentDatabase()") == [("repodb",)]


# --- rights and seed


def test_loader_rights() -> None:
    assert grants("repodb", "loader") == [
        "GRANT SELECT, INSERT, OPTIMIZE, ALTER DELETE ON `repodb`.* TO `loader`",
        "GRANT CREATE TEMPORARY TABLE ON *.* TO `loader`",
    ]


def test_reader_rights_do_not_write() -> None:
    assert grants("repodb", "api", reader=True)[0] == "GRANT SELECT ON `repodb`.* TO `api`"


def test_names_are_quoted_in_grants(database: Database) -> None:
    statement = grants("repodb", "bob`; DROP TABLE x; --")[0]
    assert statement.endswith("TO `bob\\`; DROP TABLE x; --`")
    ((formatted,),) = database.query("SELECT formatQuery({text:String})", {"text": statement})
    assert formatted.startswith("GRANT")


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00"])
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        grants(name, "user")


def test_seed_is_added_once(database: Database) -> None:
    added = load_seed(database)
    assert added["LicenseAliases"] == 108
    assert load_seed(database) == {"LicenseAliases": 0, "CveChecked": 0}
    ((rows, names),) = database.query("SELECT count(), uniqExact(alias) FROM LicenseAliases")
    assert rows == names == added["LicenseAliases"]


@pytest.mark.parametrize(
    ("alias", "spdx_id"),
    [
        ("AGPL-1.0+", "AGPL-1.0-or-later"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("GPLv3+", "GPL-3.0+"),
        ("QPL", "QPL-1.0"),
        ("MITX", "ALT-MITX"),
        ("Font-exception", "Font-exception-2.0"),
    ],
)
def test_seed_has_every_family_of_aliases(database: Database, alias: str, spdx_id: str) -> None:
    load_seed(database)
    found = database.query(
        "SELECT spdx_id FROM LicenseAliases WHERE alias = {alias:String}", {"alias": alias}
    )
    assert found == [(spdx_id,)]


def test_seed_verdict_has_the_known_identity(database: Database) -> None:
    load_seed(database)
    rows = database.query("SELECT cc_id FROM CveChecked WHERE cve_id = 'CVE-1999-0266'")
    assert rows == [(17821173537999898437,)]
    dates = database.query("SELECT cc_checkdate FROM CveChecked WHERE pkg_name = 'ed'")
    assert dates == [(1030492800,)]


def test_seed_keeps_what_an_operator_changed(database: Database) -> None:
    database.insert("LicenseAliases", {"alias": ["MITX"], "spdx_id": ["MIT"]})
    load_seed(database)
    rows = database.query("SELECT spdx_id FROM LicenseAliases WHERE alias = 'MITX'")
    assert rows == [("MIT",)]


# --- the command


def run(directory: Path, *words: str) -> int:
    return main([*words, "-e", str(directory), "--quiet"])


def test_command_status_names_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from altrepodb.db.embedded import open_embedded

    assert run(tmp_path, "init") == 0
    assert run(tmp_path, "status") == 0
    with open_embedded(tmp_path, "repodb", 5) as database:
        database.execute("ALTER TABLE TaskLogs DROP COLUMN tlog_ts")
        database.execute("DROP TABLE last_cve")
    capsys.readouterr()
    assert run(tmp_path, "status") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["TaskLogs.tlog_ts: column missing", "last_cve: missing"]


def test_command_looks_at_an_old_database_without_changing_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from altrepodb.db.embedded import open_embedded

    with open_embedded(tmp_path, "repodb", 5, with_schema=False) as database:
        apply_initial(database)
        database.execute("DROP TABLE SchemaMigrations")
        database.insert("Packages", {"pkg_hash": [1], "pkg_name": ["stored"]})
    for words, code in ((["status"], 1), (["migrate", "--dry-run"], 0)):
        capsys.readouterr()
        assert run(tmp_path, *words) == code
        assert capsys.readouterr().out
    assert run(tmp_path, "migrate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["applied"] == ALL_MIGRATIONS
    assert run(tmp_path, "status") == 0
    with open_embedded(tmp_path, "repodb", 5, with_schema=False) as database:
        assert database.query("SELECT pkg_name, pkg_vcs FROM Packages") == [("stored", "")]


def test_command_seed_migrate_and_grants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "seed") == 0
    assert run(tmp_path, "migrate", "--dry-run") == 0
    capsys.readouterr()
    assert run(tmp_path, "grants", "--reader", "bob") == 0
    assert capsys.readouterr().out.splitlines()[0] == "GRANT SELECT ON `repodb`.* TO `bob`;"


@pytest.mark.parametrize(
    "words",
    [["grants"], ["init", "bob"], ["status", "--dry-run"], ["seed", "--reader"], ["paint"], []],
)
def test_command_refuses_words_it_does_not_know(tmp_path: Path, words: list[str]) -> None:
    assert run(tmp_path, *words) == 2
