"""Whisper of CTranslate2, tiny and of random weights: from the store it hears what it hears from a directory."""

from __future__ import annotations

import gzip
import io
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from casmodels import extras
from casmodels.errors import DeviceError, MissingExtraError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.errors import DamagedError, InvalidInputError
from tests.models.loaders.sounds import RATE, vowel
from tests.models.loaders.whisper import tiny_whisper
from tests.models.reading.damage import flip_packs

torch = pytest.importorskip("torch")
faster_whisper = pytest.importorskip("faster_whisper")
ctranslate2 = pytest.importorskip("ctranslate2")
pytestmark = pytest.mark.torch

Saver = Callable[..., str]
SURE = {"temperature": 0.0, "log_prob_threshold": None, "no_speech_threshold": None, "max_new_tokens": 20}
"""Without these, faster-whisper tries again at random when it finds its result unlikely."""

SOUNDS = [vowel(), vowel(2.0, 0.2, 1.0), vowel(5.0, 3.0, 4.5)]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def files(converted: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in converted.iterdir()}


def heard(model: Any, sound: Any) -> list[tuple[Any, ...]]:
    segments, _ = model.transcribe(sound, **SURE)
    return [(segment.start, segment.end, segment.text, segment.tokens, segment.avg_logprob) for segment in segments]


@pytest.mark.parametrize("layout", ["plain", "deep/{}", "{}.gz"])
def test_it_hears_the_same(store: Store, saved: Saver, files: dict[str, bytes], converted: Path, layout: str) -> None:
    assert set(files) == {"model.bin", "config.json", "vocabulary.json", "tokenizer.json"}
    place = "{}" if layout == "plain" else layout
    data = {name: gzip.compress(each) if layout.endswith(".gz") else each for name, each in files.items()}
    saved({"README.md": b"# Whisper", **{place.format(name): each for name, each in data.items()}})
    original = faster_whisper.WhisperModel(str(converted), device="cpu")
    with load_model(store, "mine") as model:
        assert (model.loader, model.device) == ("faster-whisper", "cpu")
        assert isinstance(model.model, faster_whisper.WhisperModel)
        features = original.feature_extractor(SOUNDS[0])
        assert np.array_equal(np.array(model.model.encode(features)), np.array(original.encode(features)))
        for sound in SOUNDS:
            expected = heard(original, sound)
            assert expected
            assert heard(model.model, sound) == expected
            found = model(sound, **SURE)
            assert found["text"] == "".join(text for _, _, text, _, _ in expected)
            assert [each["tokens"] for each in found["segments"]] == [tokens for _, _, _, tokens, _ in expected]
            assert (found["language"], found["duration"]) == ("en", len(sound) / RATE)


