"""YOLO, made from the library's own settings and saved as it saves: from the store it finds what it found before."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from casmodels.errors import BrokenLoaderError, NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.builtin import ultralytics as loader

torch = pytest.importorskip("torch")
with loader.offline():
    ultralytics = pytest.importorskip("ultralytics")
    YOLO, tasks = ultralytics.YOLO, import_module("ultralytics.nn.tasks")
import_module("tests.models.loaders.torchvision_here")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
ROOT = Path(__file__).resolve().parents[3]
IMAGES = [np.random.default_rng(seed).integers(0, 255, (96, 128, 3), dtype=np.uint8) for seed in range(3)]
EVERYTHING = {"conf": 0.0001, "imgsz": 64}


@cache
def yolo(settings: str = "yolov8n.yaml") -> Any:
    """A network of random weights, no layer's statistics those that it began with."""
    torch.manual_seed(0)
    made = YOLO(settings)
    for module in made.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.02, 0.02)
            torch.nn.init.uniform_(module.running_var, 0.9, 1.1)
    made.model.names = {number: f"thing {number}" for number in made.model.names}
    return made


@cache
def checkpoint(settings: str = "yolov8n.yaml") -> bytes:
    with TemporaryDirectory() as directory:
        yolo(settings).save(Path(directory) / "last.pt")
        return (Path(directory) / "last.pt").read_bytes()


def content() -> dict[str, Any]:
    """The checkpoint as Python objects, to be changed."""
    found: dict[str, Any] = torch.load(io.BytesIO(checkpoint()), weights_only=False)
    return found


def archive(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def original(data: bytes) -> Any:
    with TemporaryDirectory() as directory:
        (Path(directory) / "it.pt").write_bytes(data)
        return YOLO(Path(directory) / "it.pt")


def found(results: Any) -> list[Any]:
    parts = ("boxes", "masks", "keypoints", "obb", "probs")
    values = [getattr(result, part) for result in results for part in parts]
    return [value.data.float().numpy() for value in values if value is not None]


@pytest.mark.parametrize("task", ["", "-seg", "-cls", "-pose", "-obb"])
def test_a_task(store: Store, saved: Saver, task: str) -> None:
    settings = f"yolov8n{task}.yaml"
    saved({"best.pt": checkpoint(settings)})
    first = original(checkpoint(settings))
    expected = first.predict(IMAGES, verbose=False, device="cpu", **EVERYTHING)
    assert sum(map(len, found(expected))) > 0
    with load_model(store, "mine", device="cpu", arguments=EVERYTHING) as model:
        assert model.loader == "ultralytics"
        assert (type(model.model), model.model.task) == (type(first), first.task)
        for results in (model(IMAGES), model.process_batch(IMAGES), model.process_batch(np.stack(IMAGES))):
            assert len(results) == 3
            assert all(np.array_equal(*pair) for pair in zip(found(expected), found(results), strict=True))
        assert [result.names for result in model.process_batch(IMAGES, batch_size=2)] == [first.names] * 3
        state = first.model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in model.model.model.state_dict().items())


@pytest.mark.parametrize("settings", ["yolov10n.yaml", "yolo11n.yaml", "yolo11m.yaml"])
def test_other_generations_and_scales(store: Store, saved: Saver, settings: str) -> None:
    saved({"best.pt.gz": gzip.compress(checkpoint(settings), 1)})
    expected = original(checkpoint(settings)).predict(IMAGES[0], verbose=False, device="cpu", **EVERYTHING)
    with load_model(store, "mine", device="cpu") as model:
        results = model(IMAGES[0], **EVERYTHING)
        assert all(np.array_equal(*pair) for pair in zip(found(expected), found(results), strict=True))


