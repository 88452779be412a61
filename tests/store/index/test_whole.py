"""Chunks stored whole, by their similarity keys."""

from __future__ import annotations

from pathlib import Path

from casstore.frames import FrameHeader, FrameKind, chunk_hint
from casstore.index.database import Database
from casstore.index.rows import Rows
from casstore.index.whole import whole_chunks_alike
from casstore.packs import Placed, SealedPack

SKETCH = bytes(16)


def _header(digest: int, key: int, base: int = 0) -> FrameHeader:
    hint = chunk_hint(2, bytes([key]) * 8, SKETCH)
    return FrameHeader(FrameKind.CHUNK, bytes([digest]) * 32, 0, 16, 16, bytes([base]) * 32 if base else b"", hint=hint)


def test_the_newest_of_each_key_that_several_have(tmp_path: Path) -> None:
    database = Database(tmp_path / "index")
    rows = Rows(database)
    for pack, headers in enumerate(
        [
            [_header(9, 1), _header(1, 2), _header(30, 3)],
            [_header(8, 1), _header(2, 2), _header(31, 3, base=30)],
            [_header(7, 1), _header(10, 1, base=9)],
        ],
        1,
    ):
        placed = tuple(Placed(header, 48 + 200 * place) for place, header in enumerate(headers))
        rows.add_pack(SealedPack(bytes([pack]) * 16, 5000, placed))
    with whole_chunks_alike(rows, 2) as groups:
        found = {
            alike.key[0]: ([chunk.digest[0] for chunk in alike.chunks], {base[0] for base in alike.bases})
            for alike in groups
        }
    assert found == {1: ([8, 7], set()), 2: ([1, 2], set())}
    with whole_chunks_alike(rows, 3) as groups:
        assert [(len(alike.chunks), len(alike.bases)) for alike in groups] == [(3, 1), (2, 0)]
    assert database.execute("SELECT name FROM temp.sqlite_master") == []
    database.close()
