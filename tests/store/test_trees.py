"""Trees: whatever path or link a listing holds, nothing of it may leave the directory."""

from __future__ import annotations

import struct

import pytest

from casstore.digests import blake3_digest, sha256_digest
from casstore.errors import DamagedError, InvalidInputError
from casstore.trees import Entry, EntryKind, Tree, path_bytes, path_text

BLOB = sha256_digest(b"blob")


def file(path: str) -> Entry:
    return Entry.file(path, BLOB, 4)


def test_entries_are_sorted_by_bytes_and_come_back() -> None:
    names = ["b", "a/z", "a.b", "ä", "Z", "with space", "new\nline", "100%20#", path_text(b"\xff\xfe"), "日本"]
    tree = Tree.of([file(name) for name in names])
    assert [entry.path for entry in tree] == sorted(names, key=path_bytes)
    assert Tree.decode(tree.encoded, tree.digest) == tree
    assert Tree.of([file(name) for name in reversed(names)]).digest == tree.digest


def test_names_that_are_no_utf8_come_back_as_the_same_bytes() -> None:
    raw = bytes(range(1, 256)).replace(b"/", b"")
    tree = Tree.of([file(path_text(raw))])
    assert path_bytes(Tree.decode(tree.encoded, tree.digest).entries[0].path) == raw


@pytest.mark.parametrize(
    "path", ["", "/", "/etc/passwd", "a//b", "a/", "./a", "a/.", "..", "a/../b", "../a", "a\0b", ".", "a/./b", "\ud800"]
)
@pytest.mark.parametrize("make", [file, Entry.directory, lambda path: Entry.link(path, "x")])
def test_paths_that_are_not_plain_are_refused(path: str, make: object) -> None:
    with pytest.raises(InvalidInputError):
        Tree.of([make(path)])  # type: ignore[operator]


def test_a_path_that_no_system_opens_is_refused_quickly() -> None:
    Tree.of([file("a/" * 16_000 + "a")])
    with pytest.raises(InvalidInputError, match="longer"):
        Tree.of([file("a/" * 1_000_000 + "a")])


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "a/b/c"), ("a", "a.b", "a/b"), ("a/b", "a/b/c/d", "a/c")]
)
def test_paths_that_clash_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError):
        Tree.of([file(path) for path in paths])


def test_a_path_under_a_link_or_an_empty_directory_is_refused() -> None:
    for above in (Entry.link("a", "b"), Entry.directory("a")):
        with pytest.raises(InvalidInputError, match="lies under"):
            Tree.of([above, file("a/x"), file("b")])


def test_neighbours_do_not_clash() -> None:
    assert len(Tree.of([file("a"), file("a.b"), file("ab"), file("a b"), file("A"), file("b/a"), file("b/a.")])) == 7


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", "b"),
        ("a", "."),
        ("x/a", ".."),
        ("x/a", "../b"),
        ("x/y/a", "../../b/./c//d"),
        ("a", "x/../b"),
        ("a", "missing/../b"),
        ("a", path_text(b"\xff")),
    ],
)
def test_links_that_stay_inside(path: str, target: str) -> None:
    assert Tree.of([Entry.link(path, target)]).entries[0].target == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", ""),
        ("a", "/"),
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../a"),
        ("x/a", "../.."),
        ("x/a", "../../store/a"),
        ("a", "x/../../b"),
        ("a", "b\0c"),
        ("a", "\udfff\ud800"),
        ("a", "x/" * 2048),
        ("a", "x/../" * 600 + ".."),  # longer than a thousand steps, and out at the end
        ("a", "./" * 2000 + ".."),
    ],
)
def test_links_that_leave_are_refused(path: str, target: str) -> None:
    with pytest.raises(InvalidInputError):
        Tree.of([Entry.link(path, target), file("b")])


@pytest.mark.parametrize(
    "links",
    [
        # `x/up` is the root, so `x/up/..` is outside, though its letters stay inside.
        {"x/up": "..", "a": "x/up/.."},
        {"x/y/up": "../..", "x/a": "y/up/../etc"},
        {"a": "b/..", "b": "c/..", "c": "x/../.."},
        {"d/deep": "e/f", "e": "d", "out": "e/deep/../../../.."},
    ],
)
def test_links_that_leave_through_other_links_are_refused(links: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="leaves"):
        Tree.of([Entry.link(path, target) for path, target in links.items()])


def test_links_that_stay_inside_through_other_links() -> None:
    links = {"d/deep": "e/f", "e": "d", "root": "e/deep/../../..", "a": "b/../..", "b": "x/y"}
    assert len(Tree.of([Entry.link(path, target) for path, target in links.items()])) == 5


def test_loops_of_links_are_kept_and_lead_nowhere() -> None:
    tree = Tree.of([Entry.link("a", "a"), Entry.link("b", "c"), Entry.link("c", "b"), Entry.link("d", "d/d")])
    assert [tree.follow(path) for path in ("a", "b", "c", "d", "d/x")] == [None] * 5


