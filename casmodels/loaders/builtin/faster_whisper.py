"""Whisper as CTranslate2 keeps it, by faster-whisper, which takes the files from memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from os import PathLike
from posixpath import dirname, join
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library
from casmodels.loaders.builtin.onnx import no_reports
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name
from casstore.errors import InvalidInputError

_EXTRA: Final = "faster-whisper"
_WEIGHTS: Final = "model.bin"
_KIND: Final = b"WhisperSpec\0"
_KIND_AT: Final = 6
"""The version and the length of the word come before it."""

_TOKENIZER: Final = "tokenizer.json"
_BESIDE: Final = ("config.json", _TOKENIZER, "preprocessor_config.json", "vocabulary.json", "vocabulary.txt")


class FasterWhisperLoader:
    """A ``faster_whisper.WhisperModel``. It is called with sound of 16 kHz, or a file of sound, and gives the text, the
    segments and the language as a dict; `process_batch` takes a list of these."""

    name = "faster-whisper"
    copies = 3  # the store's bytes, CTranslate2's copy of them, the weights

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """``model.bin``, where it says that it is CTranslate2's and Whisper."""
        named = (path for path in model.candidates if unpacked_name(path).rpartition("/")[2] == _WEIGHTS)
        return model.only([path for path in named if model.head(path, 32)[_KIND_AT:].startswith(_KIND)])

    def devices(self) -> Sequence[str]:
        """CTranslate2's."""
        count = library("ctranslate2", _EXTRA).get_cuda_device_count()
        return (*(f"cuda:{number}" for number in range(count)), CPU)

    def load(
        self,
        model: StoredModel,
        request: Request,
        *,
        compute_type: str = "default",
        cpu_threads: int = 0,
        num_workers: int = 1,
        language: str | None = None,
        task: str = "transcribe",
        beam_size: int = 5,
    ) -> Loaded:
        """``compute_type`` is CTranslate2's, such as ``int8`` or ``float16``; ``cpu_threads`` and ``num_workers`` are
        faster-whisper's. ``language``, ``task`` and ``beam_size`` hold for calls that do not say them."""
        no_reports()
        whisper, ctranslate2 = library("faster_whisper", _EXTRA), library("ctranslate2", _EXTRA)
        kind, _, index = request.device.partition(":")
        types = ctranslate2.get_supported_compute_types(kind, int(index or 0))
        if compute_type not in ("default", "auto", *types):
            raise InvalidInputError(
                f"there is no compute_type {compute_type!r} on {request.device}",
                remedy=f"there is {', '.join(sorted(types))}",
            )
        made = whisper.WhisperModel(
            str(model),
            device=kind,
            device_index=int(index or 0),
            compute_type=compute_type,
            cpu_threads=cpu_threads,
            num_workers=num_workers,
            local_files_only=True,
            files=_files(model, request.files[0]),
        )
        usual = {"language": language, "task": task, "beam_size": beam_size}

        def call(sound: Any, **options: Any) -> dict[str, Any]:
            segments, info = made.transcribe(_sound(sound), **{**usual, **options})
            return _plain(list(segments), info)

        return Loaded(made, call, lambda sounds: [call(sound) for sound in sounds], close=made.model.unload_model)


def _files(model: StoredModel, weights: str) -> dict[str, bytes]:
    """What faster-whisper reads, by the names under which it does. Raises NotLoadableError."""
    found = {_WEIGHTS: model.read(weights)}
    for name in _BESIDE:
        path = join(dirname(weights), name)
        stored = next((each for each in (path, path + ".gz") if each in model.sizes), None)
        if stored is not None:
            found[name] = model.read(stored)
    if _TOKENIZER not in found:
        raise NotLoadableError(
            f"{model} has no {join(dirname(weights), _TOKENIZER)}, for which faster-whisper would go to the Hub",
            remedy="`casmodels pull --all-files` brings all in",
        )
    return found


def _sound(sound: Any) -> Any:
    """Numbers as NumPy's; a path or a file as it is."""
    if isinstance(sound, str | PathLike) or hasattr(sound, "read"):
        return sound
    import numpy as np

    return np.asarray(sound, dtype=np.float32)


def _plain(segments: list[Any], info: Any) -> dict[str, Any]:
    return {
        "text": "".join(segment.text for segment in segments),
        "segments": [dataclasses.asdict(segment) for segment in segments],
        "language": info.language,
        "language_probability": info.language_probability,
        "duration": info.duration,
    }
