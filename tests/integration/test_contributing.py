"""The example of CONTRIBUTING.md is a source that works as it stands there."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import altrepodb.cli
import altrepodb.sources
from altrepodb.config import SourcesSettings
from tests.support.http_server import Answer, HttpSite
from tests.support.loading import ROOT, open_database_in

Main = Callable[[Sequence[str]], int]

_MODULES = ("altrepodb.sources.vacations", "altrepodb.cli.vacation_loader")


def _examples(language: str) -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """The command of the example, written where its steps say, next to the real ones."""
    for package, name, code in zip(
        (altrepodb.sources, altrepodb.cli), _MODULES, _examples("python"), strict=True
    ):
        directory = tmp_path / package.__name__
        directory.mkdir()
        (directory / f"{name.rpartition('.')[2]}.py").write_text(code)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(directory)])
    monkeypatch.setattr(SourcesSettings, "vacation_url", None, raising=False)
    yield importlib.import_module(_MODULES[1]).main
    for module in _MODULES:
        sys.modules.pop(module, None)


def test_example_is_short() -> None:
    module, command = _examples("python")
    assert len(module.splitlines()) < 60
    assert len(command.splitlines()) < 25


def test_example_works(
    main: Main, schema_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = Path(shutil.copytree(schema_template, tmp_path / "database", symlinks=True))
    (table,) = _examples("sql")
    with open_database_in(directory) as database:
        database.execute(table)

    def run(*arguments: str) -> dict[str, Any]:
        places = ["-e", str(directory), "--state-dir", str(tmp_path / "state")]
        code = main([*places, "--url", site.url("/v.txt"), "--json", "--quiet", *arguments])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert found["exit_code"] == code
        return found

    with HttpSite() as site:
        site.add("/v.txt", Answer("petrova\t1700000000\nиванов\t5\nbad\n\nivanov\t5\n".encode()))
        assert run("--dry-run")["would_insert"] == 3
        first = run()
        assert (first["inserted"], first["skipped"]) == ({"Vacations": 3}, 1)
        assert (run()["result"], run("--force")["inserted"]) == ("uptodate", {})
        site.add("/v.txt", Answer(b"ivanov\t6\nsidorov\t5\nivanov\t6\n"))
        assert run()["inserted"] == {"Vacations": 2}
        for bad in (b"<html>", b"", b"ivanov\t7\n", b"bad\n" * 20):
            site.add("/v.txt", Answer(bad))
            assert run()["exit_code"] == 1
    with open_database_in(directory) as database:
        rows = database.query("SELECT login, toUnixTimestamp(last_day) FROM Vacations")
    assert sorted(rows) == [
        ("ivanov", 5),
        ("ivanov", 6),
        ("petrova", 1_700_000_000),
        ("sidorov", 5),
        ("иванов", 5),
    ]
