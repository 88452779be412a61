"""FORMAT.md is true: its example is read, and its constants are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from blake3 import blake3

from casstore.frames import FrameKind
from casstore.layout import FORMAT_VERSION, Layout
from casstore.packs import PackReader, Placed, pack_path, read_frames, read_pack_sequence

DOCUMENT = (Path(__file__).resolve().parents[2] / "store" / "FORMAT.md").read_text("utf-8")
PACK_ID = bytes.fromhex("00112233445566778899aabbccddeeff")


def test_the_example_is_a_pack(tmp_path: Path) -> None:
    (text,) = re.findall(r"```hex\n(.*?)```", DOCUMENT, re.DOTALL)
    path = pack_path(tmp_path, PACK_ID)
    path.write_bytes(bytes.fromhex(text))
    assert read_pack_sequence(path) == (PACK_ID, 7)
    (placed,) = read_frames(path)
    assert isinstance(placed, Placed)
    assert (placed.header.kind, placed.header.digest) == (FrameKind.CHUNK, blake3(b"hello").digest())
    reader = PackReader(tmp_path)
    assert reader.read(PACK_ID, placed.offset, placed.header.frame_length).endswith(b"hello")
    reader.close()


def test_the_mark_is_as_written_there(tmp_path: Path) -> None:
    Layout(tmp_path).write_mark()
    assert (tmp_path / "FORMAT").read_text() == f"casmodels store\nformat {FORMAT_VERSION}\n"
    assert f"casmodels store\\nformat {FORMAT_VERSION}\\n" in DOCUMENT


def test_every_codec_is_described() -> None:
    from casstore.codecs import Codec

    for codec in Codec:
        assert f"**{codec.value} {codec.name.lower()}.**" in DOCUMENT
