"""Loading tensors: memory is taken once for each, and the store's threads decode chunks straight into it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import UnknownTensorError, UnreadableWeightsError
from casmodels.formats import DoubtError, StoredTensor, read_tensors
from casmodels.library.context import Context
from casmodels.library.damage import damage_named
from casmodels.library.names import find
from casmodels.library.ranges import Range, ranges_of
from casmodels.library.weights import Shelf, WeightsFile
from casstore.errors import InvalidInputError
from casstore.sources import BytesSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMEWORKS: Final = ("numpy", "torch")
_BATCH_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tensors are to be loaded: all, or those of these names, or those whose names begin so, of what is at
    ``path`` (see `casmodels.library.weights.Shelf.files`)."""

    path: str | None = None
    names: Collection[str] | None = None
    prefix: str = ""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name is wanted."""
        return name.startswith(self.prefix) and (self.names is None or name in self.names)


def load(context: Context, target: str, wanted: Wanted, framework: str, device: str | None) -> dict[str, Any]:
    """The tensors by name, in the order of the files. See `casmodels.library.store.Store.load_tensors`."""
    if framework not in FRAMEWORKS:
        raise InvalidInputError(f"there is no framework {framework!r}", remedy=f"it is {' or '.join(FRAMEWORKS)}")
    if device is not None and framework == "numpy":
        raise InvalidInputError("NumPy's arrays lie on no device", remedy='say framework="torch"')
    make = _maker(framework, device)
    with context.engine().reading() as reader:
        shelf = Shelf(reader, find(reader, context.registry, target))
        files = shelf.files(wanted.path)
        chosen = {file.path: [tensor for tensor in file.tensors if wanted.has(tensor.name)] for file in files}
        _check(shelf, files, chosen, wanted)
        arrays: dict[str, Any] = {}
        # What is to be on another device is brought there in batches, so that this machine's memory has one of them.
        batch_bytes = None if device is None else _BATCH_BYTES
        for file in files:
            for batch in _batches(ranges_of(chosen[file.path]), batch_bytes):
                arrays.update(_filled(shelf, file, batch, make))
        return {tensor.name: arrays[tensor.name] for tensors in chosen.values() for tensor in tensors}


def of_bytes(data: bytes, called: str, wanted: Wanted, framework: str) -> dict[str, Any]:
    """The tensors of a file whose bytes are at hand; ``called`` is what messages call it. Raises as `load`."""
    import numpy as np

    make, source = _maker(framework, None), BytesSource(data)
    try:
        found = [tensor for tensor in read_tensors(source) if wanted.has(tensor.name)]
    except DoubtError as error:
        raise UnreadableWeightsError(f"the tensors of {called} cannot be read: {error}") from error
    for tensor in found:
        if tensor.problem:
            raise UnreadableWeightsError(f"the tensor {tensor.name!r} in {called} cannot be loaded: {tensor.problem}")
    arrays: dict[str, Any] = {}
    for each in ranges_of(found):
        # A range of its own, for the file's bytes may lie on no boundary that suits the numbers.
        arrays.update(make(np.frombuffer(data, np.uint8)[each.start : each.stop].copy(), each))
    return {tensor.name: arrays[tensor.name] for tensor in found}


def _check(
    shelf: Shelf, files: Iterable[WeightsFile], chosen: Mapping[str, Iterable[StoredTensor]], wanted: Wanted
) -> None:
    """Raise for names that are not there, are there twice, or stand for what cannot be read."""
    homes: dict[str, str] = {}
    for path, tensors in chosen.items():
        for tensor in tensors:
            if tensor.name in homes:
                raise InvalidInputError(
                    f"{shelf} has a tensor {tensor.name!r} in {homes[tensor.name]} and in {path}",
                    remedy="say which file or directory to load with path=",
                )
            if tensor.problem:
                what = f"the tensor {tensor.name!r}" if tensor.name else "a tensor without a name"
                raise UnreadableWeightsError(f"{what} in {path} of {shelf} cannot be loaded: {tensor.problem}")
            homes[tensor.name] = path
    missing = [name for name in wanted.names or () if name not in homes]
    if missing or (wanted.prefix and not homes):
        known = [tensor.name for file in files for tensor in file.tensors]
        raise UnknownTensorError(str(shelf), missing[0] if missing else f"{wanted.prefix}…", known)


def _batches(ranges: list[Range], limit_bytes: int | None) -> Iterator[list[Range]]:
    batch: list[Range] = []
    size_bytes = 0
    for each in ranges:
        length = each.stop - each.start
        if batch and limit_bytes is not None and size_bytes + length > limit_bytes:
            yield batch
            batch, size_bytes = [], 0
        batch.append(each)
        size_bytes += length
    if batch:
        yield batch


def _filled(
    shelf: Shelf, file: WeightsFile, ranges: list[Range], make: Callable[[NDArray[Any], Range], dict[str, Any]]
) -> dict[str, Any]:
    import numpy as np

    memory = [np.empty(each.stop - each.start, np.uint8) for each in ranges]
    with damage_named(file.path, shelf):
        file.blob.fill((each.start, bytes_.data) for each, bytes_ in zip(ranges, memory, strict=True))
    arrays: dict[str, Any] = {}
    memory.reverse()
    for each in ranges:
        arrays.update(make(memory.pop(), each))
    return arrays


def _maker(framework: str, device: str | None) -> Callable[[NDArray[Any], Range], dict[str, Any]]:
    """What makes a range's tensors of its bytes."""
    from casmodels.library import arrays

    if framework == "numpy":
        return lambda memory, each: {
            tensor.name: arrays.numpy_array(memory, tensor, each.start) for tensor in each.tensors
        }

    def in_torch(memory: NDArray[Any], each: Range) -> dict[str, Any]:
        storage = arrays.torch_bytes(memory, device)
        return {tensor.name: arrays.torch_tensor(storage, tensor, each.start) for tensor in each.tensors}

    return in_torch
