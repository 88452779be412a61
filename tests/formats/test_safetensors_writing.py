"""safetensors files that are written here: their own library reads them, and they are always the same."""

from __future__ import annotations

import io
import json

import pytest

from casmodels.formats.layout import DoubtError
from casmodels.formats.safetensors import StoredNumbers, safetensors_bytes, safetensors_metadata, safetensors_tensors
from casstore.sources import BytesSource

TENSORS = {
    "b.flag": StoredNumbers("BOOL", (3,), memoryview(b"\1\0\1")),
    "a.weight": StoredNumbers("F32", (2, 1), memoryview(b"\0\0\x80?\0\0\0@")),
    "a.empty": StoredNumbers("F16", (0, 4), memoryview(b"")),
    "größe": StoredNumbers("I64", (), memoryview(b"\7\0\0\0\0\0\0\0")),
}
METADATA = {"z": "1", "a": json.dumps({"quoted": '"'})}


def test_what_is_written_is_read() -> None:
    data = safetensors_bytes(TENSORS, METADATA)
    found = {tensor.name: tensor for tensor in safetensors_tensors(BytesSource(data))}
    assert found.keys() == TENSORS.keys()
    for name, numbers in TENSORS.items():
        tensor = found[name]
        assert (tensor.dtype, tensor.shape) == (numbers.dtype, numbers.shape)
        assert data[tensor.storage_at : tensor.storage_at + tensor.storage_bytes] == bytes(numbers.data)
        assert tensor.storage_at % 8 == 0 or numbers.dtype in ("BOOL", "F32", "F16")
    assert safetensors_metadata(io.BytesIO(data)) == METADATA


def test_the_order_of_what_is_given_does_not_matter() -> None:
    turned = safetensors_bytes(dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))
    assert turned == safetensors_bytes(TENSORS, METADATA)


@pytest.mark.torch
def test_the_library_reads_it() -> None:
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    found = safetensors.load(safetensors_bytes(TENSORS, METADATA))
    assert found["b.flag"].tolist() == [True, False, True]
    assert torch.equal(found["a.weight"], torch.tensor([[1.0], [2.0]]))
    assert found["a.empty"].shape == (0, 4)
    assert found["größe"].item() == 7


@pytest.mark.parametrize("header", [b"[]", b'{"__metadata__": 5}', b'{"__metadata__": {"a": 5}}'])
def test_metadata_that_make_no_sense(header: bytes) -> None:
    with pytest.raises(DoubtError):
        safetensors_metadata(io.BytesIO(len(header).to_bytes(8, "little") + header))
    with pytest.raises(DoubtError, match="larger than it may be"):
        safetensors_metadata(io.BytesIO(b"\xff" * 8 + header))
