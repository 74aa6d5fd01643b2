"""What is installed in an image, read in a process with limits: the loader's entry."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from altrepodb.byte_source import ByteSource, open_file
from altrepodb.errors import AltrepodbError, SourceError
from altrepodb.image.disk import open_disk
from altrepodb.image.installed import InstalledSystem, SystemRoot, read_installed
from altrepodb.image.limited import run_limited
from altrepodb.image.tar import open_tar

__all__ = ["ImageType", "read_system", "read_system_image"]

ImageType = Literal["tar", "img", "qcow"]


def read_system_image(
    path: Path,
    image_type: ImageType,
    arch: str,
    partition: int | None = None,
    scratch_directory: Path | None = None,
) -> InstalledSystem:
    """The packages and the os-release of an image, whose format is told by its content.

    ``arch`` chooses among container images of several platforms, ``partition`` among those of a
    disk. Large intermediate files are made below ``scratch_directory``, or the default one, and
    are gone at the end. Raises SourceError when there is no system, no package or damage, and
    ConfigurationError when the extra ``altrepodb[images]`` is needed and missing.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="altrepodb-", dir=scratch_directory) as directory:
            arguments = (path, image_type, arch, partition, Path(directory))
            return run_limited(_read_file, *arguments, name=str(path))
    except OSError as error:
        raise AltrepodbError(f"{scratch_directory}: {error.strerror}") from error


def _read_file(path: Path, *arguments: Any) -> InstalledSystem:
    with open_file(path) as source:
        return read_system(source, *arguments)


def read_system(
    source: ByteSource, image_type: str, arch: str, partition: int | None, directory: Path
) -> InstalledSystem:
    """As ``read_system_image``, in this process, with a scratch directory that is there."""
    if image_type == "tar":
        with open_tar(source, directory, arch) as archive:
            return _installed(archive, directory)
    with open_disk(source, directory, partition) as disk:
        return _installed(disk, directory)


def _installed(root: SystemRoot, directory: Path) -> InstalledSystem:
    system = read_installed(root.tree, directory)
    if system is None:
        raise SourceError(f"{root.tree.name}: no rpm database")
    if not system.packages:
        raise SourceError(f"{root.tree.name}: an rpm database without packages")
    return replace(system, warnings=root.warnings)
