"""``make demo``: compose a sample repository, load it, show what the database then knows.

Everything stands below one directory, which is made anew each time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from altrepodb.config import DatabaseSettings
from altrepodb.db import Database, open_database

_COMPOSE = (
    "python -m tests.support.repository --sources 80 --binaries 200 --files 9000 --depends 2500 "
    "--seed 1 {repository}"
)
_LOAD = "repo_loader --date 2024-05-06 --embedded {database} Sisyphus {repository}"

_ROWS_OF_TABLES = """
SELECT name, toString(total_rows)
FROM system.tables
WHERE database = currentDatabase() AND total_rows > 0 AND engine LIKE '%MergeTree'
ORDER BY total_rows DESC
"""
_PACKAGES = """
SELECT if(pkg_sourcepackage = 1, 'source', pkg_arch) AS kind,
       toString(uniqExact(pkg_hash)),
       formatReadableSize(sum(pkg_filesize))
FROM Packages
GROUP BY kind
ORDER BY kind
"""
_DEPENDED_ON = """
SELECT provided.dp_name, toString(uniqExact(required.pkg_hash)) AS packages
FROM (SELECT DISTINCT dp_name FROM Depends WHERE dp_type = 'provide') AS provided
INNER JOIN (SELECT dp_name, pkg_hash FROM Depends WHERE dp_type = 'require') AS required
    ON required.dp_name = provided.dp_name
GROUP BY provided.dp_name
ORDER BY uniqExact(required.pkg_hash) DESC, provided.dp_name
LIMIT 5
"""


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration below a directory; return an exit code."""
    directory = Path(arguments[0] if arguments else "build/demo")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    places = {"repository": directory / "repository", "database": directory / "database"}
    for line in (_COMPOSE, _LOAD):
        exit_code = _run(line.format(**places))
        if exit_code:
            return exit_code
    with open_database(DatabaseSettings(embedded=places["database"])) as database:
        show(database)
    return 0


def _run(line: str) -> int:
    """Show a command line and run it with the programs of this environment."""
    print(f"$ {line}", flush=True)
    program, *arguments = line.split()
    return subprocess.run(
        [Path(sys.executable).parent / program, *arguments], check=False
    ).returncode


def show(database: Database) -> None:
    """Print what a database holds."""
    _print_table(("table", "rows"), database.query(_ROWS_OF_TABLES))
    _print_table(("packages", "number", "size"), database.query(_PACKAGES))
    _print_table(("most required", "by packages"), database.query(_DEPENDED_ON))


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as need be; the first one to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print()
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(["", row[0].ljust(widths[0]), *cells[1:]]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
