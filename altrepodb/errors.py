"""The exception family of ALTRepo Uploader; each class carries the exit code of its cure.

    AltrepodbError                1   something failed
    ├── ConfigurationError        2   the caller's arguments or configuration are wrong
    ├── SourceError               1   the input is missing, broken or hostile
    ├── DatabaseError             1   the database refused a statement
    ├── AlreadyLoadedError        3   the data is there already; ``--force`` overrides
    └── TemporaryError           75   a later run may succeed (server or site away, lock held)
        ├── DatabaseUnavailableError
        └── LockHeldError

A message names the input (file, URL, table) first and is one line long.
"""

__all__ = [
    "AltrepodbError",
    "AlreadyLoadedError",
    "ConfigurationError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "LockHeldError",
    "SourceError",
    "TemporaryError",
]


class AltrepodbError(Exception):
    """Base of all errors that a command reports in one line."""

    exit_code = 1


class ConfigurationError(AltrepodbError):
    """Wrong command line, configuration file or environment."""

    exit_code = 2


class SourceError(AltrepodbError):
    """An input that cannot be read as what it should be."""


class DatabaseError(AltrepodbError):
    """The database refused or broke off a statement."""


class AlreadyLoadedError(AltrepodbError):
    """The very data is in the database already."""

    exit_code = 3


class TemporaryError(AltrepodbError):
    """A failure that a later run may cure."""

    exit_code = 75


class DatabaseUnavailableError(TemporaryError):
    """The database server cannot be reached or has gone away."""


class LockHeldError(TemporaryError):
    """Another process holds a lock for longer than we wait."""
