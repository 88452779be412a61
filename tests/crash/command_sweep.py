"""Kill one command at its n-th change of the disk, for many n, and check what is left each time.

Run as a program, so that it forks from a process that has no threads:

    python -m tests.crash.command_sweep WORK STEP COMMAND [ARGUMENT ...]

WORK holds `template` (a store) and, as `expected.json`, what its versions hold: name@id to path to SHA-256. For n = 1,
1 + STEP, … the template is copied, the command is run on the copy and killed by SIGKILL right before its n-th write,
fsync, rename, unlink, truncate or commit, until it gets through. After each kill, in the copy: everything that was
finished is there to the byte, the same command works unaided, one gc takes back what leaked. Prints how many kills
there were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from casmodels.cli import process
from casmodels.cli.exits import Exit
from casmodels.library import Store
from casstore import files
from casstore.maintenance.gc import collect
from casstore.packs import list_packs


def in_child(work: Callable[[], object]) -> int:
    """Run in a fork; gives the exit status, or minus the signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(arguments: list[str], kill_at: int | None) -> None:
    """The command, killed before its n-th call of the seam."""
    calls = 0

    def hook(_operation: str, _path: str) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    files.set_hook(hook)
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 until the process ends
    sys.exit(process.run(arguments))


def run_again(arguments: list[str]) -> None:
    """The command a second time. A `remove` that was killed may have removed it all the same; then it says so."""
    try:
        run(arguments, None)
    except SystemExit as error:
        if not ("remove" in arguments and error.code == Exit.NOT_FOUND):
            raise


def check(directory: Path, expected: dict[str, dict[str, str]]) -> None:
    """Every version that was finished before is there to the byte, and nothing is wrong anywhere."""
    with Store(directory) as store:
        here = {f"{version.name}@{version.version}" for version in store.versions()}
        assert expected.keys() <= here, f"versions are gone: {expected.keys() - here}"
        for target, paths in expected.items():
            for path, sha256 in paths.items():
                digest = hashlib.sha256(b"".join(store.cat(target, path))).hexdigest()
                assert digest == sha256, f"{target} {path} has other bytes"
        damaged = store.verify(data=True).damaged
        assert not damaged, damaged


def check_collected(directory: Path) -> None:
    """After one gc there is no file that the store does not need."""
    with Store(directory) as store:
        store.gc()
        engine = store._context.engine()
        assert set(list_packs(engine.layout.packs)) == engine.engine.ledger.rows.pack_ids()
        assert not list(engine.layout.packs.glob("*.tmp"))
        assert not list(engine.layout.downloads.iterdir())
        assert not list(engine.layout.leases.iterdir())
        assert collect(engine.engine).packs == 0


def sweep(work: Path, step: int, arguments: list[str]) -> int:
    """All kills; gives how many there were."""
    expected = json.loads((work / "expected.json").read_text())
    if arguments[0] == "remove":
        expected = {target: paths for target, paths in expected.items() if not target.startswith(f"{arguments[1]}@")}
    directory = work / "store"
    command = ["--store", str(directory), "-q", *arguments]
    for kills, kill_at in enumerate(range(1, 1_000_000, step)):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(work / "template", directory)
        status = in_child(partial(run, command, kill_at))
        if status != -signal.SIGKILL:
            assert status == 0, f"the command failed with {status}"
            return kills
        steps = [
            *(
                [] if "--from" in arguments else [partial(check, directory, expected)]
            ),  # what is lost is yet to be healed
            partial(run_again, command),
            partial(check, directory, expected),
            partial(check_collected, directory),
            partial(check, directory, expected),
        ]
        for number, each in enumerate(steps):
            assert in_child(each) == 0, f"killed at call {kill_at}: step {number} afterwards failed"
    raise AssertionError("the command never ends")


if __name__ == "__main__":
    sys.stdout.write(f"{sweep(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])}\n")
