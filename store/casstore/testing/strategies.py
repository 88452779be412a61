"""Strategies for Hypothesis: paths, trees, recipes, versions, journals' operations. Needs hypothesis installed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from casstore.digests import BLAKE3, GIT_BLOB, SHA256, Digest
from casstore.journal import Operation, PackAdded, PackRemoved, RefMoved
from casstore.recipes import Part, Recipe
from casstore.refs import RefKey, RefKind
from casstore.trees import Entry, Tree, path_text
from casstore.versions import Version

chunk_names = st.binary(min_size=32, max_size=32)
blake3s = chunk_names.map(lambda value: Digest(BLAKE3, value))
sha256s = chunk_names.map(lambda value: Digest(SHA256, value))
git_ids = st.binary(min_size=20, max_size=20).map(lambda value: Digest(GIT_BLOB, value))
pack_ids = st.binary(min_size=16, max_size=16)

_part_bytes = st.binary(min_size=1, max_size=12).filter(
    lambda raw: not set(raw) & {0, 0x2F} and raw not in (b".", b"..")
)
path_parts = _part_bytes.map(path_text)
"""One name in a directory: any bytes but NUL and the slash."""

paths = st.lists(path_parts, min_size=1, max_size=4).map("/".join)

_modes = st.integers(0, 0o777)
_sizes = st.integers(0, 2**63)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree of files, empty directories and links to files beside them."""
    entries: dict[str, Entry] = {}
    for path in draw(st.lists(paths, max_size=8, unique=True)):
        above = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1)]
        if any(place in entries for place in above) or any(other.startswith(f"{path}/") for other in entries):
            continue
        kind = draw(st.integers(0, 2))
        if kind == 0:
            entries[path] = Entry.file(path, draw(sha256s), draw(_sizes), draw(_modes))
        elif kind == 1:
            entries[path] = Entry.directory(path, draw(_modes))
        else:
            entries[path] = Entry.link(path, draw(path_parts))
    return Tree.of(entries.values())


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """A recipe whose parts add up."""
    parts = draw(st.lists(st.builds(Part, chunk_names, st.integers(0, 9), st.integers(0, 2**32 - 1)), max_size=6))
    git = draw(st.none() | git_ids)
    return Recipe(draw(sha256s), sum(part.length for part in parts), tuple(parts), git)


_texts = st.text(max_size=8)
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(_texts, children, max_size=3),
    max_leaves=6,
)
versions = st.builds(
    Version,
    tree=blake3s,
    parent=st.none() | blake3s,
    source=_texts,
    created_ns=st.integers(0, 2**63),
    message=_texts,
    metadata=st.dictionaries(_texts, _values, max_size=4),
)

ref_keys = st.builds(RefKey, st.sampled_from(RefKind), _texts, _texts)
operations: st.SearchStrategy[Operation] = (
    st.builds(PackAdded, pack_ids)
    | st.builds(PackRemoved, pack_ids)
    | st.builds(RefMoved, ref_keys, st.none() | blake3s, st.none() | blake3s, st.integers(0, 2**40))
)
