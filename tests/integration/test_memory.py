"""Memory that was freed goes back to the system: each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.loading import ROOT, environment

_TIMEOUT_S = 120.0
_RESIDENT = """
import os
def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
"""
# The small objects between the large ones outlive them, as identities outlive the results of
# workers. A large one that was freed before tells glibc to take such from its heap.
_BLOCKS = """
import sys
from altrepodb.workers import worker_pool
size = int(sys.argv[1])
with worker_pool(1):
    block = b"x" * (2 * size)
    del block
    before = resident_mib()
    pairs = [(b"x" * size, os.urandom(2000)) for _ in range(20)]
    kept = [small for _, small in pairs]
    del pairs
    print(resident_mib() - before)
"""
# Blocks of this size come from the heap; what outlives them keeps glibc from shrinking it.
_PIECES = """
import sys
from altrepodb.memory import return_free_memory
size = int(sys.argv[1])
pairs = [(b"x" * size, os.urandom(2000)) for _ in range(1000)]
kept = [small for _, small in pairs]
del pairs
before = resident_mib()
return_free_memory()
print(before - resident_mib())
"""
_INSERTS = """
import sys
from pathlib import Path
from altrepodb.db.embedded import open_embedded
with open_embedded(Path(sys.argv[1]), "memory", with_schema=False) as database:
    database.execute("CREATE TABLE texts (text String) ENGINE = Null")
    database.insert("texts", {"text": ["first"]})
    before, after = resident_mib(), []
    for _ in range(4):
        database.insert("texts", {"text": [b"x" * 1000] * 60_000})
        after.append(resident_mib())
    print(max(after) - before)
"""
_SETTINGS = """
import sys
from pathlib import Path
from altrepodb.db.embedded import open_embedded
with open_embedded(Path(sys.argv[1]), "memory", with_schema=False) as database:
    rows = database.query("SELECT name FROM system.merge_tree_settings WHERE changed")
    wanted = {
        "max_parts_to_merge_at_once",
        "merge_max_block_size_bytes",
        "vertical_merge_algorithm_min_rows_to_activate",
    }
    print(len(wanted - {name for (name,) in rows}))
"""


def _printed_number(home: Path, program: str, argument: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _RESIDENT + program, argument],
        env=environment(home),
        cwd=ROOT,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return int(done.stdout)


def test_large_blocks_do_not_stay_on_the_heap(tmp_path: Path) -> None:
    assert _printed_number(tmp_path, _BLOCKS, str(8 << 20)) < 60


def test_pieces_of_the_heap_are_returned(tmp_path: Path) -> None:
    assert _printed_number(tmp_path, _PIECES, str(60 << 10)) > 40


def test_engine_does_not_keep_what_inserts_needed(tmp_path: Path) -> None:
    assert _printed_number(tmp_path, _INSERTS, str(tmp_path / "database")) < 80


def test_merges_are_small(tmp_path: Path) -> None:
    assert _printed_number(tmp_path, _SETTINGS, str(tmp_path / "database")) == 0
