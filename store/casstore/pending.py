"""What a transaction has written and the index does not know yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from casstore.frames import FrameKind, parse_chunk_hint
from casstore.index.rows import Candidate
from casstore.packs import PackWriter, Placed, SealedPack


class Pending:
    """Frames by kind and digest, the chunks among them that others may be like, and a way to read them.

    Safe for threads.
    """

    def __init__(self) -> None:
        self._frames: dict[tuple[FrameKind, bytes], tuple[bytes, Placed]] = {}
        self._candidates: dict[bytes, dict[bytes, Candidate]] = {}
        self._descriptors: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, name: tuple[FrameKind, bytes]) -> bool:
        return name in self._frames

    def begin(self, pack: PackWriter) -> None:
        """A pack is begun, whose frames may have to be read before it is entered."""
        with self._lock:
            self._descriptors[pack.id] = os.open(pack.path, os.O_RDONLY | os.O_CLOEXEC)

    def add(self, pack: PackWriter, placed: Placed) -> None:
        """A frame was written."""
        header = placed.header
        with self._lock:
            self._frames[header.kind, header.digest] = pack.id, placed
            if header.kind is FrameKind.CHUNK:
                _, key, sketch = parse_chunk_hint(header.hint)
                if sketch:
                    candidate = Candidate(
                        header.digest, header.raw_length, header.frame_length, sketch, not header.base
                    )
                    self._candidates.setdefault(key, {})[header.digest] = candidate

    def candidates(self, key: bytes) -> list[Candidate]:
        """The chunks of that similarity key, the newest first."""
        with self._lock:
            return list(reversed(self._candidates.get(key, {}).values()))

    def read(self, kind: FrameKind, digest: bytes) -> bytes | None:
        """The bytes of a frame; None for one that is not pending any more. Raises OSError."""
        with self._lock:  # or else the file could be closed meanwhile
            found = self._frames.get((kind, digest))
            if found is None:
                return None
            pack_id, placed = found
            return os.pread(self._descriptors[pack_id], placed.header.frame_length, placed.offset)

    def entered(self, packs: Iterable[SealedPack]) -> None:
        """The index knows these now."""
        with self._lock:
            for pack in packs:
                os.close(self._descriptors.pop(pack.id))
                for placed in pack.frames:
                    header = placed.header
                    self._frames.pop((header.kind, header.digest), None)
                    _, key, _ = parse_chunk_hint(header.hint) if header.kind is FrameKind.CHUNK else (0, b"", b"")
                    candidates = self._candidates.get(key, {})
                    if candidates.pop(header.digest, None) is not None and not candidates:
                        del self._candidates[key]

    def close(self) -> None:
        """Close the files; what was written is not pending but lost."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])
            self._frames.clear()
            self._candidates.clear()
