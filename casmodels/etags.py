"""How the Hub's world names a stored file: its ETag, its git id, and whether it counts as a large file (LFS).

One rule for the views and for the server, because the client's cache names its blobs by ETag: a file must
have the same one wherever it is met. Large files go by their SHA-256, the others by their git blob id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from casstore.digests import Digest, git_blob_digest
from casstore.trees import Entry

LARGE_BYTES: Final = 10 * 1024 * 1024
"""From this size on the Hub takes a file through LFS only."""

_LARGE_NAME = re.compile(
    r".*\.(bin|ckpt|ftz|ggml|gguf|h5|joblib|mlmodel|model|msgpack|onnx|ot|pb|pickle|pkl|pt|pth|safetensors|tflite"
    r"|wasm|arrow|npy|npz|parquet|7z|bz2|gz|rar|tar|tgz|xz|zip|zst)",
    re.IGNORECASE | re.DOTALL,
)
"""What the `.gitattributes` that the Hub gives a new repo sends through LFS (and GGUF)."""

_GIT_ID = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in the Hub's terms.

    ``blob_id`` is the 40 hex digits of git's id: of the content, or for a large file of the pointer that
    stands for it in git.
    """

    path: str
    size_bytes: int
    sha256: Digest
    blob_id: str
    is_large: bool

    @property
    def etag(self) -> str:
        """The name of the file's blob in a Hub cache: 64 hex digits for a large file, else 40."""
        return self.sha256.hex if self.is_large else self.blob_id

    @property
    def pointer_size_bytes(self) -> int:
        """How long git's pointer to the large file is."""
        return len(_pointer(self.sha256, self.size_bytes))


def hub_file(entry: Entry, git: Digest | None, upstream: Mapping[str, Any] | None = None) -> HubFile:
    """The Hub's terms for a tree's file.

    ``git`` is the git id of its bytes where the store knows it; ``upstream`` is the version's
    ``upstream_files``. What upstream says counts while it speaks of these very bytes; else the Hub's rules
    for new repos do.
    """
    if entry.blob is None:
        raise ValueError(f"{entry.path!r} is not a file")
    told = (upstream or {}).get(entry.path)
    if isinstance(told, Mapping):
        blob_id = told.get("blob_id")
        if told.get("lfs_sha256") == entry.blob.hex:
            known = isinstance(blob_id, str) and _GIT_ID.match(blob_id)
            return _large(entry, entry.blob, blob_id if known else None)
        if git is not None and blob_id == git.hex:
            return HubFile(entry.path, entry.size_bytes, entry.blob, git.hex, is_large=False)
    if git is None or entry.size_bytes >= LARGE_BYTES or _LARGE_NAME.fullmatch(entry.path):
        return _large(entry, entry.blob, None)
    return HubFile(entry.path, entry.size_bytes, entry.blob, git.hex, is_large=False)


def _large(entry: Entry, blob: Digest, blob_id: str | None) -> HubFile:
    pointer_id = blob_id or git_blob_digest(_pointer(blob, entry.size_bytes)).hex
    return HubFile(entry.path, entry.size_bytes, blob, pointer_id, is_large=True)


def _pointer(sha256: Digest, size_bytes: int) -> bytes:
    """The small text that git-lfs keeps in git instead of the file (git-lfs, docs/spec.md)."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        sha256.hex.encode(),
        size_bytes,
    )
