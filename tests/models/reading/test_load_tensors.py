"""`Store.load_tensors`: the numbers of the files, whatever format they came in, in memory that is taken once."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from casmodels.errors import UnknownTensorError, UnreadableWeightsError
from casmodels.library import Store, arrays
from casstore.engine import Engine
from casstore.errors import DamagedError, InvalidInputError, NotFoundError
from tests.formats.building import FakeGlobal, FakeStorage, FakeTensor, TorchFile, archive
from tests.models.reading.damage import flip_packs
from tests.models.reading.weights import NAMES, bf16, normal, safetensors_of, state_dict_of, torch_file

Saver = Callable[..., str]
Arrays = dict[str, np.ndarray[Any, Any]]
PARTS: Arrays = {
    "a.weight": normal(1000, 700),
    "a.bias": normal(7, seed=2),
    "b.weight": normal(3, 5, seed=3, dtype="float64"),
    "empty": np.empty((0, 4), np.float32),
    "scalar": np.array(7, np.int64),
}


def equal(found: dict[str, Any], expected: Arrays) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in expected.items()
    )


def test_a_safetensors_file(store: Store, saved: Saver) -> None:
    saved({"model.safetensors": safetensors_of(PARTS), "pytorch_model.bin": b"not looked at"})
    found = store.load_tensors("mine")
    assert equal(found, PARTS)
    assert all(array.flags.writeable and array.flags.aligned for array in found.values())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__"),
        st.sampled_from(sorted(NAMES)).flatmap(
            lambda dtype: nps.arrays(dtype, nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=30))
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_types_and_shapes(store: Store, saved: Saver, tensors: Arrays) -> None:
    saved({"model.safetensors": safetensors_of(tensors)})
    assert equal(store.load_tensors("mine"), tensors)


def test_bfloat16_without_ml_dtypes_is_named_bits(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    bits = bf16(normal(100, 50))
    saved({"model.safetensors": safetensors_of({"w": bits}, {"w": "BF16"})})
    monkeypatch.setattr(arrays, "find_spec", lambda _: None)
    found = store.load_tensors("mine")["w"]
    assert found.dtype.names == ("bfloat16",)
    assert np.array_equal(found["bfloat16"], bits)
    with pytest.raises(TypeError):
        found + found  # bits are no numbers


def test_shards_and_their_index(store: Store, saved: Saver) -> None:
    first = {name: PARTS[name] for name in ("a.weight", "a.bias")}
    second = {name: PARTS[name] for name in ("b.weight", "empty", "scalar")}
    shards = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": second}
    index = {"weight_map": {name: path for path, part in shards.items() for name in part}}
    files = {path: safetensors_of(part) for path, part in shards.items()}
    saved({**files, "model.safetensors.index.json": json.dumps(index).encode()})
    assert equal(store.load_tensors("mine"), PARTS)
    assert equal(store.load_tensors("mine", path="model.safetensors.index.json"), PARTS)
    assert equal(store.load_tensors("mine", path="model-00002-of-00002.safetensors"), second)
    del files["model-00001-of-00002.safetensors"]
    saved({**files, "model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(NotFoundError, match="model-00001-of-00002"):
        store.load_tensors("mine")
    saved({**files, "model.safetensors.index.json": b"[]"})
    with pytest.raises(UnreadableWeightsError, match="no index"):
        store.load_tensors("mine")


def test_names_and_prefixes(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"model.safetensors": safetensors_of(PARTS)})
    assert list(store.load_tensors("mine", prefix="a.")) == ["a.weight", "a.bias"]
    assert list(store.load_tensors("mine", names=["scalar", "a.bias"])) == ["a.bias", "scalar"]
    assert store.load_tensors("mine", names=[]) == {}
    with pytest.raises(UnknownTensorError, match=r"'a\.wieght'") as raised:
        store.load_tensors("mine", names=["a.bias", "a.wieght"])
    assert raised.value.nearest[0] == "a.weight"
    with pytest.raises(UnknownTensorError):
        store.load_tensors("mine", prefix="c.")


def test_directories_and_what_is_there_twice(store: Store, saved: Saver) -> None:
    saved(
        {"x/model.safetensors": safetensors_of({"w": normal(3)}), "y/m.safetensors": safetensors_of({"w": normal(4)})}
    )
    with pytest.raises(InvalidInputError, match=r"in x/model.safetensors and in y/m.safetensors"):
        store.load_tensors("mine")
    assert store.load_tensors("mine", path="y")["w"].shape == (4,)
    for path in ("z", "x/none"):
        with pytest.raises(NotFoundError):
            store.load_tensors("mine", path=path)
    saved({"config.json": b"{}"})
    with pytest.raises(NotFoundError, match="no safetensors files"):
        store.load_tensors("mine")


def test_a_torch_archive(store: Store, saved: Saver) -> None:
    parts = {name: PARTS[name] for name in ("a.weight", "a.bias", "b.weight", "scalar")}
    saved({"pytorch_model.bin": state_dict_of(parts)})
    assert equal(store.load_tensors("mine"), parts)


def test_views_and_tied_tensors_share_their_memory(store: Store, saved: Saver) -> None:
    numbers = normal(600)
    storage = FakeStorage("FloatStorage", "0", 600)
    tied = FakeTensor(storage, (20, 30))
    value = {
        "embed.weight": tied,
        "head.weight": tied,
        "head.again": FakeTensor(storage, (20, 30)),
        "turned": FakeTensor(storage, (30, 20), stride=(1, 30)),
        "part": FakeTensor(storage, (5,), offset=100),
        "spread": FakeTensor(storage, (4, 3), offset=1, stride=(0, 2)),
    }
    saved({"m.pt": torch_file(value, {storage: numbers})})
    found = store.load_tensors("mine")
    assert list(found) == list(value)
    for name in ("embed.weight", "head.weight", "head.again"):
        assert np.array_equal(found[name], numbers.reshape(20, 30))
        assert np.shares_memory(found[name], found["embed.weight"])
    assert np.array_equal(found["turned"], numbers.reshape(20, 30).T)
    assert np.array_equal(found["part"], numbers[100:105])
    assert np.array_equal(found["spread"], np.tile(numbers[1:6:2], (4, 1)))
    (part,) = store.load_tensors("mine", names=["part"]).values()
    assert np.array_equal(part, numbers[100:105])
    assert part.base is not None
    assert part.base.nbytes < 40


def test_names_in_nested_archives(store: Store, saved: Saver) -> None:
    one, two = (FakeStorage("FloatStorage", key, 4) for key in "01")
    first, second = FakeTensor(one, (4,)), FakeTensor(two, (4,))
    storages = {one: normal(4), two: normal(4, seed=9)}
    saved({"m.ckpt": torch_file({"state_dict": {"a.w": first}, "step": 3, "lists": [second]}, storages)})
    assert list(store.load_tensors("mine")) == ["a.w", "lists.0"]
    saved({"m.ckpt": torch_file({"model": {"a.w": first}, "ema": {"a.w": second}}, storages)})
    found = store.load_tensors("mine")
    assert list(found) == ["model.a.w", "ema.a.w"]
    assert np.array_equal(found["ema.a.w"], storages[two])


def strange_archives() -> dict[str, bytes]:
    storage = FakeStorage("FloatStorage", "0", 4)
    quantised = FakeStorage("QInt8Storage", "0", 4, 1)
    outside = TorchFile({"a.w": FakeTensor(storage, (5,))}, [storage])
    return {
        "type": TorchFile({"a.w": FakeTensor(quantised, (4,))}, [quantised]).build(),
        "compressed": TorchFile({"a.w": FakeTensor(storage, (4,))}, [storage], compression=8).build(),
        "past the end": outside.build(),
        "big-endian": TorchFile({"a.w": FakeTensor(storage, (4,))}, [storage], byteorder=b"big").build(),
        "no archive of torch's": archive({"a/b": b"c"}),
        "neither": b"\x80\x02}q\x00.",
        "storage is missing": TorchFile({"a.w": FakeTensor(storage, (4,))}, []).build(),
        "not known": TorchFile({"a.w": FakeTensor(storage, (4,), dtype="float3")}, [storage]).build(),
    }


@pytest.mark.parametrize("reason", list(strange_archives()))
def test_what_is_not_understood_says_why(store: Store, saved: Saver, reason: str) -> None:
    saved({"pytorch_model.bin": strange_archives()[reason]})
    with pytest.raises(UnreadableWeightsError, match=reason) as raised:
        store.load_tensors("mine")
    assert "pytorch_model.bin" in raised.value.message


def test_a_header_that_lies_says_so(store: Store, saved: Saver) -> None:
    good = safetensors_of({"w": normal(100)})
    saved({"model.safetensors": good.replace(b"[0, 400]", b"[0, 404]")})
    with pytest.raises(UnreadableWeightsError, match=r"model\.safetensors"):
        store.load_tensors("mine")
    saved({"model.safetensors": good[:-8]})
    with pytest.raises(UnreadableWeightsError, match="past the end"):
        store.load_tensors("mine")


def test_damage_names_version_file_and_chunk(store: Store, saved: Saver) -> None:
    version = saved({"model.safetensors": safetensors_of({"w": normal(1 << 20)})})
    flip_packs(store)
    with pytest.raises(DamagedError, match=rf"model\.safetensors in mine@{version[:12]}: chunk [0-9a-f]{{64}}"):
        store.load_tensors("mine")


def test_chunks_are_decoded_into_the_tensors_own_memory(
    store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {f"layer.{number}": normal(1 << 20, seed=number) for number in range(4)}
    saved({"model.safetensors": safetensors_of(tensors)})
    content, places = Engine.content, []

    def watched(self: Engine, kind: Any, digest: bytes, **options: Any) -> Any:
        raw = content(self, kind, digest, **options)
        places.append(raw is options.get("out"))
        return raw

    monkeypatch.setattr(Engine, "content", watched)
    names = ["layer.1", "layer.2"]
    tracemalloc.start()
    try:
        found = store.load_tensors("mine", names=names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert equal(found, {name: tensors[name] for name in names})
    assert places.count(True) >= 4
    assert peak < 8 * (1 << 20) + (32 << 20)


def test_wrong_arguments(store: Store, saved: Saver) -> None:
    saved({"model.safetensors": safetensors_of({"w": normal(3)})})
    with pytest.raises(InvalidInputError, match="no framework 'jax'"):
        store.load_tensors("mine", framework="jax")
    with pytest.raises(InvalidInputError, match="no device"):
        store.load_tensors("mine", device="cpu")


def test_types_that_numpy_has_not(store: Store, saved: Saver) -> None:
    bits = np.arange(32, dtype=np.uint8)
    saved({"model.safetensors": safetensors_of({"w": bits}, {"w": "F8_E4M3"})})
    assert store.load_tensors("mine")["w"].tobytes() == bits.tobytes()
    data = safetensors_of({"w": bits}, {"w": "F4"}).replace(b'"shape": [32]', b'"shape": [64]')
    saved({"model.safetensors": data})
    with pytest.raises(UnreadableWeightsError, match="F4"):
        store.load_tensors("mine")


def test_globals_are_never_looked_up(store: Store, saved: Saver) -> None:
    storage = FakeStorage("FloatStorage", "0", 4)
    value = {"a.w": FakeTensor(storage, (4,)), "evil": FakeGlobal("torch", "does_not_exist_anywhere")}
    saved({"m.pt": torch_file(value, {storage: normal(4)})})
    assert list(store.load_tensors("mine")) == ["a.w"]
