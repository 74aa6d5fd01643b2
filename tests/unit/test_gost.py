"""GOST R 34.11-2012: every provider against the known digests, and machines without one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from altrepodb.errors import AltrepodbError
from altrepodb.image.gost import PROVIDERS, TEST_VECTORS, GostDigest, find_provider, open_gost

LIBRARIES = PROVIDERS[:3]
RHASH = PROVIDERS[-1]


@contextmanager
def wrong_provider():
    yield GostDigest(lambda chunk: None, lambda: bytes(32))


@contextmanager
def absent_provider():
    raise OSError("cannot open shared object file")
    yield


@pytest.mark.parametrize("provider", [*LIBRARIES, RHASH])
@pytest.mark.parametrize("text", TEST_VECTORS)
def test_each_provider_computes_the_vectors(provider, text):
    with find_provider([provider])() as gost:
        gost.update(text)
        assert gost.digest().hex() == TEST_VECTORS[text]


def test_providers_agree_over_many_chunks():
    chunks = [bytes([number]) * (number * 37) for number in range(200)]
    digests = set()
    for provider in [*LIBRARIES, RHASH]:
        with provider() as gost:
            for chunk in chunks:
                gost.update(chunk)
            digests.add(gost.digest())
    assert len(digests) == 1


def test_wrong_and_absent_providers_are_passed_over():
    provider = find_provider([absent_provider, wrong_provider, LIBRARIES[0]])
    assert provider is LIBRARIES[0]


def test_no_provider_is_one_clear_error():
    with pytest.raises(AltrepodbError, match="libgcrypt, nettle, GnuTLS nor the programs") as error:
        find_provider([absent_provider, wrong_provider])
    assert "\n" not in str(error.value)


def test_digests_beside_each_other_do_not_mix():
    with open_gost() as first, open_gost() as second:
        first.update(b"\xee" * 64)
        second.update((b"0123456789" * 7)[:63])
        first.update(b"\x16" + b"\x11" * 62 + b"\x16")
        assert (first.digest().hex(), second.digest().hex()) == (
            TEST_VECTORS[b"\xee" * 64 + b"\x16" + b"\x11" * 62 + b"\x16"],
            TEST_VECTORS[(b"0123456789" * 7)[:63]],
        )


@pytest.mark.parametrize("script", ["exit 0", "echo no digest", "cat >/dev/null; exit 3"])
def test_program_that_fails_is_passed_over(tmp_path, monkeypatch, script):
    for name in ("gost12sum", "gostsum", "rhash"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(AltrepodbError, match="cannot be computed"):
        find_provider(PROVIDERS[3:])


def test_program_that_is_left_early_ends(tmp_path):
    with pytest.raises(ZeroDivisionError), RHASH() as gost:
        gost.update(bytes(1 << 20))
        _ = 1 / 0


def test_works_without_programs():
    """The whole of it needs no program and no PATH where a library is."""
    code = (
        "from altrepodb.image.gost import open_gost\n"
        "with open_gost() as gost: print(gost.digest().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == TEST_VECTORS[b""]
