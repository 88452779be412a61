"""YOLO by ultralytics, whose checkpoints are pickles of whole modules: they are followed, and none of them is executed.

A checkpoint says what its network is made of in plain words (the ``yaml`` of the model), as the library's own files of
settings do. The library makes the network anew from these, and the weights come straight from the store.
"""

from __future__ import annotations

import ast
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from casmodels.errors import BrokenLoaderError, NotLoadableError, UnsafeModelError
from casmodels.extras import library
from casmodels.formats.pickles import MAX_PICKLE_BYTES, Made, Table, read_pickle
from casmodels.loaders.builtin.weights import check_pickle, fill, tensors_of
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel

_MARK: Final = b"cultralytics.nn.tasks\n"
"""How a pickle says that it names something of the module that all of the networks are in."""

_KNOWN: Final = re.compile(
    r"torch\.nn\.modules\.\w+\.\w+|ultralytics\.nn\.(?:tasks|modules(?:\.\w+)?)\.\w+|ultralytics\.utils\.(?:loss|tal)\.\w+"
    r"|ultralytics\.(?:yolo\.)?utils\.IterableSimpleNamespace|torchvision\.transforms\.transforms\.\w+"
    r"|torchvision\.transforms\.functional\.InterpolationMode|numpy\.dtype|numpy\.(?:core|_core)\.multiarray\.scalar"
    r"|pathlib\.(?:_local\.)?(?:Posix|Windows)Path|builtins\.getattr"
)
"""What checkpoints of the library name. None of it is imported or called, so this only tells them from others."""

_NETWORKS: Final = ("Detection", "YOLOv10Detection", "Segmentation", "Pose", "OBB", "Classification")
"""The tasks whose networks are made of their layers, and of nothing else."""

_RENAMED: Final = {"Silence": "nn.Identity"}
"""What layers are called since."""

_LAYERS: Final = "ultralytics.nn.modules."
_DOWNLOADING: Final = "TorchVision"
_SCALES: Final = ("n", "s", "l", "m", "x")
_MAX_REPEATS: Final = 100
_MAX_DEPTH_FACTOR: Final = 4
_MAX_VALUES: Final = 20_000
_MAX_EXPRESSION: Final = 200
_MAX_DEPTH: Final = 8
_OFFLINE: Final = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
_REMEDY: Final = "save it anew with ultralytics, or export it to ONNX or TorchScript, which have loaders of their own"


class UltralyticsLoader:
    """An ``ultralytics.YOLO``.

    It is called with an image, `process_batch` with a list of them: NumPy arrays as OpenCV has them (height, width,
    blue-green-red). For each it gives the library's own ``Results``.
    """

    name = "ultralytics"
    copies = 3  # half precision in the file, single precision in the network

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """One ``.pt`` file that names a network of ultralytics; of several the one that is called ``best``."""
        return model.only([path for path in model.ending(".pt") if _MARK in _pickle(model, path)], stem="best")

    def devices(self) -> Sequence[str]:
        """Torch's."""
        with offline():
            library("ultralytics", "ultralytics")
        try:
            library("torchvision", "ultralytics")  # at its first image the network would need it
        except BrokenLoaderError as error:
            remedy = (
                "take torch and torchvision from one place: a torchvision for GPUs does not run beside a torch without"
            )
            raise BrokenLoaderError(error.message, remedy=remedy) from error
        return torch_devices()

    def load(self, model: StoredModel, request: Request, *, arguments: dict[str, Any] | None = None) -> Loaded:
        """``arguments`` are those of every call, such as ``conf`` or ``imgsz``."""
        path = request.files[0]
        check_pickle(model, path, known=lambda name: _KNOWN.fullmatch(name) is not None)
        made = _made(model, path)
        made.to(request.device)
        given = {"verbose": False, **(arguments or {})}

        def call(images: Any, **keywords: Any) -> Any:
            return made.predict(images, **{**given, **keywords})

        def call_batch(batch: Any) -> Any:
            images = batch if isinstance(batch, library("torch", "torch").Tensor) else list(batch)
            return call(images, batch=len(images))

        return Loaded(made, call, call_batch, move=made.to)


@contextmanager
def offline() -> Iterator[None]:
    """While ultralytics is imported: it reads its environment then, once for all.

    It would write settings into the user's home, ask whether it is online, and from then on report what it is used for
    and install packages; and it leaves variables that make other programs run on one thread.
    """
    before = os.environ.copy()
    with MemoryFiles(real_paths=True) as files:
        os.environ.update(_OFFLINE, YOLO_CONFIG_DIR=str(files.path))
        try:
            yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


def _pickle(model: StoredModel, path: str) -> bytes:
    """The pickle in a torch archive, cut where one is too long to be followed; empty if there is none."""
    try:
        with model.unpacked(path) as file, zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if not names:
                return b""
            with archive.open(names[0]) as member:
                return member.read(MAX_PICKLE_BYTES)
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError):  # whatever else ends so
        return b""


