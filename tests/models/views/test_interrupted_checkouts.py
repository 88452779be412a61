"""Checkouts that are cut short one after the other, and what the next one knows of what they left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels.views.checkouts import InTheWayError
from casstore.testing.faults import Recording, hooked
from tests.models.views.shelf import KilledError, Killer
from tests.quick_disk import quick_directory

Look = Callable[[Path], dict[str, object]]

MODELS: dict[str, dict[str, Any]] = {
    name: {
        "w.bin": name.encode() * 1000,
        "sub/config.json": name.encode(),
        f"{name}/vocab.txt": b"a",
        "latest": f"{name}/vocab.txt",
        f"only-{name}": "w.bin",
        f"hollow-{name}": None,
        "same": b"the same in all",
    }
    for name in ("alpha", "beta", "gamma")
}
_STRIDE = 7
"""How far the second kill moves when the first does by one: so that all meet many, in the time of one loop."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, instead of pytest's own: there is much to sync."""
    with quick_directory() as directory:
        yield directory


def kill(killer: Killer, at: int, checkout: Callable[[], object]) -> bool:
    """Kill a checkout before its change number ``at``; whether it came to that."""
    killer.left = at
    try:
        checkout()
    except KilledError:
        return True
    finally:
        killer.left = None
    return False


def length(shelf: Any, killer: Killer, checkout: Callable[[], object]) -> int:
    """How many changes a checkout makes."""
    killer.left = before = 10_000
    checkout()
    left, killer.left = killer.left, None
    return before - left


def test_what_one_after_the_other_left_is_nobodys_and_goes(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer
) -> None:
    versions = {name: shelf.put(name, content) for name, content in MODELS.items()}

    def check_out(name: str, out: Path) -> Any:
        return shelf.checkout(versions[name], out, name)

    check_out("alpha", tmp_path / "trial")
    changes = length(shelf, killer, lambda: check_out("beta", tmp_path / "trial"))
    assert changes > 20
    for first in range(1, changes + 1):
        out = tmp_path / f"out{first}"
        second = 1 + first * _STRIDE % changes
        check_out("alpha", out)
        assert kill(killer, first, lambda: check_out("beta", out))  # noqa: B023
        kill(killer, second, lambda: check_out("gamma", out))  # noqa: B023
        name = ("alpha", "beta", "gamma")[first % 3]
        assert check_out(name, out).kept == (), (first, second)
        assert listing(out) == MODELS[name], (first, second)


def test_what_a_version_left_that_the_store_has_no_more_is_known(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer
) -> None:
    """Its bytes are there still, and under another name."""
    old, new = (
        {path: content for path, content in MODELS[name].items() if isinstance(content, bytes)}
        for name in ("alpha", "beta")
    )
    target = shelf.put("mine", new)
    shelf.put("other", old)
    for at in range(1, 200):
        out = tmp_path / f"out{at}"
        gone = shelf.put("mine", old)
        shelf.checkout(gone, out)
        shelf.remove("mine", gone)
        for path in old:
            os.utime(out / path)  # so that they are known by reading only
        survived = not kill(killer, at, lambda: shelf.checkout(target, out))  # noqa: B023
        assert shelf.checkout(target, out).kept == (), at
        assert listing(out) == new, at
        if survived:
            return
    raise AssertionError("the run never came to its end")


def test_what_is_edited_after_a_kill_is_the_users(shelf: Any, tmp_path: Path, killer: Killer) -> None:
    first, second = shelf.put("mine", MODELS["alpha"]), shelf.put("mine", MODELS["beta"])
    for at in range(1, 40, 3):
        out = tmp_path / f"out{at}"
        shelf.checkout(first, out)
        kill(killer, at, lambda: shelf.checkout(second, out))  # noqa: B023
        (out / "w.bin").write_bytes(b"edited")
        with pytest.raises(InTheWayError) as caught:
            shelf.checkout(second, out)
        assert caught.value.paths == ("w.bin",)
        kill(killer, 8, lambda: shelf.checkout(second, out, force=True))  # noqa: B023
        if (out / "w.bin").read_bytes() == b"edited":
            with pytest.raises(InTheWayError):
                shelf.checkout(second, out)
        shelf.checkout(second, out, force=True)
        assert (out / "w.bin").read_bytes() == MODELS["beta"]["w.bin"]


def test_a_users_own_right_files_are_brought_to_the_disk(shelf: Any, tmp_path: Path) -> None:
    """They may have been copied there a moment ago, and are acknowledged now."""
    version = shelf.put("mine", {"a": b"a", "sub/b": b"b"})
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    for path, content in {"a": b"a", "sub/b": b"b"}.items():
        (out / path).write_bytes(content)
        os.utime(out / path, ns=(1, 1))
    recording = Recording()
    with hooked(recording):
        assert shelf.checkout(version, out).written_files == 0
    synced = {Path(path) for operation, path in recording.calls if operation == "fsync"}
    assert {tmp_path, out, out / "a", out / "sub", out / "sub/b"} <= synced
    recording.calls.clear()
    with hooked(recording):
        shelf.checkout(version, out)
    assert not [path for operation, path in recording.calls if operation == "fsync" and Path(path).is_relative_to(out)]
