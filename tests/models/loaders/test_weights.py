"""Weights by themselves, and in a module of the user's own: what torch loads, without a pickle being executed."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from casmodels.errors import NotLoadableError, UnreadableWeightsError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model, stored_model
from casmodels.loaders.pipe import portable
from casstore.errors import InvalidInputError

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]


class Recurrent(torch.nn.Module):  # type: ignore[misc]
    """A user's own model: the last output of an LSTM or GRU through a linear layer."""

    def __init__(self, kind: str = "LSTM", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.cells = getattr(torch.nn, kind)(3, 16, num_layers=2, batch_first=True, dropout=0.5)
        self.head = torch.nn.Linear(16, 2)

    def forward(self, series: Any) -> Any:
        states, _ = self.cells(series)
        return self.head(states[:, -1])


def archive(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def formats_of(state: dict[str, Any]) -> dict[str, bytes]:
    return {
        "model.safetensors": safetensors_torch.save(state),
        "model.pt": archive(state),
        "model.safetensors.gz": gzip.compress(safetensors_torch.save(state)),
        "model.pth.gz": gzip.compress(archive(state)),
    }


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("file", ["model.safetensors", "model.pt", "model.safetensors.gz", "model.pth.gz"])
def test_a_module_of_the_users_own(store: Store, saved: Saver, kind: str, file: str) -> None:
    original = Recurrent(kind).eval()
    saved({file: formats_of(original.state_dict())[file]})
    series = torch.randn(11, 7, 3)
    with torch.inference_mode():
        expected = original(series)
    with load_model(store, "mine", into=Recurrent(kind, seed=1)) as model:
        assert isinstance(model.model, Recurrent)
        assert model.loader == "weights"
        assert torch.equal(model(series), expected)
        assert torch.equal(model(series.numpy()), expected)
        assert torch.allclose(model.process_batch(series.tolist(), batch_size=4), expected, atol=1e-6)
        assert torch.allclose(model.process_batch(list(series)), expected, atol=1e-6)
        assert not model(series).requires_grad


def test_a_state_dict(store: Store, saved: Saver) -> None:
    state = Recurrent().state_dict()
    saved({"model.safetensors": safetensors_torch.save(state), "training_args.bin": b"no weights", "x.pt": b"other"})
    with load_model(store, "mine") as model:
        assert model.model.keys() == state.keys()
        assert all(torch.equal(model.model[name], state[name]) for name in state)
        with pytest.raises(NotLoadableError, match="cannot be called"):
            model("anything")
    with load_model(store, "mine", prefix="head.") as model:
        assert sorted(model.model) == ["head.bias", "head.weight"]


def test_a_module_within_a_checkpoint(store: Store, saved: Saver) -> None:
    original = Recurrent()
    parallel = {f"module.{name}": value for name, value in original.state_dict().items()}
    saved({"checkpoint.ckpt": archive({"model": parallel, "average": {"w": torch.ones(2)}, "epoch": 3})})
    with load_model(store, "mine", into=Recurrent(seed=1), prefix="module.") as model:
        assert torch.equal(model.model.head.weight, original.head.weight)


def test_shards(store: Store, saved: Saver) -> None:
    state = Recurrent().state_dict()
    names = list(state)
    parts = {"a-00001-of-00002.safetensors": names[:3], "a-00002-of-00002.safetensors": names[3:]}
    files = {path: safetensors_torch.save({name: state[name] for name in part}) for path, part in parts.items()}
    index = {"weight_map": {name: path for path, part in parts.items() for name in part}}
    files["a.safetensors.index.json"] = json.dumps(index).encode()
    saved(files)
    for path in (None, "a.safetensors.index.json"):
        with load_model(store, "mine", path=path) as model:
            assert model.model.keys() == state.keys()
    with load_model(store, "mine", path="a-00001-of-00002.safetensors") as model:
        assert sorted(model.model) == sorted(names[:3])
    del files["a-00002-of-00002.safetensors"]
    saved(files)
    with pytest.raises(NotLoadableError, match="a-00002"):
        load_model(store, "mine", path="a.safetensors.index.json")


def test_a_tensor_in_two_files_is_refused(store: Store, saved: Saver) -> None:
    data = safetensors_torch.save({"w": torch.ones(2)})
    saved({"a.safetensors": data, "b.safetensors": data})
    with pytest.raises(NotLoadableError, match=r"'w' in a\.safetensors and in b\.safetensors"):
        load_model(store, "mine")


def test_a_meta_module_takes_the_weights_themselves(store: Store, saved: Saver) -> None:
    original = Recurrent()
    saved({"model.safetensors": safetensors_torch.save(original.state_dict())})
    with torch.device("meta"):
        empty = Recurrent()
    with load_model(store, "mine", into=empty) as model:
        series = torch.randn(2, 5, 3)
        assert torch.allclose(model(series), original.eval()(series), atol=1e-6)
        assert torch.equal(model.model.head.weight, original.head.weight)


def test_weights_that_do_not_fit_say_what(store: Store, saved: Saver) -> None:
    state = Recurrent().state_dict()
    changed = {name: value for name, value in state.items() if name != "head.bias"}
    changed["head.weight"], changed["tail"] = torch.zeros(3, 16), torch.zeros(1)
    saved({"model.safetensors": safetensors_torch.save(changed)})
    module = Recurrent(seed=1)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(NotLoadableError) as raised:
        load_model(store, "mine", into=module)
    assert "the module lacks tail; the weights lack head.bias; head.weight is (3, 16) here and (2, 16) there" in (
        raised.value.message
    )
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with pytest.raises(NotLoadableError, match="no name is in both"):
        load_model(store, "mine", into=torch.nn.Linear(2, 2), strict=False)
    changed["head.weight"] = state["head.weight"]
    saved({"model.safetensors": safetensors_torch.save(changed)})
    with load_model(store, "mine", into=module, strict=False):
        assert torch.equal(module.cells.weight_ih_l0, state["cells.weight_ih_l0"])


def test_full_pickles_are_refused_without_being_executed(store: Store, saved: Saver) -> None:
    whole = archive(torch.nn.Linear(2, 2))
    old = archive({"w": torch.ones(2)}, _use_new_zipfile_serialization=False)
    for data, said in ((whole, r"calls torch\.nn\.modules\.linear\.Linear"), (old, "torch before 1.6")):
        for file, packed in (("m.pt", data), ("m.pt.gz", gzip.compress(data))):
            saved({file: packed})
            with pytest.raises(UnsafeModelError, match=said) as raised:
                load_model(store, "mine")
            assert raised.value.message.startswith(f"{file} in mine@")
            assert "sandbox" in (raised.value.remedy or "")


@pytest.mark.parametrize("data", [b"", b"no weights", b"PK\x03\x04 cut"])
def test_what_are_no_weights_is_one_sentence(store: Store, saved: Saver, data: bytes) -> None:
    for file, packed in (("m.pt", data), ("m.safetensors", data), ("m.pt.gz", gzip.compress(data))):
        saved({file: packed})
        with pytest.raises((UnreadableWeightsError, NotLoadableError)) as raised:
            load_model(store, "mine")
        assert "\n" not in raised.value.message


def test_a_gzip_bomb_is_stopped(store: Store, saved: Saver) -> None:
    saved({"m.safetensors.gz": gzip.compress(bytes(100 << 20))})
    with pytest.raises(InvalidInputError, match="more than 100 times its size"):
        load_model(store, "mine")


def test_a_gzip_file_that_does_not_fit_is_stopped(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch.randn(30 << 18).numpy().tobytes()
    saved({"m.safetensors.gz": gzip.compress(data, 0)})
    monkeypatch.setattr(stored_model, "free_bytes", lambda _: 20 << 20)
    with pytest.raises(InvalidInputError, match=f"unpacks to more than {20 << 20} bytes"):
        load_model(store, "mine")


def test_bfloat16_data_follow_the_module(store: Store, saved: Saver) -> None:
    original = torch.nn.Linear(3, 2).to(torch.bfloat16)
    saved({"model.safetensors": safetensors_torch.save(original.state_dict())})
    with load_model(store, "mine", into=torch.nn.Linear(3, 2, dtype=torch.bfloat16)) as model:
        assert model(torch.ones(4, 3)).dtype == torch.bfloat16


def test_tensors_become_arrays_on_their_way_out_of_a_worker() -> None:
    value = {"a": torch.ones(2, dtype=torch.bfloat16), "b": (torch.arange(3, dtype=torch.int8), [None, 1.5])}
    found = portable(value)
    assert found["a"].tolist() == [1.0, 1.0]
    assert found["a"].dtype.name == "float32"
    assert found["b"][0].tolist() == [0, 1, 2]
    assert found["b"][1] == [None, 1.5]
    with pytest.raises(NotLoadableError, match="gives a Linear, which cannot leave"):
        portable([torch.nn.Linear(1, 1)])
