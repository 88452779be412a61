"""Faults: full disks, disks that fail, too many open files, and writes that take only a part.

Each command is run again and again on one small store, each time with one more of its calls failing: the system calls
by way of strace, from outside; the calls of the product's own seam; true short writes; few open files allowed; and
on a disk that is really full. Each time: it ends with one sentence and the right exit code, or it has done all of its
work; it never succeeds after a sync that failed; every version is there to the byte, and outside the store no torn
file has its final name; and the same command works as soon as the fault is gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.hub import FakeHub
from tests.quick_disk import quick_directory
from tests.torture.groups.faults import commands, full_disk, sweeps
from tests.torture.groups.faults.driver import Driver, can_trace
from tests.torture.plan import Mutation, Outcome, Plan

_POINTS: Final = 110
"""Of each command and each kind of fault, where there are as many calls."""
_FULL_DISK: Final = (tuple(commands.COMMANDS), (0, 4096, 65536, 1 << 20))
_SHORT_DISK: Final = (("gc", "verify", "checkpoint"), (0,))
"""Which commands are run with how many bytes left."""


def run(plan: Plan) -> Iterator[Outcome]:
    """Every kind of fault in turn. In memory, since it is no power that fails."""
    with quick_directory() as work, FakeHub() as hub:
        environ = _environ(work, hub)
        scene, template = work / "scene", work / "template"
        commands.make(scene, hub, environ, plan.random("scene"))
        scene.rename(template)
        with Driver(scene, template, environ) as driver:
            counted = {command: driver.learn(command).counted for command in commands.COMMANDS}
            calls = {command: calls for command, (calls, _) in counted.items()}
            writes = {command: writes for command, (_, writes) in counted.items()}
            yield from _outside(plan, driver)
            yield _outcome("a call of the seam fails", sweeps.through_the_seam(driver, calls, _choice(plan, "seam")))
            yield _outcome("a write takes only half", sweeps.short_writes(driver, writes, _choice(plan, "short")))
            yield _outcome("few files may be open", sweeps.few_files(driver, _choice(plan, "files")))
            shutil.rmtree(scene)
            yield from _full_disks(plan, driver, work / "image")


def _outside(plan: Plan, driver: Driver) -> Iterator[Outcome]:
    traces = can_trace()
    for kind in sweeps.KINDS:
        what = f"{kind.what} at a system call"
        if not traces:
            yield Outcome(what, 0, note="not done: there is no strace here that may be used")
        else:
            yield _outcome(what, sweeps.outside(driver, kind, _choice(plan, kind.what)))


def _full_disks(plan: Plan, driver: Driver, image: Path) -> Iterator[Outcome]:
    for system in ("tmpfs",) if plan.is_short else ("tmpfs", "ext4"):
        # At the place where the scene was made: the store knows directories outside by their paths.
        with full_disk.mounted(system, driver.scene, image) as is_there:
            what = f"a full {system}"
            if is_there:
                yield _outcome(what, full_disk.on_a_full_disk(driver, *_SHORT_DISK if plan.is_short else _FULL_DISK))
            else:
                yield Outcome(what, 0, note=f"not done: nobody may mount a {system} here")


def _choice(plan: Plan, sweep: str) -> sweeps.Choice:
    return sweeps.Choice(None if plan.is_short else _POINTS, plan.random(sweep))


def _outcome(what: str, results: Iterable[str | None]) -> Outcome:
    found = list(results)
    return Outcome(what, len(found), tuple(wrong for wrong in found if wrong is not None))


def _environ(work: Path, hub: FakeHub) -> dict[str, str]:
    settings = work / "config.toml"
    settings.touch()
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(work / "hf-home"),
        "CASMODELS_CONFIG": str(settings),
    }


MUTATIONS: Final = [
    Mutation(
        "a sync that fails is passed over",
        "store/casstore/files.py",
        '    with translated(called or path):\n        announce("fsync", path)\n        if sys.platform == "darwin":\n',
        "    with contextlib.suppress(OSError):\n"
        '        announce("fsync", path)\n        if sys.platform == "darwin":\n',
    ),
    Mutation(
        "what is written in part is taken as whole",
        "store/casstore/files.py",
        "            view = view[os.write(descriptor, view) :]\n",
        "            view = view[max(os.write(descriptor, view), len(view)) :]\n",
    ),
    Mutation(
        "an error while a pack is sealed is swallowed",
        "store/casstore/packs.py",
        "            self.abandon()\n            raise\n        os.close(self._descriptor)\n",
        "            self.abandon()\n        else:\n            os.close(self._descriptor)\n",
    ),
    Mutation(
        "a checkout that fails leaves what it has of a file under its name",
        "casmodels/views/materialise.py",
        "        except BaseException:\n            with contextlib.suppress(OSError, StoreError):\n"
        "                temporary.unlink(missing_ok=True)\n",
        "        except BaseException:\n            with contextlib.suppress(OSError, StoreError):\n"
        "                temporary.replace(target)\n",
    ),
    Mutation(
        "the reserve is never lent",
        "store/casstore/reserve.py",
        "        if shutil.disk_usage(self._layout.root).free >= self.wanted_bytes:\n",
        "        if True:\n",
    ),
    Mutation(
        "a system error is shown as it is",
        "casmodels/cli/failures.py",
        "    if session.verbosity > 1:\n",
        "    if isinstance(error, StoreError | OSError):\n",
    ),
]
