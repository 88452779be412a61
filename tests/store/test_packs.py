"""Packs: sealed whole or not there, readable without their trailer, told apart from dead writers' files."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from casstore import packs
from casstore.errors import DamagedError, FullError
from casstore.frames import Frame, FrameHeader, FrameKind
from casstore.packs import (
    PackReader,
    PackWriter,
    SealedPack,
    list_packs,
    pack_path,
    read_frames,
    read_pack_sequence,
    remove_dead_writers_files,
)
from casstore.testing.builders import noise
from casstore.testing.faults import Failing, hooked


def sealed(directory: Path, payloads: list[bytes], sequence: int = 3) -> SealedPack:
    writer = PackWriter(directory, sequence)
    for payload in payloads:
        header = FrameHeader(FrameKind.CHUNK, blake3(payload).digest(), 0, len(payload), len(payload))
        writer.append(Frame.of(header, payload))
    return writer.seal()


PAYLOADS = [noise(number, 200 + number) for number in range(5)]


def test_a_sealed_pack(tmp_path: Path) -> None:
    pack = sealed(tmp_path, PAYLOADS)
    path = pack_path(tmp_path, pack.id)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size == pack.size_bytes
    assert list_packs(tmp_path) == [pack.id]
    assert read_pack_sequence(path) == (pack.id, 3)
    assert read_frames(path) == pack.frames
    reader = PackReader(tmp_path)
    for placed, payload in zip(pack.frames, PAYLOADS, strict=True):
        assert reader.read(pack.id, placed.offset, placed.header.frame_length).endswith(payload)
    reader.close()


def test_a_pack_without_frames(tmp_path: Path) -> None:
    pack = sealed(tmp_path, [])
    assert read_frames(pack_path(tmp_path, pack.id)) == ()


def test_other_files_are_no_packs(tmp_path: Path) -> None:
    for name in ("x.pack", "0" * 31 + ".pack", "0" * 32, "g" * 32 + ".pack", "0" * 32 + ".pack.tmp", ".pack"):
        (tmp_path / name).write_bytes(b"")
    assert list_packs(tmp_path) == []


def _without_trailer(data: bytes, footer: tuple[bytes, int, int, bytes, int]) -> dict[str, bytes]:
    table = data[-40 - footer[4] : -40]
    count_off_by_one = struct.pack("<8sII16sQ", footer[0], footer[1] - 1, 0, footer[3], footer[4])
    count_too_large = struct.pack("<8sII16sQ", footer[0], footer[1] + 1, 0, footer[3], footer[4])
    cut_table = table[:-1]
    checksum = blake3(cut_table).digest(length=16)
    return {
        "cut off": data[: -40 - len(table)],
        "cut short": data[:-1],
        "table flipped": data[:-50] + bytes([data[-50] ^ 1]) + data[-49:],
        "magic flipped": data[:-40] + b"X" + data[-39:],
        "length huge": data[:-8] + struct.pack("<Q", 2**62),
        "one frame fewer": data[:-40] + count_off_by_one,
        "one frame more": data[:-40] + count_too_large,
        "table cut": data[: -40 - len(table)]
        + cut_table
        + struct.pack("<8sII16sQ", footer[0], footer[1], 0, checksum, len(cut_table)),
        "zeros past the end": data + bytes(4096),
    }


@pytest.mark.parametrize("damage", list(_without_trailer(bytes(100), (b"", 1, 0, b"", 10))))
def test_frames_are_found_without_a_trailer(tmp_path: Path, damage: str) -> None:
    pack = sealed(tmp_path, PAYLOADS)
    path = pack_path(tmp_path, pack.id)
    data = path.read_bytes()
    path.write_bytes(_without_trailer(data, struct.unpack("<8sII16sQ", data[-40:]))[damage])
    assert read_frames(path) == pack.frames


def test_a_scan_steps_over_damaged_frames(tmp_path: Path) -> None:
    pack = sealed(tmp_path, PAYLOADS)
    path = pack_path(tmp_path, pack.id)
    good = bytearray(path.read_bytes()[:-1])
    ends = [placed.offset + placed.header.frame_length for placed in pack.frames]
    for number, placed in enumerate(pack.frames):
        rest = (*pack.frames[:number], *pack.frames[number + 1 :])
        for place in (placed.offset, placed.offset + 8, placed.offset + 12, ends[number] - 1):
            data = good.copy()
            data[place] ^= 0xFF
            path.write_bytes(data)
            assert read_frames(path) == rest, (number, place)


def test_a_scan_believes_a_delta_by_its_checksum(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path, 0)
    for number in range(2):
        writer.append(Frame.of(FrameHeader(FrameKind.CHUNK, bytes([number] * 32), 99, 500, 5, b"b" * 32), b"delta"))
    pack = writer.seal()
    path = pack_path(tmp_path, pack.id)
    data = bytearray(path.read_bytes()[:-1])
    path.write_bytes(data)
    assert read_frames(path) == pack.frames
    data[pack.frames[0].offset + pack.frames[0].header.frame_length - 1] ^= 1
    path.write_bytes(data)
    assert read_frames(path) == pack.frames[1:]


def test_a_scan_of_garbage_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / f"{'0' * 32}.pack"
    for data in (b"", b"CASPACK\n", noise(1, 5000), b"CFRM" * 2000, bytes(3 << 20)):
        path.write_bytes(data)
        assert read_frames(path) == ()


def test_the_search_finds_a_frame_across_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = sealed(tmp_path, PAYLOADS[:2])
    path = pack_path(tmp_path, pack.id)
    data = bytearray(path.read_bytes()[:-1])
    data[pack.frames[0].offset] ^= 1
    path.write_bytes(data)
    for block in range(5, 300):
        monkeypatch.setattr(packs, "_SEARCH_BYTES", block)
        assert read_frames(path) == pack.frames[1:], block


def test_damaged_headers(tmp_path: Path) -> None:
    path = pack_path(tmp_path, sealed(tmp_path, PAYLOADS).id)
    good = path.read_bytes()
    for position in range(48):
        data = bytearray(good)
        data[position] ^= 4
        path.write_bytes(data)
        with pytest.raises(DamagedError):
            read_pack_sequence(path)
    path.write_bytes(good[:47])
    with pytest.raises(DamagedError):
        read_pack_sequence(path)


def test_reading_past_the_end_is_damage_and_a_missing_pack_is_missing(tmp_path: Path) -> None:
    pack = sealed(tmp_path, PAYLOADS)
    reader = PackReader(tmp_path)
    with pytest.raises(DamagedError, match="ends before"):
        reader.read(pack.id, pack.size_bytes - 10, 11)
    with pytest.raises(FileNotFoundError):
        reader.read(bytes(16), 0, 1)
    reader.close()


@pytest.mark.parametrize("operation", ["write", "fsync", "rename"])
def test_a_pack_that_cannot_be_written_leaves_nothing(tmp_path: Path, operation: str) -> None:
    with hooked(Failing(errno.ENOSPC, operation)), pytest.raises(FullError):
        sealed(tmp_path, PAYLOADS)
    assert list(tmp_path.iterdir()) == []


def test_many_packs_with_few_open_files_from_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "_OPEN_FILES", 3)
    written = [sealed(tmp_path, [noise(number, 300)]) for number in range(12)]
    reader = PackReader(tmp_path)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0  # noqa: PTH208
    wrong = []

    def read(seed: int) -> None:
        for step in range(200):
            number = (seed * 7 + step * 5) % 12
            placed = written[number].frames[0]
            data = reader.read(written[number].id, placed.offset, placed.header.frame_length)
            if not data.endswith(noise(number, 300)):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) <= before + 3  # noqa: PTH208
    reader.close()


_DIE_WRITING = """
import os, signal, sys
from pathlib import Path
from casstore.frames import Frame, FrameHeader, FrameKind
from casstore.packs import PackWriter
PackWriter(Path(sys.argv[1]), 0).append(Frame.of(FrameHeader(FrameKind.CHUNK, bytes(32), 0, 9, 9), b"123456789"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_of_dead_writers_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _DIE_WRITING, str(tmp_path)], check=False)
    (dead,) = tmp_path.iterdir()
    size_bytes = dead.stat().st_size
    living = PackWriter(tmp_path, 0)
    finished = sealed(tmp_path, PAYLOADS)
    assert remove_dead_writers_files(tmp_path, dry_run=True) == size_bytes
    assert dead.exists()
    assert remove_dead_writers_files(tmp_path) == size_bytes
    assert not dead.exists()
    alive = living.seal()
    assert set(list_packs(tmp_path)) == {finished.id, alive.id}


def test_a_pack_unlinked_before_it_was_locked_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = packs.fcntl.flock
    unlinked = []

    def late(descriptor: int, operation: int) -> None:
        if not unlinked:
            (path,) = tmp_path.iterdir()
            unlinked.append(path)
            path.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(packs.fcntl, "flock", late)
    pack = sealed(tmp_path, PAYLOADS)
    assert unlinked
    assert read_frames(pack_path(tmp_path, pack.id)) == pack.frames
