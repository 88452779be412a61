from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from casmodels.sources.local import LocalListing, scan
from casstore.errors import (
    ChangedWhileReadError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    TooManyFilesError,
)
from casstore.trees import EntryKind

FILE, LINK, DIRECTORY = EntryKind.FILE, EntryKind.LINK, EntryKind.DIRECTORY


def kinds(listing: LocalListing) -> dict[str, EntryKind]:
    return {entry.path: entry.kind for entry in listing.entries}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_files_links_and_empty_directories(root: Path) -> None:
    (root / "a.txt").write_bytes(b"four")
    (root / "a.txt").chmod(0o640)
    os.utime(root / "a.txt", ns=(1, 1_600_000_000_123_456_789))
    (root / "sub/deep").mkdir(parents=True)
    (root / "sub/x").write_bytes(b"")
    (root / "link").symlink_to("sub/x")
    (root / "sub/up").symlink_to("../a.txt")
    (root / "dangling").symlink_to("nothing")
    (root / "folder").symlink_to("sub")
    (root / "loop").symlink_to(".")
    os.link(root / "a.txt", root / "hard")
    listing = scan(root)
    assert kinds(listing) == {
        "a.txt": FILE,
        "hard": FILE,
        "sub/x": FILE,
        "sub/deep": DIRECTORY,
        "link": LINK,
        "sub/up": LINK,
        "dangling": LINK,
        "folder": LINK,
        "loop": LINK,
    }
    by_path = {entry.path: entry for entry in listing.entries}
    file = by_path["a.txt"]
    assert (file.size_bytes, file.mtime_ns, file.mode) == (4, 1_600_000_000_123_456_789, 0o640)
    assert file.inode == by_path["hard"].inode == (root / "a.txt").stat().st_ino
    assert file.source.read_bytes() == b"four"
    assert by_path["sub/up"].target == "../a.txt"
    assert listing.size_bytes == 8
    assert not listing.is_file
    assert not listing.is_snapshot


def test_an_empty_directory(root: Path) -> None:
    assert scan(root).entries == ()


def test_names_of_any_bytes_in_the_order_of_their_bytes(root: Path) -> None:
    names = [b"\xff.bin", b"a b", b"a#b", b"a%20b", "é".encode(), b"new\nline", b"-", b"A", b"z\xc3"]
    for name in names:
        Path(os.fsdecode(bytes(root) + b"/" + name)).write_bytes(name)
    entries = scan(root).entries
    assert [entry.path.encode("utf-8", "surrogateescape") for entry in entries] == sorted(names)
    assert [entry.source.read_bytes() for entry in entries] == sorted(names)


def test_names_do_not_depend_on_the_locale(root: Path) -> None:
    (root / "é").write_bytes(b"")
    program = (
        "from pathlib import Path; from casmodels.sources.local import scan;"
        f"print(ascii(scan(Path({str(root)!r})).entries[0].path))"
    )
    environment = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONPATH": ":".join(sys.path),
    }
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ascii("é")


def test_a_single_file_goes_by_its_name(root: Path) -> None:
    (root / "model.pt").write_bytes(b"12345")
    (root / "other.pt").symlink_to("model.pt")
    for name in ("model.pt", "other.pt"):
        listing = scan(root / name)
        (entry,) = listing.entries
        assert listing.is_file
        assert (entry.path, entry.kind, entry.size_bytes) == (name, FILE, 5)
        assert entry.source.read_bytes() == b"12345"


def test_a_relative_root_and_one_behind_a_link(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_bytes(b"1")
    (root.parent / "alias").symlink_to("model")
    monkeypatch.chdir(root.parent)
    for given in ("model", "alias", "./model/../alias"):
        (entry,) = scan(Path(given)).entries
        assert entry.path == "a"
        assert entry.source.is_absolute()
        assert entry.source.read_bytes() == b"1"


def test_many_levels(root: Path) -> None:
    deep = root
    for _ in range(500):
        deep = deep / "d"
        deep.mkdir()
    (deep / "x").write_bytes(b"")
    assert kinds(scan(root)) == {"d/" * 500 + "x": FILE}


# A Hub cache


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """models--org--name with a snapshot of nothing but links, one blob being shared by the whole cache."""
    repo = tmp_path / "hub/models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs/aaa").write_bytes(b"weights")
    (tmp_path / "hub/blobs/cc").mkdir(parents=True)
    (tmp_path / "hub/blobs/cc/ccc").write_bytes(b"shared")
    (repo / "blobs/bbb").symlink_to("../../blobs/cc/ccc")
    (repo / "snapshots/0123/sub").mkdir(parents=True)
    (repo / "snapshots/0123/model.safetensors").symlink_to("../../blobs/aaa")
    (repo / "snapshots/0123/sub/config.json").symlink_to("../../../blobs/bbb")
    return repo


