"""verify: each kind of damage is named with version, path and chunk; what was read whole need not be read again."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from casstore.digests import Digest, sha256_digest
from casstore.errors import TooManyFilesError
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.rows import FrameRow, State
from casstore.maintenance import verify
from casstore.maintenance.verify import Checked, bytes_to_check, check
from casstore.packs import list_packs, pack_path
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, noise, put, remove

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)
OTHER = noise(2, 3 * GRID_BYTES)


def checked(store: Store, **options: object) -> Checked:
    with store.reading():
        return check(store.engine, **options)  # type: ignore[arg-type]


def row_of(store: Store, kind: FrameKind, version: Digest, data: bytes = DATA) -> FrameRow:
    """Where a version's record, or the second chunk or the recipe of a file of it, lies."""
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(data))
        assert info is not None
        digest = {
            FrameKind.VERSION: version.value,
            FrameKind.TREE: reader.version(version).tree.value,
            FrameKind.RECIPE: info.recipe.value,
            FrameKind.CHUNK: reader.recipe(info.recipe).parts[1].chunk,
        }[kind]
    row = store.engine.ledger.rows.frame(kind, digest)
    assert row is not None
    return row


def flip(store: Store, row: FrameRow) -> None:
    with pack_path(store.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + row.length - 1)
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def test_a_sound_store(small_packs: Store) -> None:
    put(small_packs, "a", {"a": DATA, "b": DATA})
    put(small_packs, "b", {"b": OTHER})
    found = checked(small_packs)
    assert (found.findings, found.broken, found.checked_bytes) == ((), {}, 0)
    assert (found.versions, found.chunks) == (2, 6)
    packs = [pack_path(small_packs.layout.packs, pack_id) for pack_id in list_packs(small_packs.layout.packs)]
    # One recipe makes both files of the first version; what was compared once is not compared again.
    for hashed_bytes in (len(DATA) + len(OTHER), 0):
        assert bytes_to_check(small_packs.engine) == sum(path.stat().st_size for path in packs) + hashed_bytes
        progress: list[int] = []
        found = checked(small_packs, data=True, progress=progress.append)
        assert (found.findings, found.broken) == ((), {})
        assert found.checked_bytes + hashed_bytes == sum(progress)
    assert 0.8 < sum(progress) / bytes_to_check(small_packs.engine) < 1


def test_an_empty_store(store: Store) -> None:
    assert checked(store, data=True) == Checked((), {}, 0, 0, 0)


@pytest.mark.parametrize("kind", FrameKind)
@pytest.mark.parametrize("whole", [True, False])
def test_every_kind_of_frame(store: Store, kind: FrameKind, whole: bool) -> None:
    version = put(store, "name", {"dir/a": DATA, "b": b"fine", "c": DATA})
    put(store, "other", {"b": OTHER})
    row = row_of(store, kind, version)
    flip(store, row)
    with store.reading() as reader:
        refs = None if whole else reader.refs(RefKind.VERSION, "name")
        other = reader.refs(RefKind.VERSION, "other")
    found = checked(store, data=True, refs=refs)
    assert list(found.broken) == [(kind, row.digest)]
    paths = ["c", "dir/a"] if kind in (FrameKind.CHUNK, FrameKind.RECIPE) else [None]
    assert [finding.path for finding in found.findings] == paths
    for finding in found.findings:
        assert (finding.name, finding.version) == ("name", version)
        assert finding.frame == (row.digest.hex() if kind is FrameKind.CHUNK else None)
        assert found.broken[kind, row.digest] in finding.reason
    assert checked(store, data=True, refs=other).findings == ()


