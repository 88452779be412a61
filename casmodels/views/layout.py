"""The Hub client's cache layout: what its folders and files are called, and what is in the small ones.

As huggingface_hub 2.4 writes it: refs hold 40 hex digits without a newline, snapshots hold relative links into blobs,
trees hold a commit's whole listing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from casmodels.etags import HubFile
from casstore.errors import InvalidInputError
from casstore.trees import check_path
from casstore.versions import Version

BLOBS: Final = "blobs"
SNAPSHOTS: Final = "snapshots"
REFS: Final = "refs"
TREES: Final = "trees"
NO_EXIST: Final = ".no_exist"
CACHE_TAG: Final = "CACHEDIR.TAG"

_REPO_FOLDER = re.compile(r"(models|datasets|spaces|kernels)--.+")
_OURS = "# Made by casmodels: a view of its store, to be made again at any time."
_CACHE_TAG_TEXT = f"Signature: 8a477f597d28d172789f06886806bc55\n{_OURS}\n"
"""The signature is the one that backup programs know (https://bford.info/cachedir/)."""


def folder_name(name: str) -> str:
    """The folder of a model: ``models--org--name``."""
    return "--".join(["models", *name.split("/")])


def is_repo_folder(folder: str) -> bool:
    """Whether a folder's name is that of a repository in a Hub cache."""
    return _REPO_FOLDER.fullmatch(folder) is not None


def cache_tag() -> bytes:
    """The content of a view's CACHEDIR.TAG: keeps backups away, and says whose cache this is."""
    return _CACHE_TAG_TEXT.encode("ascii")


def is_our_cache_tag(content: bytes) -> bool:
    """Whether a CACHEDIR.TAG says that casmodels made the cache."""
    return _OURS.encode("ascii") in content


def snapshot_path(commit: str, path: str) -> str:
    """Where a commit's file lies, from the repository's folder on."""
    return f"{SNAPSHOTS}/{commit}/{path}"


def link_text(path: str, etag: str) -> str:
    """What the link of a commit's file says: up to the repository's folder, then down to the blob."""
    return "../" * (path.count("/") + 2) + f"{BLOBS}/{etag}"


def is_ref_name(name: str) -> bool:
    """Whether a ref of that name can be a file below ``refs``."""
    try:
        check_path(name)
    except InvalidInputError:
        return False
    return True


def tree_listing(version: Version, files: Mapping[str, HubFile]) -> bytes:
    """The content of ``trees/<commit>.json``.

    For a version from the Hub that is all of upstream's commit, what was left out included: so the client can say
    what an offline snapshot lacks. It ends in a newline, which the client's own do not: that tells whose it is.
    """
    upstream = version.metadata.get("upstream_files")
    listed: dict[str, dict[str, Any]] = {}
    if isinstance(upstream, Mapping):
        for path, told in upstream.items():
            if _is_told(told):
                listed[path] = _listed(told["size"], told["blob_id"], told.get("lfs_sha256"))
    for path, file in files.items():
        if path not in listed:
            listed[path] = _listed(file.size_bytes, file.blob_id, file.sha256.hex if file.is_large else None)
    document = {"format_version": 1, "files": {path: listed[path] for path in sorted(listed)}}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def _is_told(told: object) -> bool:
    """Whether an entry of ``upstream_files`` says what one must: a record made by hand may hold anything."""
    if not isinstance(told, Mapping):
        return False
    sha256 = told.get("lfs_sha256")
    return type(told.get("size")) is int and isinstance(told.get("blob_id"), str) and isinstance(sha256, str | None)


def _listed(size_bytes: int, blob_id: str, sha256: str | None) -> dict[str, Any]:
    listed: dict[str, Any] = {"size": size_bytes, "blob_id": blob_id}
    if sha256 is not None:
        listed |= {"lfs_sha256": sha256, "lfs_size": size_bytes}
    return listed
