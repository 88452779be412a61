"""`load_model` and the handle, with loaders that need nothing."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from casmodels.errors import (
    ConfigurationError,
    DeviceError,
    MissingExtraError,
    NoRoomError,
    NotLoadableError,
    UnknownModelError,
    UnloadedError,
)
from casmodels.library import Store
from casmodels.loaders import Loaded, Request, StoredModel, load_model, registry
from casmodels.loaders.memory_files import MemoryFiles
from casstore.errors import InvalidInputError, NotFoundError
from tests.models.reading.weights import normal, safetensors_of

Saver = Callable[..., str]


class Doubling:
    """Doubles what it is called with, and remembers the batches."""

    name = "doubling"
    copies = 3
    fixed = False

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.closed = 0
        self.request: Request | None = None

    def recognise(self, model: StoredModel) -> Sequence[str]:
        return model.only(model.ending(".bin"))

    def devices(self) -> Sequence[str]:
        return ("cuda:0", "cpu")

    def load(self, model: StoredModel, request: Request, *, shape: Callable[[Any], Any] | None = None) -> Loaded:
        self.request = request
        if model.read(request.files[0]) == b"bad":
            raise ValueError("a bad\nthing")

        def call(batch: Any) -> Any:
            self.batches.append(len(batch))
            doubled = [2 * item for item in batch] if isinstance(batch, list) else batch * 2
            return shape(doubled) if shape is not None else doubled

        def close() -> None:
            self.closed += 1

        return Loaded("the object", call, move=None if self.fixed else lambda _: None, close=close)


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> Doubling:
    loader = Doubling()
    monkeypatch.setattr(registry, "all_loaders", lambda: iter([loader]))
    return loader


def test_batches_keep_the_order_and_the_last_is_short(store: Store, saved: Saver, doubling: Doubling) -> None:
    saved({"m.bin": b"x"})
    with load_model(store, "mine", batch_size=4) as model:
        assert model.process_batch(list(range(10))) == list(range(0, 20, 2))
        assert doubling.batches == [4, 4, 2]
        found = model.process_batch(np.arange(12.0).reshape(6, 2), batch_size=5)
        assert np.array_equal(found, np.arange(12.0).reshape(6, 2) * 2)
        assert doubling.batches[3:] == [5, 1]
        assert model.process_batch([]) == []
    assert doubling.closed == 1


def test_results_in_mappings_and_tuples_are_joined(store: Store, saved: Saver, doubling: Doubling) -> None:
    saved({"m.bin": b"x"})
    with load_model(store, "mine", shape=lambda out: {"a": out, "b": (out + 1, None)}) as model:
        found = model.process_batch(np.arange(5), batch_size=2)
    assert found["a"].tolist() == [0, 2, 4, 6, 8]
    assert found["b"][0].tolist() == [1, 3, 5, 7, 9]
    assert found["b"][1] is None


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (lambda out: out[:1], "1 results for a batch of 2 items"),
        (lambda _: np.float64(1), "a float64 for a batch"),
        (lambda out: out.reshape(-1, 1) * np.ones((1, out[0] + 1)), "differ in shape"),
    ],
)
def test_results_that_cannot_be_joined_are_refused(
    store: Store, saved: Saver, doubling: Doubling, shape: Callable[[Any], Any], said: str
) -> None:
    saved({"m.bin": b"x"})
    with load_model(store, "mine", shape=shape) as model, pytest.raises(NotLoadableError, match=said):
        model.process_batch(np.arange(4), batch_size=2)


@pytest.mark.parametrize("data", ["text", b"bytes", 7, {"a": [1], "b": [1, 2]}, iter([1])])
def test_what_is_no_batch_is_refused(store: Store, saved: Saver, doubling: Doubling, data: Any) -> None:
    saved({"m.bin": b"x"})
    with load_model(store, "mine") as model, pytest.raises(InvalidInputError, match="batch"):
        model.process_batch(data)


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "8"])
def test_a_size_that_is_none_is_refused_before_anything_is_loaded(
    store: Store, saved: Saver, doubling: Doubling, size: Any
) -> None:
    saved({"m.bin": b"x"})
    with pytest.raises(InvalidInputError, match="no size of a batch"):
        load_model(store, "mine", batch_size=size)
    assert doubling.request is None
    with load_model(store, "mine") as model, pytest.raises(InvalidInputError, match="no size of a batch"):
        model.process_batch([1], batch_size=size)


def test_batch_size_and_gpu_come_from_the_environment(
    store: Store, saved: Saver, doubling: Doubling, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved({"m.bin": b"x"})
    monkeypatch.setenv("BATCH_SIZE", "3")
    with load_model(store, "mine") as model:
        assert model.device == "cuda:0"
        model.process_batch([1, 2, 3, 4])
    assert doubling.batches == [3, 1]
    monkeypatch.setenv("USE_GPU", "false")
    assert load_model(store, "mine").device == "cpu"
    assert load_model(store, "mine", device="cuda").device == "cuda:0"
    monkeypatch.setenv("BATCH_SIZE", "many")
    with pytest.raises(ConfigurationError, match="BATCH_SIZE: 'many' is no number"):
        load_model(store, "mine")
    monkeypatch.setenv("USE_GPU", "perhaps")
    with pytest.raises(ConfigurationError, match="USE_GPU: 'perhaps' is neither true nor false"):
        load_model(store, "mine")


@pytest.mark.parametrize(
    ("device", "said"),
    [("gpu", "no device 'gpu'"), ("cuda:9", "'cuda:9' here"), ("mps", "'mps' here"), ("cuda:", "no device"), (0, "0")],
)
def test_a_device_that_is_not_there_is_an_error(
    store: Store, saved: Saver, doubling: Doubling, device: Any, said: str
) -> None:
    saved({"m.bin": b"x"})
    with pytest.raises(DeviceError, match=said):
        load_model(store, "mine", device=device)
    with load_model(store, "mine", device="cpu") as model:
        with pytest.raises(DeviceError, match=said):
            model.to(device)
        assert model.device == "cpu"


def test_what_cannot_be_moved_says_so(store: Store, saved: Saver, doubling: Doubling) -> None:
    doubling.fixed = True
    saved({"m.bin": b"x"})
    with load_model(store, "mine", device="cpu") as model:
        assert model.to("cpu") is model
        with pytest.raises(DeviceError, match="stays where it is") as raised:
            model.to("cuda")
        assert raised.value.remedy == "load it again with device='cuda'"


def test_after_close_everything_says_unloaded(store: Store, saved: Saver, doubling: Doubling) -> None:
    version = saved({"m.bin": b"x"})
    model = load_model(store, "mine")
    assert "on cuda:0" in repr(model)
    model.close()
    model.unload()
    assert doubling.closed == 1
    assert model.closed
    assert "unloaded" in repr(model)
    for use in (lambda: model([1]), lambda: model.process_batch([1]), lambda: model.to("cpu"), lambda: model.model):
        with pytest.raises(UnloadedError, match=f"mine@{version} is unloaded"):
            use()


def test_a_library_that_fails_is_one_sentence(store: Store, saved: Saver, doubling: Doubling) -> None:
    saved({"m.bin": b"bad"})
    with pytest.raises(NotLoadableError, match=r"cannot load m\.bin of mine@\w{12}: a bad$"):
        load_model(store, "mine")


class Reading(Doubling):
    """Opens a file of a directory in memory, as libraries do, and reads JSON in it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def load(self, model: StoredModel, request: Request, *, shape: Callable[[Any], Any] | None = None) -> Loaded:
        with MemoryFiles() as files:
            files.add_all(model, sorted(model.sizes))
            json.loads((files.path / self.path).read_bytes())
            raise ValueError(f"nothing of {files.path} fits; see {files.path}/m.bin, '{files.path}'")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("wrong.json", r"^deep/wrong\.json in (mine@\w{12}) is no JSON: Expecting"),
        ("no.json", r"cannot load m\.bin of (mine@\w{12}): \[Errno 2\] No such file or directory: 'no\.json'$"),
        ("right.json", r"cannot load m\.bin of (mine@\w{12}): nothing of \1 fits; see m\.bin, '\1'$"),
    ],
)
def test_a_library_that_fails_on_files_in_memory(
    store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch, path: str, said: str
) -> None:
    monkeypatch.setattr(registry, "all_loaders", lambda: iter([Reading(path)]))
    files = {"m.bin": b"x", "right.json": b"{}"} | ({"wrong.json": b"{"} if path == "wrong.json" else {})
    saved({f"deep/{name}": data for name, data in files.items()})
    with pytest.raises(NotLoadableError, match=said):
        load_model(store, "mine", path="deep")


