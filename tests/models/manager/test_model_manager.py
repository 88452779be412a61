"""`ModelManager`: models by name, with a loader that needs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from casmodels import ModelManager, QuantisedModel, quantize_model
from casmodels.errors import (
    ConfigurationError,
    DeviceError,
    DownloadFailedError,
    NotLoadedError,
    NotQuantisableError,
    UnknownModelError,
    UnloadedError,
)
from casmodels.loaders import Loaded, Request, StoredModel, registry
from casstore.errors import InvalidInputError, NotFoundError
from tests.hub import FakeHub
from tests.models.loaders.test_onnx import DATA, expected, linear

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FILES = {"config.json": b"{}", "model.safetensors": b"0" * 1000}


class Counting:
    """Gives a list, and remembers how it was asked."""

    name = "counting"
    copies = 1

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.open = 0
        self.dtype = ""

    def recognise(self, model: StoredModel) -> Sequence[str]:
        return model.only(model.ending(".safetensors"))

    def devices(self) -> Sequence[str]:
        return ("cpu", "cuda:0")

    def load(self, model: StoredModel, request: Request, *, beams: int = 1, dtype: str = "") -> Loaded:
        self.requests.append((request.device, beams))
        self.dtype = dtype
        self.open += 1

        def close() -> None:
            self.open -= 1

        return Loaded([], call=lambda batch: [beams for _ in batch], move=lambda _: None, close=close)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    loader = Counting()
    monkeypatch.setattr(registry, "all_loaders", lambda: iter([loader]))
    return loader


@pytest.fixture
def make(
    tmp_path: Path, environment: dict[str, str], hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ModelManager]]:
    """A manager with ada-002 in its store; ``models`` are what its file of configurations says."""
    for variable in ("USE_GPU", "BATCH_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    hub.add(MINILM, FILES)
    made = []

    def one(models: object = None) -> ModelManager:
        configs = tmp_path / "model_configs.json"
        if models is not None:
            configs.write_text(json.dumps({"models": models}))
        made.append(ModelManager(tmp_path / "models", configs=configs if models is not None else None))
        made[-1].download_model("ada-002")
        return made[-1]

    yield one
    for manager in made:
        manager.close()


def test_downloaded_loaded_and_unloaded(
    make: Callable[..., ModelManager], counting: Counting, hub: FakeHub, tmp_path: Path
) -> None:
    manager = make()
    assert manager.store.directory == tmp_path / "models" / "store"
    assert manager.download_model("ada-002").status == "cached"
    model = manager.load_model("ada-002")
    assert model.process_batch([1, 2, 3]) == [1, 1, 1]
    assert manager.loaded == ("embedding-ada-002",)
    manager.unload_model("ada-002")
    assert (counting.open, manager.loaded) == (0, ())
    with pytest.raises(UnloadedError):
        model.process_batch([1])


def test_every_name_of_a_model_is_the_same_model(make: Callable[..., ModelManager], counting: Counting) -> None:
    manager = make()
    first = manager.load_model("ada-002", beams=2)
    assert manager.load_model("text-embedding-ada-002") is first
    assert manager.load_model(MINILM, beams=2) is first
    assert manager.load_model("Embedding-ADA-002", device="cuda") is first
    assert (first.device, len(counting.requests)) == ("cuda:0", 1)
    with pytest.raises(InvalidInputError, match="ada-002 is loaded already") as refused:
        manager.load_model("ada-002", beams=3)
    assert refused.value.remedy == "unload_model('ada-002') first"
    manager.unload_model(MINILM)
    assert manager.load_model("ada-002", beams=3) is not first


def test_another_version_is_another_model(make: Callable[..., ModelManager], counting: Counting) -> None:
    manager = make()
    assert manager.load_model("ada-002") is not manager.load_model("ada-002@main")
    assert manager.loaded == ("embedding-ada-002", "embedding-ada-002@main")


def test_a_handle_that_was_closed_is_forgotten(make: Callable[..., ModelManager], counting: Counting) -> None:
    manager = make()
    manager.load_model("ada-002").close()
    assert manager.loaded == ()
    assert not manager.load_model("ada-002").closed


def test_the_file_of_configurations_says_how_and_arguments_say_more(
    make: Callable[..., ModelManager], counting: Counting
) -> None:
    manager = make({"ada-002": {"device": "cuda", "batch_size": 2, "options": {"beams": 5}}})
    assert manager.load_model("embedding-ada-002").process_batch([0, 0, 0]) == [5, 5, 5]
    manager.unload_model("ada-002")
    manager.load_model("ada-002", "cpu", beams=7)
    assert counting.requests == [("cuda:0", 5), ("cpu", 7)]


def test_a_dtype_is_the_librarys_word_or_refused(make: Callable[..., ModelManager], counting: Counting) -> None:
    make({"ada-002": {"dtype": "bf16"}}).load_model("ada-002")
    assert counting.dtype == "bfloat16"
    manager = make({"ada-002": {"dtype": "int4"}})
    with pytest.raises(NotQuantisableError, match=r"json, line 1, models.ada-002: a model cannot be quantised to int4"):
        manager.load_model("ada-002")
    assert counting.open == 1
    manager.load_model("ada-002", dtype="float32")  # what is said in the call counts more
    assert counting.dtype == "float32"


def test_a_model_is_quantised_after_it_was_loaded(make: Callable[..., ModelManager], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear().SerializeToString())
    manager = make({name: {"dtype": "int8", "batch_size": 4, "device": "cpu"} for name in ("small", "ada-002")})
    manager.store.checkpoint("small", tmp_path / "model.onnx")
    model = manager.load_model("small")
    assert isinstance(model, QuantisedModel)
    assert (model.dtype, model.batch_size) == ("int8", 4)
    assert model.original is not None
    assert model.original.closed
    assert np.allclose(model.process_batch(DATA), expected(DATA), atol=0.1)
    assert manager.load_model("small") is model
    manager.unload_model("small")
    assert model.closed


def test_what_is_saved_keeps_the_licence(make: Callable[..., ModelManager], hub: FakeHub) -> None:
    hub.add("org/graph", {"config.json": b"{}", "model.onnx": linear().SerializeToString()})
    hub.repos["org/graph"].card = {"license": "cc-by-nc-4.0"}
    manager = make()
    manager.download_model("org/graph")
    with quantize_model(manager.load_model("org/graph", loader="onnx")) as small:
        small.save("small")
    (info,) = manager.store.info("small")
    assert (info.licence, info.base_models) == ("cc-by-nc-4.0", ("org/graph",))
    assert manager.store.info("org/graph")[0].quantised is None


def test_a_model_in_a_process_of_its_own_is_not_quantised(make: Callable[..., ModelManager], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear().SerializeToString())
    manager = make({"small": {"dtype": "int8", "isolated": True}})
    manager.store.checkpoint("small", tmp_path / "model.onnx")
    with pytest.raises(NotQuantisableError, match=r"models.small: small@\w+ is in a process of its own"):
        manager.load_model("small")
    assert manager.loaded == ()


def test_a_model_that_cannot_be_quantised_is_not_kept(make: Callable[..., ModelManager], counting: Counting) -> None:
    manager = make({"ada-002": {"dtype": "int8"}})
    with pytest.raises(NotQuantisableError, match=r"models.ada-002: what the loader 'counting' loads cannot be"):
        manager.load_model("ada-002")
    assert counting.open == 0
    assert manager.loaded == ()


def test_closing_unloads_everything(make: Callable[..., ModelManager], counting: Counting) -> None:
    with make() as manager:
        manager.load_model("ada-002")
        manager.load_model("ada-002@main")
        assert counting.open == 2
    assert counting.open == 0


def test_what_cannot_be_is_said(make: Callable[..., ModelManager], counting: Counting, hub: FakeHub) -> None:
    manager = make()
    with pytest.raises(DownloadFailedError, match="no-such could not be downloaded: no model is called") as failed:
        manager.download_model("no-such")
    assert failed.value.reason == "unknown-model"
    with pytest.raises(UnknownModelError):
        manager.load_model("mpnet-base")
    with pytest.raises(NotLoadedError, match="ada-002 is not loaded") as missing:
        manager.unload_model("ada-002")
    assert missing.value.remedy == "nothing is loaded"
    with pytest.raises(DeviceError, match="abacus"):
        manager.load_model("ada-002", device="abacus")
    assert manager.loaded == ()


def test_configurations_that_cannot_be_read_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        ModelManager(tmp_path / "models", configs=tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"models": {\n"a": {"device": 7}}}')
    with pytest.raises(ConfigurationError, match=r"bad.json, line 2, models.a: device: must be a string, not 7"):
        ModelManager(tmp_path / "models", configs=tmp_path / "bad.json")
    assert not (tmp_path / "models").exists()
