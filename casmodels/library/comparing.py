"""Two versions side by side: which files and tensors differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias

from casmodels.errors import UnreadableWeightsError
from casmodels.library.context import Context
from casmodels.library.differences import Located, difference
from casmodels.library.names import find
from casmodels.library.weights import Shelf
from casmodels.results.diffs import DiffResult, FileDiff, SideResult, TensorDiff
from casmodels.sources.weights import LOADABLE, format_of
from casstore.trees import Entry

_Tensors: TypeAlias = dict[tuple[str, str], Located]
"""The tensors of one side by path and name."""


def compare(context: Context, a: str, b: str) -> DiffResult:
    """What differs between two versions. Raises NotFoundError, DamagedError.

    Tensors are compared by name: within a path that both sides have, then across the paths, so that a file that was
    cut into other shards, renamed or written in another format is compared, too.
    """
    with context.engine().reading() as reader:
        found = [find(reader, context.registry, target) for target in (a, b)]
        shelves = (Shelf(reader, found[0]), Shelf(reader, found[1]))
        files, same_files = _files(*shelves)
        tensors: tuple[_Tensors, _Tensors] = ({}, {})
        files = [_with_tensors(shelves, file, tensors) for file in files]
        diffs = [_tensor(before, after) for before, after in _pairs(*tensors)]
        changed = [diff for diff in diffs if diff is not None]
        sides = [SideResult(one.name, one.id.hex) for one in found]
        same = shelves[0].tree.digest == shelves[1].tree.digest
        return DiffResult(sides[0], sides[1], same, tuple(files), same_files, tuple(changed), len(diffs) - len(changed))


def _files(left: Shelf, right: Shelf) -> tuple[list[FileDiff], int]:
    """The paths that differ, and how many do not."""
    ours, theirs = left.tree.by_path, right.tree.by_path
    diffs = []
    for path in sorted(ours.keys() | theirs.keys()):
        before, after = ours.get(path), theirs.get(path)
        if before == after:
            continue
        status = "added" if before is None else "removed" if after is None else "changed"
        diffs.append(
            FileDiff(path, status, _size(before), _size(after), _digest(before), _digest(after), _note(before, after))
        )
    return diffs, sum(1 for path in ours if ours[path] == theirs.get(path))


def _size(entry: Entry | None) -> int | None:
    return entry.size_bytes if entry is not None else None


def _digest(entry: Entry | None) -> str | None:
    return str(entry.blob) if entry is not None and entry.blob is not None else None


def _note(before: Entry | None, after: Entry | None) -> str:
    if before is None or after is None:
        return ""
    if before.kind is not after.kind:
        return f"{before.kind.name.lower()} became {after.kind.name.lower()}"
    if before.target != after.target:
        return f"leads to {after.target}, led to {before.target}"
    return "" if before.blob != after.blob else f"mode {after.mode:04o}, was {before.mode:04o}"


def _with_tensors(shelves: tuple[Shelf, Shelf], file: FileDiff, tensors: tuple[_Tensors, _Tensors]) -> FileDiff:
    """Take in the tensors of a file of weights whose bytes differ; gives it with a note where that cannot be done."""
    if file.digest_a == file.digest_b:
        return file
    for shelf, side in zip(shelves, tensors, strict=True):
        entry = shelf.tree.by_path.get(file.path)
        if entry is None or entry.blob is None or format_of(file.path, shelf.tree.by_path.keys()) not in LOADABLE:
            continue
        try:
            read = shelf.read(entry)
        except UnreadableWeightsError as error:
            file = replace(file, note=error.message)
            continue
        for tensor in read.tensors:
            side[file.path, tensor.name] = Located(file.path, str(shelf), read.blob, tensor)
    return file


def _pairs(ours: _Tensors, theirs: _Tensors) -> Iterator[tuple[Located | None, Located | None]]:
    """Each tensor of A with that of B, then what only B has."""
    partners = {key: theirs[key] for key in ours if key in theirs}
    left = _by_name(located for key, located in ours.items() if key not in theirs)
    right = _by_name(located for key, located in theirs.items() if key not in ours)
    partners |= {(left[name].path, name): right[name] for name in left if name in right}
    for key, located in ours.items():
        yield located, partners.get(key)
    met = {id(located) for located in partners.values()}
    for located in theirs.values():
        if id(located) not in met:
            yield None, located


def _by_name(tensors: Iterable[Located]) -> dict[str, Located]:
    """Those whose name is there once."""
    listed = list(tensors)
    counts = Counter(located.tensor.name for located in listed)
    return {located.tensor.name: located for located in listed if counts[located.tensor.name] == 1}


def _tensor(before: Located | None, after: Located | None) -> TensorDiff | None:
    """What differs of a tensor, or None. Raises DamagedError."""
    if before is None or after is None:
        return _alone(before, after)
    old, new = before.tensor, after.tensor
    diff = TensorDiff(
        old.name,
        "changed",
        *(before.path, after.path, old.dtype, new.dtype, old.shape, new.shape),
        note=old.problem or new.problem,
    )
    if diff.note:
        return replace(diff, status="unreadable")
    if old.shape != new.shape:
        return replace(diff, status="reshaped")
    change = difference(before, after)
    if old.dtype != new.dtype:
        return replace(diff, status="retyped", change=change)
    return replace(diff, change=change) if change is not None else None


def _alone(before: Located | None, after: Located | None) -> TensorDiff | None:
    if before is not None:
        tensor = before.tensor
        return TensorDiff(tensor.name, "removed", path_a=before.path, dtype_a=tensor.dtype, shape_a=tensor.shape)
    if after is not None:
        tensor = after.tensor
        return TensorDiff(tensor.name, "added", path_b=after.path, dtype_b=tensor.dtype, shape_b=tensor.shape)
    return None
