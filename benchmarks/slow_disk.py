"""A disk held at a rate: reads of a group of processes are throttled by the kernel (blkio of cgroup v1, io of v2).

It needs the right to make a control group, which root has. Reads from the page cache are not held back, so caches are
dropped first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

V1 = Path("/sys/fs/cgroup/blkio")
V2 = Path("/sys/fs/cgroup")


class CannotHoldError(Exception):
    """This machine does not let us hold its disk."""


@contextmanager
def held(place: Path, bytes_per_second: int) -> Iterator[Path]:
    """The file to write a process's id into, so that it reads from the disk of `place` at that rate at most.

    Raises CannotHoldError.
    """
    device = _disk(place)
    is_v1 = (V1 / "blkio.throttle.read_bps_device").exists()
    group = (V1 if is_v1 else V2) / f"casmodels-bench-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise CannotHoldError(f"no control group can be made: {error}") from error
    try:
        if is_v1:
            (group / "blkio.throttle.read_bps_device").write_text(f"{device} {bytes_per_second}")
        else:
            (group / "io.max").write_text(f"{device} rbps={bytes_per_second}")
        yield group / "cgroup.procs"
    except OSError as error:
        raise CannotHoldError(f"the disk {device} of {place} cannot be held: {error}") from error
    finally:
        for _ in range(50):  # it goes when its last process has
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _disk(place: Path) -> str:
    """The whole disk that a path lies on, as major:minor."""
    number = place.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not block.exists():
        raise CannotHoldError(f"{place} lies on no disk")
    if (block / "partition").exists():
        return (block.resolve().parent / "dev").read_text().strip()
    return f"{os.major(number)}:{os.minor(number)}"
