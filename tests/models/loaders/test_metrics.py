"""What a handle counts, and what it tells the logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels import config
from casmodels.errors import MetricError, NotLoadableError, WorkerDiedError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.handle import LoadedModel
from casmodels.performance.gpus import GpuUse
from casstore.errors import FailedError, InvalidInputError
from tests.models.loaders.test_isolation import _ours_alone  # noqa: F401 a fixture: the loader that does what it is told
from tests.models.loaders.test_onnx import DATA, expected, linear
from tests.models.performance.driver import MIB, FakeNvml, install
from tests.models.reading.weights import save

Saver = Callable[..., str]
SECRET = "the user's own words"


@pytest.fixture
def logged_store(store: Store, tmp_path: Path) -> Store:
    """The store of the other tests, with logs."""
    environ = {"CASMODELS_CONFIG": str(tmp_path / "config.toml")}
    settings = config.load(store=store.directory, logs=tmp_path / "logs", environ=environ)
    return Store(config=settings)


def lines(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    path = tmp_path / "logs" / "models" / f"{name}.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_handle_counts_its_calls(store: Store, saved: Saver) -> None:
    version = saved({"model.onnx": linear().SerializeToString()})
    with load_model(store, "mine") as model:
        before = model.metrics
        assert (before.calls, before.latency, before.items_per_second) == (0, None, None)
        model.process_batch(DATA, batch_size=4)
        model(DATA)
        with pytest.raises(NotLoadableError):
            model({"y": DATA})
        found = model.metrics
    assert (found.version, found.loader, found.device) == (f"mine@{version}", "onnx", "cpu")
    assert (found.calls, found.failed_calls, found.items) == (2, 1, len(DATA) + 1)
    assert found.latency is not None
    assert 0 < found.latency.p50_seconds <= found.latency.p99_seconds <= found.busy_seconds < 60
    assert found.items_per_second == found.items / found.busy_seconds
    assert found.process_bytes is not None
    assert found.process_bytes > MIB
    assert (found.worker_bytes, found.gpu, found.accuracy) == (None, None, None)
    assert model.metrics.calls == 2, "they can be asked for when the model is unloaded"


def test_a_worker_has_memory_of_its_own(store: Store, saved: Saver) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    with load_model(store, "mine", isolated=True) as model:
        model.process_batch(DATA)
        found = model.metrics
        assert found.items == len(DATA)
        assert found.worker_bytes is not None
        assert found.worker_bytes > MIB
    assert model.metrics.worker_bytes is None


class OnGpu:
    """A model on a GPU, as far as its handle can see."""

    model = processor = None
    device = "cuda:1"
    worker_id = 7
    ended = False

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return arguments

    def process(self, data: Any, batch_size: int) -> Any:
        return data

    def example(self, items: int) -> Any:
        return [0] * items

    def move(self, device: str) -> None:
        self.device = device

    def close(self) -> None:
        pass


def test_the_gpu_that_it_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml())
    model = LoadedModel(OnGpu(), loader="onnx", version="mine@1", batch_size=8)
    assert model.metrics.gpu == GpuUse(1, "GPU 1", 41, 30 * MIB, 100 * MIB, 10 * MIB)
    assert model.to("cpu").metrics.gpu is None


def test_how_right_it_is(store: Store, saved: Saver) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    wanted = expected(DATA).argmax(axis=1)

    def share_right(results: Any, answers: Any) -> Any:
        return (results.argmax(axis=1) == answers).mean()

    with load_model(store, "mine") as model:
        assert model.evaluate(DATA, wanted, metric=share_right, batch_size=4) == 1.0
        wanted[0] += 1
        assert model.evaluate(DATA, wanted, metric=share_right) == pytest.approx(0.9)
        assert model.metrics.accuracy == pytest.approx(0.9)
        assert model.metrics.items == 2 * len(DATA)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda *_: 1 / 0, "failed with ZeroDivisionError: division by zero"),
        (lambda *_: "0.9", "gives a str, not a number"),
        (lambda *_: None, "gives a NoneType, not a number"),
        (lambda results, _: results, "gives a ndarray, not a number"),
        (lambda *_: float("nan"), "gives nan, not a number"),
        (lambda *_: float("inf"), "gives inf, not a number"),
        (lambda *_: np.float32("-inf"), "gives -inf, not a number"),
    ],
)
def test_a_metric_that_is_none(store: Store, saved: Saver, metric: Any, said: str) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    with load_model(store, "mine") as model:
        with pytest.raises(MetricError, match=f"the metric <lambda> {said}"):
            model.evaluate(DATA, DATA, metric=metric)
        assert model.metrics.accuracy is None
        with pytest.raises(InvalidInputError, match="there are 10 items and 3 expected results"):
            model.evaluate(DATA, DATA[:3], metric=metric)


@pytest.mark.parametrize("isolated", [False, True])
def test_a_line_for_each_call_and_one_at_the_end(
    logged_store: Store, tmp_path: Path, isolated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASMODELS_LOGS", str(tmp_path / "logs"))  # the worker, which must not log again, reads it
    version = save(logged_store, "mine", tmp_path / "mine", {"model.onnx": linear().SerializeToString()})
    with load_model(logged_store, "mine", isolated=isolated) as model:
        model.process_batch(DATA)
        with pytest.raises(NotLoadableError):
            model({"y": DATA})
        found = model.metrics
    done, failed = lines(tmp_path, "inference")
    assert {key: done[key] for key in ("logger", "level", "model", "loader", "call", "items", "error")} == {
        "logger": "casmodels.inference",
        "level": "info",
        "model": f"mine@{version}",
        "loader": "onnx",
        "call": "process_batch",
        "items": len(DATA),
        "error": None,
    }
    assert 0 < done["duration_seconds"] < 60
    assert (failed["level"], failed["error_class"]) == ("error", "NotLoadableError")
    assert failed["error"] == "the model has no input 'y'"
    (summary,) = lines(tmp_path, "performance")
    assert (summary["model"], summary["calls"], summary["failed_calls"]) == (f"mine@{version}", 1, 1)
    assert found.latency is not None
    assert summary["latency"]["p95_seconds"] == found.latency.p95_seconds
    assert (summary["worker_bytes"] is not None) == isolated


def test_the_users_data_are_not_logged(logged_store: Store, tmp_path: Path) -> None:
    class Failing(OnGpu):
        device = "cpu"

        def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            raise (FailedError if keywords else ValueError)(f"cannot read {arguments[0]!r}")

        def process(self, data: Any, batch_size: int) -> Any:
            return data

    model = LoadedModel(Failing(), loader="own", version="mine@1", batch_size=8, logs=logged_store.logs)
    with pytest.raises(ValueError, match="cannot read"):
        model(SECRET)
    with pytest.raises(FailedError):
        model(SECRET, worker=True)
    model.process_batch([SECRET])
    model.close()
    assert [line["error_class"] for line in lines(tmp_path, "inference")] == ["ValueError", "FailedError", None]
    assert [line["error"] for line in lines(tmp_path, "inference")] == [None, None, None]
    for path in (tmp_path / "logs").rglob("*.log"):
        assert SECRET not in path.read_text()


def test_a_worker_that_dies_is_a_failed_call(logged_store: Store, tmp_path: Path) -> None:
    save(logged_store, "mine", tmp_path / "mine", {"m.act": b""})
    model = load_model(logged_store, "mine", isolated=True)
    with pytest.raises(WorkerDiedError):
        model("exit")
    (call,) = lines(tmp_path, "inference")
    assert call["error_class"] == "WorkerDiedError"
    assert "ended in the middle of a call: exit code 3" in call["error"]
    (summary,) = lines(tmp_path, "performance")
    assert (summary["calls"], summary["failed_calls"], summary["worker_bytes"]) == (0, 1, None)


def test_nothing_is_written_unless_it_is_configured(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    before = sorted(tmp_path.iterdir())
    with load_model(store, "mine") as model:
        model.process_batch(np.asarray(DATA))
    assert store.logs is None
    assert sorted(tmp_path.iterdir()) == before


def test_a_log_that_cannot_be_written_is_no_failure(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("a file")
    environ = {"CASMODELS_CONFIG": str(tmp_path / "config.toml")}
    settings = replace(config.load(store=store.directory, environ=environ), logs=tmp_path / "logs")
    with Store(config=settings) as logged_store:
        save(logged_store, "mine", tmp_path / "mine", {"model.onnx": linear().SerializeToString()})
        with load_model(logged_store, "mine") as model:
            assert np.allclose(model.process_batch(DATA), expected(DATA), atol=1e-6)
            model(DATA)
    assert [record.getMessage().partition(" cannot")[0].rpartition("/")[2] for record in caplog.records] == [
        "inference.log",
        "performance.log",
    ]
