"""torch modules: quantised by torchao, saved, and loaded again."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels import QuantisedModel, quantize_model
from casmodels.errors import MissingExtraError, NotLoadableError, NotQuantisableError
from casmodels.extras import library
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.quantised_tensors import is_quantised
from casstore.errors import InvalidInputError

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]


class Forecast(torch.nn.Module):  # type: ignore[misc]
    """A network of the user's own, with a parameter of its outermost module and two names for one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = torch.nn.LSTM(16, 64, batch_first=True)
        self.body = torch.nn.Linear(64, 128)
        self.head = torch.nn.Linear(128, 32)
        self.again = self.head
        self.shift = torch.nn.Parameter(torch.ones(32))

    def forward(self, series: Any) -> Any:
        hidden = torch.relu(self.body(self.cells(series)[0][:, -1]))
        return self.again(hidden) + self.shift


SERIES = torch.randn(6, 5, 16, generator=torch.Generator().manual_seed(1))


def forecast() -> Any:
    torch.manual_seed(3)
    return Forecast().eval()


def weights(module: Any) -> bytes:
    data = io.BytesIO()
    torch.save(module.state_dict(), data)
    return data.getvalue()


@pytest.mark.parametrize(
    ("dtype", "activations", "least"),
    [("int8", False, 0.9999), ("int8", True, 0.999), ("fp8", False, 0.999), ("fp16", False, 0.99999),
     ("bf16", False, 0.9999)],
)  # fmt: skip
def test_a_module_of_the_users_own(store: Store, saved: Saver, dtype: str, activations: bool, least: float) -> None:
    saved({"forecast.pt": weights(forecast()), "notes.txt": b"daily"})
    with (
        load_model(store, "mine", into=Forecast(), device="cpu") as model,
        quantize_model(model, dtype, activations=activations) as small,
    ):
        before = model(SERIES)
        assert torch.equal(before, forecast()(SERIES))  # as it was
        found = small.process_batch(SERIES, batch_size=4)
        result = small.save("small", sample=SERIES)
    assert result.quantised.mean_similarity is not None
    assert result.quantised.mean_similarity > least
    assert result.quantised.weights_bytes < result.quantised.parent_weights_bytes
    assert [entry.path for entry in store.contents("small").files] == ["model.safetensors", "notes.txt"]
    with load_model(store, "small", into=Forecast(), device="cpu") as again:
        assert torch.equal(again.process_batch(SERIES, batch_size=4), found)
        assert {name: value.dtype for name, value in again.model.state_dict().items()} == {
            name: value.dtype for name, value in _state(small, store, dtype, activations).items()
        }
    with load_model(store, "small", device="cpu") as state:
        assert is_quantised(state.model["body.weight"]) is (dtype in ("int8", "fp8"))


def _state(small: QuantisedModel, store: Store, dtype: str, activations: bool) -> Any:
    with load_model(store, "mine", into=Forecast(), device="cpu") as model:
        return quantize_model(model, dtype, activations=activations).model.state_dict()


def test_the_same_module_gives_the_same_bytes(store: Store, saved: Saver) -> None:
    saved({"forecast.pt": weights(forecast())})
    for _ in range(2):
        with load_model(store, "mine", into=Forecast(), device="cpu") as model, quantize_model(model) as small:
            result = small.save("small")
    assert result.unchanged


def test_a_bare_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "5")
    module = forecast().train()
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    small = quantize_model(module, dtype="int8")
    assert small.process_batch(SERIES, batch_size=4).shape == (6, 32)
    assert small.batch_size == 5
    assert small.to("cpu").device == "cpu"
    assert module.training
    assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items())
    assert is_quantised(small.model.body.weight)
    assert not any(is_quantised(value) for value in module.parameters())
    with pytest.raises(InvalidInputError, match="Forecast did not come from a store"):
        small.save("small")
    with pytest.raises(InvalidInputError, match="Forecast was a bare module"):
        small.compare(SERIES)
    small.close()
    assert small.closed


def test_what_stays_lies_in_memory_once_and_moves_alone() -> None:
    module = forecast()
    small = quantize_model(module)
    assert small.model.shift.data_ptr() == module.shift.data_ptr()
    assert small.model.shift is not module.shift
    small.model.double()
    assert module.shift.dtype == torch.float32


