"""A warm process that forks a child for each run: a fresh interpreter for every fault would take all day.

Run as a program, with the number of a socket to its driver. A request is a JSON document and two descriptors, for the
child's stdout and stderr; the answers are the child's pid and, in the end, its exit status. A child that is to be
traced waits for a byte before it begins.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from casmodels.cli import process
from casmodels.library import Store
from casstore import files
from casstore.testing.faults import Failing, Recording, ShortWrites
from tests.crash.store_checks import check_one_gc, check_versions
from tests.torture.groups.faults.commands import COMMANDS, Scene

_MESSAGE_BYTES = 1 << 20


def serve(link: socket.socket) -> None:
    """Answer until the other end is closed."""
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork where there are threads
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, _MESSAGE_BYTES, 2)
        if not message:
            return
        request = json.loads(message)
        # Before the fork: what strace makes fail has to be a call of the command.
        scene = Scene.load(Path(request["scene"]))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _become(scene, request, descriptors, link, writing)
        os.close(writing)
        for descriptor in descriptors:
            os.close(descriptor)
        link.send(str(child).encode())
        with os.fdopen(reading) as told:
            _import_all(told.read().split())
        link.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(scene: Scene, request: dict[str, Any], descriptors: list[int], link: socket.socket, writing: int) -> None:
    """In the child: do what is asked and end."""
    status = 99
    try:
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        if request.get("traced"):
            link.recv(1)
        link.close()
        if not request.get("learn"):
            os.close(writing)
        status = _ACTIONS[request["action"]](scene, request)
        if request.get("learn"):
            os.write(writing, " ".join(sys.modules).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _import_all(names: list[str]) -> None:
    """What a command has imported is there from now on, so that the children's calls are the command's own."""
    for name in names:
        if name != "__main__" and name not in sys.modules:
            with contextlib.suppress(ImportError):  # some names are made up by what has the module in it
                importlib.import_module(name)


def _run(scene: Scene, request: dict[str, Any]) -> int:
    """The command, with a fault."""
    fault = request.get("fault", {})
    if "limit" in fault:
        resource.setrlimit(resource.RLIMIT_NOFILE, (fault["limit"], fault["limit"]))
    if "seam" in fault:
        number = getattr(errno, fault["seam"])
        files.set_hook(Failing(number, fault["operation"], skip=fault["at"], times=None if fault["lasting"] else 1))
    if "short" in fault:
        with ShortWrites(fault["short"]):
            return process.run(scene.arguments(COMMANDS[request["command"]]))
    return process.run(scene.arguments(COMMANDS[request["command"]]))


def _count(scene: Scene, request: dict[str, Any]) -> int:
    """The command, and at the end of stdout the calls that the seam saw and how many writes there were."""
    recording = Recording()
    files.set_hook(recording)
    with ShortWrites(-1) as writes:
        status = process.run(scene.arguments(COMMANDS[request["command"]]))
    files.set_hook(None)
    sys.stdout.write(f"\n{json.dumps([recording.calls, writes.seen])}")
    return status


def _check(scene: Scene, request: dict[str, Any]) -> int:
    """After a fault: nothing is hurt, and the same command works."""
    command = COMMANDS[request["command"]]
    kept = {target: dict(paths) for target, paths in scene.kept(command).items()}
    # A repair that could not read something has set it aside, and the next one finds that nothing is wrong with it.
    if request["command"] != "repair":
        check_versions(scene.store, kept)
        scene.check_files()
    if request.get("succeeded"):
        _see(scene, request["command"])
    status = process.run(scene.arguments(command))
    assert status in command.again, f"the same command ends with {status} now"
    check_versions(scene.store, kept)
    scene.check_files()
    _see(scene, request["command"])
    check_one_gc(scene.store)
    assert not list(scene.directory.rglob(".casmodels-*")), "a gc leaves temporary files behind"
    check_versions(scene.store, kept)
    return 0


def _see(scene: Scene, command: str) -> None:
    with Store(scene.store) as store:
        COMMANDS[command].has_worked(scene, store)


_ACTIONS: dict[str, Callable[[Scene, dict[str, Any]], int]] = {"run": _run, "count": _count, "check": _check}


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
