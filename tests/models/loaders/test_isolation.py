"""A model in a process of its own: what it gives, how it ends, and what it leaves behind: nothing."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from casmodels.config import Secret
from casmodels.errors import DeviceError, MissingExtraError, NotLoadableError, UnloadedError, WorkerDiedError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.pipe import packed_error, unpacked_error
from casmodels.registry import Registry
from casmodels.specs import ModelSpec, ModelType
from casstore.errors import InvalidInputError
from tests.models.loaders.test_onnx import DATA, expected, linear

Saver = Callable[..., str]


class Pair(NamedTuple):
    """A tuple with a class of its own."""

    left: int
    right: list[int]


MODULE = '''
import os, threading, time
import numpy
from casmodels.loaders import Loaded

class Odd(Exception):
    pass

class Acting:
    """Does what it is told."""
    name = "acting"
    copies = 1
    def recognise(self, model):
        return model.ending(".act")
    def devices(self):
        return ("cuda:0", "cpu")
    def load(self, model, request, *, dies=False, closed=None):
        if dies:
            os.abort()
        def close():
            if closed is not None:
                time.sleep(0.3)
                open(closed, "w").close()
        return Loaded("here", self.call, move=lambda device: None, close=close)
    def call(self, word):
        if isinstance(word, list | tuple):
            return word
        if word == "odd":
            raise Odd("of a\\nkind")
        if word == "value":
            raise ValueError("of a kind")
        if word == "end":
            raise EOFError("of a file")
        if word == "sleep":
            time.sleep(600)
        if word == "exit":
            os._exit(3)
        if word == "object":
            return object()
        if word == "lock":
            return numpy.array([threading.Lock()], dtype=object)
        if word == "print":
            os.write(1, b"printed\\n")
        return {"pid": os.getpid(), "word": word}
'''


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The worker finds the loader above, and what a test runs reads the configuration of the test's store."""
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    info = tmp_path / "site" / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "theirs_acting.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[casmodels.loaders]\nacting = theirs_acting:Acting\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def workers() -> list[psutil.Process]:
    """The processes that this one has started, zombies included."""
    return psutil.Process().children(recursive=True)


def test_a_model_runs_there(store: Store, saved: Saver) -> None:
    version = saved({"model.onnx": linear(2).SerializeToString()})
    before = workers()
    with load_model(store, "mine", isolated=True, batch_size=4) as model:
        assert (model.loader, model.device, model.version) == ("onnx", "cpu", f"mine@{version}")
        found = model.process_batch(DATA)
        assert np.allclose(found["y"], expected(DATA), atol=1e-6)
        assert np.allclose(model({"x": DATA})["z"], -expected(DATA), atol=1e-6)
        assert model.to("cpu") is model
        assert len(workers()) == len(before) + 1
        with pytest.raises(InvalidInputError, match="is in a process of its own"):
            _ = model.model
        with pytest.raises(InvalidInputError, match="is in a process of its own"):
            _ = model.processor
    assert workers() == before
    with pytest.raises(UnloadedError):
        model(DATA)