def test_layers_that_share_weights_stay_as_they_are() -> None:
    class Tied(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(40, 16)
            self.body = torch.nn.Linear(16, 16)
            self.out = torch.nn.Linear(16, 40, bias=False)
            self.out.weight = self.words.weight

        def forward(self, tokens: Any) -> Any:
            return self.out(self.body(self.words(tokens)))

    small = quantize_model(Tied())
    assert is_quantised(small.model.body.weight)
    assert small.model.out.weight is small.model.words.weight
    assert not is_quantised(small.model.out.weight)


def test_one_linear_layer_alone(store: Store, saved: Saver) -> None:
    torch.manual_seed(0)
    layer, data = torch.nn.Linear(32, 8), torch.randn(3, 32)
    saved({"layer.pt": weights(layer)})
    with load_model(store, "mine", into=torch.nn.Linear(32, 8)) as model, quantize_model(model) as small:
        small.save("small")
        found = small(data)
    with load_model(store, "small", into=torch.nn.Linear(32, 8)) as again:
        assert torch.equal(again(data), found)


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_what_has_no_linear_layer(dtype: str) -> None:
    with pytest.raises(NotQuantisableError, match=f"LSTM has no linear layer .* to {dtype}") as raised:
        quantize_model(torch.nn.LSTM(4, 4), dtype)
    assert raised.value.remedy == "use bf16 or fp16"
    assert quantize_model(torch.nn.LSTM(4, 4), "bf16").model.weight_ih_l0.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["int8", "bf16"])
@pytest.mark.parametrize("force", [False, True])
def test_lazy_layers(dtype: str, force: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LazyLinear(4))
    with pytest.raises(NotQuantisableError, match=r"^1\.weight of Sequential is not initialised yet$") as raised:
        quantize_model(module, dtype, force=force)
    assert raised.value.remedy == "run the module once on a batch, then quantise it"
    module(torch.ones(2, 4))
    quantize_model(module, dtype, force=force).close()


def test_what_has_no_parameters() -> None:
    with pytest.raises(NotQuantisableError, match=r"^ReLU has no parameters$"):
        quantize_model(torch.nn.ReLU(), "bf16")


def test_what_is_quantised_already(store: Store, saved: Saver) -> None:
    saved({"forecast.pt": weights(forecast())})
    with load_model(store, "mine", into=Forecast()) as model, quantize_model(model) as small:
        small.save("small")
        with pytest.raises(NotQuantisableError, match="is quantised already"):
            quantize_model(small, "bf16")
    with load_model(store, "small", into=Forecast()) as again, pytest.raises(NotQuantisableError, match="already"):
        quantize_model(again, "fp8")
    with pytest.raises(NotQuantisableError, match="Forecast is of bf16 already"):
        quantize_model(forecast().bfloat16(), "bf16")


def test_numbers_that_are_too_large_for_fp16() -> None:
    module = forecast()
    with torch.no_grad():
        module.head.bias[0] = 1e6
    with pytest.raises(NotQuantisableError, match=r"head\.bias of Forecast has numbers that are too large") as raised:
        quantize_model(module, "fp16")
    assert raised.value.remedy == "use bf16"
    assert module.head.bias.dtype == torch.float32


def test_buffers_that_are_too_large_for_fp16() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    module[1].running_var.fill_(1e5)
    with pytest.raises(NotQuantisableError, match=r"^1\.running_var of Sequential has numbers that are too large"):
        quantize_model(module, "fp16")
    assert float(module[1].running_var[0]) == 1e5


def test_what_is_infinite_already_is_not_too_large() -> None:
    module = forecast()
    module.register_buffer("mask", torch.full((2,), float("-inf")))
    with torch.no_grad():
        module.shift[0] = float("inf")
    small = quantize_model(module, "fp16").model
    assert small.mask.tolist() == [float("-inf")] * 2
    assert small.shift.dtype == torch.float16
    assert small.shift[0] == float("inf")


def test_outputs_that_are_no_numbers(store: Store, saved: Saver) -> None:
    module = forecast()
    with torch.no_grad():
        module.head.bias.fill_(60000)
        module.shift.fill_(60000)
    saved({"forecast.pt": weights(module)})
    with (
        load_model(store, "mine", into=Forecast(), device="cpu") as model,
        quantize_model(model, "fp16") as small,
        pytest.raises(NotQuantisableError, match="no finite numbers"),
    ):
        small.save("small", sample=SERIES)
    assert [found.name for found in store.list()] == ["mine"]


