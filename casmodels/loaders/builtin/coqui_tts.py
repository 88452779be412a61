"""Coqui's models of speech (VITS, XTTS, Tacotron and others), by coqui-tts, which reads a directory: one in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library
from casmodels.loaders.builtin.weights import check_pickle
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.offline import offline
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name
from casmodels.sources.weights import format_of

_EXTRA: Final = "coqui-tts"
_CONFIG: Final = "config.json"
_FAMILIES: Final = frozenset(
    ("align_tts", "delightful_tts", "fast_pitch", "fast_speech", "fastspeech2", "forward_tts", "glow_tts",
     "neuralhmm_tts", "overflow", "speedy_speech", "tacotron", "tacotron2", "vits", "xtts")
)  # fmt: skip
"""Of the library's models those that are one checkpoint, which it loads as weights only. Bark's it loads as pickles."""

_BESIDE: Final = frozenset(("model_se.pth", "speaker_ids.pth", "speakers.pth", "speakers_xtts.pth"))
"""Small files of a checkpoint's that are torch archives, too."""

_FOR_TRAINING: Final = frozenset(("dvae.pth", "mel_stats.pth"))
_USUAL: Final = {
    "d_vector_file": ("speakers.json", "speakers.pth"),
    "language_ids_file": ("language_ids.json",),
    "speaker_encoder_config_path": ("config_se.json",),
    "speaker_encoder_model_path": ("model_se.pth",),
    "speakers_file": ("speaker_ids.json", "speaker_ids.pth"),
    "stats_path": ("scale_stats.npy",),
}
"""What coqui-tts calls the files that settings lead to, whatever they were called where the model was trained."""

_SETTINGS_OF_XTTS: Final = frozenset(
    (
        "TTS.config.shared_configs.BaseDatasetConfig",
        "TTS.tts.configs.xtts_config.XttsConfig",
        "TTS.tts.models.xtts.XttsArgs",
        "TTS.tts.models.xtts.XttsAudioConfig",
    )
)
"""Classes of plain values that the released XTTS pickles; coqui-tts has torch build these and no others."""


class CoquiTtsLoader:
    """A ``TTS.utils.synthesizer.Synthesizer``. It is called with a text and gives the sound and its sampling rate as a
    dict; `process_batch` takes a list of texts."""

    name = "coqui-tts"
    copies = 3  # the memory file, what torch reads of it, the model

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The checkpoint beside a ``config.json`` that names one of the library's models."""
        archives = [path for path in model.ending(".pth", ".pth.tar", ".pt") if "/" not in path]
        found = [path for path in archives if unpacked_name(path) not in _BESIDE | _FOR_TRAINING]
        if not found or _CONFIG not in model.sizes:
            return []
        settings = model.read_json(_CONFIG)
        kind = settings.get("model")
        kinds = {str(each).lower() for each in (kind, settings.get("base_model") or kind)}
        return model.only(found) if kinds <= _FAMILIES and isinstance(settings.get("audio"), dict) else []

    def devices(self) -> Sequence[str]:
        """Torch's."""
        library("TTS", _EXTRA)
        return torch_devices()

    def load(
        self,
        model: StoredModel,
        request: Request,
        *,
        speaker: str | None = None,
        language: str | None = None,
        speaker_wav: Any = None,
    ) -> Loaded:
        """The options hold for calls that do not say them: the name of a ``speaker`` or the path of a recording of one,
        and the ``language``, where the model has several."""
        synthesizer = library("TTS.utils.synthesizer", _EXTRA).Synthesizer
        with MemoryFiles() as files, offline(model):
            checkpoint = _add_all(files, model, request.files[0])
            try:
                made = synthesizer(tts_checkpoint=checkpoint, tts_config_path=files.path / _CONFIG)
            except KeyError as error:
                called = model.called(request.files[0])
                raise NotLoadableError(f"{called} is no checkpoint of Coqui's: it lacks {error}") from error
        made.voice_dir = None  # or cloned voices would be kept on the disk
        made.to(request.device)
        usual = {"speaker": speaker, "language": language, "speaker_wav": speaker_wav}

        def call(text: str, **options: Any) -> dict[str, Any]:
            import numpy as np

            said = {**usual, **options}
            sound = made.tts(text, speaker_name=said.pop("speaker"), language_name=said.pop("language"), **said)
            return {"wav": np.asarray(sound, dtype=np.float32), "sampling_rate": made.output_sample_rate}

        return Loaded(made, call, lambda texts: [call(text) for text in texts], move=made.to)


def _add_all(files: MemoryFiles, model: StoredModel, checkpoint: str) -> Path:
    """Put the checkpoint and what lies beside it into the directory; gives the checkpoint's path there."""
    check_pickle(model, checkpoint, _SETTINGS_OF_XTTS.__contains__)
    places: dict[str, str] = {}
    for path in model.sizes:
        name = unpacked_name(path)
        wanted = name in _BESIDE or format_of(name, model.sizes) is None
        if "/" not in path and wanted and name not in (_CONFIG, *places):
            places[name] = str(files.add(name, model.blocks(path)))
    settings = leading_inside(model.read_json(_CONFIG), places)
    files.add(_CONFIG, [json.dumps(settings).encode()])
    return files.add("model.pth", model.blocks(checkpoint))


def leading_inside(settings: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """The settings, with every path leading to the file of its name in ``places``, and without those that lead to none:
    they are paths of whoever trained the model, or addresses, and what the store does not have is not looked for."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found[key] = leading_inside(value, places)
        elif not key.endswith(("_file", "_path")):
            found[key] = value
        else:
            said = value if isinstance(value, list) else [value]
            names = (*(PurePosixPath(str(path)).name for path in said), *_USUAL.get(key, ()))
            here = next((places[name] for name in names if name in places), None)
            if here is not None:
                found[key] = [here] if isinstance(value, list) else here
    return found
