"""`Store.diff`: which files and tensors differ, and by how much, with no more decoded than is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from casmodels.library import Store
from casmodels.library.floats import widened
from casmodels.results import DiffResult, TensorDiff
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from tests.formats.building import FakeStorage, FakeTensor
from tests.models.reading.damage import flip_packs
from tests.models.reading.weights import bf16, normal, safetensors_of, state_dict_of, torch_file

Saver = Callable[..., str]
BASE = {"a": normal(3 << 19), "b": normal(40, 50, seed=2), "c": normal(9, seed=3)}


def both(store: Store, saved: Saver, before: dict[str, bytes], after: dict[str, bytes]) -> DiffResult:
    first, second = saved(before), saved(after)
    return store.diff(f"mine@{first[:12]}", f"mine@{second[:12]}")


def weights(tensors: dict[str, Any], **dtypes: str) -> dict[str, bytes]:
    return {"model.safetensors": safetensors_of(tensors, dtypes)}


def only(found: DiffResult) -> TensorDiff:
    (tensor,) = found.tensors
    return tensor


def test_the_same(store: Store, saved: Saver) -> None:
    saved(weights(BASE))
    found = store.diff("mine", "mine")
    assert found.same
    assert (found.files, found.tensors, found.unchanged_files, found.unchanged_tensors) == ((), (), 1, 0)


def test_files(store: Store, saved: Saver) -> None:
    found = both(store, saved, {"x": b"1", "y": b"2", "z": b"3"}, {"x": b"1", "y": b"22", "w": b"4"})
    assert not found.same
    assert [(file.path, file.status, file.size_bytes_a, file.size_bytes_b) for file in found.files] == [
        ("w", "added", None, 1),
        ("y", "changed", 1, 2),
        ("z", "removed", 1, None),
    ]
    assert found.unchanged_files == 1
    assert found.files[1].digest_a != found.files[1].digest_b


def test_by_how_much(store: Store, saved: Saver) -> None:
    changed = BASE["a"].copy()
    changed[5] += 1.0
    changed[100] -= 0.5
    found = both(store, saved, weights(BASE), weights({**BASE, "a": changed}))
    tensor = only(found)
    assert (tensor.name, tensor.status, found.unchanged_tensors) == ("a", "changed", 2)
    assert tensor.change is not None
    gaps = np.abs(changed.astype(float) - BASE["a"].astype(float))
    assert tensor.change.differing == 2
    assert tensor.change.share == pytest.approx(2 / changed.size)
    assert tensor.change.max_absolute == pytest.approx(gaps.max())
    assert tensor.change.mean_absolute == pytest.approx(gaps.mean())
    assert tensor.change.relative_l2 == pytest.approx(np.linalg.norm(gaps) / np.linalg.norm(BASE["a"].astype(float)))
    assert tensor.change.not_finite == 0


def test_equal_chunks_are_not_decoded(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = BASE["a"].copy()
    changed[0] += 1
    first, second = saved(weights(BASE)), saved(weights({**BASE, "a": changed}))
    content, decoded = Engine.content, []

    def counted(self: Engine, kind: FrameKind, digest: bytes, **options: Any) -> Any:
        if kind is FrameKind.CHUNK:
            decoded.append(digest)
        return content(self, kind, digest, **options)

    monkeypatch.setattr(Engine, "content", counted)
    found = store.diff(f"mine@{first[:12]}", f"mine@{second[:12]}")
    assert only(found).name == "a"
    # Two headers, the chunk that differs of both, and for the norm the other two of the first.
    assert len(set(decoded)) <= 6


def test_added_removed_reshaped(store: Store, saved: Saver) -> None:
    after = {"a": BASE["a"], "b": BASE["b"].reshape(50, 40), "d": normal(3)}
    found = both(store, saved, weights(BASE), weights(after))
    assert [(tensor.name, tensor.status) for tensor in found.tensors] == [
        ("b", "reshaped"),
        ("c", "removed"),
        ("d", "added"),
    ]
    assert (found.tensors[0].shape_a, found.tensors[0].shape_b) == ((40, 50), (50, 40))
    assert found.unchanged_tensors == 1


def test_across_types_values_are_compared_after_widening(store: Store, saved: Saver) -> None:
    numbers = normal(1000)
    short = bf16(numbers)
    tensor = only(both(store, saved, weights({"w": numbers}), weights({"w": short}, w="BF16")))
    assert (tensor.status, tensor.dtype_a, tensor.dtype_b) == ("retyped", "F32", "BF16")
    assert tensor.change is not None
    gaps = np.abs(widened(short.tobytes(), "BF16") - numbers)
    assert tensor.change.max_absolute == pytest.approx(gaps.max())
    exact = (short.astype(np.uint32) << 16).view(np.float32)
    tensor = only(both(store, saved, weights({"w": exact}), weights({"w": short}, w="BF16")))
    assert (tensor.status, tensor.change) == ("retyped", None)


def test_numbers_that_are_none(store: Store, saved: Saver) -> None:
    before = np.array([1, np.nan, np.inf, 0.0, 2], np.float32)
    after = np.array([1, np.nan, 1, -0.0, np.nan], np.float32)
    change = only(both(store, saved, weights({"w": before}), weights({"w": after}))).change
    assert change is not None
    assert (change.differing, change.not_finite, change.max_absolute) == (3, 2, 0.0)


def test_zeros_have_no_relative_difference(store: Store, saved: Saver) -> None:
    change = only(both(store, saved, weights({"w": np.zeros(4)}), weights({"w": np.ones(4)}))).change
    assert change is not None
    assert (change.relative_l2, change.share) == (None, 1.0)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64", "float16", "float64"])
def test_every_type(store: Store, saved: Saver, dtype: str) -> None:
    before = np.arange(20).astype(dtype)
    after = before.copy()
    after[0] = 1
    change = only(both(store, saved, weights({"w": before}), weights({"w": after}))).change
    assert change is not None
    assert (change.differing, change.max_absolute) == (1, 1.0)


def test_types_that_are_compared_as_bytes(store: Store, saved: Saver) -> None:
    def packed(last: int) -> dict[str, bytes]:
        data = safetensors_of({"w": np.array([1, last], np.uint8)}, {"w": "F4"})
        return {"model.safetensors": data.replace(b'"shape": [2]', b'"shape": [4]')}

    change = only(both(store, saved, packed(2), packed(3))).change
    assert change is not None
    assert (change.elements, change.differing) == (4, None)


def test_shards_and_formats_are_compared_by_name(store: Store, saved: Saver) -> None:
    shards = {"m-1-of-2.safetensors": {"a": BASE["a"]}, "m-2-of-2.safetensors": {"b": BASE["b"], "c": BASE["c"] + 1}}
    cut = {path: safetensors_of(part) for path, part in shards.items()}
    found = both(store, saved, weights(BASE), cut)
    assert (only(found).name, only(found).path_b, found.unchanged_tensors) == ("c", "m-2-of-2.safetensors", 2)
    found = both(store, saved, weights(BASE), {"pytorch_model.bin": state_dict_of(BASE)})
    assert (found.tensors, found.unchanged_tensors) == ((), 3)
    assert [file.status for file in found.files] == ["removed", "added"]


def test_strided_tensors(store: Store, saved: Saver) -> None:
    storage = FakeStorage("FloatStorage", "0", 600)
    turned = {"w": FakeTensor(storage, (30, 20), stride=(1, 30))}
    numbers = normal(600)
    found = both(
        store,
        saved,
        {"m.pt": torch_file(turned, {storage: numbers})},
        weights({"w": np.ascontiguousarray(numbers.reshape(20, 30).T)}),
    )
    assert (found.tensors, found.unchanged_tensors) == ((), 1)


def test_what_cannot_be_read_is_said(store: Store, saved: Saver) -> None:
    found = both(store, saved, weights(BASE), {"model.safetensors": b"no model"})
    assert "model.safetensors" in found.files[0].note
    assert {tensor.status for tensor in found.tensors} == {"removed"}
    quantised = FakeStorage("QInt8Storage", "0", 4, 1)
    strange = {"m.pt": torch_file({"w": FakeTensor(quantised, (4,))}, {quantised: np.zeros(4, np.int8)})}
    changed = {"m.pt": torch_file({"w": FakeTensor(quantised, (4,))}, {quantised: np.ones(4, np.int8)})}
    assert only(both(store, saved, strange, changed)).status == "unreadable"


def test_damage_and_strangers(store: Store, saved: Saver) -> None:
    first = saved(weights({"w": normal(1 << 19)}))
    second = saved(weights({"w": normal(1 << 19, seed=5)}))
    with pytest.raises(NotFoundError):
        store.diff("mine", "nobody")
    flip_packs(store)
    with pytest.raises(DamagedError, match=r"model.safetensors in mine@[0-9a-f]{12}: chunk"):
        store.diff(f"mine@{first[:12]}", f"mine@{second[:12]}")


@pytest.mark.parametrize(
    ("dtype", "codes", "values"),
    [
        ("F8_E5M2", [0x00, 0x3C, 0xBC, 0x7C, 0x01], [0, 1, -1, np.inf, 2.0**-16]),
        ("F8_E4M3", [0x00, 0x38, 0xB8, 0x7E, 0x01, 0x7F], [0, 1, -1, 448, 2.0**-9, np.nan]),
        ("F8_E4M3FNUZ", [0x40, 0x7F, 0x80], [1, 240, np.nan]),
        ("F8_E5M2FNUZ", [0x40, 0x7F, 0x80], [1, 57344, np.nan]),
        ("F8_E8M0", [127, 128, 0, 255], [1, 2, 2.0**-127, np.nan]),
        ("BF16", [0x3F80, 0xC000], [1, -2]),
    ],
)
def test_what_short_floats_stand_for(dtype: str, codes: list[int], values: list[float]) -> None:
    raw = np.array(codes, np.uint16 if dtype == "BF16" else np.uint8).tobytes()
    assert np.array_equal(widened(raw, dtype), np.array(values, float), equal_nan=True)
