"""Silero VAD, which tells speech from silence: its TorchScript archive or its ONNX file, by the package silero-vad."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library
from casmodels.loaders.builtin.onnx import onnxruntime
from casmodels.loaders.builtin.torchscript import script_module
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name
from casstore.errors import InvalidInputError

_EXTRA: Final = "silero-vad"
_NAME: Final = re.compile(r"silero[-_]vad")
_INPUTS: Final = {"input", "state", "sr"}


class SileroVadLoader:
    """What ``silero_vad.load_silero_vad`` gives.

    It is called with one window of sound and gives the probability of speech there; windows follow one another until
    `process_batch` is called, which takes whole recordings and gives the speech in each, from sample to sample.
    """

    name = "silero-vad"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The ``.jit`` or ``.onnx`` file whose name says so; any ``.onnx`` file where the name of the model does."""
        for suffix in (".jit", ".onnx"):
            named = [path for path in model.ending(suffix) if _NAME.search(path.rpartition("/")[2].lower())]
            if named:
                return model.only(named, stem="silero_vad")
        return model.only(model.ending(".onnx")) if _NAME.search(model.contents.name.lower()) else []

    def devices(self) -> Sequence[str]:
        """The CPU: a window is too little work for a GPU, and the package's own functions keep the sound here."""
        return (CPU,)

    def load(
        self, model: StoredModel, request: Request, *, sampling_rate: int = 16000, threshold: float = 0.5
    ) -> Loaded:
        """``sampling_rate`` is the sound's: 8000 Hz, or 16000 and its multiples; ``threshold`` is the probability from
        which on `process_batch` takes it for speech."""
        known = isinstance(sampling_rate, int) and sampling_rate > 0
        if not known or (sampling_rate != 8000 and sampling_rate % 16000):
            raise InvalidInputError(
                f"Silero VAD knows no sound of {sampling_rate!r} Hz", remedy="resample it to 8000 or 16000 Hz"
            )
        package, torch = _silero_vad(), library("torch", _EXTRA)
        path = request.files[0]
        made = _onnx(model, path) if unpacked_name(path).lower().endswith(".onnx") else _script(model, path)

        def call(sound: Any, sampling_rate: int = sampling_rate) -> Any:
            with torch.no_grad():
                return made(torch.as_tensor(sound, dtype=torch.float32), sampling_rate)

        def call_batch(sounds: Any) -> list[Any]:
            tensors = (torch.as_tensor(sound, dtype=torch.float32) for sound in sounds)
            speech = package.get_speech_timestamps
            found = [speech(sound, made, threshold=threshold, sampling_rate=sampling_rate) for sound in tensors]
            made.reset_states()  # or the next window would be heard as going on after the last recording
            return found

        return Loaded(made, call, call_batch)


def _silero_vad() -> Any:
    """The package. When it is first imported it sets torch to one thread, for everything else too: that is undone."""
    torch = library("torch", _EXTRA)
    threads = torch.get_num_threads()
    package = library("silero_vad", _EXTRA)
    torch.set_num_threads(threads)
    return package


def _script(model: StoredModel, path: str) -> Any:
    made = script_module(model.read(path), CPU).eval()
    if not hasattr(made, "reset_states"):
        raise _other(model, path, "torchscript", "has no reset_states")
    return made


def _onnx(model: StoredModel, path: str) -> Any:
    onnxruntime(_EXTRA)
    wrapper = library("silero_vad.utils_vad", _EXTRA).OnnxWrapper
    with MemoryFiles() as files, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one is for 16000 Hz only, which it tells by the whole path
        made = wrapper(str(files.add("silero_vad.onnx", model.blocks(path))), force_onnx_cpu=True)
    made.sample_rates = [16000] if "16k" in path.rpartition("/")[2] else [8000, 16000]
    inputs = {each.name for each in made.session.get_inputs()}
    if inputs != _INPUTS:
        raise _other(model, path, "onnx", f"takes {', '.join(sorted(inputs))}")
    return made


def _other(model: StoredModel, path: str, loader: str, why: str) -> NotLoadableError:
    return NotLoadableError(
        f"{model.called(path)} is no Silero VAD that the package silero-vad runs: it {why}",
        remedy=f"say loader={loader!r} for the bare model",
    )
