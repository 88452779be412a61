from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import InvalidInputError
from casmodels.progress import SilentProgress
from casmodels.views import checkouts
from casmodels.views.checkouts import InTheWayError
from casstore import files
from casstore.errors import DamagedError, FullError, StoreError
from casstore.testing.faults import Recording, hooked
from tests.models.views.shelf import KilledError, Killer

Look = Callable[[Path], dict[str, object]]

FIRST: dict[str, Any] = {
    "config.json": b"{}",
    "model.safetensors": b"w" * 3_000_000,
    "nested/deep/vocab.txt": b"a\nb\n",
    "old.bin": b"old",
    "run.sh": (b"#!/bin/sh\n", 0o755),
    "empty": b"",
    "hollow": None,
    "latest": "model.safetensors",
}
SECOND: dict[str, Any] = {
    "config.json": b'{"a": 1}',
    "model.safetensors": b"w" * 3_000_000,
    "nested/new.txt": b"new",
    "run.sh": (b"#!/bin/sh\n", 0o644),
    "empty": b"",
    "latest": "config.json",
}


def plain(content: dict[str, Any]) -> dict[str, object]:
    return {path: value[0] if isinstance(value, tuple) else value for path, value in content.items()}


def inodes(directory: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_ino for path in directory.iterdir()}


