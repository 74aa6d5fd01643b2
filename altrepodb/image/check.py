"""Whether an image fits the database: are its packages known, and is it of the branch given."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from altrepodb.db.database import Database
from altrepodb.image.base_branch import (
    BaseState,
    find_base_state,
    find_best_matches,
    find_unknown,
)
from altrepodb.image.installed import InstalledPackage
from altrepodb.image.package_set import Leaf, utc_text

__all__ = ["LeafCheck", "check_leaf", "describe_problems"]

logger = logging.getLogger("altrepodb.image")

_SHOWN_PACKAGES = 20
_NAMED_PACKAGES = 3
_LOGGED_MATCHES = 3
_LEAST_SHARE_PERCENT = 50
"""An image made of a branch has nearly all packages from one state of it."""


@dataclass(slots=True)
class LeafCheck:
    """What was found out about a leaf; ``problems`` stop the load unless it is forced."""

    unknown: list[InstalledPackage] = field(default_factory=list)
    state: BaseState | None = None
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_leaf(
    database: Database,
    leaf: Leaf,
    branch: str,
    state: BaseState | None = None,
    has_files: bool = False,
) -> LeafCheck:
    """Look a leaf's packages up; ``state`` is that of the branch when it is known already.

    ``has_files`` says that packages were looked for by files, so that none is one too few.
    """
    packages = {package.hash: package for package in leaf.packages}
    check = LeafCheck(state=state)
    if not packages:
        if has_files:
            check.problems.append(
                f"branch mismatch: no file of {leaf.name} is in a package of {branch}"
            )
        return check
    if state is None:
        check.state = find_base_state(database, packages, branch)
        _check_share(leaf, len(packages), branch, check)
    _compare_branches(database, leaf, packages, branch, check)
    unknown = find_unknown(database, packages)
    check.unknown = sorted((packages[pkg_hash] for pkg_hash in unknown), key=str)
    _report_unknown(leaf, check)
    return check


def _check_share(leaf: Leaf, count: int, branch: str, check: LeafCheck) -> None:
    """Whether enough of the packages are in one state of the branch."""
    found = check.state.packages if check.state else 0
    if check.state:
        day = utc_text(check.state.date)[:10]
        logger.info("%s: made of %s of %s: %d of %d packages", leaf.name, branch, day, found, count)
    if found * 100 < count * _LEAST_SHARE_PERCENT:
        check.problems.append(
            f"branch mismatch: {found} of {count} packages of {leaf.name} are in"
            f" one state of {branch}"
        )


def _compare_branches(
    database: Database,
    leaf: Leaf,
    packages: dict[int, InstalledPackage],
    branch: str,
    check: LeafCheck,
) -> None:
    """Whether the newest state of another branch has more of the packages."""
    matches = find_best_matches(database, packages)
    for match in islice(matches, _LOGGED_MATCHES):
        day = utc_text(match.date)[:10]
        logger.debug("%s: %d packages in %s of %s", leaf.name, match.packages, match.name, day)
    if not matches:
        return
    best = matches[0]
    logger.info("%s: of newest states %s has most, %d", leaf.name, best.name, best.packages)
    own = next((match.packages for match in matches if match.name == branch), 0)
    if best.packages > own:
        check.warnings.append(
            f"{leaf.name}: the newest {best.name} has {best.packages} of its packages,"
            f" the newest {branch} {own}"
        )


def _report_unknown(leaf: Leaf, check: LeafCheck) -> None:
    """All of them in the log, so many on the console."""
    for number, package in enumerate(check.unknown):
        logger.warning(
            "%s: not in the database: [%d] %s",
            leaf.name,
            package.hash,
            package,
            extra={"on_console": number < _SHOWN_PACKAGES},
        )
    if check.unknown:
        names = ", ".join(map(str, check.unknown[:_NAMED_PACKAGES]))
        rest = len(check.unknown) - _NAMED_PACKAGES
        more = f" and {rest} more" if rest > 0 else ""
        count = len(check.unknown)
        noun = "package" if count == 1 else "packages"
        check.problems.append(f"{count} {noun} of {leaf.name} not in the database: {names}{more}")


def describe_problems(image: str, checks: Sequence[LeafCheck]) -> str:
    """All that is wrong on one line; empty when nothing is."""
    problems = [problem for check in checks for problem in check.problems]
    return f"{image}: {'; '.join(problems)}" if problems else ""