def _made(model: StoredModel, path: str) -> Any:
    """The YOLO of a checkpoint, on the CPU."""
    checkpoint = _table(read_pickle(_pickle(model, path)).root)
    key = "ema" if isinstance(checkpoint.get("ema"), Made) else "model"  # in training there are both, and ema is tried
    network = checkpoint.get(key)
    settings = _table(network.parts[-1]) if isinstance(network, Made) and network.parts else {}
    recipe = _plain(settings.get("yaml"))
    if not isinstance(network, Made) or network.maker is None or not isinstance(recipe, dict):
        raise NotLoadableError(f"{model.called(path)} holds no network of ultralytics", remedy=_REMEDY)
    kind = network.maker.name
    if kind.removesuffix("Model") not in _NETWORKS:
        raise NotLoadableError(f"{model.called(path)} is a {kind}, which is more than its layers", remedy=_REMEDY)
    layers = f"{key}.model."
    tensors = tensors_of(model, path, prefix=layers)
    weights = {name.removeprefix(layers): tensor.float() for name, tensor in tensors.items()}
    with offline():
        made = _built(_checked(recipe, model.called(path)), weights, model.called(path))
    names = _plain(settings.get("names"))
    if names:
        made.model.names = names if isinstance(names, dict) else dict(enumerate(names))
    size = _plain(_table(checkpoint.get("train_args")).get("imgsz"))
    made.overrides = {"task": made.task, "model": str(model), **({} if size is None else {"imgsz": size})}
    made.model.args = {**made.model.args, **made.overrides}
    made.model_name = made.cfg = str(model)
    made.ckpt = {"model": made.model}  # so that training goes on from these weights
    return made


def _built(recipe: dict[str, Any], weights: dict[str, Any], what: str) -> Any:
    """The YOLO that the library makes of these settings, with these weights."""
    from copy import deepcopy

    tasks, torch = library("ultralytics.nn.tasks", "ultralytics"), library("torch", "torch")
    text = library("yaml", "ultralytics").safe_dump(recipe).encode()
    activation = tasks.Conv.default_act
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes the file speaks of
            skeleton, _ = tasks.parse_model(deepcopy(recipe), ch=3, verbose=False)
    finally:
        tasks.Conv.default_act = activation  # the library changes it for all networks, and not back after an error
    known = {name: weights[name] for name in skeleton.state_dict().keys() & weights.keys()}
    fill(skeleton, known, what, strict=True, remedy=_REMEDY)
    scale = recipe.get("scale")
    with MemoryFiles() as files:
        # The library takes the scale of the network from the name of the file, and from nowhere else.
        file = files.add(f"yolo0{scale}.yaml" if scale in _SCALES else "yolo.yaml", [text])
        made = library("ultralytics", "ultralytics").YOLO(str(file))
    made.model.yaml = recipe
    fill(made.model.model, known, what, strict=True)
    made.model.eval()
    return made


def _checked(recipe: dict[str, Any], what: str) -> dict[str, Any]:
    """The settings, if they name nothing but layers.

    The library evaluates the activation as Python, and looks for layers by name among whatever else it has. Raises
    UnsafeModelError, NotLoadableError.
    """
    tasks, nn = library("ultralytics.nn.tasks", "ultralytics"), library("torch.nn", "torch")
    if recipe.get("activation") is not None and not _is_activation(recipe["activation"], nn.modules.activation.__all__):
        raise UnsafeModelError(f"{what} has an activation that is more than a layer of torch")
    rows = [*(recipe.get("backbone") or ()), *(recipe.get("head") or ())]
    if not all(map(_is_row, rows)):
        raise NotLoadableError(f"{what} does not say what its layers are", remedy=_REMEDY)
    depths = [recipe.get("depth_multiple", 1), *(scale[0] for scale in (recipe.get("scales") or {}).values())]
    if any(depth > _MAX_DEPTH_FACTOR for depth in depths) or any(row[1] > _MAX_REPEATS for row in rows):
        raise NotLoadableError(f"{what} repeats its layers too often to be a network", remedy=_REMEDY)
    for row in rows:
        row[2] = name = _RENAMED.get(row[2], row[2])
        kind = getattr(nn, name[3:], None) if name.startswith("nn.") else vars(tasks).get(name)
        known = isinstance(kind, type) and issubclass(kind, nn.Module)
        own = name.startswith("nn.") or getattr(kind, "__module__", "").startswith(_LAYERS)
        if not known or not own or name == _DOWNLOADING:
            raise NotLoadableError(
                f"{what} names a layer {name!r}, which is none that can be made here", remedy=_REMEDY
            )
    return recipe


def _is_row(row: Any) -> bool:
    """Where a layer's input comes from, how often it is repeated, its name and its arguments."""
    return isinstance(row, list) and len(row) == 4 and all(map(isinstance, row[1:], (int, str, list)))


def _is_activation(text: Any, names: Sequence[str]) -> bool:
    """Whether this is a call of one of these classes of ``torch.nn``, with nothing but constants."""
    try:
        call = ast.parse(text if len(text) < _MAX_EXPRESSION else "", mode="eval").body
    except (SyntaxError, ValueError, TypeError):
        return False
    if not isinstance(call, ast.Call):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    function = ast.unparse(call.func).removeprefix("torch.")
    return function.removeprefix("nn.") in names and all(isinstance(each, ast.Constant) for each in given)


def _table(value: Any) -> dict[str, Any]:
    """What a record of a dict has under names; of anything else nothing."""
    return {key: item for key, item in value.pairs if isinstance(key, str)} if isinstance(value, Table) else {}


def _plain(value: Any) -> Any:
    """Records of plain values as these values; None for what is not made of plain values alone, or of too many."""
    left = count(_MAX_VALUES, -1)

    def plain(each: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH or next(left) <= 0:
            raise ValueError
        if isinstance(each, Table):
            return {plain(key, depth + 1): plain(item, depth + 1) for key, item in each.pairs}
        if isinstance(each, list | tuple):
            return [plain(item, depth + 1) for item in each]
        if isinstance(each, str | int | float | None):
            return each
        raise ValueError

    try:
        return plain(value, 0)
    except (ValueError, TypeError):  # a key that cannot be one
        return None