def test_damage_that_no_version_needs_is_not_a_versions(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    row = row_of(store, FrameKind.CHUNK, version)
    remove(store, "a", version)
    flip(store, row)
    found = checked(store, data=True)
    assert found.findings == ()
    assert list(found.broken) == [(FrameKind.CHUNK, row.digest)]


@pytest.mark.parametrize("whole", [True, False])
def test_damage_of_one_file_does_not_hide_that_of_the_next(store: Store, whole: bool) -> None:
    version = put(store, "a", {"1": DATA, "2": OTHER})
    rows = [row_of(store, FrameKind.RECIPE, version, DATA), row_of(store, FrameKind.CHUNK, version, OTHER)]
    for row in rows:
        flip(store, row)
    with store.reading() as reader:
        refs = None if whole else reader.refs(RefKind.VERSION, "a")
    found = checked(store, data=True, refs=refs)
    assert found.broken.keys() == {(row.kind, row.digest) for row in rows}
    assert [finding.path for finding in found.findings] == ["1", "2"]


@pytest.mark.parametrize("how", ["gone", "cut short"])
def test_packs_that_are_gone_or_cut_short_are_found_without_reading(small_packs: Store, how: str) -> None:
    version = put(small_packs, "a", {"a": DATA})
    put(small_packs, "b", {"b": OTHER})
    row = row_of(small_packs, FrameKind.CHUNK, version)
    path = pack_path(small_packs.layout.packs, row.pack)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: row.offset + 5])
    found = checked(small_packs)
    assert {finding.name for finding in found.findings} == {"a"}
    assert row.digest.hex() in {finding.frame for finding in found.findings}
    assert ("is missing" if how == "gone" else "bytes instead of") in found.findings[0].reason
    with small_packs.reading() as reader:
        healthy = reader.refs(RefKind.VERSION, "b")
    for data in (False, True):
        unharmed = checked(small_packs, refs=healthy, data=data)
        assert (unharmed.findings, unharmed.broken) == ((), {})


