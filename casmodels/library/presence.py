"""Whether a model is here with all that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casmodels.library.context import Context
from casmodels.library.names import find
from casmodels.sources.listing import UpstreamFile
from casmodels.sources.selection import select_files
from casstore.catalog import Reader
from casstore.errors import DamagedError, InvalidInputError, NotFoundError
from casstore.trees import Tree


def is_here(context: Context, target: str) -> bool:
    """Whether NAME[@VERSION] is a version that has every file which a pull takes by default. Asks nobody for it."""
    engine = context.existing()
    if engine is None:
        return False
    with engine.reading() as reader:
        try:
            version = find(reader, context.registry, target).version
            tree = reader.tree(version.tree)
        except (InvalidInputError, NotFoundError, DamagedError):
            return False
        chosen = select_files(upstream_files(version.metadata)).chosen
        return all(file.path in tree.by_path for file in chosen) and has_all(reader, tree)


def upstream_files(metadata: Mapping[str, Any]) -> tuple[UpstreamFile, ...]:
    """The upstream listing that a version remembers; empty for one that no listing was seen of."""
    return tuple(
        UpstreamFile(path, entry["size"], entry.get("blob_id"), entry.get("lfs_sha256"))
        for path, entry in metadata.get("upstream_files", {}).items()
    )


def has_all(reader: Reader, tree: Tree) -> bool:
    """Whether every file of a tree is in the store."""
    return all(reader.find_blob(entry.blob) is not None for entry in tree.files if entry.blob is not None)