def test_a_batch_is_one_after_the_other(
    store: Store, saved: Saver, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound in a file, tensors and lists are heard as arrays are."""
    saved(files)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE, 0, "NONE", ""))
        writer.writeframes((SOUNDS[0] * 32767).astype("<i2").tobytes())
    with load_model(store, "mine", beam_size=1, task="translate") as model:
        asked: list[Any] = []
        transcribe = model.model.transcribe

        def told(sound: Any, **options: Any) -> Any:
            asked.append(options)
            return transcribe(sound, **{**options, **SURE})

        monkeypatch.setattr(model.model, "transcribe", told)
        found = model.process_batch([SOUNDS[0], torch.tensor(SOUNDS[1]), SOUNDS[2].tolist()], batch_size=2)
        assert [each["duration"] for each in found] == [3.0, 2.0, 5.0]
        assert found == [model(sound) for sound in SOUNDS]
        file.seek(0)
        assert model(file)["duration"] == 3.0
        model(SOUNDS[0], beam_size=2)
    assert asked[0] == {"language": None, "task": "translate", "beam_size": 1}
    assert asked[-1]["beam_size"] == 2


def test_in_a_process_of_its_own_and_nothing_stays(
    store: Store, saved: Saver, files: dict[str, bytes], temporary: Path
) -> None:
    saved(files)
    with load_model(store, "mine", isolated=True) as model, load_model(store, "mine") as here:
        assert model(SOUNDS[0], **SURE) == here(SOUNDS[0], **SURE)
        assert list(temporary.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_types_of_numbers(store: Store, saved: Saver, files: dict[str, bytes]) -> None:
    saved(files)
    with load_model(store, "mine", compute_type="int8", cpu_threads=1, num_workers=2) as model:
        assert model.model.model.compute_type.startswith("int8")
        assert model.model.model.num_workers == 2
    for wrong in ("float16", "nonsense"):
        with pytest.raises(InvalidInputError, match=f"no compute_type '{wrong}' on cpu") as raised:
            load_model(store, "mine", compute_type=wrong)
        assert "int8" in (raised.value.remedy or "")
    with pytest.raises(InvalidInputError, match="'faster-whisper' has no option 'dtype'"):
        load_model(store, "mine", dtype="int8")


def test_the_device_is_the_one_that_was_asked_for(
    store: Store, saved: Saver, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for a GPU: the machines that run these tests have none."""
    saved(files)
    with pytest.raises(DeviceError, match="no device 'cuda' here for the loader 'faster-whisper'"):
        load_model(store, "mine", device="cuda")
    made: dict[str, Any] = {}

    def model(name: str, **options: Any) -> Any:
        made.update(options, name=name)
        return SimpleNamespace(model=SimpleNamespace(unload_model=lambda: made.update(unloaded=True)))

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda *_: {"float16"})
    monkeypatch.setattr(faster_whisper, "WhisperModel", model)
    with load_model(store, "mine", compute_type="float16") as loaded:
        assert loaded.device == "cuda:0"
        with pytest.raises(DeviceError, match="stays where it is"):
            loaded.to("cpu")
    with load_model(store, "mine", device="cuda:1", compute_type="float16") as loaded:
        assert (made["device"], made["device_index"], made["local_files_only"]) == ("cuda", 1, True)
    assert made["unloaded"]


def test_what_is_missing_or_broken_is_one_sentence(store: Store, saved: Saver, files: dict[str, bytes]) -> None:
    broken = {**files, "model.bin": files["model.bin"][:-10]}
    for wrong, said in (
        ({**files, "tokenizer.json": None}, r"mine@\w{12} has no tokenizer\.json, for which faster-whisper would go"),
        ({**files, "vocabulary.json": None}, r"cannot load model\.bin of mine@\w{12}: Cannot load the vocabulary"),
        ({**files, "tokenizer.json": b"{"}, r"'faster-whisper' cannot load model\.bin of mine@\w{12}: "),
        (broken, r"'faster-whisper' cannot load model\.bin of mine@\w{12}: File model\.bin is incomplete"),
    ):
        saved({name: data for name, data in wrong.items() if data is not None})
        with pytest.raises(NotLoadableError, match=said) as raised:
            load_model(store, "mine")
        assert "\n" not in raised.value.message


def test_a_damaged_file_is_never_loaded(store: Store, saved: Saver, files: dict[str, bytes]) -> None:
    saved(files)
    flip_packs(store)
    with pytest.raises(DamagedError, match="is damaged"):
        load_model(store, "mine", loader="faster-whisper")


def test_other_files_of_that_name_are_not_taken_for_it(
    store: Store, saved: Saver, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.models.loaders.test_weights import archive

    saved({**files, "model.bin": archive({"w": torch.ones(3)})})
    with load_model(store, "mine") as model:
        assert model.loader == "weights"
    saved(files)
    real = extras.import_module
    monkeypatch.setattr(extras, "import_module", lambda name: real("no_such_" + name))
    with pytest.raises(MissingExtraError) as missing:
        load_model(store, "mine")
    assert missing.value.remedy == "run `pip install 'casmodels[faster-whisper]'`"