def test_the_worker_knows_the_models_that_its_owner_does(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved({"model.act": b"x"})
    registry = Registry()
    registry.register_model(ModelSpec("short", "Short", ModelType.TEXT_EMBEDDING, "org/long"))
    store.checkpoint("org/long", store.checkout("mine", tmp_path / "out").path)
    monkeypatch.setenv("CASMODELS_CONFIG", "gone.toml")  # that a worker would miss
    with (
        Store(
            store.directory, config=replace(store.config, token_variable=Secret("hf_x")), registry=registry
        ) as opened,
        load_model(opened, "short", isolated=True) as model,
    ):
        assert model("a")["word"] == "a"


def test_errors_are_those_of_a_model_here(store: Store, saved: Saver) -> None:
    saved({"m.act": b"", "model.onnx": b"no model"})
    with pytest.raises(NotLoadableError, match=r"model\.onnx in mine@\w{12} is no ONNX model"):
        load_model(store, "mine", path="model.onnx", isolated=True)
    with pytest.raises(DeviceError, match="no device 'gpu'"):
        load_model(store, "mine", isolated=True, device="gpu")
    with load_model(store, "mine", isolated=True) as model:
        with pytest.raises(ValueError, match="of a kind"):
            model("value")
        with pytest.raises(EOFError, match="of a file"):
            model("end")
        with pytest.raises(Exception, match=r"the model failed with Odd: of a$"):
            model("odd")
        with pytest.raises(NotLoadableError, match="gives a object, which cannot leave its worker"):
            model("object")
        with pytest.raises(NotLoadableError, match="what the model gives cannot leave its worker: cannot pickle"):
            model("lock")
        with pytest.raises(InvalidInputError, match="cannot be sent to a process of its own"):
            model(threading.Lock())
        assert model(Pair(1, [2])) == (1, [2])
        assert model("still there")["word"] == "still there"
    assert workers() == []


def test_an_error_that_makes_its_own_sentence_crosses_whole() -> None:
    found = unpacked_error(*pickle.loads(pickle.dumps(packed_error(MissingExtraError("torch")))))
    assert isinstance(found, MissingExtraError)
    assert (str(found), found.remedy, found.extra) == (
        "the extra 'torch' is not installed",
        "run `pip install 'casmodels[torch]'`",
        "torch",
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [("exit", "exit code 3"), (signal.SIGKILL, "killed by SIGKILL, most likely because memory ran out"),
     (signal.SIGSEGV, "killed by SIGSEGV$")],
)  # fmt: skip
def test_a_worker_that_dies_in_a_call(store: Store, saved: Saver, word: str | signal.Signals, said: str) -> None:
    version = saved({"m.act": b""})
    model = load_model(store, "mine", isolated=True)
    (worker,) = workers()
    if isinstance(word, signal.Signals):
        threading.Timer(0.3, worker.send_signal, [word]).start()
    with pytest.raises(WorkerDiedError, match=f"mine@{version} ended in the middle of a call: {said}") as raised:
        model(word if isinstance(word, str) and word == "exit" else "sleep")
    assert raised.value.remedy == "load it again"
    assert model.closed
    assert workers() == []
    with pytest.raises(UnloadedError):
        model("hello")


def test_a_worker_that_dies_while_it_loads(store: Store, saved: Saver) -> None:
    saved({"m.act": b""})
    with pytest.raises(WorkerDiedError, match="ended while it loaded the model: killed by SIGABRT"):
        load_model(store, "mine", isolated=True, dies=True)
    assert workers() == []


def test_an_interrupted_call_ends_the_worker(store: Store, saved: Saver) -> None:
    saved({"m.act": b""})
    model = load_model(store, "mine", isolated=True)
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        model("sleep")
    assert model.closed
    assert workers() == []
    with pytest.raises(UnloadedError):
        model("hello")


def test_a_forgotten_handle_ends_its_worker(store: Store, saved: Saver) -> None:
    saved({"m.act": b""})
    model = load_model(store, "mine", isolated=True)
    assert len(workers()) == 1
    del model
    gc.collect()
    assert workers() == []


def test_a_handle_that_is_closed_during_a_call_in_another_thread(store: Store, saved: Saver) -> None:
    saved({"m.act": b""})
    model = load_model(store, "mine", isolated=True)
    raised: list[BaseException] = []

    def call() -> None:
        try:
            model("sleep")
        except BaseException as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(0.3)
    model.close()
    caller.join(10)
    assert [type(error) for error in raised] == [UnloadedError]
    assert workers() == []


def test_what_a_library_prints_there_is_not_for_standard_output(
    store: Store, saved: Saver, capfd: pytest.CaptureFixture[str]
) -> None:
    saved({"m.act": b""})
    with load_model(store, "mine", isolated=True) as model:
        model("print")
    assert capfd.readouterr() == ("", "printed\n")


def test_a_worker_that_is_idle_closes_its_model_in_peace(
    store: Store, saved: Saver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saved({"m.act": b""})
    with load_model(store, "mine", isolated=True, closed=str(tmp_path / "closed")) as model:
        model("hello")
    assert (tmp_path / "closed").exists()
    assert capfd.readouterr().err == ""


def test_a_killed_owner_leaves_no_worker(store: Store, saved: Saver, tmp_path: Path) -> None:
    """Not even one that is in the middle of a long call. The program has no guard against being run twice."""
    saved({"m.act": b""})
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom casmodels import Store, load_model\n"
        "model = load_model(Store(Path(sys.argv[1])), 'mine', isolated=True)\n"
        "print(model('hello')['pid'], flush=True)\nmodel('sleep')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(program), str(store.directory)], env=environment, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        worker = psutil.Process(int(owner.stdout.readline()))
        time.sleep(0.2)
        owner.kill()
    worker.wait(timeout=15)
    assert not worker.is_running()