def test_rows_that_are_missing_are_found(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    digests = {kind: row_of(store, kind, version).digest for kind in FrameKind}
    for kind in FrameKind:  # the chunk first, the version last
        store.engine.ledger.database.execute("DELETE FROM frames WHERE digest = ?", (digests[kind],))
        (finding,) = checked(store).findings
        assert "missing" in finding.reason or "not in the store" in finding.reason


def test_a_tree_and_a_recipe_that_disagree(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    put(store, "b", {"b": OTHER})
    other = row_of(store, FrameKind.RECIPE, version, OTHER)
    store.engine.ledger.database.execute(
        "UPDATE blobs SET recipe = ? WHERE sha256 = ?", (other.digest, sha256_digest(DATA).value)
    )
    (finding,) = checked(store).findings
    assert (finding.name, finding.path) == ("a", "a")
    assert "another blob" in finding.reason


def test_a_damaged_journal(store: Store, root: Path) -> None:
    put(store, "a", {"a": DATA})
    put(store, "b", {"a": DATA})
    data = bytearray((root / "journal").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "journal").write_bytes(data)
    (finding,) = checked(store).findings
    assert "journal" in finding.reason
    assert finding.version is None


def packs_read(store: Store, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[set[bytes], Checked]:
    read = set()
    real = store.engine.packs.read

    def reading(pack_id: bytes, offset: int, length: int) -> bytes:
        read.add(pack_id)
        return real(pack_id, offset, length)

    with monkeypatch.context() as patch:
        patch.setattr(store.engine.packs, "read", reading)
        # Records are read anyway, to find out whom damage hurts, and so are a file's chunks with its recipe.
        patch.setattr(verify, "findings", lambda *_arguments: ())
        patch.setattr(verify, "falsehood", lambda *_arguments: None)
        return read, checked(store, data=True, **options)


class Stop(Exception):  # noqa: N818
    """The user has seen enough."""


def interrupted(store: Store, after_bytes: int) -> None:
    read = 0

    def progress(length: int) -> None:
        nonlocal read
        read += length
        if read > after_bytes:
            raise Stop

    with pytest.raises(Stop):
        checked(store, data=True, progress=progress)


def test_an_interrupted_check_is_taken_up(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small_packs, "a", {"a": noise(3, 10 * GRID_BYTES)})
    everything = set(list_packs(small_packs.layout.packs))
    interrupted(small_packs, 6 * GRID_BYTES)
    read, _ = packs_read(small_packs, monkeypatch)
    assert 0 < len(read) < len(everything)
    read, _ = packs_read(small_packs, monkeypatch)
    assert read == everything


def test_an_interrupted_check_does_not_lose_what_it_found(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": noise(3, 10 * GRID_BYTES)})
    row = row_of(small_packs, FrameKind.CHUNK, version, noise(3, 10 * GRID_BYTES))
    flip(small_packs, row)
    interrupted(small_packs, 9 * GRID_BYTES)
    for _ in range(2):
        assert [finding.frame for finding in checked(small_packs, data=True).findings] == [row.digest.hex()]


def test_an_interrupted_check_of_long_ago_is_begun_anew(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small_packs, "a", {"a": noise(3, 10 * GRID_BYTES)})
    interrupted(small_packs, 6 * GRID_BYTES)
    monkeypatch.setattr(verify, "_TAKEN_UP_WITHIN_NS", 0)
    read, _ = packs_read(small_packs, monkeypatch)
    assert read == set(list_packs(small_packs.layout.packs))


def test_what_was_read_since_is_left_out(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small_packs, "a", {"a": DATA})
    first = set(list_packs(small_packs.layout.packs))
    begun_ns = time.time_ns()
    assert packs_read(small_packs, monkeypatch)[0] == first
    put(small_packs, "b", {"b": OTHER})
    second = set(list_packs(small_packs.layout.packs)) - first
    assert packs_read(small_packs, monkeypatch, since_ns=begun_ns)[0] == second
    read, found = packs_read(small_packs, monkeypatch, since_ns=begun_ns)
    assert (read, found.checked_bytes) == (set(), 0)
    assert packs_read(small_packs, monkeypatch, since_ns=time.time_ns())[0] == first | second
    assert packs_read(small_packs, monkeypatch)[0] == first | second


def test_damage_is_found_again_however_recently_it_was(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    begun_ns = time.time_ns()
    flip(small_packs, row_of(small_packs, FrameKind.CHUNK, version))
    for _ in range(2):
        assert len(checked(small_packs, data=True, since_ns=begun_ns).findings) == 1


def test_what_cannot_be_read_now_is_not_called_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", {"a": DATA})

    def fail(*_where: object) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(store.engine.packs, "read", fail)
    with pytest.raises(TooManyFilesError, match="too many"):
        checked(store, data=True)


def test_what_is_stored_again_meanwhile_is_not_damaged(store: Store) -> None:
    """The rows are listed when the check begins; whoever heals a chunk then gives it another place."""
    data = noise(3, 30 * GRID_BYTES)
    row = row_of(store, FrameKind.CHUNK, put(store, "a", {"a": data}), data)
    object.__setattr__(store.engine.settings, "read_ahead_bytes", 0)

    def heal(_length: int) -> None:
        rows = store.engine.ledger.rows
        if rows.frame(row.kind, row.digest) == row:
            flip(store, row)
            with store.engine.ledger.locked():
                rows.set_state(row.kind, [row.digest], State.DAMAGED)
            put(store, "b", {"b": data})

    found = checked(store, data=True, progress=heal)
    assert store.engine.ledger.rows.frame(row.kind, row.digest) != row
    assert (found.findings, found.broken) == ((), {})


@pytest.mark.parametrize("named", [True, False])
def test_the_index_is_gone_over_once_whatever_the_number_of_packs(
    small_packs: Store, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    put(small_packs, "a", {"a": noise(3, 30 * GRID_BYTES)})
    with small_packs.reading() as reader:
        refs = reader.refs(RefKind.VERSION, "a") if named else None
    for path in (small_packs.layout.packs).iterdir():
        with path.open("ab") as file:
            file.write(b"more")  # so that all packs are looked into
    statements = []
    real = Database.execute

    def execute(self: Database, statement: str, values: Iterable[object] = ()) -> list[tuple[object, ...]]:
        statements.append(statement)
        return real(self, statement, values)

    monkeypatch.setattr(Database, "execute", execute)
    assert checked(small_packs, data=True, refs=refs).findings == ()
    assert len(list_packs(small_packs.layout.packs)) > 10
    assert len([statement for statement in statements if "ORDER BY pack" in statement]) == 2
    assert not [statement for statement in statements if "WHERE pack = " in statement]


def test_reading_ahead_is_bounded(opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    put(store, "a", {"a": noise(3, 30 * GRID_BYTES)})
    begun = 0
    done = 0
    real = verify._reason

    def counting(*arguments: object) -> str | None:
        nonlocal begun
        begun += 1
        return real(*arguments)  # type: ignore[arg-type]

    def progress(_length: int) -> None:
        nonlocal done
        done += 1
        assert begun - done <= 6

    object.__setattr__(store.engine.settings, "read_ahead_bytes", 4 * GRID_BYTES)
    monkeypatch.setattr(verify, "_reason", counting)
    monkeypatch.setattr(verify, "falsehood", lambda *_arguments: None)
    assert checked(store, data=True, progress=progress).findings == ()
    assert done > 30