def test_a_checkpoint_of_a_training_and_one_of_the_first_releases(store: Store, saved: Saver) -> None:
    """In the middle of a training there are two networks; what is kept beside them was of more types once."""
    whole = content()
    whole |= {"ema": whole["model"], "model": yolo().model, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}
    whole["ema"].model[-1].detect = tasks.Detect.forward
    whole |= {
        "best_fitness": np.float64(0.5),
        "train_args": {"imgsz": 64, "save_dir": Path("runs"), "lr0": 0.01},
    }
    scales = whole["ema"].yaml.pop("scales")
    whole["ema"].yaml |= dict(zip(("depth_multiple", "width_multiple"), scales["n"], strict=False))
    saved({"best.pt": archive(whole), "last.pt": checkpoint()})
    expected = yolo().predict(IMAGES[0], verbose=False, device="cpu", conf=0.0001, imgsz=64)
    with load_model(store, "mine", device="cpu") as model:
        assert model.model.overrides["imgsz"] == 64
        results = model(IMAGES[0], conf=0.0001)
        assert np.allclose(found(results)[0], found(expected)[0], atol=0.1)  # one was in half precision meanwhile


def test_several_checkpoints(store: Store, saved: Saver) -> None:
    saved({"a.pt": checkpoint(), "b.pt": checkpoint(), "c.pt": b"no archive", "d.pt": archive({"w": torch.ones(1)})})
    with pytest.raises(NotLoadableError, match=r"has 2 models: a\.pt, b\.pt"):
        load_model(store, "mine")
    with load_model(store, "mine", path="a.pt", device="cpu") as model:
        assert model.loader == "ultralytics"
    with load_model(store, "mine", path="d.pt", device="cpu") as model:
        assert model.loader == "weights"


class Hostile:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_what_a_checkpoint_names_beside_its_layers_is_refused(store: Store, saved: Saver, tmp_path: Path) -> None:
    for value, said in (
        (Hostile(tmp_path / "made"), r"it calls \w+\.mkdir"),
        (io.BytesIO, r"it calls (_?io)\.BytesIO"),
        (tasks.torch_safe_load, None),
        (torch.hub.load, r"it calls torch\.hub\.load"),
        (np.save, r"it calls numpy\.save"),
    ):
        saved({"best.pt": archive({**content(), "epoch": value})})
        if said is None:  # named, and not called: nothing is
            load_model(store, "mine", device="cpu").close()
            continue
        with pytest.raises(UnsafeModelError, match=rf"best\.pt in mine@\w{{12}} is a pickle .* \({said}") as raised:
            load_model(store, "mine")
        assert "sandbox" in (raised.value.remedy or "")
    assert not (tmp_path / "made").exists()


def with_recipe(**changed: Any) -> bytes:
    whole = content()
    whole["model"].yaml |= changed
    return archive(whole)


def with_layer(*row: Any) -> bytes:
    whole = content()
    whole["model"].yaml["backbone"][0] = list(row)
    return archive(whole)


@pytest.mark.parametrize(
    "activation",
    [
        "__import__('os').mkdir('{}')",
        "nn.SiLU(__import__('os').mkdir('{}'))",
        "nn.Module()",
        "nn.SiLU",
        "nn",
        7,
        "(" * 150,
    ],
)
def test_an_activation_is_not_executed(store: Store, saved: Saver, tmp_path: Path, activation: Any) -> None:
    text = activation.format(tmp_path / "made") if isinstance(activation, str) else activation
    saved({"best.pt": with_recipe(activation=text)})
    with pytest.raises(UnsafeModelError, match=r"best\.pt in mine@\w{12} has an activation that is more than a layer"):
        load_model(store, "mine")
    assert not (tmp_path / "made").exists()


def test_an_activation_of_torch(store: Store, saved: Saver) -> None:
    before = tasks.Conv.default_act
    for text, kind in (("nn.ReLU()", torch.nn.ReLU), ("torch.nn.LeakyReLU(0.1, inplace=True)", torch.nn.LeakyReLU)):
        saved({"best.pt": with_recipe(activation=text)})
        with load_model(store, "mine", device="cpu") as model:
            assert type(model.model.model.model[0].act) is kind
    assert tasks.Conv.default_act is before
    broken = content()
    broken["model"].yaml |= {"activation": "nn.ReLU()", "backbone": [[-1, 1, "Conv", []]]}
    saved({"best.pt": archive(broken)})
    with pytest.raises(NotLoadableError, match="'ultralytics' cannot load"):
        load_model(store, "mine")
    assert tasks.Conv.default_act is before


