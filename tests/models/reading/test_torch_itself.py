"""What torch and safetensors themselves load is what the store loads."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casmodels.errors import UnreadableWeightsError
from casmodels.library import Store

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
]


def archive(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def same(found: Any, expected: Any) -> bool:
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return False
    left, right = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected))
    return bool(torch.equal(left, right))


def tensor_of(dtype: str, shape: list[int], seed: int) -> Any:
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(seed)
    if dtype == "bool":
        return torch.randint(0, 2, shape, generator=generator).to(torch.bool)
    count = int(torch.tensor(shape).prod()) if shape else 1
    raw = torch.randint(0, 256, (count * torch.empty(0, dtype=kind).element_size(),), generator=generator)
    return raw.to(torch.uint8).view(kind).reshape(shape)


TENSORS = st.dictionaries(
    st.text("abc.", min_size=1, max_size=5),
    st.builds(tensor_of, st.sampled_from(DTYPES), st.lists(st.integers(0, 40), max_size=3), st.integers(0, 1000)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TENSORS)
def test_as_safetensors_loads_it(store: Store, saved: Saver, tensors: dict[str, Any]) -> None:
    data = safetensors_torch.save(tensors)
    saved({"model.safetensors": data})
    expected = safetensors_torch.load(data)
    found = store.load_tensors("mine", framework="torch")
    assert found.keys() == expected.keys()
    assert all(same(found[name], expected[name]) for name in expected)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TENSORS)
def test_as_torch_loads_it(store: Store, saved: Saver, tensors: dict[str, Any]) -> None:
    data = archive(tensors)
    saved({"pytorch_model.bin": data})
    expected = torch.load(io.BytesIO(data), weights_only=True)
    found = store.load_tensors("mine", framework="torch")
    assert list(found) == list(expected)
    assert all(same(found[name], expected[name]) for name in expected)


def test_views_parameters_and_ties(store: Store, saved: Saver) -> None:
    base = torch.randn(40, 30)
    model = torch.nn.Linear(30, 40)
    model.weight = torch.nn.Parameter(base)
    value = {
        **model.state_dict(),
        "tied": base,
        "turned": base.T,
        "part": base[3:7, 2:5],
        "wide": base[0].expand(5, 30),
        "parameter": torch.nn.Parameter(base[2]),
    }
    saved({"m.pt": archive(value)})
    found = store.load_tensors("mine", framework="torch")
    assert list(found) == list(value)
    assert all(same(found[name], value[name]) for name in value)
    assert found["tied"].data_ptr() == found["weight"].data_ptr() == found["turned"].data_ptr()
    assert found["part"].untyped_storage().data_ptr() == found["tied"].untyped_storage().data_ptr()


def test_on_a_device(store: Store, saved: Saver) -> None:
    tensors = {"a": torch.randn(10), "b": torch.randn(3, 3)}
    saved({"model.safetensors": safetensors_torch.save(tensors)})
    found = store.load_tensors("mine", framework="torch", device="cpu")
    assert all(same(found[name], tensors[name]) for name in tensors)
    assert {tensor.device.type for tensor in store.load_tensors("mine", framework="torch", device="meta").values()} == {
        "meta"
    }


@pytest.mark.parametrize(
    "value",
    [
        {"a.w": torch.eye(3).to_sparse()},
        {"a.w": torch.randn(3, dtype=torch.complex64).conj()},
    ],
    ids=["sparse", "conjugate"],
)
def test_what_is_more_than_numbers_is_refused(store: Store, saved: Saver, value: Any) -> None:
    saved({"m.pt": archive({**value, "plain.w": torch.ones(2)})})
    with pytest.raises(UnreadableWeightsError, match=r"a\.w"):
        store.load_tensors("mine", framework="torch")
    assert list(store.load_tensors("mine", framework="torch", prefix="plain.")) == ["plain.w"]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


def test_the_pickle_is_not_executed(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle, "Unpickler", None)
    saved({"m.pt": archive({"a.w": torch.ones(3), "evil": Evil()})})
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("the pickle was executed"))
    assert list(store.load_tensors("mine", framework="torch")) == ["a.w"]
