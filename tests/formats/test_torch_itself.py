"""The spans of files that torch itself wrote: where a span is, there are the tensor's bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tests.formats.building import safetensors, spans_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

_DTYPES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


def _saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def _bytes_of(tensor: Any) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    data: bytes = flat.view(torch.uint8).numpy().tobytes()
    return data


def _found(data: bytes) -> dict[bytes, list[tuple[bytes, int, int]]]:
    """Each key's tensors: bytes, item width and block."""
    found: dict[bytes, list[tuple[bytes, int, int]]] = {}
    for span in spans_of(data):
        content = data[span.offset : span.offset + span.length]
        found.setdefault(span.key, []).append((content, span.item_width, span.block_bytes))
    return found


def _expected(tensors: dict[str, Any]) -> dict[bytes, list[tuple[bytes, int, int]]]:
    """What the spans of these tensors in a safetensors file lead to."""
    names = {str(getattr(torch, name)): dtype for dtype, name in _DTYPES.items()}
    expected: dict[bytes, list[tuple[bytes, int, int]]] = {}
    for name, tensor in tensors.items():
        content = _bytes_of(tensor)
        [span] = spans_of(safetensors({name: (names[str(tensor.dtype)], tuple(tensor.shape), len(content))}))
        expected.setdefault(span.key, []).append((content, span.item_width, span.block_bytes))
    return expected


@pytest.mark.parametrize("dtype", _DTYPES.values(), ids=_DTYPES.keys())
def test_a_tensor_of_every_type_is_found_with_the_bytes_of_a_safetensors_file(dtype: str) -> None:
    raw = torch.randint(0, 2, (6 * 16,), dtype=torch.uint8)
    wanted = getattr(torch, dtype)
    tensor = raw.bool().reshape(16, 6) if dtype == "bool" else raw.view(wanted).reshape(2, -1)
    tensors = {"layer.weight": tensor, "layer.bias": tensor[0].clone()}
    assert _found(_saved(tensors)) == _expected(tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_module_and_its_state_dict_have_the_same_spans(protocol: int) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7))
    state = module.state_dict()
    expected = _expected(dict(state))
    assert _found(_saved(state, pickle_protocol=protocol)) == expected
    assert _found(_saved({"epoch": 1, "state_dict": state}, pickle_protocol=protocol)) == expected
    assert _found(_saved(module, pickle_protocol=protocol)) == expected


def test_an_optimizer_state_is_found() -> None:
    module = torch.nn.Linear(5, 7)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(5)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    tensors = {f"state.{key}.{name}": value for key, part in state["state"].items() for name, value in part.items()}
    assert _found(_saved(state)) == _expected(tensors)
    checkpoint = {"model": module.state_dict(), "optimizer": state, "step": 1}
    nested = {f"optimizer.{name}": value for name, value in tensors.items()}
    named = {f"model.{name}": value for name, value in module.state_dict().items()}
    assert _found(_saved(checkpoint)) == _expected(nested | named)


def test_tensors_that_share_a_storage_are_found_in_it() -> None:
    base = torch.arange(100, dtype=torch.float32)
    parts = {"a.w": base[:40].view(8, 5), "b.w": base[40:60], "c.w": base[80:]}
    found = _found(_saved(parts))
    gap = found.pop(b"")
    assert found == _expected(parts)
    assert gap == [(_bytes_of(base[60:80]), 4, 4)]


def test_tied_weights_and_views_are_found_once() -> None:
    base = torch.randn(8, 6)
    tensors = {"wte.weight": base, "head.weight": base, "row.w": base[2], "column.w": base[:, 1], "t.w": base.T}
    assert _found(_saved(tensors)) == _expected({"wte.weight": base})


def test_the_bytes_of_transposed_and_channels_last_tensors_are_found_without_a_rows_first_key() -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    turned = torch.randn(4, 6).T
    tensors = {"image.w": image, "turned.w": turned}
    found = _found(_saved(tensors))
    assert sorted(found.keys() & _expected(tensors).keys()) == []
    contents = {content for [(content, _, _)] in found.values()}
    assert contents == {_bytes_of(image.permute(0, 2, 3, 1)), _bytes_of(turned.T)}


def test_an_expanded_or_sliced_tensor_leaves_its_storage_as_one_span() -> None:
    base = torch.randn(8, 6)
    for tensor in (base[:, :3], torch.randn(1, 48).expand(5, 48)):
        [(content, item_width, _)] = _found(_saved({"a.w": tensor}))[b""]
        assert (len(content), item_width) == (8 * 6 * 4, 4)


def test_sparse_and_quantised_tensors_are_no_error() -> None:
    sparse = torch.eye(5).to_sparse()
    spans_of(_saved({"s": sparse, "d": torch.ones(3)}))
    assert len(_found(_saved({"p": torch.nn.Parameter(torch.ones(3)), "none": None, "size": torch.Size([3])}))) == 1


def test_files_from_before_the_archives_are_opaque() -> None:
    assert spans_of(_saved({"w": torch.ones(5)}, _use_new_zipfile_serialization=False)) == []


@pytest.mark.filterwarnings("ignore")  # torch warns of tracing itself
def test_torchscript_is_found(tmp_path: Path) -> None:
    class Scaled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(5, 7)

        def forward(self, value: Any) -> Any:
            return self.linear(value) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])

    module = Scaled()
    traced = torch.jit.trace(module, torch.ones(2, 5))
    path = tmp_path / "scaled.pt"
    traced.save(str(path))
    found = _found(path.read_bytes())
    expected = _expected({"linear.weight": module.linear.weight, "linear.bias": module.linear.bias})
    assert {key: found[key] for key in expected} == expected
    constants = [content for tensors in found.values() for content, _, _ in tensors]
    assert _bytes_of(torch.arange(1.0, 8.0)) in constants