def test_writes_files_links_modes_and_empty_directories(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("mine", FIRST)
    result = shelf.checkout(version, tmp_path / "out")
    assert listing(tmp_path / "out") == plain(FIRST)
    assert stat.S_IMODE((tmp_path / "out/run.sh").stat().st_mode) == 0o755
    assert (result.files, result.written_files, result.kept) == (6, 6, ())
    assert (
        result.size_bytes == result.written_bytes == sum(len(b) for b in plain(FIRST).values() if isinstance(b, bytes))
    )


def test_another_version_writes_only_what_differs(shelf: Any, tmp_path: Path, listing: Look) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    before = inodes(tmp_path / "out")
    result = shelf.checkout(second, tmp_path / "out")
    assert listing(tmp_path / "out") == plain(SECOND)
    assert result.written_files == 2
    assert result.written_bytes == len(b'{"a": 1}') + len(b"new")
    after = inodes(tmp_path / "out")
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["run.sh"] == before["run.sh"]
    assert stat.S_IMODE((tmp_path / "out/run.sh").stat().st_mode) == 0o644
    assert not (tmp_path / "out/nested/deep").exists()


def test_what_was_removed_stays_away_after_a_power_cut(shelf: Any, tmp_path: Path) -> None:
    """Only removals, and in a directory in which nothing is made: their names must reach the disk all the same."""
    more = {"kept": b"1", "gone": b"2", "a/kept": b"3", "a/gone": b"4", "b/c/gone": b"5"}
    first = shelf.put("mine", more)
    second = shelf.put("mine", {path: data for path, data in more.items() if path.endswith("kept")})
    shelf.checkout(first, tmp_path / "out")
    recording = Recording()
    with hooked(recording):
        shelf.checkout(second, tmp_path / "out")
    last = max(number for number, (operation, _) in enumerate(recording.calls) if operation in ("unlink", "rmdir"))
    synced = {Path(path) for operation, path in recording.calls[last:] if operation == "fsync"}
    assert {tmp_path / "out", tmp_path / "out/a"} <= synced


def test_what_was_just_written_is_known_without_reading(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = shelf.put("mine", FIRST)
    shelf.checkout(version, tmp_path / "out")

    def refuse(path: Path, **_: object) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("casmodels.views.contents.read_digest", refuse)
    assert shelf.checkout(version, tmp_path / "out").written_files == 0


def test_an_edit_is_seen_however_soon_and_however_like(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", FIRST)
    shelf.checkout(version, tmp_path / "out")
    with (tmp_path / "out/old.bin").open("r+b") as file:
        file.write(b"bad")
    with pytest.raises(InTheWayError) as caught:
        shelf.checkout(version, tmp_path / "out")
    assert caught.value.paths == ("old.bin",)


def test_users_files_stop_everything_before_a_byte_is_written(shelf: Any, tmp_path: Path, listing: Look) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    (tmp_path / "out/config.json").write_bytes(b"edited by hand")
    (tmp_path / "out/nested/new.txt").write_bytes(b"made by hand")
    before = listing(tmp_path / "out")
    with pytest.raises(InTheWayError, match=r"config\.json.*new\.txt") as caught:
        shelf.checkout(second, tmp_path / "out")
    assert caught.value.paths == ("config.json", "nested/new.txt")
    assert "--force" in str(caught.value.remedy)
    assert listing(tmp_path / "out") == before
    shelf.checkout(second, tmp_path / "out", force=True)
    assert listing(tmp_path / "out") == plain(SECOND)


def test_users_files_that_are_in_nobodys_way_are_kept_and_named(shelf: Any, tmp_path: Path) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    (tmp_path / "out/notes.txt").write_bytes(b"mine")
    (tmp_path / "out/nested/deep/notes.txt").write_bytes(b"mine")
    (tmp_path / "out/logs/today").mkdir(parents=True)
    (tmp_path / "out/old.bin").write_bytes(b"edited")
    result = shelf.checkout(second, tmp_path / "out")
    assert set(result.kept) == {"notes.txt", "nested/deep/notes.txt", "logs/", "old.bin"}
    assert (tmp_path / "out/old.bin").read_bytes() == b"edited"
    assert (tmp_path / "out/nested/deep/notes.txt").exists()


def test_without_a_note_what_lies_there_is_known_by_its_bytes(shelf: Any, tmp_path: Path, listing: Look) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    shelf.store.places.forget(tmp_path / "out")
    result = shelf.checkout(second, tmp_path / "out")
    assert listing(tmp_path / "out") == plain(SECOND)
    assert result.written_files == 2


def test_without_a_note_nothing_of_an_incomplete_version_is_removed(shelf: Any, tmp_path: Path) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    shelf.store.places.forget(tmp_path / "out")
    (tmp_path / "out/empty").unlink()
    result = shelf.checkout(second, tmp_path / "out")
    assert (tmp_path / "out/old.bin").exists()
    assert {"old.bin", "hollow/"} <= set(result.kept)


def test_bytes_of_another_name_are_a_users_own(shelf: Any, tmp_path: Path) -> None:
    shelf.put("other", {"config.json": b"other"})
    version = shelf.put("mine", {"config.json": b"mine"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.json").write_bytes(b"other")
    with pytest.raises(InTheWayError):
        shelf.checkout(version, tmp_path / "out")


def test_what_the_store_has_no_more_is_not_overwritten(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    shelf.checkout(first, tmp_path / "out")
    monkeypatch.setattr("casmodels.views.history.History.can_give", lambda *_: False)
    with pytest.raises(InTheWayError) as caught:
        shelf.checkout(second, tmp_path / "out")
    assert "config.json" in caught.value.paths


@pytest.mark.parametrize("force", [False, True])
def test_never_writes_through_a_link_in_the_directory(shelf: Any, tmp_path: Path, force: bool) -> None:
    version = shelf.put("mine", {"a/b": b"inside", "c": b"c"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b").write_bytes(b"precious")
    (elsewhere / "c").write_bytes(b"precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").symlink_to(elsewhere)
    (out / "c").symlink_to(elsewhere / "c")
    if force:
        shelf.checkout(version, out, force=True)
        assert (out / "a/b").read_bytes() == b"inside"
        assert not (out / "a").is_symlink()
        assert not (out / "c").is_symlink()
    else:
        with pytest.raises(InTheWayError) as caught:
            shelf.checkout(version, out)
        assert caught.value.paths == ("a", "c")
    assert (elsewhere / "b").read_bytes() == b"precious"
    assert (elsewhere / "c").read_bytes() == b"precious"


def test_a_link_with_the_right_bytes_behind_it_is_not_taken_for_the_file(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a/b": b"inside"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b").write_bytes(b"inside")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InTheWayError):
        shelf.checkout(version, tmp_path / "out")


SHAPES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": b"file"}, {"a/b": b"below"}),
    ({"a/b": b"below"}, {"a": b"file"}),
    ({"a/b/c": b"below", "a/d": b"x"}, {"a": "e", "e": b"target"}),
    ({"a": "e", "e": b"target"}, {"a/b": b"below"}),
    ({"a": None}, {"a": b"file"}),
    ({"a": b"file"}, {"a": None}),
    ({"a/b": b"below"}, {"a": None}),
    ({"a": None}, {"a/b": b"below"}),
    ({"a": "b", "b": b"x"}, {"a": b"x", "b": b"x"}),
    ({"a": "./b//", "b/c": b"x"}, {"a": "b", "b/c": b"x"}),
]


@pytest.mark.parametrize(("first", "second"), SHAPES)
def test_files_links_and_directories_take_each_others_place(
    shelf: Any, tmp_path: Path, listing: Look, first: dict[str, Any], second: dict[str, Any]
) -> None:
    one, two = shelf.put("mine", first), shelf.put("mine", second)
    shelf.checkout(one, tmp_path / "out")
    assert listing(tmp_path / "out") == first
    shelf.checkout(two, tmp_path / "out")
    assert listing(tmp_path / "out") == second


def test_a_directory_with_a_users_file_is_never_removed(shelf: Any, tmp_path: Path, listing: Look) -> None:
    one, two = shelf.put("mine", {"a/b": b"below"}), shelf.put("mine", {"a": b"file"})
    shelf.checkout(one, tmp_path / "out")
    (tmp_path / "out/a/own").write_bytes(b"own")
    with pytest.raises(InTheWayError, match="'a'"):
        shelf.checkout(two, tmp_path / "out", force=True)
    assert listing(tmp_path / "out") == {"a/b": b"below", "a/own": b"own"}


def test_strange_names_come_back(shelf: Any, tmp_path: Path, listing: Look) -> None:
    odd = os.fsdecode(b"caf\xe9 \xff")
    content = {"with space#%20": b"1", "new\nline": b"2", "\u00e9": b"3", odd: b"4", f"{odd}/x".replace("4", ""): b"5"}
    content = {**{path: data for path, data in content.items() if path != odd}, "l": odd + "/x"}
    version = shelf.put("mine", content)
    shelf.checkout(version, tmp_path / "out")
    assert listing(tmp_path / "out") == content
    shelf.checkout(version, tmp_path / "out")
    assert shelf.checkout(version, tmp_path / "out").written_files == 0


def test_include_takes_a_part_and_leaves_the_rest_alone(shelf: Any, tmp_path: Path, listing: Look) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    part = shelf.checkout(first, tmp_path / "part", include=["*.json", "nested/"])
    assert set(listing(tmp_path / "part")) == {"config.json", "nested/deep/vocab.txt"}
    assert part.files == 2
    shelf.checkout(first, tmp_path / "out")
    result = shelf.checkout(second, tmp_path / "out", include=["*.json"])
    assert listing(tmp_path / "out") == plain(FIRST) | {"config.json": b'{"a": 1}'}
    assert result.kept == ()
    shelf.checkout(second, tmp_path / "out")
    assert listing(tmp_path / "out") == plain(SECOND)


def test_refuses_a_file_the_store_what_is_in_it_and_what_contains_it(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a": b"a"})
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(shelf.store.path)
    for directory in ("file", "store", "store/packs", "store/new/dir", ".", "link", "link/new"):
        with pytest.raises(InvalidInputError):
            shelf.checkout(version, tmp_path / directory)
    assert not (shelf.store.path / "new").exists()
    assert not (tmp_path / "a").exists()


def test_a_link_given_as_the_directory_is_followed(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a": b"a"})
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    shelf.checkout(version, tmp_path / "out")
    assert (tmp_path / "disk/a").read_bytes() == b"a"
    assert shelf.checkout(version, tmp_path / "disk").written_files == 0


def test_space_is_checked_first(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = shelf.put("mine", FIRST)
    usage = checkouts.check_space.__globals__["shutil"].disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=2_000_000))
    with pytest.raises(FullError, match=r"2\.9 MiB"):
        shelf.checkout(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(FullError):
        shelf.checkout(version, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_names_that_are_one_on_this_file_system_are_refused(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = shelf.put("mine", {"A/config.json": b"1", "a/Config.json": b"2", "other": b"3"})
    shelf.checkout(version, tmp_path / "fine")
    touch = Path.touch
    monkeypatch.setattr(Path, "touch", lambda path, **options: touch(path.with_name(path.name.lower()), **options))
    with pytest.raises(InvalidInputError, match="'A' and 'a'"):
        shelf.checkout(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_chunk_is_named_and_leaves_no_file(shelf: Any, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    version = shelf.put("mine", {"model.bin": content})
    for pack in (shelf.store.path / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            where = data.find(content[:64])
            if where >= 0:
                data[where + 5_000] ^= 1
                pack.write_bytes(data)
    with pytest.raises(DamagedError, match=f"model.bin of mine@{version.hex[:12]}"):
        shelf.checkout(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(DamagedError):
        shelf.checkout(version, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("known", ["as noted", "by reading", "by history"])
def test_a_kill_at_any_moment_tears_nothing_and_the_next_run_finishes(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer, known: str
) -> None:
    first, second = shelf.put("mine", FIRST), shelf.put("mine", SECOND)
    survived = False
    for at in range(1, 200):
        out = tmp_path / f"out{at}"
        shelf.checkout(first, out)
        if known == "by reading":  # the files are others than those that were noted
            out.rename(tmp_path / "moved")
            shutil.copytree(tmp_path / "moved", out, symlinks=True)
            shutil.rmtree(tmp_path / "moved")
        if known == "by history":  # nothing is noted, as after a repair
            shelf.store.places.forget(out)
        killer.left = at
        try:
            shelf.checkout(second, out)
            survived = True
        except KilledError:
            pass
        finally:
            killer.left = None
        for path, value in listing(out).items():
            if not path.startswith(".casmodels-"):
                assert value in (plain(FIRST).get(path), plain(SECOND).get(path)), (at, path)
        back = at % 2 == 0
        shelf.checkout(first if back else second, out)
        assert listing(out) == plain(FIRST if back else SECOND), at
        if survived:
            return
    raise AssertionError("the run never came to its end")


def test_two_at_once_do_the_work_once(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("mine", FIRST)
    results, errors = [], []

    def run() -> None:
        try:
            results.append(shelf.checkout(version, tmp_path / "out"))
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(result.written_files for result in results) == [0, 0, 0, 6]
    assert listing(tmp_path / "out") == plain(FIRST)


def test_a_hard_linked_file_is_read_again(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a": b"right"})
    shelf.checkout(version, tmp_path / "out")
    os.link(tmp_path / "out/a", tmp_path / "alias")
    status = (tmp_path / "out/a").stat()
    (tmp_path / "alias").write_bytes(b"wrong")
    os.utime(tmp_path / "alias", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InTheWayError):
        shelf.checkout(version, tmp_path / "out")
    shelf.checkout(version, tmp_path / "out", force=True)
    assert (tmp_path / "out/a").read_bytes() == b"right"
    assert (tmp_path / "alias").read_bytes() == b"wrong"


def test_a_place_that_is_a_view_is_refused(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a": b"a"})
    shelf.checkout(version, tmp_path / "out")
    place = shelf.store.places.load(tmp_path / "out")
    shelf.store.places.save(replace(place, kind="view"))
    with pytest.raises(InvalidInputError, match="view"):
        shelf.checkout(version, tmp_path / "out")


def test_an_interrupt_leaves_what_is_done_and_no_leftovers(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("mine", {f"{number}.bin": bytes([number]) * 50_000 for number in range(20)})

    class Interrupting:
        def expect(self, files: int, size_bytes: int) -> None:
            assert (files, size_bytes) == (20, 1_000_000)

        def start(self, label: str, total_bytes: int | None) -> Any:
            assert total_bytes == 50_000
            if label.startswith("15.bin"):
                raise KeyboardInterrupt
            return SilentProgress().start(label, total_bytes)

    with pytest.raises(KeyboardInterrupt):
        shelf.checkout(version, tmp_path / "out", progress=Interrupting())
    left = listing(tmp_path / "out")
    assert all(path.endswith(".bin") and len(data) == 50_000 for path, data in left.items() if isinstance(data, bytes))
    result = shelf.checkout(version, tmp_path / "out")
    assert result.written_files == 20 - len(left)


def test_a_file_system_without_links_is_found_out_first(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    version = shelf.put("mine", FIRST)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(InvalidInputError, match="'latest'"):
        shelf.checkout(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert shelf.checkout(version, tmp_path / "out", include=["*.json", "*.bin"]).written_files == 2


def test_a_name_that_the_file_system_cannot_hold_is_named(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"n" * 300: b""})
    with pytest.raises(InvalidInputError, match="cannot be a name"):
        shelf.checkout(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_every_file_whole(shelf: Any, tmp_path: Path, listing: Look) -> None:
    first, second = shelf.put("mine", {"a": b"1" * 1000}), shelf.put("mine", {"a": b"2" * 1000, "b": b"3"})
    shelf.checkout(first, tmp_path / "out")

    def fill(operation: str, path: str) -> None:
        if operation == "write" and ".casmodels-" in path:
            raise OSError(errno.ENOSPC, "No space left on device")

    before = files.set_hook(fill)
    try:
        with pytest.raises(FullError):
            shelf.checkout(second, tmp_path / "out")
    finally:
        files.set_hook(before)
    assert listing(tmp_path / "out") == {"a": b"1" * 1000}
    assert shelf.checkout(second, tmp_path / "out").written_files == 2


@pytest.mark.parametrize("place", ["last", "first"])
def test_a_wrong_byte_in_the_store_is_named_and_never_comes_out(
    shelf: Any, tmp_path: Path, listing: Look, place: str
) -> None:
    weights = os.urandom(2_000_000)
    version = shelf.put("mine", {"config.json": b"{}", "model.bin": weights})
    (pack,) = shelf.store.layout.packs.glob("*.pack")
    data = bytearray(pack.read_bytes())
    found = data.index(weights[-100:] if place == "last" else weights[:100])
    data[found] ^= 1
    pack.write_bytes(data)
    with pytest.raises(DamagedError, match=r"model\.bin.*chunk [0-9a-f]{64}.*do not match"):
        shelf.checkout(version, tmp_path / "out")
    assert "model.bin" not in listing(tmp_path / "out")


def test_a_link_that_cannot_be_put_in_place_leaves_nothing(shelf: Any, tmp_path: Path) -> None:
    """Under its temporary name it would lead out of the directory."""
    version = shelf.put("mine", {f"a/b/{'n' * 300}": "../../c", "c": b""})
    with pytest.raises(InvalidInputError, match="cannot be a name"):
        shelf.checkout(version, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()] == []


def test_a_link_that_leads_out_where_names_are_folded_is_refused_there(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `l` is `L`, `l/..` is above the directory."""
    version = shelf.put("mine", {"L": ".", "x": "l/../outside", "a": b""})
    shelf.checkout(version, tmp_path / "out")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "A" or exists(path))
    with pytest.raises(InvalidInputError, match="leaves the directory"):
        shelf.checkout(version, tmp_path / "other")
    assert not (tmp_path / "other").exists()
