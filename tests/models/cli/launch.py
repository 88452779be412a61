"""A process of its own for a command: ``python launch.py SCENARIO ARGUMENT…``, over the fake library."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import casmodels.library
from casmodels.cli import main, process
from tests.models.cli.fake import MODEL, FakeStore, endless_bytes


def _hang(*arguments: Any) -> None:
    sys.stderr.write("begun\n")
    while True:
        time.sleep(0.05)


def _hang_with_a_thread(*arguments: Any) -> None:
    threading.Thread(target=time.sleep, args=(60,)).start()
    _hang()


def _outlived(**options: Any) -> list[Any]:
    threading.Thread(target=lambda: (time.sleep(0.2), sys.stderr.write("thread\n"))).start()
    return []


def _with_handler(**options: Any) -> list[Any]:
    atexit.register(sys.stdout.write, "handler\n")
    return []


def _garbage(**options: Any) -> list[Any]:
    sys.stderr.write(f"{gc.isenabled()} {gc.get_freeze_count() > 10_000}\n")
    return []


_LISTS = {"outlived": _outlived, "handler": _with_handler, "garbage": _garbage}


def _report_imports() -> None:
    heavy = ("typer", "rich", "pydantic", "numpy", "numba", "requests", "huggingface_hub", "aiohttp", "psutil")
    json.dump([name for name in heavy if name in sys.modules], sys.stderr)


def run() -> None:
    """Set the scenario and be the program."""
    scenario, *arguments = sys.argv[1:]
    casmodels.library.Store = FakeStore  # type: ignore[misc,assignment]
    answers = FakeStore.answers
    if scenario == "hang":
        answers["pull"] = _hang
    elif scenario == "thread":
        process.LINGER_SECONDS = 0.2
        answers["pull"] = _hang_with_a_thread
    elif scenario == "echo":
        answers["cat"] = lambda _, path: [os.fsencode(path)]
    elif scenario == "much":
        answers["list"] = [MODEL] * 20_000
        answers["cat"] = endless_bytes()
    elif scenario == "foreign":
        answers["list"] = [replace(MODEL, name="é漢\udcff")]
    elif scenario == "broken":
        answers["complete_names"] = answers["versions"] = OSError("broken")
    elif scenario in _LISTS:
        answers["list"] = _LISTS[scenario]
    if scenario == "imports":
        process.run(arguments)
        _report_imports()
        return
    sys.argv[1:] = arguments
    main()


if __name__ == "__main__":
    run()