def test_weights_alone_and_compiled_modules(store: Store, saved: Saver) -> None:
    saved({"forecast.pt": weights(forecast())})
    with load_model(store, "mine") as state, pytest.raises(NotQuantisableError, match="loader 'weights'") as raised:
        quantize_model(state)
    assert raised.value.remedy is not None
    assert "into=" in raised.value.remedy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.jit.trace(forecast(), SERIES)
    with pytest.raises(NotQuantisableError, match="compiled TorchScript"):
        quantize_model(compiled)


def test_fp8_products_need_a_gpu_that_has_them() -> None:
    if torch.cuda.is_available():
        pytest.skip("this GPU may have them")
    with pytest.raises(NotQuantisableError, match=r"cannot be quantised to fp8 here: .*CUDA") as raised:
        quantize_model(forecast(), "fp8", activations=True)
    assert raised.value.remedy == "use another type, or leave out activations"
    with pytest.raises(InvalidInputError, match="activations=True is for 8 bits, not for bf16"):
        quantize_model(forecast(), "bf16", activations=True)


def test_a_module_that_cannot_be_copied() -> None:
    module = forecast()
    module.lock = (number for number in range(3))
    with pytest.raises(NotQuantisableError, match="Forecast cannot be copied: cannot pickle 'generator'"):
        quantize_model(module)


def test_without_torchao(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    from casmodels.loaders import quantised_tensors

    def missing(name: str, extra: str) -> Any:
        if name.startswith("torchao"):
            raise MissingExtraError(extra)
        return library(name, extra)

    monkeypatch.setattr(quantised_tensors, "library", missing)
    with pytest.raises(MissingExtraError, match="the extra 'quantise' is not installed"):
        quantize_model(forecast())
    saved({"forecast.pt": weights(forecast())})
    with load_model(store, "mine", into=Forecast()) as model, quantize_model(model, "bf16") as small:
        small.save("small")  # which torch does alone
    load_model(store, "small", into=Forecast()).close()


def test_metadata_that_make_no_sense(store: Store, saved: Saver) -> None:
    saved({"forecast.pt": weights(forecast())})
    with load_model(store, "mine", into=Forecast()) as model, quantize_model(model) as small:
        small.save("small")
    data = b"".join(store.cat("small", "model.safetensors"))
    saved({"model.safetensors": data.replace(b"Int8Tensor", b"Popen12345")}, "bad")
    with pytest.raises(NotLoadableError, match="of its quantised tensors cannot be understood") as raised:
        load_model(store, "bad")
    assert "\n" not in raised.value.message


def test_other_files_of_weights_stay(store: Store, saved: Saver) -> None:
    others = {"model.safetensors": b"another model", "model.safetensors.index.json": b"its index"}
    saved({"encoder.pt": weights(forecast()), **others})
    with load_model(store, "mine", into=Forecast(), path="encoder.pt") as model, quantize_model(model) as small:
        small.save("small")
        found = small(SERIES)
    assert {entry.path for entry in store.contents("small").files} == {*others, "encoder.safetensors"}
    assert all(b"".join(store.cat("small", path)) == data for path, data in others.items())
    with load_model(store, "small", into=Forecast(), path="encoder.safetensors") as again:
        assert torch.equal(again(SERIES), found)
    saved({"encoder.pt": weights(forecast()), **others, "encoder.safetensors": b"a third"})
    with (
        load_model(store, "mine", into=Forecast(), path="encoder.pt") as model,
        quantize_model(model) as small,
        pytest.raises(InvalidInputError, match=r"other files called model\.safetensors and encoder\.safetensors"),
    ):
        small.save("never")


def test_weights_behind_a_link_go_with_it(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "w.pt").write_bytes(weights(forecast()))
    (folder / "forecast.pt").symlink_to("real/w.pt")
    store.checkpoint("mine", folder)
    (folder / "again.pt").symlink_to("real/w.pt")
    store.checkpoint("twice", folder)
    for name, left in (("mine", set()), ("twice", {"real/w.pt", "again.pt"})):
        with (
            load_model(store, name, into=Forecast(), path="forecast.pt") as model,
            quantize_model(model) as small,
        ):
            small.save("small")
        assert {entry.path for entry in store.contents("small").files} == {"model.safetensors", *left}
