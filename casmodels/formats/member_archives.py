"""Zip archives of files that hold tensors: ``.npz``, which is arrays, and ``.keras``, which has its weights in HDF5.

Only members that are not compressed have spans. Each is read as the file that it would be alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from casmodels.formats import npy
from casmodels.formats.archives import Archive, Member, Part
from casmodels.formats.hdf5 import hdf5_spans
from casmodels.formats.layout import MAX_TENSORS, DoubtError, checked
from casmodels.formats.npy import npy_spans
from casstore.chunkers.spans import RandomAccess, Span

_ARRAY_SUFFIX: Final = ".npy"
_HDF5_SUFFIX: Final = ".h5"
_MAX_HDF5_MEMBERS: Final = 4
"""HDF5 can be made to be read for a second each; a ``.keras`` file has one."""


def member_spans(archive: Archive, source: RandomAccess) -> list[Span]:
    """The tensors of all members; raises DoubtError or what the readers do where one is wrong."""
    readers = dict(_readers(archive.names()))
    found = [(name, member) for name in readers if (member := archive.member(name)) is not None]
    _check_apart(member for _, member in found)
    spans: list[Span] = []
    for name, member in found:
        inner = readers[name](name, Part(source, member))
        spans += [replace(span, offset=member.offset + span.offset) for span in inner]
    return checked(spans, source.size_bytes)


def _readers(names: Iterable[str]) -> Iterable[tuple[str, Callable[[str, RandomAccess], list[Span]]]]:
    arrays = hdf5_members = 0
    for name in names:
        if name.endswith(_ARRAY_SUFFIX):
            arrays += 1
            yield name, _array_spans
        elif name.endswith(_HDF5_SUFFIX):
            hdf5_members += 1
            yield name, lambda _, part: hdf5_spans(part)
    if arrays > MAX_TENSORS or hdf5_members > _MAX_HDF5_MEMBERS:
        raise DoubtError("too many members")


def _array_spans(name: str, part: RandomAccess) -> list[Span]:
    if part.read_at(0, len(npy.MAGIC)) != npy.MAGIC:
        raise DoubtError("a member that is no array")
    try:
        return npy_spans(name.removesuffix(_ARRAY_SUFFIX), part)
    except DoubtError:
        # Arrays of strings or objects are usual beside arrays of numbers.
        return []


def _check_apart(members: Iterable[Member]) -> None:
    """Members that share bytes could make a small file long to read."""
    end = 0
    for member in sorted(members, key=lambda member: member.offset):
        if member.offset < end:
            raise DoubtError("members that overlap")
        end = member.offset + member.length
