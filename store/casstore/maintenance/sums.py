"""Whether a recipe tells the truth about the blob that it makes.

Chunks and recipes go by their own BLAKE3, so all of these may be right and the SHA-256 or git's id in a recipe still be
those of other bytes: whoever wrote it was wrong, or lied. Only the whole of the bytes tells.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

from casstore.digests import GIT_BLOB, SHA256, Digest, git_blob_hasher
from casstore.engine import Engine
from casstore.errors import DamagedError
from casstore.frames import FrameKind
from casstore.recipes import Outline, Part, Recipe
from casstore.records import read_outline, read_recipe

_AHEAD = 256
"""So many parts at most are decoded ahead, however small they are."""


def falsehood(engine: Engine, digest: Digest, progress: Callable[[int], object] | None = None) -> str | None:
    """What a recipe says wrongly of its blob, if anything; ``progress`` gets the numbers of bytes that were hashed.

    Raises DamagedError or NotFoundError when the recipe or a chunk cannot be read, so that nobody can tell.
    """
    outline = read_outline(engine, digest)
    sha256, git = _sums(engine, outline, progress)
    if sha256 != outline.sha256:
        return f"it makes a blob of another SHA-256 ({sha256.hex}) than it says"
    return "it makes a blob of another git id than it says" if git != outline.git else None


def corrected(engine: Engine, digest: Digest) -> Recipe | None:
    """A recipe with the git id that its blob has; None where its SHA-256 is false. Raises as `falsehood`."""
    recipe = read_recipe(engine, digest)
    sha256, git = _sums(engine, read_outline(engine, digest), None)
    return replace(recipe, git=git) if sha256 == recipe.sha256 else None


def _sums(engine: Engine, outline: Outline, progress: Callable[[int], object] | None) -> tuple[Digest, Digest | None]:
    """The SHA-256 of what a recipe makes, and git's id where the recipe has one."""
    sha256, git = hashlib.sha256(), git_blob_hasher(outline.size_bytes)
    for piece in _pieces(engine, outline):
        sha256.update(piece)
        if outline.git is not None:
            git.update(piece)
        if progress is not None:
            progress(len(piece))
    return Digest(SHA256, sha256.digest()), Digest(GIT_BLOB, git.digest()) if outline.git is not None else None


def _pieces(engine: Engine, outline: Outline) -> Iterator[memoryview]:
    """The blob in order, decoded ahead by the coders; of its recipe no more is taken apart than is needed."""
    ahead: deque[tuple[Part, Future[memoryview]]] = deque()
    ahead_bytes = 0
    try:
        for part in outline.parts():
            while ahead and (ahead_bytes + part.length > engine.settings.read_ahead_bytes or len(ahead) >= _AHEAD):
                first, future = ahead.popleft()
                ahead_bytes -= first.length
                yield future.result()
            ahead.append((part, engine.workers.code(_piece, engine, part)))
            ahead_bytes += part.length
        for _, future in ahead:
            yield future.result()
    finally:
        for _, future in ahead:
            future.cancel()


def _piece(engine: Engine, part: Part) -> memoryview:
    chunk = memoryview(engine.content(FrameKind.CHUNK, part.chunk))
    if part.offset + part.length > len(chunk):
        raise DamagedError(f"chunk {part.chunk.hex()}", "the recipe wants bytes past its end")
    piece = chunk[part.offset : part.offset + part.length]
    # A recipe made by hand may want a byte of each of many chunks, which must not all stay in memory.
    return piece if len(piece) == len(chunk) else memoryview(bytes(piece))