def test_a_link_that_winds_without_end_is_refused_quickly() -> None:
    doubling = [Entry.link(f"l{number}", f"l{number + 1}/../l{number + 1}/..") for number in range(60)]
    with pytest.raises(InvalidInputError):
        Tree.of([*doubling, Entry.link("wide", "x/" * 2000 + "../" * 2001)])


def test_follow() -> None:
    tree = Tree.of(
        [
            file("blobs/1"),
            Entry.link("snapshots/main/config", "../../blobs/1"),
            Entry.link("current", "snapshots/main"),
            Entry.directory("empty"),
        ]
    )
    for path in ("blobs/1", "snapshots/main/config", "current/config", "current/../main/config", "./blobs//1"):
        entry = tree.follow(path)
        assert entry is not None
        assert entry.path == "blobs/1"
    for path in ("blobs", "nothing", "current", "../blobs/1", "blobs/../../blobs/1", ""):
        assert tree.follow(path) is None
    assert tree.follow("empty") == Entry.directory("empty")


def test_modes_keep_their_permission_bits_only() -> None:
    tree = Tree.of([Entry.file("a", BLOB, 1, 0o104755), Entry.directory("d", 0o40700)])
    assert [entry.mode for entry in tree] == [0o755, 0o700]


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a", EntryKind.FILE),
        Entry("a", EntryKind.FILE, BLOB, mode=0o4755),
        Entry("a", EntryKind.FILE, BLOB, -1),
        Entry("a", EntryKind.FILE, BLOB, target="x"),
        Entry("a", EntryKind.LINK),
        Entry("a", EntryKind.LINK, BLOB, target="x"),
        Entry("a", EntryKind.DIRECTORY, BLOB),
        Entry("a", EntryKind.DIRECTORY, size_bytes=1),
        Entry("a", EntryKind.DIRECTORY, target="x"),
    ],
)
def test_entries_that_no_path_can_have_are_refused(entry: Entry) -> None:
    with pytest.raises(InvalidInputError):
        Tree.of([entry])


def _entry(path: bytes, kind: int = 1, target: bytes = b"", mode: int = 0o644, reserved: int = 0) -> bytes:
    blob = BLOB.value if kind == 1 else bytes(32)
    return struct.pack("<BBHQ32sII", kind, reserved, mode, 0, blob, len(path), len(target)) + path + target


def _tree(*entries: bytes, version: int = 1, count: int | None = None) -> bytes:
    header = struct.pack("<4sBBHI", b"CTRE", version, 0, 0, len(entries) if count is None else count)
    return header + b"".join(entries)


def test_the_hand_made_bytes_are_those_of_a_tree() -> None:
    data = _tree(_entry(b"a"), _entry(b"l", 2, b"a", 0o777))
    assert [entry.path for entry in Tree.decode(data, blake3_digest(data))] == ["a", "l"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _tree()[:5],
        _tree(version=2),
        b"X" + _tree()[1:],
        _tree(_entry(b"a"))[:-1],
        _tree(_entry(b"a")) + b"x",
        _tree(_entry(b"a"), count=2),
        _tree(_entry(b"a"), count=2**32 - 1),
        _tree(_entry(b"a"), count=0),
        _tree(_entry(b"a", kind=0)),
        _tree(_entry(b"a", kind=9)),
        _tree(_entry(b"../a")),
        _tree(_entry(b"/a")),
        _tree(_entry(b"")),
        _tree(_entry(b"a\0")),
        _tree(_entry(b"a"), _entry(b"a")),
        _tree(_entry(b"a"), _entry(b"a/b")),
        _tree(_entry(b"b"), _entry(b"a")),
        _tree(_entry(b"a", reserved=1)),
        _tree(_entry(b"a", mode=0o4644)),
        _tree(_entry(b"a", target=b"x")),
        _tree(_entry(b"l", 2, b"../x")),
        _tree(_entry(b"l", 2, b"/x")),
        _tree(_entry(b"l", 2)),
    ],
)
def test_bytes_that_are_no_tree_are_damage_even_under_their_own_digest(data: bytes) -> None:
    with pytest.raises(DamagedError):
        Tree.decode(data, blake3_digest(data))


def test_other_bytes_than_the_digests_are_damage() -> None:
    tree = Tree.of([file("a")])
    with pytest.raises(DamagedError, match="do not match"):
        Tree.decode(tree.encoded[:-1] + b"b", tree.digest)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("dir", True),
        ("dir/deep", True),
        ("empty", True),
        ("to-dir", True),
        ("to-empty", True),
        ("to-root", True),
        ("to-dir/deep", True),
        ("dir/file", False),
        ("to-file", False),
        ("nowhere", False),
        ("to-nowhere", False),
        ("loop", False),
        ("di", False),
        ("..", False),
    ],
)
def test_what_leads_to_a_directory(path: str, expected: bool) -> None:
    links = {"to-dir": "dir", "to-empty": "empty", "to-file": "dir/file", "to-nowhere": "none", "loop": "loop"}
    tree = Tree.of(
        [
            file("dir/file"),
            file("dir/deep/file"),
            Entry.directory("empty"),
            Entry.link("to-root", "dir/.."),
            *(Entry.link(name, target) for name, target in links.items()),
        ]
    )
    assert tree.is_directory(path) is expected