def test_a_snapshot_is_followed_into_its_blobs(repo: Path) -> None:
    listing = scan(repo / "snapshots/0123")
    assert listing.is_snapshot
    assert {entry.path: entry.source.read_bytes() for entry in listing.entries} == {
        "model.safetensors": b"weights",
        "sub/config.json": b"shared",
    }
    assert {entry.kind for entry in listing.entries} == {FILE}
    assert listing.entries[0].inode == (repo / "blobs/aaa").stat().st_ino


def test_a_folder_and_a_file_of_a_snapshot(repo: Path) -> None:
    (entry,) = scan(repo / "snapshots/0123/sub").entries
    assert (entry.path, entry.source.read_bytes()) == ("config.json", b"shared")
    (entry,) = scan(repo / "snapshots/0123/model.safetensors").entries
    assert (entry.path, entry.source.read_bytes()) == ("model.safetensors", b"weights")


def test_other_links_of_a_snapshot_are_links(repo: Path) -> None:
    (repo / "snapshots/0123/alias").symlink_to("sub")
    (repo / "snapshots/0123/own.txt").write_bytes(b"the user's")
    assert kinds(scan(repo / "snapshots/0123"))["alias"] is LINK
    (repo / "snapshots/0123/out").symlink_to("../../refs/main")
    with pytest.raises(InvalidInputError, match="leaves the directory"):
        scan(repo / "snapshots/0123")


def test_a_blob_that_leads_away_is_not_followed(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (repo / "blobs/evil").symlink_to(tmp_path / "secret")
    (repo / "snapshots/0123/x").symlink_to("../../blobs/evil")
    with pytest.raises(InvalidInputError, match="leaves the directory"):
        scan(repo / "snapshots/0123")


def test_a_blob_that_is_missing(repo: Path) -> None:
    (repo / "blobs/aaa").unlink()
    with pytest.raises(FailedError, match=r"model\.safetensors stands for a blob that the Hub cache does not have"):
        scan(repo / "snapshots/0123")


def test_blobs_beside_something_else_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/a").write_bytes(b"x")
    (tmp_path / "data/0123").mkdir(parents=True)
    (tmp_path / "data/0123/a").symlink_to("../../blobs/a")
    with pytest.raises(InvalidInputError, match="leaves the directory"):
        scan(tmp_path / "data/0123")


# What is refused


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: os.mkfifo(path), "bad is a fifo, which cannot be saved"),
        (_socket, "bad is a socket"),
        (lambda path: path.symlink_to("../outside"), "'bad' to '../outside' leaves the directory"),
        (lambda path: path.symlink_to("/etc/passwd"), "'bad' to '/etc/passwd' leaves the directory"),
        (lambda path: path.symlink_to(path.parent / "a"), "leaves the directory"),
    ],
)
def test_what_cannot_be_saved(root: Path, make: Callable[[Path], None], match: str) -> None:
    (root / "a").write_bytes(b"")
    make(root / "bad")
    with pytest.raises(InvalidInputError, match=match) as caught:
        scan(root)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_link_that_leaves_by_a_detour(root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub/up").symlink_to("..")
    (root / "bad").symlink_to("sub/up/../x")
    with pytest.raises(InvalidInputError, match="leaves the directory"):
        scan(root)


def test_a_root_that_is_no_file(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(InvalidInputError, match="fifo is a fifo"):
        scan(root / "fifo")


@pytest.mark.parametrize("given", ["nothing", "a/below", "dangling"])
def test_what_is_not_there(root: Path, given: str) -> None:
    (root / "a").write_bytes(b"")
    (root / "dangling").symlink_to("nowhere")
    with pytest.raises(NotFoundError, match="does not exist"):
        scan(root / given)


def test_a_loop_of_links_as_root(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(FailedError, match="cannot be read"):
        scan(root / "loop")


def test_what_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FailedError, match="a cannot be read: Permission denied"):
        scan(root)


def test_too_many_open_files_are_no_fault_of_the_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(TooManyFilesError, match="too many files"):
        scan(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_may_not_be_read(root: Path) -> None:
    (root / "closed").mkdir(mode=0)
    with pytest.raises(FailedError, match="closed cannot be read"):
        scan(root)


def test_what_vanishes_between_listing_and_looking(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "sub").mkdir()
    (root / "sub/a").write_bytes(b"")
    scandir = os.scandir

    def vanish(path: Path) -> os._ScandirIterator[str]:
        if Path(path).name == "sub":
            (root / "sub/a").unlink()
            (root / "sub").rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanish)
    with pytest.raises(ChangedWhileReadError, match="sub changed while it was read"):
        scan(root)


@pytest.mark.parametrize(
    ("store", "error"),
    [
        ("model/store", "the store .*model/store lies in .*model"),
        ("model", "lies in"),
        (".", "model lies in the store"),
        ("alias/store", "lies in"),
        ("model2", None),
        ("other/store", None),
    ],
)
def test_the_store_may_not_be_inside(root: Path, store: str, error: str | None) -> None:
    (root.parent / "alias").symlink_to("model")
    if error is None:
        assert scan(root, outside=[root.parent / store]).entries == ()
        return
    with pytest.raises(InvalidInputError, match=error):
        scan(root, outside=[root.parent / store])