def test_options_that_a_loader_lacks_are_refused(store: Store, saved: Saver, doubling: Doubling) -> None:
    saved({"m.bin": b"x"})
    with pytest.raises(InvalidInputError, match="'doubling' has no option 'dtype'") as raised:
        load_model(store, "mine", dtype="int8")
    assert raised.value.remedy == "it has shape"


def test_one_of_many_must_be_named(store: Store, saved: Saver, doubling: Doubling) -> None:
    saved({"a.bin": b"x", "b/c.bin": b"yy", "b/model.txt": b"", "d/e.BIN.gz": b""})
    with pytest.raises(NotLoadableError, match=r"has 3 models: a\.bin, b/c\.bin, d/e\.BIN\.gz") as raised:
        load_model(store, "mine")
    assert raised.value.remedy == "say which with path="
    for path, file in (("a.bin", "a.bin"), ("b/c.bin", "c.bin"), ("b", "c.bin"), ("/b/", "c.bin")):
        load_model(store, "mine", path=path)
        assert doubling.request is not None
        assert doubling.request.files == (file,)
    with pytest.raises(NotFoundError, match="nothing at 'e'"):
        load_model(store, "mine", path="e")
    with pytest.raises(NotLoadableError, match=r"no loader recognises mine@\w{12}, which holds model\.txt"):
        load_model(store, "mine", path="b/model.txt")
    saved({"a.bin": b"x", "deep/er/model.bin": b"y", "deep/model.bin": b"z"})
    load_model(store, "mine")
    assert doubling.request.files == ("deep/model.bin",)


