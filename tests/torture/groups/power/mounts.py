"""Images that are mounted through loop devices, and nothing of them left behind.

All of it lies in a directory whose lock its run holds: what a run that was killed left is found by the lock that
nobody holds any more, and taken down by the next run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.quick_disk import quick_directory, quick_parent

_PREFIX: Final = "casstore-power-"
_PROGRAMS: Final = ("mount", "umount", "xfs_io", "mkfs.xfs")
_PATIENCE_SECONDS: Final = 10.0


class UnavailableError(Exception):
    """Why nothing can be mounted, or not this file system."""


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory for images and mounts. Raises UnavailableError where nothing can be mounted."""
    if os.geteuid() != 0:
        raise UnavailableError("needs root, to mount")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise UnavailableError(f"{', '.join(missing)} not installed")
    _remove_leftovers()
    with quick_directory(_PREFIX) as directory:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            _unmount_all(directory)
            os.close(lock)


def call(*command: str | Path) -> None:
    """Run a program; RuntimeError with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).partition(chr(10))[0]}")


def mount(image: Path, directory: Path, options: str) -> None:
    """Mount an image; its loop device goes with the mount."""
    directory.mkdir(exist_ok=True)
    call("mount", "-o", f"loop,{options}", image, directory)


def unmount(directory: Path) -> None:
    """Unmount; a device that has just been let go may be busy for a moment yet."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while directory in _mounted():
        try:
            call("umount", directory)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _remove_leftovers() -> None:
    for directory in quick_parent().glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
            _unmount_all(directory)
            shutil.rmtree(directory, ignore_errors=True)


def _unmount_all(directory: Path) -> None:
    """Whatever is mounted below a directory, the innermost first."""
    for target in reversed(_mounted()):
        if directory in target.parents:
            try:
                unmount(target)
            except RuntimeError:
                call("umount", "--lazy", target)


def _mounted() -> list[Path]:
    """Where something is mounted, in order; not by a look at it, which fails where the disk is gone."""
    return [Path(line.split(" ")[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