def test_what_is_no_network_says_so(store: Store, saved: Saver) -> None:
    class_of_old = content()
    class_of_old["model"] = tasks.RTDETRDetectionModel.__new__(tasks.RTDETRDetectionModel)
    torch.nn.Module.__init__(class_of_old["model"])
    class_of_old["model"].yaml = {"backbone": []}
    looped: list[Any] = []
    looped.append(looped)
    for data, said in (
        (archive([tasks.DetectionModel]), "holds no network of ultralytics"),
        (archive({"model": yolo().model.model, "x": tasks.DetectionModel}), "holds no network of ultralytics"),
        (archive(class_of_old), "is a RTDETRDetectionModel, which is more than its layers"),
        (with_recipe(backbone=looped), "holds no network of ultralytics"),
        (with_recipe(backbone=None, head=[1]), "does not say what its layers are"),
        (with_layer(-1, 1, "TorchVision", [1, "resnet18", "DEFAULT"]), "names a layer 'TorchVision'"),
        (with_layer(-1, 1, "torch_safe_load", ["x.pt"]), "names a layer 'torch_safe_load'"),
        (with_layer(-1, 1, "DetectionModel", ["x.yaml"]), "names a layer 'DetectionModel'"),
        (with_layer(-1, 1, "nn.Parameter", []), "names a layer 'nn.Parameter'"),
        (with_layer(-1, 10**9, "Conv", [64, 3, 2]), "repeats its layers too often"),
        (with_recipe(scales={"n": [1e9, 0.25, 1024]}), "repeats its layers too often"),
        (with_layer(-1, 1, "Conv", [10**9, 3, 2]), r"weights of best\.pt in mine@\w{12} do not fit"),
        (with_layer(-1, 1, "Conv", [64, 5, 2]), r"0\.conv\.weight is \(16, 3, 3, 3\) here and \(16, 3, 5, 5\) there"),
        (with_recipe(scale="s"), "do not fit the module"),
    ):
        saved({"best.pt": data})
        with pytest.raises(NotLoadableError, match=said) as raised:
            load_model(store, "mine", device="cpu")
        assert "\n" not in raised.value.message


def test_a_torchvision_that_does_not_fit_is_told_at_once(
    store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(name: str, extra: str) -> Any:
        if name == "torchvision":
            raise BrokenLoaderError("torchvision is installed but cannot be imported: no nms", remedy="again")
        return whole(name, extra)

    whole = loader.library
    monkeypatch.setattr(loader, "library", library)
    saved({"best.pt": checkpoint()})
    with pytest.raises(BrokenLoaderError, match="cannot be imported: no nms") as raised:
        load_model(store, "mine")
    assert "one place" in (raised.value.remedy or "")


ALONE = """
import os, socket, sys
import tests.models.loaders.torchvision_here

def never(*arguments, **keywords):
    raise SystemExit(f"asked for the network: {arguments}")

socket.getaddrinfo = socket.socket.connect = never
import numpy as np
from pathlib import Path
from casmodels import config
from casmodels.library import Store
from casmodels.loaders import load_model

path, before = Path(sys.argv[1]), dict(os.environ)
with Store(path, config=config.load(store=path)) as store, load_model(store, "mine", device="cpu") as model:
    results = model.process_batch([np.zeros((64, 64, 3), np.uint8)])
    print(len(results), dict(os.environ) == before)
    from ultralytics.utils import AUTOINSTALL, ONLINE
    from ultralytics.utils.events import events
    print(AUTOINSTALL, ONLINE, events.enabled)
"""


def test_nothing_is_written_fetched_or_left_in_the_environment(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved({"best.pt": checkpoint()})
    homes = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "temporary"}
    for directory in homes.values():
        directory.mkdir()
    environment = {name: str(path) for name, path in homes.items()} | {
        "CASMODELS_CONFIG": str(tmp_path / "config.toml")
    }
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, str(store.directory)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            **environment,
        },
        cwd=homes["HOME"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("1 True\nFalse False False\n", 0), ended.stderr
    assert list(homes["HOME"].iterdir()) == []
    assert [path for path in homes["TMPDIR"].rglob("*") if path.is_file()] == []  # torch makes an empty directory
