"""The files of a version that hold tensors, and the tensors in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import dirname, join

from casmodels.errors import UnreadableWeightsError
from casmodels.formats import DoubtError, StoredTensor, read_tensors
from casmodels.library.damage import damage_named
from casmodels.library.names import Found
from casmodels.sources.weights import SAFETENSORS, TORCH, format_of, index_of
from casstore.blobs import BlobReader
from casstore.catalog import Reader
from casstore.errors import InvalidInputError, NotFoundError
from casstore.trees import Entry, EntryKind, Tree

_MAX_INDEX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file of weights: its path, its bytes, its tensors in the file's order."""

    path: str
    blob: BlobReader
    tensors: Sequence[StoredTensor]


class Shelf:
    """One version's files of weights, read while an operation lasts."""

    def __init__(self, reader: Reader, found: Found) -> None:
        self._reader = reader
        self._found = found
        self.tree = reader.tree(found.version.tree)

    def __str__(self) -> str:
        return f"{self._found.name}@{self._found.id.hex[:12]}"

    def files(self, path: str | None = None) -> list[WeightsFile]:
        """The files of weights: of one format, safetensors where there are any, else torch's.

        ``path`` is a file, the index of a sharded file, or a directory. Raises NotFoundError for a path that is not
        there, or where there are no weights; UnreadableWeightsError.
        """
        return [self.read(entry) for entry in self._chosen(path)]

    def read(self, entry: Entry) -> WeightsFile:
        """The tensors of one file. Raises UnreadableWeightsError, DamagedError."""
        assert entry.blob is not None
        with damage_named(entry.path, self):
            blob = self._reader.open_blob(entry.blob)
            try:
                return WeightsFile(entry.path, blob, read_tensors(blob))
            except DoubtError as error:
                raise UnreadableWeightsError(
                    f"the tensors of {entry.path} in {self} cannot be read: {error}"
                ) from error

    def _chosen(self, path: str | None) -> list[Entry]:
        if path is None:
            return self._of_one_format("")
        entry = self.tree.follow(path.strip("/"))
        if entry is not None and entry.kind is EntryKind.FILE:
            if index_of(entry.path) is None:
                return [entry]
            return [self._shard(entry.path, shard) for shard in self._shards(entry)]
        folder = path.strip("/") + "/"
        if not any(each.path.startswith(folder) for each in self.tree):
            raise NotFoundError(f"{self} has no file {path!r}", remedy=f"see `casmodels ls {self}`")
        return self._of_one_format(folder)

    def _of_one_format(self, folder: str) -> list[Entry]:
        entries = {entry.path: entry for entry in files_of(self.tree) if entry.path.startswith(folder)}
        formats = {path: format_of(path, entries.keys()) for path in entries}
        for format_name in (SAFETENSORS, TORCH):
            chosen = [entries[path] for path, its in formats.items() if its == format_name]
            if chosen:
                self._check_shards(entries, format_name)
                return chosen
        raise NotFoundError(
            f"{self} has no safetensors files and no torch archives" + (f" in {folder}" if folder else ""),
            remedy=f"see `casmodels ls {self}`",
        )

    def _check_shards(self, entries: dict[str, Entry], format_name: str) -> None:
        for path, entry in entries.items():
            index = index_of(path)
            if index is not None and index.format == format_name:
                for shard in self._shards(entry):
                    self._shard(path, shard)

    def _shard(self, index: str, shard: str) -> Entry:
        entry = self.tree.follow(join(dirname(index), shard))
        if entry is None or entry.kind is not EntryKind.FILE:
            raise NotFoundError(
                f"{self} has no {shard}, which {index} lists", remedy="`casmodels pull --all-files` brings all in"
            )
        return entry

    def _shards(self, index: Entry) -> list[str]:
        assert index.blob is not None
        if index.size_bytes > _MAX_INDEX_BYTES:
            raise InvalidInputError(f"{index.path} in {self} is too long for an index of shards")
        with damage_named(index.path, self):
            data = self._reader.open_blob(index.blob).read_at(0, index.size_bytes)
        try:
            shards = json.loads(data)["weight_map"]
            return sorted({str(shard) for shard in shards.values()})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableWeightsError(f"{index.path} in {self} is no index of shards") from error


def files_of(tree: Tree) -> Iterator[Entry]:
    """The entries that lead to a file, those of links with the file's own blob."""
    for entry in tree:
        end = tree.follow(entry.path) if entry.kind is EntryKind.LINK else entry
        if end is not None and end.blob is not None:
            yield Entry.file(entry.path, end.blob, end.size_bytes, end.mode) if end is not entry else entry
