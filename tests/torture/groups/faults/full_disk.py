"""A disk that is really full: a small file system of its own, with not one byte left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.groups.faults.commands import COMMANDS, put_back
from tests.torture.groups.faults.driver import Driver, verdict

_SIZE_MEBIBYTES = {"tmpfs": 8, "ext4": 24}
_MAKE_ROOM = ("gc", "remove")
_MUST_WORK = (*_MAKE_ROOM, "verify", "tag")
"""They need next to no room, or make some."""
_STEP_BYTES = (1 << 16, 1 << 12, 512, 1)


@contextlib.contextmanager
def mounted(kind: str, directory: Path, image: Path) -> Iterator[bool]:
    """A small file system of that kind at a directory; whether there could be one."""
    directory.mkdir(parents=True, exist_ok=True)
    size = f"{_SIZE_MEBIBYTES[kind]}m"
    commands = [["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(directory)]]
    if kind != "tmpfs":
        commands = [
            ["truncate", "-s", size, str(image)],
            ["mkfs.ext4", "-q", "-F", "-m", "0", str(image)],
            ["mount", "-o", "loop", str(image), str(directory)],
        ]
    try:
        done = all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)
    except OSError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path, keep_bytes: int = 0) -> Path:
    """Take all room but so much; gives the file that has it."""
    filler = directory / "filler"
    with filler.open("ab", buffering=0) as file:
        for step in _STEP_BYTES:
            with contextlib.suppress(OSError):
                while shutil.disk_usage(directory).free > keep_bytes or not keep_bytes:
                    file.write(bytes(step))
        os.fsync(file.fileno())
    return filler


def on_a_full_disk(driver: Driver, commands: Sequence[str], rooms: Sequence[int]) -> Iterator[str | None]:
    """Run each command twice with so much room left, and then with room again."""
    for room in rooms:
        for command in commands:
            put_back(driver.scene, driver.template)
            filler = fill(driver.scene, room)
            yield _run_full(driver, command, room)
            filler.unlink()
    put_back(driver.scene, driver.template)
    fill(driver.scene)
    yield _ways_out(driver)


def _run_full(driver: Driver, command: str, room: int) -> str | None:
    where = f"{command} with {room} bytes left"
    for _ in range(2):
        ended = driver.run(command)
        wrong = verdict(command, ended, frozenset({5}))
        if wrong is None and command in _MUST_WORK and ended.status not in COMMANDS[command].again:
            wrong = f"ends with {ended.status}: {ended.err.strip()}"
        if wrong is not None:
            return f"{where} {wrong}"
    (driver.scene / "filler").write_bytes(b"")
    wrong = driver.check(command, ended)
    return f"{where}: {wrong}" if wrong is not None else None


def _ways_out(driver: Driver) -> str | None:
    """On a disk that is full: remove, then gc, then there is room."""
    before = _free(driver.scene)
    for command in _MAKE_ROOM[::-1]:
        ended = driver.run(command)
        if ended.status != 0:
            return f"{command} on a full disk ends with {ended.status}: {ended.err.strip()}"
    if _free(driver.scene) <= before:
        return "remove and gc have made no room"
    return None


def _free(directory: Path) -> int:
    return shutil.disk_usage(directory).free