def test_the_version_stays_the_same_while_it_is_loaded(store: Store, saved: Saver, doubling: Doubling) -> None:
    first = saved({"m.bin": b"x"})
    model = StoredModel(store, "mine")
    assert saved({"m.bin": b"yy"}) != first
    assert model.read("m.bin") == b"x"
    assert load_model(store, "mine@~1").version == f"mine@{first}"
    with pytest.raises(UnknownModelError):
        load_model(store, "yours")


def test_a_model_that_does_not_fit_is_refused_with_figures(
    store: Store, saved: Saver, doubling: Doubling, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved({"m.bin": bytes(100 << 20)})

    class Memory:
        available = 300 << 20

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(NoRoomError, match=r"takes 364\.0 MiB of memory, and 300\.0 MiB are free"):
        load_model(store, "mine", device="cpu")
    assert doubling.request is None
    load_model(store, "mine", device="cpu", force=True)
    assert doubling.request is not None


def test_the_memory_of_a_gpu_counts_too(
    store: Store, saved: Saver, doubling: Doubling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for torch: the machines that run these tests have no GPU."""
    saved({"m.bin": bytes(100 << 20)})
    cuda = SimpleNamespace(
        is_available=lambda: True, mem_get_info=lambda _: (150 << 20, 80 << 30), empty_cache=lambda: None
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with pytest.raises(NoRoomError, match=r"takes 164\.0 MiB of memory of cuda:0, and 150\.0 MiB are free"):
        load_model(store, "mine", device="cuda")
    load_model(store, "mine", device="cuda", force=True).close()
    load_model(store, "mine", device="cpu").close()


def test_a_missing_extra_names_the_command(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"model.safetensors": safetensors_of({"w": normal(3)})})
    real = builtins.__import__
    monkeypatch.setattr("casmodels.extras.import_module", lambda name: real("no_such_module_" + name))
    with pytest.raises(MissingExtraError) as raised:
        load_model(store, "mine")
    assert raised.value.remedy == "run `pip install 'casmodels[torch]'`"
