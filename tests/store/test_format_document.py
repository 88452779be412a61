"""FORMAT.md is true: its examples are read, made anew, and its numbers are the code's."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import numpy as np
import pytest
import zstandard
from blake3 import blake3

from casstore.casts import Cast
from casstore.codecs import Codec, decode_against, delta, encode_against
from casstore.digests import Digest, blake3_digest, git_blob_digest, sha256_digest
from casstore.frames import Frame, FrameHeader, FrameKind
from casstore.index import schema
from casstore.index.rows import CONDEMNED, State
from casstore.journal import Entry as Transaction
from casstore.journal import Journal, PackAdded, RefMoved
from casstore.layout import FORMAT_VERSION, Layout
from casstore.packs import PackReader, PackWriter, pack_path, read_frames, read_pack_sequence
from casstore.recipes import Part, Recipe
from casstore.refs import RefKey, RefKind
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.store.codecs import plain_delta

PATH = Path(__file__).resolve().parents[2] / "store" / "FORMAT.md"
DOCUMENT = PATH.read_text("utf-8")
PACK_ID = bytes.fromhex("00112233445566778899aabbccddeeff")

HELLO = b"hello"
RECIPE = Recipe(sha256_digest(HELLO), 5, (Part(blake3(HELLO).digest(), 0, 5),), git_blob_digest(HELLO))
TREE = Tree.of(
    [Entry.file("a/hello", sha256_digest(HELLO), 5), Entry.link("b", "a/hello"), Entry.directory("c", 0o755)]
)
VERSION = Version(TREE.digest, None, "file:///tmp/example", 1_700_000_000_000_000_000, "first", {"name": "example"})
TAG = RefKey(RefKind.TAG, "example", "v1")
WORDS = np.array([0x3F80, 0x3F81, 0xBF85, 0x0000, 0x8000, 0x7FC0], "<u2")
EXPECTED = np.array([0x3F80, 0x3F80, 0xBF80, 0x0000, 0x0000, 0x7F80], "<u2")
CAST = Cast.FLOAT32_TO_BFLOAT16
TRANSACTIONS = [
    [
        PackAdded(PACK_ID),
        RefMoved(RefKey(RefKind.VERSION, "example", VERSION.id.hex), None, VERSION.id, 1),
        RefMoved(TAG, None, VERSION.id, 2),
    ],
    [RefMoved(TAG, VERSION.id, None, 2)],
]


def example(kind: str, name: str) -> str:
    (text,) = re.findall(rf"```{kind} {name}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(text)


def as_hex(data: bytes) -> str:
    """Nine groups of four bytes to a line."""
    groups = [data[start : start + 4].hex() for start in range(0, len(data), 4)]
    return "".join(" ".join(groups[start : start + 9]) + "\n" for start in range(0, len(groups), 9))


def fixed(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=value))


def make_pack(directory: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patch:
        fixed(patch, PACK_ID)
        writer = PackWriter(directory, 7)
    writer.append(Frame.of(FrameHeader(FrameKind.CHUNK, blake3(HELLO).digest(), Codec.RAW, 5, 5), HELLO))
    writer.seal()
    return pack_path(directory, PACK_ID).read_bytes()


def make_journal(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    journal = Journal(directory / "journal")
    with monkeypatch.context() as patch:
        fixed(patch, bytes(16))
        position = journal.rewrite((), 0)
    for operations in TRANSACTIONS:
        position = journal.append(position, operations)
    return (directory / "journal").read_text("ascii")


def test_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes.fromhex(example("hex", "pack"))
    path = pack_path(tmp_path, PACK_ID)
    path.write_bytes(data)
    assert read_pack_sequence(path) == (PACK_ID, 7)
    (placed,) = read_frames(path)
    assert (placed.header.kind, placed.header.digest) == (FrameKind.CHUNK, blake3(HELLO).digest())
    reader = PackReader(tmp_path)
    assert reader.read(PACK_ID, placed.offset, placed.header.frame_length).endswith(HELLO)
    reader.close()
    path.unlink()
    assert make_pack(tmp_path, monkeypatch) == data


def test_the_recipe() -> None:
    data = bytes.fromhex(example("hex", "recipe"))
    assert Recipe.decode(data, blake3_digest(data)) == RECIPE
    assert RECIPE.encoded == data


def test_the_tree() -> None:
    data = bytes.fromhex(example("hex", "tree"))
    assert Tree.decode(data, blake3_digest(data)) == TREE
    assert TREE.encoded == data


def test_the_version() -> None:
    record, written_id, rest = example("text", "version").split("\n")
    assert rest == ""
    assert Version.decode(record.encode("ascii"), Digest.parse(written_id)) == VERSION


def test_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = example("text", "journal")
    (tmp_path / "journal").write_text(text, "ascii")
    journal = Journal(tmp_path / "journal")
    entries: list[Transaction] = list(journal.entries(journal.begins()))
    assert [list(entry.operations) for entry in entries] == [[], *TRANSACTIONS]
    (tmp_path / "journal").unlink()
    assert make_journal(tmp_path, monkeypatch) == text


def make_delta() -> bytes:
    return b"\x02" + delta.encode(WORDS, EXPECTED, 7)


def make_cast() -> bytes:
    codec, stored = encode_against(WORDS.tobytes(), 2, (EXPECTED.astype("<u4") << 16).tobytes(), CAST) or (0, b"")
    assert codec == Codec.CAST
    return bytes(stored)


def without_compression(stored: bytes) -> bytes:
    """A delta with its side section as it is: zstd may find a shorter frame one day."""
    length = int.from_bytes(stored[3:7], "little")
    return stored[:3] + zstandard.ZstdDecompressor().decompress(stored[11 : 11 + length]) + stored[11 + length :]


def test_the_delta() -> None:
    stored = bytes.fromhex(example("hex", "delta"))
    assert bytes(decode_against(Codec.DELTA, stored, WORDS.nbytes, EXPECTED.tobytes(), 0)) == WORDS.tobytes()
    assert plain_delta.decode(stored[1:], EXPECTED.tolist(), 2) == WORDS.tolist()
    assert without_compression(make_delta()) == without_compression(stored)


def test_the_cast() -> None:
    stored = bytes.fromhex(example("hex", "cast"))
    base = (EXPECTED.astype("<u4") << 16).tobytes()
    assert bytes(decode_against(Codec.CAST, stored, WORDS.nbytes, base, CAST)) == WORDS.tobytes()
    assert make_cast() == stored


def test_every_cast_is_described() -> None:
    for cast in Cast:
        if cast:
            assert f"0x{cast:02x}" in DOCUMENT


def test_the_mark_is_as_written_there(tmp_path: Path) -> None:
    Layout(tmp_path).write_mark()
    assert (tmp_path / "FORMAT").read_text() == f"casmodels store\nformat {FORMAT_VERSION}\n"
    assert f"casmodels store\\nformat {FORMAT_VERSION}\\n" in DOCUMENT


def test_every_codec_is_described() -> None:
    for codec in Codec:
        assert f"**{codec.value} {codec.name.lower()}.**" in DOCUMENT


def test_every_kind_state_and_table_is_described() -> None:
    assert "kind: " + ", ".join(f"{kind.value} {kind.name.lower()}" for kind in FrameKind) in DOCUMENT
    for state in State:
        assert f"{state.value} {state.name.lower()}" in DOCUMENT
    assert f"{CONDEMNED} is added\nwhile it is condemned" in DOCUMENT
    for table in re.findall(r"CREATE TABLE (\w+)", schema._TABLES):
        assert f"`{table}`" in DOCUMENT


def test_every_file_of_a_store_is_described() -> None:
    layout = Layout(Path("store"))
    for path in (layout.mark, layout.journal, layout.index, layout.packs, layout.leases, layout.downloads,
                 layout.commit_lock, layout.maintenance_lock, layout.reserve):  # fmt: skip
        assert re.search(rf"^    {re.escape(path.name)}[ /]", DOCUMENT, re.MULTILINE), path.name


def write_examples() -> None:
    """Put the examples into the document; for whoever changes the format."""
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        made = {
            "hex pack": as_hex(make_pack(Path(name), patch)),
            "hex recipe": as_hex(RECIPE.encoded),
            "hex tree": as_hex(TREE.encoded),
            "hex delta": as_hex(make_delta()),
            "hex cast": as_hex(make_cast()),
            "text version": f"{VERSION.encoded.decode()}\n{VERSION.id}\n",
            "text journal": make_journal(Path(name), patch),
        }
    text = DOCUMENT
    for title, example_text in made.items():
        text = re.sub(rf"(```{title}\n).*?(```)", lambda found, new=example_text: found[1] + new + found[2], text,
                      flags=re.DOTALL)  # fmt: skip
    PATH.write_text(text, "utf-8")


if __name__ == "__main__":
    write_examples()
